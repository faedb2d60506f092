"""Triggers: what a fault waits for, an exchange on the wire or a count that is reached.

Kafka: the names of its APIs; the rest is the fault language of scenario.md section 2.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim.plan import CountTrigger, FrameTrigger, Who
from ksim.problems import shown
from ksim.scenario_names import BROKER, CONSUMER, CONTROLLER, PRODUCER, Names, read_who
from ksim.scenario_reading import Table, name_of
from ksim.scenario_shape import APIS, COUNT_TRIGGERS, FRAME_TRIGGER, TO_CONTROLLERS, TRANSACTION_PHASES
from ksim.scenario_values import COUNT, DURATION, NUMBER, PROBABILITY, TEXT, choice

PRODUCE = "Produce"
OF_CONSUMERS = (
    *("JoinGroup", "SyncGroup", "Heartbeat", "LeaveGroup", "ConsumerGroupHeartbeat"),
    *("OffsetCommit", "OffsetFetch", "ListOffsets", "OffsetForLeaderEpoch"),
)
SENDERS = {
    "Fetch": (BROKER, CONSUMER),
    **dict.fromkeys(("WriteTxnMarkers", *TO_CONTROLLERS), (BROKER,)),
    "AddPartitionsToTxn": (PRODUCER, BROKER),
    **dict.fromkeys(("Metadata", "ApiVersions", "FindCoordinator"), (PRODUCER, CONSUMER)),
    **dict.fromkeys(OF_CONSUMERS, (CONSUMER,)),
}
PHASE = choice(*TRANSACTION_PHASES)


def read_trigger(fault: Table, names: Names, *, side: str) -> FrameTrigger | CountTrigger | None:
    """`when`; None where it was reported. `side`: of the exchange, where neither request nor response is named."""
    given = fault.content["when"]
    if not isinstance(given, dict):
        fault.problem("when", f"{name_of(fault.path)}: when = {shown(given)} is not a trigger.", possible='{ request = "Produce", nth = 3 } or { acked = 100 }')
        return None
    path = (*fault.path, "when")
    kinds = [kind for kind in COUNT_TRIGGERS if kind in given]
    if not kinds:
        table = fault.reading.table(path, given, {**FRAME_TRIGGER, **{kind: shape[kind] for kind, shape in COUNT_TRIGGERS.items()}})
        assert table is not None
        return _frame_trigger(table, names, side)
    kind = kinds[0]
    if len(kinds) > 1 or "request" in given or "response" in given:
        fault.problem("when", f"{name_of(path)}: a fault waits for one thing.", given=shown(given), possible=f"{{ {kind} = ... }} alone")
        return None
    table = fault.reading.table(path, given, COUNT_TRIGGERS[kind])
    assert table is not None
    if kind == "transaction":
        if not table.has("phase"):
            table.problem("", f"{name_of(path)}: phase is missing.", given="no phase", names=TRANSACTION_PHASES)
        sender = _end(table, "from", names, (PRODUCER,))
        return CountTrigger(kind, table.take(kind, COUNT) or 1, phase=table.take("phase", PHASE) or "", producer=sender.argument if sender else "")
    partition = "" if kind == "acked" else read_partition(table, names, needed=True) or ""
    return CountTrigger(kind, table.take(kind, NUMBER if kind == "isr" else COUNT) or 0, partition)


def read_partition(table: Table, names: Names, *, needed: bool = False) -> str | None:
    """A partition by name; where it is needed and there is only one, that one."""
    if table.has("partition"):
        return table.choose("partition", names.all_partitions, "a partition of this scenario")
    if needed and len(names.all_partitions) != 1:
        table.problem("", f"{name_of(table.path)}: partition is missing.", given="no partition", names=names.all_partitions)
        return None
    return names.all_partitions[0] if needed else None


def _frame_trigger(table: Table, names: Names, side: str) -> FrameTrigger:
    if table.has("request") and table.has("response"):
        table.problem("response", f"{name_of(table.path)}: request and response name the same exchange.", given="request and response", possible="one of them")
    key = "response" if table.has("response") else "request"
    api = _api(table, key)
    _one_of_a_kind(table, ("nth", "every", "probability"))
    return FrameTrigger(
        api=api,
        side=key if table.has(key) else side,
        sender=_end(table, "from", names, SENDERS.get(api, (PRODUCER,))),
        receiver=_end(table, "to", names, (CONTROLLER,) if api in TO_CONTROLLERS else (BROKER,)),
        topic=table.choose("topic", names.partitions, "a topic of this scenario"),
        partition=read_partition(table, names),
        connection=table.take("connection", TEXT),
        nth=table.take("nth", COUNT) or 1,
        times=table.take("times", COUNT),
        every=table.take("every", COUNT),
        probability=table.take("probability", PROBABILITY),
        after=table.take("after", DURATION) or 0,
    )


def _api(table: Table, key: str) -> str:
    return PRODUCE if not table.has(key) else table.choose(key, APIS, "an API whose exchanges can be hit") or PRODUCE


def _one_of_a_kind(table: Table, keys: Sequence[str]) -> None:
    given = [key for key in keys if table.has(key)]
    if len(given) > 1:
        table.problem(
            given[-1],
            f"{name_of(table.path)}: {' and '.join(given)} say different things: one is possible.",
            given=", ".join(given),
            possible=" or ".join(keys),
        )


def _end(table: Table, key: str, names: Names, roles: Sequence[str]) -> Who | None:
    """`from` is always the client and `to` the broker, whichever of the two frames is hit."""
    if not table.has(key):
        return None
    found = read_who(table, key, table.content[key], names, roles)
    if found is not None and len(found) > 1:
        table.problem(key, f"{name_of(table.path)}: {key} takes one name.", possible="one name, such as brokers")
        return None
    return found[0] if found else None
