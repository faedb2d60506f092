"""What became of transactions, here and there: how they ended for their applications, and which markers stand in the logs.

Not Kafka's. Records alone do not tell: a transaction that nobody aborted on one side may have had an abort on the other, and be as good as not there on both.
"""

from __future__ import annotations

from collections.abc import Iterator

from ksim.runs import Run
from ksim_models.facts import FinalLog, Transaction

ENDS = {"committed": "transactions committed", "aborted": "transactions aborted"}
MARKERS = {"commit": "commit markers", "abort": "abort markers"}


INPUTS = {
    "processed_once": "inputs processed once",
    "processed_twice": "inputs processed twice",
    "skipped": "inputs skipped",
    "unprocessed": "inputs not processed yet",
}


def counts(run: Run) -> dict[str, int]:
    """Nothing where the scenario has neither transactions nor applications."""
    found: dict[str, int] = {}
    if run.plan.applications:
        found |= {name: sum(getattr(one, key) for one in run.verdict.processing) for key, name in INPUTS.items()}
    if run.plan.applications or all(workload.transaction is None for workload in run.plan.workloads):
        return found  # How many transactions an application makes depends on what each poll() brings.
    found |= dict.fromkeys((*ENDS.values(), *MARKERS.values()), 0)
    for _, step in run.history.of(Transaction):
        if step.phase in ENDS:
            found[ENDS[step.phase]] += 1
    for _, log in run.history.of(FinalLog):
        if log.leader:
            for batch in log.batches:
                if batch.marker:
                    found[MARKERS[batch.marker]] += 1
    return found


def markers_by_the_clock(run: Run) -> bool:
    """librdkafka's sticky partition changes by time: how many partitions a transaction has, and so how many markers, is then decided by the millisecond."""
    partitions = {topic.name: len(topic.assignment) for topic in run.plan.topics}
    of = {producer.name: producer.librdkafka for producer in run.plan.producers}
    return any(
        workload.transaction is not None
        and workload.partition is None
        and not workload.keys.distinct
        and partitions.get(workload.topic, 1) > 1
        and (own := of[workload.producer]) is not None
        and bool(own.sticky_partitioning_linger_ms)
        for workload in run.plan.workloads
    )


def thrown(run: Run) -> Iterator[str]:
    """By calls other than send()."""
    for _, step in run.history.of(Transaction):
        if step.phase == "failed":
            yield f"{step.error} ({step.call})"
