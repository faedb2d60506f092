"""Faults of single records: one that cannot be serialized, one that is larger than the others.

Kafka: Serializer.serialize and ensureValidRecordSize in KafkaProducer.doSend (A5, A7); scenario.md section 2. They strike when the record is handed to send().
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ksim.plan import FaultPlan, ProducerPlan, WorkloadPlan
from ksim.problems import listed
from ksim.scenario_reading import Table, name_of
from ksim.scenario_values import COUNT, NUMBER, SIZE


def of_a_record(table: Table, fault: FaultPlan, workloads: Sequence[WorkloadPlan], producers: Sequence[ProducerPlan]) -> FaultPlan:
    """The fault, and which record it strikes: the nth of a workload; `size` by default as much as its producer's requests may have."""
    for key in ("at", "when"):
        if table.has(key):
            table.problem(key, f"{name_of(table.path)}: {fault.do} strikes when its record is handed to send(), so it has no {key}.", possible="nth = 3")
    workload = _workload(table, workloads)
    nth = table.take("nth", COUNT) or 1
    size = table.take("size", SIZE)
    if workload is None:
        return fault
    if nth > workload.records:
        table.problem("nth", f"{name_of(table.path)}: nth = {nth}, but workload {workload.index} has {workload.records} records.", possible=_up_to(workload))
    producer = next(producer for producer in producers if producer.name == workload.producer)
    limit = producer.librdkafka.message_max_bytes if producer.librdkafka is not None else producer.config.max_request_size
    return replace(fault, workload=workload.index, nth=nth, size_bytes=limit if size is None else size)


def refuse_two_on_one_record(tables: Sequence[Table], faults: Sequence[FaultPlan]) -> None:
    taken: dict[tuple[int, int], str] = {}
    for table, fault in zip(tables, faults, strict=True):
        if fault.workload >= 0:
            other = taken.setdefault((fault.workload, fault.nth), fault.name)
            if other != fault.name:
                table.problem("nth", f"{name_of(table.path)}: the fault {other} strikes the same record.", given=str(fault.nth), possible="another record")


def _workload(table: Table, workloads: Sequence[WorkloadPlan]) -> WorkloadPlan | None:
    if table.has("workload"):
        number = table.take("workload", NUMBER)
        known = [workload for workload in workloads if workload.index == number]
        if number is not None and not known:
            possible = listed(str(workload.index) for workload in workloads)
            table.problem("workload", f"{name_of(table.path)}: there is no workload {number}; they are counted from 0.", possible=possible)
        return known[0] if known else None
    if len(workloads) != 1:
        table.problem("", f"{name_of(table.path)}: workload is missing: its place in the file, from 0.", given="no workload", possible="workload = 0")
        return None
    return workloads[0]


def _up_to(workload: WorkloadPlan) -> str:
    return f"1 to {workload.records}"
