"""What the facts of a live run tell of its clients' metrics: records sent, retried and failed. The rest is inside the client.

Kafka: section 6.2 of the client's rule book. A retry shows when it leaves again, not when it is put back into the queue.
"""

from __future__ import annotations

from ksim.history import History
from ksim.metrics import NOT_COUNTED
from ksim.metrics_samples import ClientSamples, Sample
from ksim.metrics_windows import Windows
from ksim.plan import Plan
from ksim_models.facts import Failed, Refused, Sent
from ksim_models.units import Micros

TOLD = frozenset(
    "record-send-rate record-send-total records-per-request-avg record-retry-rate record-retry-total record-error-rate record-error-total "
    "buffer-exhausted-rate buffer-exhausted-total".split()
)


def samples_of_facts(plan: Plan, history: History) -> list[ClientSamples]:
    taken = {
        producer.name: ClientSamples(producer.name, "java", Windows(overlapping_are_kept=producer.profile.metrics_keep_overlapping_windows), told=TOLD)
        for producer in plan.producers
    }
    waiting: dict[str, tuple[Micros, str, int]] = {}
    """Client -> the request whose batches are being told: when, on which connection, the records so far."""
    for at, fact in history.of(Sent, Failed, Refused):
        if fact.producer not in taken:
            continue
        samples, count = taken[fact.producer].samples, len(fact.records)
        if isinstance(fact, Sent):
            begun = waiting.get(fact.producer)
            if begun is not None and begun[:2] != (at, fact.connection):
                samples.append((begun[0], "records-per-request", "", begun[2]))
                begun = None
            waiting[fact.producer] = at, fact.connection, count + (begun[2] if begun else 0)
            _of_topic(samples, at, "topic.records-per-batch", fact.partition, count)
            if fact.attempt > 1:
                samples.append((at, "record-retries", "", count))
                _of_topic(samples, at, "topic.record-retries", fact.partition, count)
        elif isinstance(fact, Failed) or fact.error not in NOT_COUNTED:
            samples.append((at, "errors", "", count))
            if isinstance(fact, Failed) and fact.partition:
                _of_topic(samples, at, "topic.record-errors", fact.partition, count)
            if fact.error == "BufferExhaustedException":
                samples.append((at, "buffer-exhausted-records", "", count))
    for name, (at, _, count) in waiting.items():
        taken[name].samples.append((at, "records-per-request", "", count))
        taken[name].samples.sort(key=lambda sample: sample[0])
    return list(taken.values())


def _of_topic(samples: list[Sample], at: Micros, sensor: str, partition: str, count: int) -> None:
    samples.append((at, sensor, partition.rpartition("-")[0], count))
