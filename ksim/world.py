"""What the faults of a simulation are inflicted on: the machines of the loop, and the controller that an administrator asks.

Not Kafka's. The same words as those of a live cluster (`ksim.faults.World`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ksim.controllers import Controllers
from ksim.costs import Work
from ksim.dice import Dice
from ksim.faults import Answered, Resolve
from ksim.frames import Frames
from ksim.loop import Loop
from ksim.network import LinkDelays
from ksim.plan import FaultPlan, FrameTrigger, Plan
from ksim_models.broker import Broker
from ksim_models.errors import ErrorCode
from ksim_models.facts import Fault
from ksim_models.internal_topics import place_of
from ksim_models.machine import Asked
from ksim_models.messages import (
    AlterPartitionReassignmentsRequest,
    CreateTopicRequest,
    DeleteRecordsRequest,
    DeleteTopicRequest,
    ElectLeadersRequest,
    IncrementalAlterConfigsRequest,
)
from ksim_models.transaction_messages import CONSUMER_OFFSETS, TRANSACTION_STATE
from ksim_models.units import Micros, ms

LOOKS_EVERY: Micros = ms(5)
"""How often an administrator looks whether what was asked for is done."""


class SimulatedWorld:
    def __init__(self, plan: Plan, loop: Loop, network: LinkDelays, work: Work, controllers: Controllers, brokers: Sequence[Broker], dice: Dice) -> None:
        self.plan = plan
        self.loop = loop
        self.controllers = controllers
        self.decisions = controllers.decisions
        self.brokers = brokers
        self.dice = dice
        self.call_at = loop.call_at
        self.crash, self.shutdown, self.restart, self.pause, self.resume = loop.crash, loop.terminate, loop.restart, loop.pause, loop.resume
        self.cut, self.mend, self.reset = loop.cut, loop.mend, loop.reset
        self.slow_down, self.speed_up = network.slow_down, network.speed_up
        self.slow_machine = work.slow_down
        self.leader_of, self.isr_of = self.decisions.leader_of, self.decisions.isr_of

    @property
    def now(self) -> Micros:
        return self.loop.now

    def coordinator_of(self, name: str) -> str:
        """A name that is both a transactional id and a group is taken for the former."""
        is_transactional = any(producer.config.transactional_id == name for producer in self.plan.producers)
        partitions = self.decisions.partitions_of(topic := TRANSACTION_STATE if is_transactional else CONSUMER_OFFSETS)
        return self.leader_of(f"{topic}-{place_of(name, len(partitions))}") if partitions else ""

    def note(self, fact: Fault) -> None:
        self.loop.note(self.loop.now, fact)

    def frames(self, faults: Sequence[tuple[FaultPlan, FrameTrigger]], resolve: Resolve, note: Callable[[Fault], None]) -> Frames:
        frames = Frames(list(faults), self.loop, self.dice, resolve, note)
        self.loop.interceptor = frames
        return frames

    def power_off(self, name: str) -> None:
        self.loop.power_off(name, tells_when_back=self.controllers.is_waited_for_patiently(name))

    def delete_records(self, partition: str, before: int, answered: Answered) -> None:
        self.loop.tell(self.loop.cells[self.leader_of(partition)], Asked(DeleteRecordsRequest(partition, before)), self.now)
        answered("")

    def is_down(self, name: str) -> bool:
        cell = self.loop.cells[name]
        return cell.down or cell.leaving

    def is_frozen(self, name: str) -> bool:
        return self.loop.cells[name].frozen

    def replicas_of(self, partition: str) -> tuple[str, ...]:
        return self.decisions.replicas_of(partition)

    def active_controller(self) -> str:
        return self.controllers.active()

    def why_not(self, fault: FaultPlan) -> str:
        return self._why_no_records_go(fault.partition, fault.before) if fault.do == "delete-records" and fault.partition else ""

    def _why_no_records_go(self, partition: str, before: int) -> str:
        leader = self.leader_of(partition)
        replica = self._broker(leader).replicas.get(partition) if leader and not self.is_down(leader) else None
        if replica is None or replica.leadership is None:
            return f"nobody leads {partition} at that moment"
        log = replica.log
        if before > log.high_watermark:
            return f"OFFSET_OUT_OF_RANGE: before = {before} is above the high watermark, {log.high_watermark}"
        if (log.high_watermark if before == -1 else before) <= log.log_start_offset:
            return f"the log starts at {log.log_start_offset} already"
        return ""

    # Disks.

    def fail_disk(self, name: str, partition: str) -> None:
        self._broker(name).directories.fail(partition, self.now)
        self.loop.wake(name)

    def repair_disk(self, name: str) -> None:
        """A broker takes a directory back when it starts, so one that has lost it is started again, orderly if it runs."""
        directories = self._broker(name).directories
        lost = bool(directories.noticed) or self.is_down(name)
        directories.repair()
        if lost:
            self.shutdown(name)
            self.restart(name)

    def _broker(self, name: str) -> Broker:
        return next(broker for broker in self.brokers if broker.name == name)

    # An administrator's deeds.

    def elect(self, partition: str, kind: str, answered: Answered) -> None:
        answered(self._ask(ElectLeadersRequest(partition, kind)))

    def reassign(self, partition: str, to: tuple[str, ...], answered: Answered) -> None:
        answered(self._ask(AlterPartitionReassignmentsRequest(partition, to)))

    def alter(self, kind: str, name: str, settings: tuple[tuple[str, str], ...], answered: Answered) -> None:
        answered(self._ask(IncrementalAlterConfigsRequest(kind, name, settings)))

    def recreate_topic(self, topic: str, answered: Answered, over: Callable[[], None]) -> None:
        """As an operator does it: deleted, and once that is committed created again with the same settings; tried again until it works."""
        why = self._ask(DeleteTopicRequest(topic))
        answered(why)
        if not why:
            plan = next(plan for plan in self.plan.topics if plan.name == topic)
            create = CreateTopicRequest(topic, plan.assignment, plan.given)
            self._when(lambda: self.controllers.settled and self._exists(create), lambda: self._when(lambda: self._is_known_everywhere(topic), over))

    def _exists(self, create: CreateTopicRequest) -> bool:
        """Created by this, or by a client that still asked for it and was quicker (auto.create.topics.enable)."""
        why = self._ask(create)
        return not why or why.startswith(ErrorCode.TOPIC_ALREADY_EXISTS.exception)

    def _is_known_everywhere(self, topic: str) -> bool:
        """By the brokers that run."""
        topic_id = self.decisions.topic_id_of(topic)
        running = [broker for broker in self.brokers if broker.running and not self.loop.cells[broker.name].frozen]
        return all(topic in broker.image.topics and broker.image.topics[topic].topic_id == topic_id for broker in running)

    def _when(self, is_done: Callable[[], bool], then: Callable[[], None]) -> None:
        """Looks from time to time."""

        def look() -> None:
            if is_done():
                then()
            else:
                self.call_at(self.now + LOOKS_EVERY, look)

        self.call_at(self.now + LOOKS_EVERY, look)

    def _ask(self, request: object) -> str:
        """Why it did not take effect. An administrator's client finds the active controller by itself."""
        name = self.controllers.active()
        if not name:
            return "no controller is active"
        cell = self.loop.cells[name]
        if cell.down or cell.frozen:
            return f"{name} does not answer: it is {'down' if cell.down else 'frozen'}"
        self.loop.tell(cell, Asked(request), self.now)
        answer = self.controllers.answered(name)
        return "" if answer is ErrorCode.NONE else f"{answer.exception}: {answer.meaning}"
