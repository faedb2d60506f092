"""Random faults: when each [[chaos]] table strikes, drawn from the seed, and the plain faults that come of it.

Not Kafka's: scenario.md section 2. Strikes come as a Poisson process, each lasts for an exponential time; both are functions of the seed, the table's name
and the strike's number, so another table changes nothing here. What is drawn is as plain as what is written: `Scenario.plain` writes it out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ksim.dice import Dice
from ksim.plan import ChaosPlan, FaultPlan, Plan
from ksim.workload import exponential
from ksim_models.units import Micros

RANDOM = ("every", "for", "during")
"""Keys of a [[chaos]] table that a plain fault has not, or not so."""


def struck(plan: Plan) -> Plan:
    """With the strikes behind the faults of the file."""
    strikes = [strike for chaos in plan.chaos for strike in _strikes(chaos, Dice(plan.seed))]
    first = len(plan.faults)
    return replace(plan, faults=(*plan.faults, *(replace(strike, index=first + number) for number, strike in enumerate(strikes))))


def _strikes(chaos: ChaosPlan, dice: Dice) -> Iterator[FaultPlan]:
    name = chaos.fault.name
    at, number = chaos.begin, 0
    while True:
        at += _drawn(chaos.every, dice.at("chaos", name, "every", number))
        if at >= chaos.end:
            return
        lasting = None if chaos.lasting is None else _drawn(chaos.lasting, dice.at("chaos", name, "for", number))
        yield replace(chaos.fault, at=at, duration=lasting, random=True)
        number += 1


def _drawn(mean: Micros, draw: float) -> Micros:
    return max(1, int(exponential(draw) * mean + 0.5))


def written_out(plan: Plan) -> dict[str, list[dict[str, object]]]:
    """Per [[chaos]] table of the scenario, by name: its strikes as [[fault]] tables."""
    tables = plan.data.get("chaos", [])
    assert isinstance(tables, list)
    found: dict[str, list[dict[str, object]]] = {}
    for chaos, table in zip(plan.chaos, tables, strict=True):
        strikes = found[chaos.fault.name] = []
        kept = {key: value for key, value in table.items() if key not in RANDOM}
        mine = [fault for fault in plan.faults if fault.random and fault.name == chaos.fault.name]
        for number, fault in enumerate(mine, 1):
            lasting = {} if fault.duration is None else {"for": f"{fault.duration}us"}
            strikes.append({**kept, "name": f"{fault.name} {number}", "at": f"{fault.at}us", **lasting})
    return found
