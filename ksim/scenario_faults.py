"""Faults: what goes wrong, when, to whom and for how long; contradictions are refused, because a fault that cannot happen proves nothing.

Not Kafka's: the fault language of scenario.md section 2, shared by the simulation and the live twin.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from ksim.plan import DEADLY, DISK_FAULTS, FRAME_FAULTS, RECORD_FAULTS, CountTrigger, FaultPlan, FrameTrigger, ProducerPlan, Who, WorkloadPlan
from ksim.problems import listed, shown
from ksim.scenario_admin import read_wish
from ksim.scenario_names import BROKER, CONNECTED, CONSUMER, CONTROLLER, PRODUCER, Names, are_connected, read_who
from ksim.scenario_reading import Reading, Table, name_of
from ksim.scenario_record_faults import of_a_record, refuse_two_on_one_record
from ksim.scenario_shape import APIS, EXAMPLES, FAULT, FAULT_ARGUMENTS, NEEDED_ARGUMENTS
from ksim.scenario_triggers import PRODUCE, read_partition, read_trigger
from ksim.scenario_values import BANDWIDTH, DURATION, FACTOR, FLAG, MOST_RECORDS, POSITIVE_DURATION, TEXT, whole
from ksim_models.errors import ErrorCode
from ksim_models.profiles import BrokerProfile
from ksim_models.units import Micros

API_VERSIONS = "ApiVersions"
ANSWERED = [api for api in APIS if api != API_VERSIONS]
OFFSET = whole(-1, MOST_RECORDS)
EVERY_FAULT = ("name", "do", "at", "when")
TAKES_DOWN = (*DEADLY, *DISK_FAULTS)
ROLES = {**dict.fromkeys((*DISK_FAULTS, "slow-disk"), (BROKER,)), "slow-cpu": (BROKER, CONTROLLER)}
"""Whom a fault can strike, where not everybody."""


def read_faults(
    reading: Reading,
    content: object,
    names: Names,
    workloads: Sequence[WorkloadPlan],
    producers: Sequence[ProducerPlan],
    profile: BrokerProfile,
    chaos: object = None,
) -> list[FaultPlan]:
    """chaos: the scenario's [[chaos]], which may take a machine down, too."""
    faults: list[FaultPlan] = []
    tables: list[Table] = []
    for number, (path, value) in enumerate(reading.array(("fault",), content)):
        table = reading.table(path, value, FAULT)
        if table is None:
            continue
        fault = fault_of(table, number, names, [fault.name for fault in faults], profile)
        if fault is not None:
            faults.append(of_a_record(table, fault, workloads, producers) if fault.do in RECORD_FAULTS else fault)
            tables.append(table)
    refuse_two_on_one_record(tables, faults)
    for fault, table in zip(faults, tables, strict=True):
        if fault.do == "restart" and not _takes_down_at_random(chaos):
            _refuse_restart_of_the_living(table, fault, faults, names)
    return faults


def _takes_down_at_random(chaos: object) -> bool:
    return any(isinstance(table, dict) and table.get("do") in TAKES_DOWN for table in (chaos if isinstance(chaos, list) else ()))


def fault_of(table: Table, number: int, names: Names, taken: Sequence[str], profile: BrokerProfile) -> FaultPlan | None:
    do = table.content.get("do")
    if do is None:
        table.problem("", f"{name_of(table.path)}: do is missing.", given="no do", possible=listed(FAULT_ARGUMENTS))
        return None
    if table.choose("do", FAULT_ARGUMENTS, "a fault that is known") is None:
        return None
    assert isinstance(do, str)
    _check_arguments(table, do)
    roles = ROLES.get(do, (BROKER, CONTROLLER, PRODUCER, CONSUMER))
    who = (read_who(table, "who", table.content["who"], names, roles) or ()) if table.has("who") else ()
    if do == "shutdown" and table.has("timeout") and any(names.role(one) != PRODUCER for one in who):
        table.problem("timeout", f"{name_of(table.path)}: timeout is what close() of a client may take.", possible="who = the name of a producer")
    first, second = _between(table, names)
    when = _when(table, do, names)
    wish = read_wish(table, do, names, profile)
    if do == "answer" and isinstance(when, FrameTrigger):
        _refuse_answers_without_that_error(table, when)
    return FaultPlan(
        index=number,
        name=_name(table, do, taken),
        do=do,
        at=table.take("at", DURATION),
        when=when,
        duration=table.take("for", POSITIVE_DURATION),
        who=who or wish.who,
        between=(first, second),
        one_way=table.take("one_way", FLAG) or False,
        error=_error(table),
        processed=table.take("processed", FLAG) or False,
        partition=wish.partition or read_partition(table, names),
        by=table.take("by", POSITIVE_DURATION) or 0,
        latency=table.take("latency", POSITIVE_DURATION) or 0,
        bandwidth=table.take("bandwidth", BANDWIDTH),
        factor=table.take("factor", FACTOR) or Fraction(1),
        kind=wish.kind,
        to=wish.to,
        topic=wish.topic,
        settings=wish.settings,
        before=table.take("before", OFFSET) or 0,
        timeout=table.take("timeout", DURATION),
    )


def _name(table: Table, do: str, taken: Sequence[str]) -> str:
    name = table.take("name", TEXT)
    if name is None:
        name = next(candidate for number in range(1, len(taken) + 3) if (candidate := do if number == 1 else f"{do} {number}") not in taken)
    elif name in taken:
        table.problem("name", f"{name_of(table.path)}: another fault has the name {shown(name)}.", possible="a name of its own")
    return name


