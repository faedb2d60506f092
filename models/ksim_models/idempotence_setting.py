"""Whether a producer is idempotent in the end: asked for, taken by default, switched off in silence, or refused.

Kafka: ProducerConfig.postProcessAndValidateIdempotenceConfigs (section 1.3, C10; KIP-98, KIP-679, KAFKA-13598).
"""

from __future__ import annotations

from dataclasses import dataclass

from ksim_models.profiles import IdempotenceRule
from ksim_models.settings import Reading

IN_FLIGHT = "max.in.flight.requests.per.connection"
MOST_IN_FLIGHT = 5  # A broker remembers the last five batches of a producer (PS-2), so it can recognise a retry among no more.


@dataclass(frozen=True, slots=True)
class Conflict:
    """One setting that does not go with idempotence."""

    name: str
    shown: str
    possible: str
    kafka_says: str
    why: str


def settle_idempotence(rule: IdempotenceRule, reading: Reading) -> None:
    """Force `enable.idempotence` (and with the old rule `acks`) to what the client makes of it, or refuse, in the client's order (C1)."""
    if not reading.can_compare("enable.idempotence"):
        return
    asked = reading.written.get("enable.idempotence") is True
    if rule is IdempotenceRule.EXPLICIT_ONLY:
        _settle_by_what_is_written(asked, reading)
        return
    if reading.value("enable.idempotence") is True:
        _settle_with_default(rule, asked, reading)
    _refuse_transactions_without(reading)


def check_in_flight_at_construction(rule: IdempotenceRule, reading: Reading) -> None:
    """2.8, 3.0.0, 3.1.0 look at the requests in flight last, when the Sender is made (KafkaProducer.configureInflightRequests)."""
    if rule is not IdempotenceRule.EXPLICIT_ONLY or not reading.can_compare("enable.idempotence") or reading.value("enable.idempotence") is not True:
        return
    for conflict in _conflicts(rule, reading):
        if conflict.name == IN_FLIGHT:
            _refuse(conflict, reading)


def _refuse_transactions_without(reading: Reading) -> None:
    if "transactional.id" in reading.written and reading.value("enable.idempotence") is not True:
        reading.refuse(
            "transactional.id",
            "leave out transactional.id, or what switches idempotence off",
            "transactional.id needs an idempotent producer, and idempotence is off (C10, KIP-98)."
            " Kafka refuses it: Cannot set a transactional.id without also enabling idempotence.",
        )


def _settle_by_what_is_written(asked: bool, reading: Reading) -> None:
    """2.8, 3.0.0, 3.1.0: the default is never looked at (KAFKA-13598)."""
    refused = reading.written.get("enable.idempotence") is False
    on = asked or ("transactional.id" in reading.written and not refused)
    if reading.value("enable.idempotence") is not on:
        reading.force("enable.idempotence", on, "transactional.id" if on else f"the client of {reading.version}", "KAFKA-13598")
    _refuse_transactions_without(reading)
    if not on:
        if reading.release >= (3, 0, 0) and not refused:
            reading.notes.append(
                f"enable.idempotence is true by default in {reading.version}, but this release does not apply the default:"
                " the producer is not idempotent (KAFKA-13598)."
            )
        return
    for conflict in _conflicts(IdempotenceRule.EXPLICIT_ONLY, reading):
        if conflict.name != IN_FLIGHT:
            _refuse(conflict, reading)
    if "acks" not in reading.written:
        reading.force("acks", "all", "idempotence", "KIP-98")


def _settle_with_default(rule: IdempotenceRule, asked: bool, reading: Reading) -> None:
    """3.0.1 and later: a conflict is an error where idempotence was asked for, else it switches idempotence off in silence."""
    silent = []  # C9: retries=0 is one of them; it ends neither time-outs nor splits, which are no retries.
    for conflict in _conflicts(rule, reading):
        if asked or (conflict.name == IN_FLIGHT and rule is IdempotenceRule.IN_FLIGHT_ALWAYS_CHECKED):
            _refuse(conflict, reading)
        else:
            silent.append(conflict)
    if silent:
        because = " and ".join(conflict.shown for conflict in silent)
        reading.force("enable.idempotence", False, because, "KIP-679")
        reading.notes.append(
            f"Idempotence, on by default, is switched off in silence by {because} (KIP-679): a retry may write a record twice or out of order."
        )


def _conflicts(rule: IdempotenceRule, reading: Reading) -> list[Conflict]:
    """In the order in which the client looks, in its words."""
    found = []
    if reading.number("retries") == 0:
        says = "Must set retries to non-zero when using the idempotent producer."
        why = "telling a retry from a new batch is all that idempotence does (KIP-98)"
        found.append(Conflict("retries", "retries=0", "at least 1, or enable.idempotence = false", says, why))
    acks = reading.value("acks")
    if "acks" in reading.written and acks not in ("all", "-1"):
        says = "Must set acks to all in order to use the idempotent producer. Otherwise we cannot guarantee idempotence."
        why = "a new leader recognises a retry only among records that were replicated to it (KIP-98)"
        found.append(Conflict("acks", f"acks={acks}", "all, or enable.idempotence = false", says, why))
    in_flight = reading.number(IN_FLIGHT)
    if in_flight > MOST_IN_FLIGHT:
        says = f"Must set {IN_FLIGHT} to at most 5 to use the idempotent producer."
        if rule is IdempotenceRule.IN_FLIGHT_ALWAYS_CHECKED:
            says = f"To use the idempotent producer, {IN_FLIGHT} must be set to at most 5. Current value is {in_flight}."
        why = "a broker remembers only the last five batches of a producer (KIP-98)"
        found.append(Conflict(IN_FLIGHT, f"{IN_FLIGHT}={in_flight}", "1 to 5, or enable.idempotence = false", says, why))
    return found


def _refuse(conflict: Conflict, reading: Reading) -> None:
    reading.refuse(
        conflict.name,
        conflict.possible,
        f"{conflict.shown} does not go with an idempotent producer, because {conflict.why}."
        f" Kafka refuses it: {conflict.kafka_says} Choose {conflict.possible}.",
    )
