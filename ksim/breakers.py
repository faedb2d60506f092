"""What the application's circuit breakers saved and cost: how often and how long they were open, what they kept from the client, how late they closed.

Not Kafka's. Reads outside facts only.
"""

from __future__ import annotations

from collections.abc import Mapping

from ksim.history import History
from ksim_models.facts import BreakerChanged, Ended, Fault, Refused
from ksim_models.on_failure import BREAKER_OPEN
from ksim_models.units import MILLISECOND, Micros

BREAKER_FIGURES = ("breaker-opened-total", "breaker-open-ms", "breaker-shed-total", "breaker-recovery-ms")


def breaker_figures(history: History) -> dict[str, int]:
    """Nothing where the scenario has no breaker.

    breaker-opened-total   how often one that was closed opened
    breaker-open-ms        how long they were not closed, the trials included; summed over breakers, in whole ms
    breaker-shed-total     records that they refused
    breaker-recovery-ms    the longest time from the end of a fault to the closing of a breaker that was open then (from its opening, where none ended)
    """
    if not _has_breakers(history.run):
        return {}
    opened: dict[tuple[str, int], Micros] = {}
    times = shed = 0
    lasted: Micros = 0
    recovery: Micros = 0
    mended: Micros = -1
    for at, fact in history.of(BreakerChanged, Refused, Fault, Ended):
        if isinstance(fact, Fault):
            mended = at if fact.phase == "end" else mended
        elif isinstance(fact, Refused):
            shed += len(fact.records) if fact.error == BREAKER_OPEN else 0
        elif isinstance(fact, Ended):
            lasted += sum(at - since for since in opened.values())
        elif fact.state == "open":
            key = fact.producer, fact.workload
            times += key not in opened
            opened.setdefault(key, at)
        elif fact.state == "closed" and (since := opened.pop((fact.producer, fact.workload), None)) is not None:
            lasted += at - since
            recovery = max(recovery, at - max(since, mended))
    return dict(zip(BREAKER_FIGURES, (times, lasted // MILLISECOND, shed, recovery // MILLISECOND)))


def _has_breakers(run: Mapping[str, object]) -> bool:
    scenario = run.get("scenario")
    workloads = scenario.get("workload") if isinstance(scenario, dict) else None
    return isinstance(workloads, list) and any(isinstance(workload, dict) and isinstance(workload.get("on_failure"), dict) for workload in workloads)
