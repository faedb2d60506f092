"""Moments of a transaction that a fault waits for and that never come: told beforehand, since a fault that never strikes proves nothing.

Kafka: what a program calls of KafkaProducer; only one that reads, too, sends offsets (sendOffsetsToTransaction, T3).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ksim.plan import CountTrigger, FaultPlan, ProducerPlan, WorkloadPlan
from ksim.problems import listed
from ksim.scenario_reading import Reading
from ksim.scenario_shape import TRANSACTION_PHASES
from ksim_models.copying import CopyHabits

OFFSETS = ("before-offsets",)
COMMITS = ("before-commit", "after-commit-sent")


def tell_of_moments_that_never_come(
    reading: Reading,
    faults: Iterable[FaultPlan],
    producers: Sequence[ProducerPlan],
    workloads: Iterable[WorkloadPlan],
    applications: Iterable[CopyHabits],
) -> None:
    """workloads in transactions abort by themselves or after a failure; applications commit, and abort after a failure only."""
    with_id = {producer.name for producer in producers if producer.config.transactional_id or "transactional.id" in dict(producer.given)}
    phases: dict[str, list[str]] = {}
    for workload in workloads:
        if workload.transaction is not None and workload.producer in with_id:
            never = (*OFFSETS, *(() if workload.transaction.commits else COMMITS))
            phases[workload.producer] = [phase for phase in TRANSACTION_PHASES if phase not in never]
    for application in applications:
        phases.update((name, list(TRANSACTION_PHASES)) for name in application.writers if name in with_id)
    for fault in faults:
        if isinstance(fault.when, CountTrigger) and fault.when.kind == "transaction" and (why := _why_never(fault.when, phases)):
            reading.notes.append(f"warning: fault.{fault.index} never strikes: {why}.")


def _why_never(when: CountTrigger, phases: dict[str, list[str]]) -> str:
    """phases: per producer that begins transactions. "" where the moment may come."""
    begin = [name for name in phases if when.producer in ("", name)]
    if not begin:
        others = f"; {listed(phases)} would" if phases else ""
        return f"{when.producer or 'no producer of this scenario'} begins {'no' if when.producer else 'a'} transaction{others}"
    possible = [phase for phase in TRANSACTION_PHASES if any(phase in phases[name] for name in begin)]
    if not when.phase or when.phase in possible:
        return ""
    because = "only an application that reads, too, sends offsets" if when.phase in OFFSETS else 'every transaction ends with "abort"'
    return f"{when.phase} never comes, since {because}; what comes is {listed(possible)}"
