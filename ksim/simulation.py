"""One run: the cluster is up, the clients start, the faults strike, everything is mended, and when all is quiet the logs are read.

`simulate` is a function of scenario and seed: the same bytes of history on every machine.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ksim import collecting
from ksim.controllers import add_controllers
from ksim.costs import NO_COSTS, Work
from ksim.dice import Dice
from ksim.exposure import expose, records_hit
from ksim.faults import Faults, steps_struck
from ksim.history import History
from ksim.invariants import Invariants
from ksim.invariants_rules import RULES
from ksim.loop import Loop
from ksim.metrics_samples import ClientSamples
from ksim.metrics_taps import Tap, tap, tap_consumer
from ksim.network import LinkDelays
from ksim.plan import FaultPlan, Plan
from ksim.problems import ScenarioError
from ksim.runs import Run, run_line
from ksim.scenario import Given, Scenario
from ksim.workload import Schedule, WarmUp, schedule
from ksim.world import SimulatedWorld
from ksim_models.broker import Broker
from ksim_models.closing import ClosableLibrdkafka, ClosableProducer
from ksim_models.config import Origin, Problem, topic_config
from ksim_models.consumer import Consumer
from ksim_models.consumer_application import Habits
from ksim_models.copying import Copying
from ksim_models.copying_consumer import CopyingConsumer
from ksim_models.copying_librdkafka import CopyingLibrdkafka
from ksim_models.copying_librdkafka_consumer import CopyingLibrdkafkaConsumer
from ksim_models.copying_partitions import PartitionProducer, Share, Shares, SharingConsumer
from ksim_models.copying_producer import CopyingProducer
from ksim_models.facts import Ended, Fault, FinalLog, LoggedBatch
from ksim_models.held_up import HeldUp, calls_back
from ksim_models.librdkafka_consumer import LibrdkafkaConsumer
from ksim_models.librdkafka_producer import LibrdkafkaProducer
from ksim_models.librdkafka_transactional import CallingLibrdkafka
from ksim_models.log import Log
from ksim_models.machine import Effect, Note
from ksim_models.messages import ProduceRequest, RecordBatch, topic_of
from ksim_models.producer import Producer
from ksim_models.sequences import next_sequence
from ksim_models.transaction_messages import TRANSACTION_STATE
from ksim_models.units import Micros, ms

AnyProducer = Producer | LibrdkafkaProducer
AnyConsumer = Consumer | LibrdkafkaConsumer
BEFORE: Micros = ms(-4000)
"""The cluster lives for a while before time zero: heartbeats and fetches have found their rhythm when the clients start."""


always_check_every = 0
"""Tests set it: then every simulation is looked at after every so-manyth step, without being asked."""


def simulate(scenario: Given | Plan, *, seed: int | None = None, digest: bool = True, measured: bool = False, check_every: int | None = None) -> Run:
    """Run it. Raises ScenarioError where the scenario is not possible, or asks for something that has no rules here.

    scenario: a Scenario, the name of a built-in one, the path of a file, or a dict in the file's own spelling.
    digest=False is accepted for the contract's sake: the digest is computed when it is asked for.
    measured=True: its metrics are taken over time along the way; else `run.series()` runs it once more. The facts are the same.
    check_every: look at every invariant of the cluster after every so-manyth step (1: after each), and end with InvariantBroken where one does not hold.
    """
    plan = scenario if isinstance(scenario, Plan) else Scenario.of(scenario).plan(seed)
    refuse_what_has_no_rules(plan)
    began = time.perf_counter()
    simulation = Simulation(plan, measured=measured or bool(plan.alerts), check_every=always_check_every if check_every is None else check_every)
    simulation.run()
    wall_ms = (time.perf_counter() - began) * 1000
    return Run(plan, simulation.history, simulation.loop.events, simulation.loop.now, wall_ms, samples=simulation.samples(), again=samples_of)


def samples_of(plan: Plan) -> list[ClientSamples]:
    """What the sensors of every client were told, in a run that is made for nothing else."""
    simulation = Simulation(plan, measured=True)
    simulation.run()
    samples = simulation.samples()
    assert samples is not None
    return samples


def refuse_what_has_no_rules(plan: Plan) -> None:
    problems = [
        Problem(
            given=setting,
            possible="the default",
            nearest=None,
            message=f"{producer.name}: {setting} is not simulated: `ksim replay` runs the real client.",
            origin=Origin(plan.title),
        )
        for producer in plan.producers
        if producer.librdkafka is not None
        for setting in producer.librdkafka.not_simulated
    ]
    if problems:
        raise ScenarioError(problems)


class Simulation:
    def __init__(self, plan: Plan, *, measured: bool = False, check_every: int = 0) -> None:
        self.plan = plan
        self.taps: list[Tap] | None = [] if measured else None
        dice = Dice(plan.seed)
        self.history = History(run_line(plan))
        self.network = LinkDelays(plan.network, dice)
        self.loop = Loop(self.network, self.history.add, BEFORE)
        heartbeats = {broker.name: BEFORE + int(dice.at("heartbeat", broker.name) * ms(broker.config.broker_heartbeat_interval_ms)) for broker in plan.brokers}
        self.controllers = add_controllers(plan, self.loop, dice, heartbeats, BEFORE)
        self.brokers = self._add_brokers(dice, heartbeats)
        self.broker_by_name = {broker.name: broker for broker in self.brokers}
        self.invariants = self._watch_invariants(check_every) if check_every else None
        self.copying = applications_of(plan)
        self.producers = self._add_producers(dice)
        self.consumers = self._add_consumers(dice)
        work = Work(plan.model.costs, self.broker_by_name, plan.controllers)
        if plan.model.costs != NO_COSTS:
            self.loop.work = work
        self.faults = Faults(plan, SimulatedWorld(plan, self.loop, self.network, work, self.controllers, self.brokers, dice), dice)
        self.watchers = self.faults.watchers()
        if self.watchers:
            self.loop.note = self._note
        self.healed_at: Micros | None = None
        self.waits_for_offers = True
        self.over = False
        self.waiting_for = list(self.producers)
        """Who has sends without an outcome, as far as anybody has looked: after the heal what is done stays done."""

    # Who takes part.

    def _add_brokers(self, dice: Dice, heartbeats: dict[str, Micros]) -> list[Broker]:
        brokers = []
        for number, plan in enumerate(self.plan.brokers, 1):
            member = (number, tuple(self.controllers.decisions.metadata_log))
            cache = self.plan.model.page_cache
            broker = Broker(
                plan.name,
                number,
                self.plan.broker_profile,
                plan.config,
                self.plan.controllers[0],
                dice,
                start_at=heartbeats[plan.name],
                member=member,
                quorum=self.controllers.for_an_observer(),
                page_cache=replace(cache, phase=int(dice.at("writeback", plan.name) * cache.scan)),
                power_loss_keeps=self.plan.model.power_loss_keeps,
                loading_takes=self.plan.model.load,
            )
            brokers.append(broker)
            self.loop.add(broker)
        self.controllers.observers = brokers
        return brokers

    def _watch_invariants(self, every: int) -> Invariants:
        topics = {topic.name: topic_config(topic.given, self.plan.brokers[0].config).min_insync_replicas for topic in self.plan.topics}
        first = self.plan.brokers[0].config
        topics[TRANSACTION_STATE] = first.transaction_state_log_min_isr
        otherwise = first.min_insync_replicas
        capped = self.plan.broker_profile.min_isr_capped_by_replication

        def min_isr(partition: str) -> int:
            given = topics.get(topic_of(partition), otherwise)
            return min(given, len(self.controllers.decisions.replicas_of(partition)) or given) if capped else given

        invariants = Invariants(self.controllers.decisions, self.brokers, min_isr, RULES.values(), every=every)
        invariants.voters, invariants.metadata = self.controllers.voters, self.controllers.metadata
        for machine in (*self.controllers.machines, *self.brokers):
            self.loop.cells[machine.name].machine = invariants.watched(machine)
        return invariants

    def _add_producers(self, dice: Dice) -> list[AnyProducer]:
        producers: list[AnyProducer] = []
        for plan in self.plan.producers:
            bootstrap = [self.plan.brokers[number - 1].name for number in plan.bootstrap(len(self.plan.brokers))]
            workloads: list[Schedule] = [schedule(workload, dice, self.plan.faults) for workload in self.plan.workloads if workload.producer == plan.name]
            if self.plan.warm and plan.config.transactional_id:
                for workload in workloads:
                    workload.initialize_early()
            elif self.plan.warm:
                topics = dict.fromkeys(workload.topic for workload in workloads)
                workloads = [
                    *(WarmUp(topic.name, number, dice) for topic in self.plan.topics if topic.name in topics for number in range(len(topic.assignment))),
                    *workloads,
                ]
            closable = any(ends_or_returns(fault) and str(who) == plan.name for fault in self.plan.faults for who in fault.who)
            producer: AnyProducer
            copying = next((part for one in self.copying for part in parts_of(one) if part.habits.producer == plan.name), None)
            if copying is not None and self.plan.late:
                copying.holds = dict.fromkeys(steps_struck(self.plan, plan.name), self.plan.late + 1)
            if copying is not None and plan.librdkafka is not None:
                producer = CopyingLibrdkafka(plan.name, plan.librdkafka, bootstrap, [copying.fed], dice)
            elif copying is not None:
                copier = PartitionProducer if isinstance(copying, Share) else CopyingProducer
                producer = copier(plan.name, plan.profile, plan.config, bootstrap, [copying.fed], dice)
            elif plan.librdkafka is not None:
                its = CallingLibrdkafka if plan.librdkafka.transactional_id else ClosableLibrdkafka if closable else LibrdkafkaProducer
                producer = its(plan.name, plan.librdkafka, bootstrap, workloads, dice)
            else:
                kind = ClosableProducer if closable else HeldUp if any(calls_back(workload) for workload in workloads) else Producer
                producer = kind(plan.name, plan.profile, plan.config, bootstrap, workloads, dice)
            producers.append(producer)
            if self.taps is None:
                self.loop.add(producer, is_client=True)
            else:
                self.taps.append(tap(producer, plan, self.plan.broker_profile))
                self.loop.add(self.taps[-1], is_client=True)
        return producers

    def _add_consumers(self, dice: Dice) -> list[AnyConsumer]:
        consumers: list[AnyConsumer] = []
        for plan in self.plan.consumers:
            bootstrap = [broker.name for broker in self.plan.brokers]
            habits = Habits(plan.work, plan.commit)
            parts = plan.name, plan.profile, plan.config, bootstrap, plan.topics, dice, habits
            copying = next((one for one in self.copying if one.habits.consumer == plan.name), None)
            if plan.librdkafka is not None:
                its = plan.name, plan.librdkafka, bootstrap, plan.topics, dice, habits
                consumers.append(LibrdkafkaConsumer(*its) if copying is None else CopyingLibrdkafkaConsumer(*its, copying))
            elif copying is None:
                consumers.append(Consumer(*parts))
            else:
                consumers.append(SharingConsumer(*parts, copying) if isinstance(copying, Shares) else CopyingConsumer(*parts, copying))
            consumer = consumers[-1]
            if self.taps is None or isinstance(consumer, LibrdkafkaConsumer):
                self.loop.add(consumer, is_client=True)
            else:
                self.taps.append(tap_consumer(consumer, plan))
                self.loop.add(self.taps[-1], is_client=True)
        return consumers

    def samples(self) -> list[ClientSamples] | None:
        return None if self.taps is None else [life for tapped in self.taps for life in tapped.samples()]

    def _note(self, at: Micros, fact: object) -> None:
        self.history.add(at, fact)
        for counter in self.watchers.get(type(fact), ()):
            counter.see(at, fact)

    # The course of a run.

    def run(self) -> None:
        quiet_from = max([0, self.faults.busy_until, *(self._last_arrival(producer) for producer in self.producers)])
        self.loop.call_at(quiet_from, self._want_heal)
        with collecting.seldom():
            self.loop.run(self._is_over)
            self._close_books()

    def _last_arrival(self, producer: AnyProducer) -> Micros:
        return max((thread.arrivals.time_of(thread.arrivals.total - 1) for thread in producer.sending.threads if thread.arrivals.total), default=0)

    def _want_heal(self) -> None:
        """All that was scheduled has passed. Producers that sleep until their batch is due are asked to take what has come."""
        for producer in self.producers:
            self.loop.wake(producer.name)
        self.loop.may_end = True
        self._be_patient()

    def _offered(self) -> int:
        return sum(producer.sending.offered for producer in self.producers)

    def _be_patient(self) -> None:
        """An application may ask in vain for ever, such as for the end of a transaction: if nothing is offered for so long, the heal waits no longer."""
        before = self._offered()

        def look() -> None:
            if self._offered() == before:
                self.waits_for_offers = False
            elif self.healed_at is None:
                self._be_patient()

        self.loop.call_at(self.loop.now + self.plan.limit, look)

    def _is_over(self) -> bool:
        if self.healed_at is not None:
            return self.over or self._is_quiet()
        now = self.loop.now
        if self.waits_for_offers:
            for producer in self.producers:
                if not self._has_offered(producer):
                    return False
        if now >= self.faults.last_known_end:
            self.healed_at = now
            if self.plan.heal:
                self.faults.heal()
            self.loop.call_at(now + self.plan.limit, self._give_up)
        return False

    def _has_offered(self, producer: AnyProducer) -> bool:
        """A process that is frozen until the heal offers nothing more before it; one that is about to come back does."""
        if self.loop.cells[producer.name].comes_back:
            return False
        return not producer.alive or producer.sending.all_offered or self.loop.cells[producer.name].frozen

    def _give_up(self) -> None:
        self.over = True

    def _is_quiet(self) -> bool:
        """Nothing is pending: every send has its outcome, every broker is back, every replica has caught up."""
        self.waiting_for = [producer for producer in self.waiting_for if not producer.is_done]
        if self.waiting_for or self.faults.at_work:
            return False
        if not (
            self.controllers.settled
            and all(broker.settled for broker in self.brokers)
            and all(self._has_converged(partition) for partition in self._partitions())
        ):
            return False
        # Sent and given up, or acks=0: it may yet be appended.
        return not self._is_behind() and not self.loop.is_carrying(ProduceRequest) and not any(broker.is_serving(ProduceRequest) for broker in self.brokers)

    def _is_behind(self) -> bool:
        """A consumer that can has yet to read what it may read."""
        for readers in self._groups():
            reading = [reader for reader in readers if reader.reads and not self.loop.cells[reader.name].frozen]
            if any(not reader.is_idle for reader in reading):
                return True
            for partition in self._partitions() if reading else ():
                takers = [reader for reader in reading if topic_of(partition) in reader.topics]
                if takers and not any(reader.has_read(partition, self._readable_end(partition, reader)) for reader in takers):
                    return True
        return False

    def _groups(self) -> list[list[AnyConsumer]]:
        """Consumers that divide their partitions among them; each without a group is one by itself."""
        groups: dict[str, list[AnyConsumer]] = {}
        for consumer in self.consumers:
            groups.setdefault(f"group {consumer.config.group_id}" if consumer.config.group_id else consumer.name, []).append(consumer)
        return list(groups.values())

    def _readable_end(self, partition: str, consumer: AnyConsumer) -> int:
        log = self._broker(self.controllers.decisions.state_of(partition).leader).logs[partition]
        return log.last_stable_offset if consumer.config.read_committed else log.high_watermark

    def _partitions(self) -> Iterable[str]:
        """A topic that was created on demand has some too, one that was deleted and not yet created again has none."""
        planned = (
            partition
            for topic in self.plan.topics
            for partition in (topic.partitions if topic.exists else self.controllers.decisions.partitions_of(topic.name))
        )
        return (partition for partition in planned if self.controllers.decisions.replicas_of(partition))

    def _has_converged(self, partition: str) -> bool:
        state = self.controllers.decisions.state_of(partition)
        logs = [self._broker(name).logs.get(partition) for name in state.replicas]
        if not state.leader or len(state.isr) < len(state.replicas):
            return False
        leading = self._broker(state.leader).logs.get(partition)
        if leading is None:  # A topic has just been created.
            return False
        end = leading.log_end_offset
        return all(log is not None and log.log_end_offset == end for log in logs) and leading.high_watermark == end

    def _broker(self, name: str) -> Broker:
        return self.broker_by_name[name]

    # The final truth.

    def _close_books(self) -> None:
        now = self.loop.now
        for producer in self.producers:
            if producer.alive:
                out: list[Effect] = []
                producer.close_books(out)
                for effect in out:
                    if isinstance(effect, Note):
                        self._note(now, effect.fact)
        for partition in self._partitions():
            self._read_final_logs(partition, now)
        touched = expose(self.history, self.plan)
        hit = records_hit(self.history, self.plan)
        for fault in self.plan.told_faults:
            resolved = tuple(hit.get(fault.name, self.faults.struck.get(fault.name, {})))
            self._note(now, Fault(fault.name, fault.do, "summary", resolved, touched[fault.index]))
        living = tuple(producer.name for producer in self.producers if producer.alive)
        self._note(now, Ended(not self.over, living, self.loop.events))

    def _read_final_logs(self, partition: str, now: Micros) -> None:
        state = self.controllers.decisions.state_of(partition)
        written: list[RecordBatch] = []
        start = 0
        told: tuple[LoggedBatch, ...] = ()
        for name in state.replicas:
            broker = self._broker(name)
            log = broker.logs.get(partition)
            if log is None:
                continue
            if log.batches != written or log.log_start_offset != start:  # Replicas mostly hold the same batches.
                written, start, told = log.batches, log.log_start_offset, logged(log)
            leads = name == state.leader
            offsets = log.log_start_offset, log.high_watermark, log.last_stable_offset, log.log_end_offset
            self._note(now, FinalLog(partition, name, leads, leads and broker.running, *offsets, told))


def ends_or_returns(fault: FaultPlan) -> bool:
    """A client that it names is closed, or comes back."""
    return fault.do in ("shutdown", "restart") or (fault.do in ("crash", "power-loss") and fault.duration is not None)


def applications_of(plan: Plan) -> list[Copying]:
    """Those that copy. What they write is numbered behind the workloads."""
    found: list[Copying] = []
    number = len(plan.workloads)
    for habits in plan.applications:
        found.append(Shares(habits, number) if habits.per_partition else Copying(habits, number))
        number += len(habits.writers)
    return found


def parts_of(copying: Copying) -> Sequence[Copying]:
    """Each has a producer of its own."""
    return copying.all() if isinstance(copying, Shares) else [copying]


def logged(log: Log) -> tuple[LoggedBatch, ...]:
    """What a consumer can read, and the markers between. Of a batch in whose middle the log starts, only the rest."""
    told = []
    for batch in log.batches:
        before = max(0, log.log_start_offset - batch.base_offset)
        if before < len(batch.records):
            sequence = next_sequence(batch.base_sequence, before) if batch.producer_id >= 0 and batch.marker is None else batch.base_sequence
            numbers = batch.producer_id, batch.producer_epoch, sequence
            records = batch.records[before:] if before else batch.records
            kind: tuple[bool, str] = batch.transactional, ""
            if batch.marker is not None:
                records, kind = range(0), (True, "commit" if batch.marker.committed else "abort")
            told.append(LoggedBatch(batch.base_offset + before, batch.leader_epoch, batch.producer, records, *numbers, *kind))
    return tuple(told)
