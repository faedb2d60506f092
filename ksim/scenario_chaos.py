"""[[chaos]]: what goes wrong at random, how often, for how long, and during which time.

Not Kafka's: scenario.md section 2, "Random faults". What strikes, and whom, is said as in a [[fault]], and checked as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ksim.plan import ChaosPlan, FaultPlan
from ksim.problems import listed, shown
from ksim.scenario_faults import fault_of
from ksim.scenario_names import Names
from ksim.scenario_reading import Reading, Table, name_of
from ksim.scenario_shape import CHAOS, CHAOS_DEEDS, FAULT, FAULT_ARGUMENTS, MEAN
from ksim.scenario_values import DURATION, POSITIVE_DURATION
from ksim_models.profiles import BrokerProfile
from ksim_models.units import Micros, show

EVERY, FOR, DURING = '{ mean = "10s" }', '{ mean = "2s" }', '["0s", "60s"]'
MOST_STRIKES = 10_000
OTHERWISE = {
    **dict.fromkeys(
        ("lose-request", "lose-response", "hang", "delay", "answer"),
        "a fault of one exchange is random by itself: [[fault]] with when = { request = ..., probability = 0.01 }",
    ),
    "restart": "what goes down comes back by its `for`",
}


def read_chaos(reading: Reading, content: object, names: Names, faults: Sequence[FaultPlan], profile: BrokerProfile) -> list[ChaosPlan]:
    """faults: those of the file."""
    found: list[ChaosPlan] = []
    for number, (path, value) in enumerate(reading.array(("chaos",), content)):
        table = reading.table(path, value, CHAOS)
        chaos = None if table is None else _chaos(table, number, names, [*(fault.name for fault in faults), *(one.fault.name for one in found)], profile)
        if chaos is not None:
            found.append(chaos)
    return found


def _chaos(table: Table, number: int, names: Names, taken: Sequence[str], profile: BrokerProfile) -> ChaosPlan | None:
    where, do = name_of(table.path), table.content.get("do")
    begin, end = _during(table)
    every, lasting = _mean(table, "every", EVERY), _mean(table, "for", FOR)
    if every is None and not table.has("every"):
        table.problem("", f"{where}: every is missing.", given="no every", possible=f"every = {EVERY}")
    if isinstance(do, str) and do in FAULT_ARGUMENTS and do not in CHAOS_DEEDS:
        hint = f": {OTHERWISE[do]}" if do in OTHERWISE else ""
        table.problem("do", f"{where}: {do} does not happen at random{hint}.", given=do, possible=listed(CHAOS_DEEDS))
        return None
    plain = {key: value for key, value in table.content.items() if key in FAULT and key != "for"}
    if isinstance(do, str) and do in FAULT_ARGUMENTS:
        plain = {"name": f"random {do}", **plain}
        if table.has("for") and "for" not in FAULT_ARGUMENTS[do]:
            table.problem("for", f"{where}: {do} has no for.", given="for", possible=listed(sorted(FAULT_ARGUMENTS[do])))
    fault = fault_of(Table(table.reading, table.path, {**plain, "at": 0}, FAULT), number, names, taken, profile)
    if fault is None or every is None or end is None:
        return None
    if (end - begin) // every > MOST_STRIKES:
        table.problem("every", f"{where}: these are about {(end - begin) // every:_} strikes.", possible=f"at most {MOST_STRIKES:_}, so a longer mean")
        return None
    return ChaosPlan(replace(fault, index=-1 - number, at=None), every, lasting, begin, end)


def _mean(table: Table, name: str, example: str) -> Micros | None:
    inner = table.inner(name, MEAN, ["mean"], example)
    if inner is None and table.has(name):
        table.problem(
            name, f"{name_of(table.path)}: {name} = {shown(table.content[name])} is no table: how long is drawn, and the mean is told.", possible=example
        )
    return None if inner is None else inner.take("mean", POSITIVE_DURATION)


def _during(table: Table) -> tuple[Micros, Micros | None]:
    """From when to when strikes may begin; (0, None) where it was reported."""
    given = table.content.get("during")
    where = name_of(table.path)
    if given is None:
        table.problem("", f"{where}: during is missing: without an end the heal would never come.", given="no during", possible=f"during = {DURING}")
        return 0, None
    if not isinstance(given, list) or len(given) != 2:
        table.problem("during", f"{where}: during = {shown(given)}: it needs two moments.", possible=DURING)
        return 0, None
    begin, end = (table.read("during", moment, DURATION) for moment in given)
    if begin is None or end is None:
        return 0, None
    if end <= begin:
        table.problem("during", f"{where}: during = {shown(given)} ends before it has begun.", possible=f"a later end than {show(begin)}")
        return 0, None
    return begin, end
