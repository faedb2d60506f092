"""Moments of a transaction that a fault waits for and that never come: refused, since a fault that never strikes proves nothing.

Kafka: what a program calls of KafkaProducer; only one that reads, too, sends offsets (sendOffsetsToTransaction, T3).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ksim.plan import CountTrigger, FaultPlan, ProducerPlan, WorkloadPlan
from ksim.problems import listed, shown
from ksim.scenario_reading import Reading
from ksim.scenario_shape import TRANSACTION_PHASES
from ksim_models.copying import CopyHabits

OFFSETS = ("before-offsets",)
COMMITS = ("before-commit", "after-commit-sent")


def refuse_moments_that_never_come(
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
        if isinstance(fault.when, CountTrigger) and fault.when.kind == "transaction":
            _check(reading, fault, fault.when, phases)


def _check(reading: Reading, fault: FaultPlan, when: CountTrigger, phases: dict[str, list[str]]) -> None:
    path = ("fault", fault.index, "when")
    begin = [name for name in phases if when.producer in ("", name)]
    if not begin:
        who = when.producer or "no producer of this scenario"
        never = f"{who} begins {'no' if when.producer else 'a'} transaction, so this moment never comes."
        possible = listed(phases) if phases else "transaction = { records = 10 } of a workload whose producer has a transactional.id, or an application"
        reading.problem(
            (*path, "from" if when.producer else "transaction"),
            f"fault.{fault.index}.when: {never}",
            given=shown(when.producer or when.count),
            possible=possible,
        )
    elif when.phase and not any(when.phase in phases[name] for name in begin):
        because = "only an application that reads, too, sends offsets" if when.phase in OFFSETS else 'every transaction ends with "abort"'
        possible = listed(phase for phase in TRANSACTION_PHASES if any(phase in phases[name] for name in begin))
        reading.problem((*path, "phase"), f"fault.{fault.index}.when: {when.phase} never comes here: {because}.", given=when.phase, possible=possible)