def _check_arguments(table: Table, do: str) -> None:
    possible = FAULT_ARGUMENTS[do]
    for name in table.content:
        if name in FAULT and name not in possible and name not in EVERY_FAULT:
            table.problem(name, f"{name_of(table.path)}: {do} has no {name}.", given=name, possible=listed(sorted(possible)))
    for name in NEEDED_ARGUMENTS.get(do, ()):
        if not table.has(name):
            table.problem("do", f"{name_of(table.path)}: {do} needs {name}.", given=f"no {name}", possible=EXAMPLES[name])
    if do == "slow" and not table.has("latency", "bandwidth"):
        table.problem(
            "do",
            f"{name_of(table.path)}: slow needs latency or bandwidth.",
            given="neither latency nor bandwidth",
            possible=f"{EXAMPLES['latency']}, {EXAMPLES['bandwidth']}, or both",
        )
    if not table.has("at", "when") and do not in RECORD_FAULTS:
        table.problem(
            "do",
            f"{name_of(table.path)}: nothing says when: at or when is needed.",
            given="neither at nor when",
            possible='at = "2s", or when = { request = "Produce", nth = 3 }',
        )


def _when(table: Table, do: str, names: Names) -> FrameTrigger | CountTrigger | None:
    trigger = read_trigger(table, names, side="response" if do == "lose-response" else "request") if table.has("when") else None
    if do in FRAME_FAULTS and isinstance(trigger, CountTrigger):
        table.problem(
            "when",
            f"{name_of(table.path)}: {do} hits one exchange, so it needs when = {{ request = ... }}.",
            possible='when = { request = "Produce", nth = 3 }',
        )
    if do in FRAME_FAULTS and trigger is None:
        return FrameTrigger(api=PRODUCE, side="response" if do == "lose-response" else "request")
    return trigger


def _between(table: Table, names: Names) -> tuple[tuple[Who, ...], tuple[Who, ...]]:
    if not table.has("between"):
        return (), ()
    given = table.content["between"]
    if not isinstance(given, list) or len(given) != 2:
        table.problem("between", f"between = {shown(given)}: it needs two ends.", possible='between = ["p1", "leader(payments-0)"]')
        return (), ()
    first, second = (read_who(table, "between", end, names) for end in given)
    if first is None or second is None:
        return (), ()
    if len(first) == 1 and first == second and first[0].kind in ("machine", "leader", "controller", "replica", "any-broker"):
        table.problem("between", f"between: {first[0]} is not connected with itself.", possible="two different machines")
    elif not any(are_connected(names.role(one), names.role(other)) for one in first for other in second):
        ends = f"{listed(str(who) for who in first)} and {listed(str(who) for who in second)}"
        table.problem("between", f"between: nothing connects {ends}.", possible=CONNECTED)
    return first, second


def _error(table: Table) -> ErrorCode | None:
    errors = [error.name for error in ErrorCode if error is not ErrorCode.NONE]
    name = table.choose("error", errors, "the name of a Kafka error")
    return ErrorCode[name] if name is not None else None


def _refuse_answers_without_that_error(table: Table, when: FrameTrigger) -> None:
    """Which errors a client understands, and of what, depends on the API."""
    if when.api == API_VERSIONS:
        table.problem("when", f"{name_of(table.path)}: answer to ApiVersions is not yet supported.", given=API_VERSIONS, possible=listed(ANSWERED))
    elif table.has("partition") and when.api != PRODUCE:
        table.problem(
            "partition",
            f"{name_of(table.path)}: an answer to {when.api} for one partition is not yet supported.",
            possible="no partition, or answers to Produce",
        )


def _refuse_restart_of_the_living(table: Table, restart: FaultPlan, faults: Sequence[FaultPlan], names: Names) -> None:
    """A machine that never goes down cannot come back."""
    for who in restart.who:
        downs = [fault for fault in faults if fault.do in TAKES_DOWN and any(_may_be_same(who, other, names) for other in fault.who)]
        if not downs:
            possible = "a crash of it before (what is paused resumes after its `for`)"
            table.problem("who", f"{name_of(table.path)}: nothing takes {who} down, so it cannot restart.", given=str(who), possible=possible)
        elif restart.at is None or restart.when is not None or any(fault.at is None or fault.when is not None for fault in downs):
            pass  # Who knows when.
        elif all(fault.at is not None and fault.at >= restart.at for fault in downs):
            table.problem("at", f"{name_of(table.path)}: {who} goes down only after it is to restart.", possible="a later moment")
        elif not any(_is_down_at(restart.at, fault) for fault in downs) and not any(_may_keep_down(fault, names) for fault in faults):
            possible = "a moment before the `for` of what took it down is over, or no `for` there"
            table.problem("at", f"{name_of(table.path)}: {who} runs again at that moment, so it cannot restart.", possible=possible)


def _is_down_at(moment: Micros, fault: FaultPlan) -> bool:
    """`at` alone says when this fault begins."""
    assert fault.at is not None
    return fault.at < moment and (fault.duration is None or moment < fault.at + fault.duration)


def _may_keep_down(fault: FaultPlan, names: Names) -> bool:
    """A broker that finds no controller for a minute, or loses its disk, ends by itself."""
    return fault.do in ("cut", "slow", "hang", *DISK_FAULTS) or any(names.role(who) == CONTROLLER for who in fault.who)


def _may_be_same(one: Who, other: Who, names: Names) -> bool:
    """Could both words come to mean one machine?"""
    if one.kind == other.kind == "machine":
        return one.argument == other.argument
    return names.role(one) == names.role(other)
