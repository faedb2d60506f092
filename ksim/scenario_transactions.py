"""Workloads in transactions: how many records each has, and how it ends.

Kafka: what a program does with KafkaProducer's transactional calls (scenario.md section 1, `transaction`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ksim.plan import ConsumerPlan, ProducerPlan, WorkloadPlan
from ksim.scenario_reading import Reading, Table
from ksim.scenario_shape import TRANSACTION
from ksim.scenario_values import COUNT, DURATION
from ksim_models.arrivals import InTransactions
from ksim_models.on_failure import Reaction
from ksim_models.units import Micros

EXAMPLE = '{ records = 10, end = "commit" }'
ENDS = ("commit", "abort")


def read_transaction(table: Table, start: Micros) -> InTransactions | None:
    inner = table.inner("transaction", TRANSACTION, ["records"], EXAMPLE)
    if inner is None:
        if table.has("transaction"):
            table.problem("transaction", "transaction is not a table.", possible=EXAMPLE)
        return None
    end = inner.choose("end", ENDS, "an end of a transaction") or "commit"
    abort_every, think = inner.take("abort_every", COUNT) or 0, inner.take("think", DURATION) or 0
    return InTransactions(inner.take("records", COUNT) or 1, end == "commit", abort_every, think, start)


def check_transactions(reading: Reading, workloads: Sequence[WorkloadPlan], producers: Sequence[ProducerPlan]) -> None:
    """Who is transactional says so twice: in the producer's settings, and in its one workload."""
    transactional = {  # Where its settings are a mistake, which is reported, the plan has none of them.
        producer.name: producer.config.transactional_id or dict(producer.given).get("transactional.id") for producer in producers
    }
    seen: dict[str, int] = {}
    for workload in workloads:
        path = ("workload", workload.index)
        has_id = transactional.get(workload.producer, "")
        if workload.transaction is not None and not has_id:
            reading.problem(
                (*path, "transaction"),
                f"workload {workload.index + 1}: {workload.producer} has no transactional.id."
                " Kafka refuses the first call: Cannot use transactional methods without enabling transactions"
                " by setting the transactional.id configuration property",
                given="transaction",
                possible=f"[producers.{workload.producer}] config.transactional.id",
            )
        if not has_id:
            continue
        if workload.producer in seen:
            reading.problem(
                path,
                f"workload {workload.index + 1}: {workload.producer} has a transactional.id and another workload already:"
                " two threads that share one producer's transactions are not simulated.",
                given="a second workload",
                possible="one workload, or a producer of its own for each",
            )
        seen[workload.producer] = workload.index
        if workload.transaction is None:
            reading.notes.append(
                f"workload {workload.index + 1}: {workload.producer} has a transactional.id, and its application begins no transaction:"
                " every send() will be refused; write transaction = { records = 10 }"
            )
        elif workload.on_failure.reaction is Reaction.BREAK:
            reading.problem(
                (*path, "on_failure"),
                f"workload {workload.index + 1}: a circuit breaker around the sends of a transaction is not simulated.",
                given="on_failure",
                possible='"report", "resend" or "stop"',
            )


def coordinated(producers: Sequence[ProducerPlan], consumers: Sequence[ConsumerPlan]) -> Iterable[str]:
    """What has a coordinator: transactional ids and groups."""
    yield from (producer.config.transactional_id for producer in producers if producer.config.transactional_id)
    yield from (consumer.config.group_id for consumer in consumers if consumer.config.group_id)
