"""What no replay carries out: said before a cluster is started.

Not Kafka's: the limits of the clients that ksim.live starts (Reading.java, librdkafka_copying).
"""

from __future__ import annotations

from ksim.live.wire import API_NAMES
from ksim.plan import FrameTrigger, Plan
from ksim.problems import ScenarioError, listed
from ksim_models.config import Origin, Problem


def refuse_what_is_not_replayed(plan: Plan) -> None:
    def refused(given: str, possible: str, message: str) -> Problem:
        return Problem(given, possible, None, message, Origin(plan.title))

    problems = [
        refused(
            given='producers = "per-partition"',
            possible='`ksim run`, or producers = "one"',
            message=f"applications.{one.name}: a producer for each input partition is simulated, and not replayed:"
            " the process that stands for an application on real Kafka has one producer.",
        )
        for one in plan.applications
        if one.per_partition
    ]
    problems += [
        refused(
            given="outbox",
            possible="`ksim run`, or a workload without a table",
            message=f"workload {one.index + 1}: an outbox is simulated, and not replayed: the process that stands for an application has no table to poll.",
        )
        for one in plan.workloads
        if one.outbox is not None
    ]
    clients = {one.name: one.client for one in plan.producers} | {one.name: one.client for one in plan.consumers}
    problems += [
        refused(
            given=f'{one.consumer}: client = "{clients[one.consumer]}", {one.producer}: client = "{clients[one.producer]}"',
            possible="`ksim run`, or one client for both",
            message=f"applications.{one.name}: a consumer of one client with a producer of the other is simulated, and not replayed:"
            " the process that stands for an application on real Kafka has both of one client.",
        )
        for one in plan.applications
        if not one.per_partition and clients[one.consumer] != clients[one.producer]
    ]
    problems += [
        refused(
            given="group_metadata = false",
            possible='`ksim run`, or client = "java"',
            message=f"applications.{one.name}: group_metadata = false is simulated with librdkafka, and not replayed:"
            " confluent-kafka sends no offsets to a transaction without what consumer_group_metadata() returns.",
        )
        for one in plan.applications
        if not one.group_metadata and not one.per_partition and clients[one.consumer] != "java"
    ]
    problems += [
        refused(
            given=fault.when.api,
            possible=f"`ksim run`, or {listed(API_NAMES.values())}",
            message=f"{fault.name}: exchanges of {fault.when.api} are simulated, and not replayed: the proxy does not tell them from others.",
        )
        for fault in plan.faults
        if isinstance(fault.when, FrameTrigger) and fault.when.api not in API_NAMES.values()
    ]
    if problems:
        raise ScenarioError(problems)
