"""A name that is none of its settings: which one was meant, or where it belongs.

Not Kafka's: the Java client logs a name that it does not know and runs without it; librdkafka refuses it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from ksim_models.quantities import show_given
from ksim_models.setting_types import ConfigKey, Problem, Setting
from ksim_models.setting_values import kafka_reads, kafka_says, nearest_of

PLACES = (
    *((f"spring.kafka.{place}", "Spring Boot") for place in ("producer.properties.", "producer.", "properties.", "admin.properties.", "")),
    *(("producer.override.", "Kafka Connect"), ("connect.producer.", "Kafka Connect"), ("admin.override.", "Kafka Connect")),
    *(("quarkus.kafka.", "Quarkus"), ("kafka.cfg.", "a container's environment"), ("kafka.producer.", "another program"), ("producer.", "another program")),
    ("kafka.", "a container's environment"),
)
"""Where other programs keep the settings of a client or a broker, which itself would not know these names. The longer ones first."""

OTHER_PROGRAMS = {
    "required.acks": "acks",
    "ack": "acks",
    "idempotent": "enable.idempotence",
    "idempotence": "enable.idempotence",
    "transaction.id.prefix": "transactional.id",
    "transaction.id": "transactional.id",
    "compression": "compression.type",
    "codec": "compression.type",
    "brokers": "bootstrap.servers",
    "retry": "retries",
    "max.retries": "retries",
    "max.attempts": "retries",
}
"""Words of other libraries, and of people."""

PLAIN_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}", re.ASCII)
HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All the settings that one kind of machine has, and what to say about a name that is not among them."""

    whose: str
    """"producer", "broker" or "topic"."""
    keys: Mapping[str, ConfigKey]
    no_part_prefixes: tuple[tuple[str, str], ...]
    """Families of names that play no part, with the reason."""
    elsewhere: Mapping[str, str]
    """Names that are settings of something else: what to do with them."""
    other_names: Mapping[str, str]
    """Names that another client has for the same thing."""
    unknown: str
    """What Kafka itself does with a name that it does not know."""
    client: str = "the Java client"
    """Whose settings these are."""
    other_client: str = "librdkafka"
    """Whose the other names are."""
    foreign: str = ""
    """Why a name like none of its own plays no part, where a user's own file has it; empty: no name may be unknown."""
    refuses_unknown: bool = False
    """Kafka itself refuses a name that it does not know, or not any more; else it ignores it."""
    aliases: Collection[str] = ()
    """Second names of its settings: only to suggest them, as they have been replaced before."""
    says: Callable[[ConfigKey, object], str] = kafka_says
    """In whose words a value is refused."""
    reads: Callable[[ConfigKey, object], str] = kafka_reads
    """What becomes of a value with a unit, which ksim takes."""


def reason_of_family(name: str, catalogue: Catalogue) -> str:
    """Why a name of this family plays no part; empty where it is of none."""
    return next((reason for prefix, reason in catalogue.no_part_prefixes if name.startswith(prefix)), "")


def is_meant_for_kafka(name: str, catalogue: Catalogue) -> bool:
    """A name of Kafka's misspelt, shortened, or in another program's place; all others belong to that program. Odd letters: no such file is meant."""
    plain = name.lower().replace("_", ".").replace("-", ".")
    known = [*catalogue.keys, *catalogue.other_names, *catalogue.elsewhere]
    if not PLAIN_NAME.fullmatch(name) or any(candidate in known for candidate, _ in _candidates(name)):
        return True
    words = plain.split(".")
    return any(
        plain.startswith(f"{key}.")
        or all(difflib.get_close_matches(word, key.split("."), n=1, cutoff=0.75) for word in words)
        or difflib.SequenceMatcher(None, plain, key).ratio() >= 0.82
        for key in catalogue.keys
    )


def unknown(setting: Setting, catalogue: Catalogue) -> Problem:
    """The mistake, with the setting that was meant or the place where it belongs."""
    name = show_given(setting.name).strip('"')
    given = f"{name} = {show_given(setting.value)}"
    possible = f"a {catalogue.whose} setting by Kafka's own name"
    if setting.name.startswith("[") and setting.name.endswith("]"):
        return Problem(given, "leave it out", None, f"{name} would be a section, and a .properties file has none: take the line out.", setting.origin)
    for candidate, place in _candidates(setting.name):
        candidate = OTHER_PROGRAMS.get(candidate, candidate) if place else candidate
        if candidate in catalogue.keys or candidate in catalogue.aliases:
            message = f"{name} is not a setting that a {catalogue.whose} knows. Did you mean {candidate}?"
            if place:
                message = f"{name} is how {place} spells it: {catalogue.client}'s own name is {candidate}."
            return Problem(given, possible, candidate, f"{message} {catalogue.unknown}", setting.origin)
        if candidate in catalogue.elsewhere:
            advice = catalogue.elsewhere[candidate]
            return Problem(given, advice, None, f"{name} is not a {catalogue.whose}'s setting: {advice}.", setting.origin)
        if candidate in catalogue.other_names:
            near = catalogue.other_names[candidate]
            message = f"{name} is {catalogue.other_client}'s name: {catalogue.client}'s is {near}. {catalogue.unknown}"
            return Problem(given, possible, near, message, setting.origin)
    plain = _candidates(setting.name)[1][0]
    found = OTHER_PROGRAMS.get(plain) or nearest_of(plain, [*catalogue.keys, *catalogue.aliases, *catalogue.other_names])
    near_or_none = catalogue.other_names.get(found, found) if found else None
    if near_or_none not in catalogue.keys and near_or_none not in catalogue.aliases:
        near_or_none = None
    hint = f" Did you mean {near_or_none}?" if near_or_none else ""
    return Problem(given, possible, near_or_none, f"{name} is not a setting that a {catalogue.whose} knows.{hint} {catalogue.unknown}", setting.origin)


def _candidates(name: str) -> list[tuple[str, str]]:
    """The name as Kafka would spell it, as it stands and without the place where another program keeps it: (name, whose place it is)."""
    short = name[:100].strip()
    plain = (short if short.isupper() else HUMP.sub(".", short)).lower().replace("_", ".").replace("-", ".").replace(" ", ".")
    return [(short, ""), (plain, ""), *((plain.removeprefix(prefix), who) for prefix, who in PLACES if plain.startswith(prefix))]
