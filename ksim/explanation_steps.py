"""The steps of one record: the facts that concern it, picked from a history, each with the rule behind it.

Not Kafka's: it reads the facts that the machines wrote, internal ones included, and decides nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ksim.history import History, configured
from ksim.transcript_sentences import Sentences, records
from ksim_models.facts import (
    Acked,
    Appended,
    Blocked,
    BrokerChanged,
    CacheLost,
    ControllerChanged,
    Deduplicated,
    Disconnected,
    Ended,
    Failed,
    Fault,
    FinalLog,
    HighWatermark,
    Learned,
    LogStartMoved,
    Marked,
    Offered,
    PartitionChanged,
    ProducerId,
    Refused,
    Rejected,
    Replicated,
    Retried,
    Sent,
    Split,
    TimedOut,
    Truncated,
)
from ksim_models.messages import NO_OFFSET
from ksim_models.on_failure import BREAKER_OPEN
from ksim_models.units import Micros, show

HANDED_OVER = "A1"
BLOCKED = {"metadata": "A3", "memory": "A20", "partitioner": "KAFKA-14303"}
REJECTED = {
    "NOT_LEADER_OR_FOLLOWER": "BP-24",
    "NOT_ENOUGH_REPLICAS": "BP-24",
    "OUT_OF_ORDER_SEQUENCE_NUMBER": "PS-13",
    "INVALID_PRODUCER_EPOCH": "PS-12",
    "UNKNOWN_TOPIC_OR_PARTITION": "BP-11",
    "MESSAGE_TOO_LARGE": "BP-28",
}
REFUSED = {
    "BufferExhaustedException": "A22",
    "TimeoutException": "A3",
    "InvalidTopicException": "A3",
    "TopicAuthorizationException": "A3",
    "SerializationException": "A5",
    "RecordTooLargeException": "A7",
    "IllegalArgumentException": "C8",
    "IllegalStateException": "A2",
    BREAKER_OPEN: "the application",
}
LIBRDKAFKA = {
    HANDED_OVER: "7.1",
    "A8": "7.1",
    "A27, A31": "7.1",
    "A28, A31": "7.1, L4",
    "S12, A42, A28": "7.2, L4",
    "S12, S13": "7.2",
    "S14": "7.2",
    "S22": "L11",
    "I1": "L5",
    "I12": "L5, L6",
    "N4": "L2",
    "N5, N6": "7.2",
    "N7": "7.1",
    "M1, A30": "7.1",
}
"""The Java client's rules -> those of section 7, which say what librdkafka does instead."""


@dataclass(frozen=True, slots=True)
class Record:
    producer: str
    number: int

    def __str__(self) -> str:
        return f"{self.producer}/{self.number}"


@dataclass(frozen=True, slots=True)
class Step:
    """What happened, and the rule that it rests on."""

    at: Micros
    text: str
    rule: str
    order: int = 0
    """Within one moment: a record is handed over before anything else, and again behind everything else."""


def in_time(step: Step) -> tuple[Micros, int]:
    return step.at, step.order


def steps_of(history: History, record: Record, ending: Iterable[tuple[str, str]]) -> Iterator[Step]:
    """In the order of time; `ending` is what the final logs say."""
    road = Road(record, _first_offer(history, record), partition_of(history, record), several=len({log.partition for _, log in history.of(FinalLog)}) > 1)
    road.client, road.acks = _client(history, record)
    for at, fact in history:
        if isinstance(fact, Ended):
            road.steps += [Step(at, text, rule) for text, rule in ending]
        elif see := SEES.get(type(fact)):
            see(road, at, fact)
    road.settle()
    return iter(sorted([*road.standing.values(), *road.steps], key=in_time))


def _client(history: History, record: Record) -> tuple[str, str]:
    """Its library, and its acks."""
    own = configured(history.run, "producers", record.producer)
    return str(own.get("client", "java")), str(own.get("acks", ""))


def _first_offer(history: History, record: Record) -> Micros:
    """The history learns of an offer when its batch leaves: much may have happened by then that concerns the record."""
    return next(fact.moment_of(record.number) for _, fact in history.of(Offered) if fact.producer == record.producer and record.number in fact.records)


def partition_of(history: History, record: Record) -> str:
    """The one that it was bound for; "" where it never came so far."""
    told = (fact.partition for _, fact in history.of(Sent, Acked, Failed) if fact.producer == record.producer and record.number in fact.records)
    return next(told, "")


@dataclass(slots=True)
class Road:
    """Where the record is, and what is known of it."""

    record: Record
    offered_at: Micros
    """For the last time so far."""
    partition: str
    several: bool
    sentences: Sentences = field(init=False)
    steps: list[Step] = field(default_factory=list)
    standing: dict[str, Step] = field(default_factory=dict)
    """Faults that had begun before it was offered, and had not ended."""
    flying_to: str = ""
    """The broker that has its request unanswered."""
    done: bool = False
    leader: str = ""
    copies: dict[str, int] = field(default_factory=dict)
    """Per replica: the offset of its latest copy, as far as it is known."""
    uncommitted: bool = False
    failures: list[Micros] = field(default_factory=list)
    """Attempts to connect that came to nothing while it waited."""
    unreachable: str = ""
    client: str = "java"
    acks: str = ""

    def __post_init__(self) -> None:
        self.sentences = Sentences(self.several)

    # The client.

    def on_offered(self, at: Micros, fact: Offered) -> None:
        if self._is_mine(fact):
            again = " again" if self.done else ""
            self.offered_at = fact.moment_of(self.record.number)
            self._add(self.offered_at, f"{self.record.producer} hands it{again} to send()", HANDED_OVER, order=1 if again else -1)
            self.done = False

    def on_blocked(self, at: Micros, fact: Blocked) -> None:
        if (fact.producer, fact.record) == (self.record.producer, self.record.number):
            self._add(at, f"send() waits for {fact.why}, until {show(fact.until_us)} at most", BLOCKED.get(fact.why, "A1"))

    def on_refused(self, at: Micros, fact: Refused) -> None:
        if self._is_mine(fact):
            self._add(at, f"send() fails, {fact.error}: {fact.message}", REFUSED.get(fact.error, "A8"))
            self.done = True

    def on_marked(self, at: Micros, fact: Marked) -> None:
        if self._is_mine(fact):
            self._add(at, "the relay of its outbox has marked the row as sent", "the application")

    def on_producer_id(self, at: Micros, fact: ProducerId) -> None:
        if fact.producer == self.record.producer and self._is_under_way(at):
            self._add(at, self.sentences.of(fact), {"InitProducerId": "I1", "EndTxn": "T44"}.get(fact.why, "I12"))

    def on_sent(self, at: Micros, fact: Sent) -> None:
        if not self._is_mine(fact):
            return
        self.settle()
        self.flying_to, self.uncommitted = fact.broker, self.uncommitted or fact.attempt == 1
        with_others = f" in a batch of {len(fact.records)} ({records(fact.records)})" if len(fact.records) > 1 else ""
        if fact.attempt == 1:
            self._add(at, f"it leaves for {fact.broker}{with_others}, {show(at - self.offered_at)} after send()", "A27, A31")
        else:
            self._add(at, f"it is sent again to {fact.broker}{with_others}: attempt {fact.attempt}", "A28, A31")

    def on_retried(self, at: Micros, fact: Retried) -> None:
        if self._is_mine(fact):
            self.flying_to = ""
            self._add(at, f"its batch goes back into the queue ({fact.error}); it may leave again {show(fact.backoff_us)} later", "S12, A42, A28")

    def on_split(self, at: Micros, fact: Split) -> None:
        if self._is_mine(fact):
            self.flying_to = ""
            parts = " + ".join(map(str, fact.counts))
            self._add(at, f"its batch is too large for the broker and is cut in {len(fact.counts)} ({parts} records), which may leave at once", "A43, A44")

    def on_acked(self, at: Micros, fact: Acked) -> None:
        if self._is_mine(fact):
            self.settle()
            self.flying_to, self.done = "", True
            if fact.offset == NO_OFFSET and self.client == "librdkafka" and self.acks != "0":
                self._add(at, "a later batch was acknowledged, so this one had been written too: the application is told so, without an offset", "L5")
            elif fact.offset == NO_OFFSET:
                self._add(at, "its request is written to the socket: with acks=0 that is success, and nobody says more", "S22")
            else:
                offset = fact.offset + fact.records.index(self.record.number)
                self._add(at, f"the application is told: written at offset {offset}", "S14")

    def on_failed(self, at: Micros, fact: Failed) -> None:
        if self._is_mine(fact):
            self.settle()
            self.flying_to, self.done = "", True
            self._add(at, f"the application is told: {fact.error}: {fact.message}", "A37, A39" if fact.message.startswith("Expiring") else "S12, S13")

    def on_disconnected(self, at: Micros, fact: Disconnected) -> None:
        if fact.client != self.record.producer or not self._is_under_way(at):
            return
        if fact.requests and fact.broker == self.flying_to:
            timed_out = fact.why == "request timed out"
            what = f"{fact.requests} request{'s' * (fact.requests > 1)}"
            self._add(at, f"{fact.client} loses its connection to {fact.broker} ({fact.why}) with {what} unanswered", "N4" if timed_out else "N5, N6")
        elif not fact.requests:
            if not self.failures:
                self.unreachable = f"{fact.client} has no connection to {fact.broker} ({fact.why})"
            self.failures.append(at)

    def on_learned(self, at: Micros, fact: Learned) -> None:
        text = self.sentences.of(fact)
        if fact.client != self.record.producer or fact.partition != self.partition:
            return
        self.leader = self.leader or fact.leader
        if self._is_under_way(at) and text:
            self.settle()
            self._add(at, text, "M1, A30")

    # The brokers.

    def on_appended(self, at: Micros, fact: Appended) -> None:
        if self._is_mine(fact):
            self.leader = fact.broker
            offset = fact.base_offset + fact.records.index(self.record.number)
            again = "once more, " if self.copies else ""
            self.copies = {fact.broker: offset}
            self.uncommitted = True
            self._add(at, f"{fact.broker} appends it {again}at offset {offset}, epoch {fact.leader_epoch}", "BP-29")

    def on_deduplicated(self, at: Micros, fact: Deduplicated) -> None:
        if self._is_mine(fact):
            offset = fact.base_offset + fact.records.index(self.record.number)
            self._add(at, f"{fact.broker} finds its batch among the last five of this producer: nothing appended, answered with offset {offset}", "PS-10")

    def on_rejected(self, at: Micros, fact: Rejected) -> None:
        if self._is_mine(fact):
            self._add(at, f"{fact.broker} refuses it before the append: {fact.error}", REJECTED.get(fact.error, "BP-28"))

    def on_timed_out(self, at: Micros, fact: TimedOut) -> None:
        if self._is_mine(fact):
            self._add(at, f"{fact.broker} waits no longer for copies, and answers {fact.error}: it stays in the log", "BP-44")

    def on_replicated(self, at: Micros, fact: Replicated) -> None:
        offset = self.copies.get(self.leader)
        if fact.partition == self.partition and offset is not None and fact.broker not in self.copies and fact.log_end_offset > offset:
            self.copies[fact.broker] = offset
            if self.uncommitted or not self.done:
                self._add(at, f"{fact.broker} has a copy", "RP-4")

    def on_high_watermark(self, at: Micros, fact: HighWatermark) -> None:
        offset = self.copies.get(self.leader)
        if self.uncommitted and fact.partition == self.partition and offset is not None and fact.broker == self.leader and fact.offset > offset:
            self.uncommitted = False
            self._add(at, f"{fact.broker}'s high watermark is {fact.offset}: all in-sync replicas have it, it is committed", "RP-20")

    def on_truncated(self, at: Micros, fact: Truncated) -> None:
        offset = self.copies.get(fact.broker)
        if fact.partition == self.partition and offset is not None and fact.to_offset <= offset < fact.from_offset:
            del self.copies[fact.broker]
            self._add(at, f"{fact.broker} cuts its log back from {fact.from_offset} to {fact.to_offset}, and with it this copy", "RP-33, RP-34")

    def on_cache_lost(self, at: Micros, fact: CacheLost) -> None:
        offset = self.copies.get(fact.broker)
        if fact.partition == self.partition and offset is not None and fact.to_offset <= offset < fact.from_offset:
            del self.copies[fact.broker]
            self._add(at, f"{fact.broker} had this copy in its page cache only, and it is gone with the power", "LR-4")

    def on_start_moved(self, at: Micros, fact: LogStartMoved) -> None:
        offset = self.copies.get(fact.broker)
        if fact.partition == self.partition and offset is not None and offset < fact.offset:
            del self.copies[fact.broker]
            self._add(at, self.sentences.of(fact) + ": this copy stood before it", "RP-4" if fact.why == "leader" else "BV-094")

    # What happens around it.

    def on_fault(self, at: Micros, fact: Fault) -> None:
        step = Step(at, self.sentences.of(fact), f"fault {fact.name}")
        if fact.phase == "hit" and self._is_my_frame(fact):
            self.steps += [step] if self._is_under_way(at) else []
        elif fact.phase in ("begin", "end") and at >= self.offered_at:
            self.steps += [step] if self._is_under_way(at) or self._may_still_be_lost() else []
        elif fact.phase == "begin":
            self.standing[fact.name] = step
        elif fact.phase == "end":
            self.standing.pop(fact.name, None)

    def on_partition_changed(self, at: Micros, fact: PartitionChanged) -> None:
        before = self.sentences.partitions.get(fact.partition)
        text = self.sentences.of(fact)
        if fact.partition != self.partition:
            return
        moved = self.leader not in ("", fact.leader)
        if self._is_under_way(at) or (moved and self._may_still_be_lost()):
            grows = before is not None and len(fact.isr) > len(before.isr)
            same = before is not None and len(fact.isr) == len(before.isr)
            self._add(at, text, "KC-43" if fact.unclean else "KC-41" if moved else "RP-53" if grows else "KC-50" if same else "RP-50, KC-20")
            if moved and fact.leader and fact.leader not in self.copies and self.copies:
                self._add(at, f"{fact.leader} does not have it", "RP-33")
        if fact.leader:
            self.leader = fact.leader

    def on_broker_changed(self, at: Micros, fact: BrokerChanged) -> None:
        if fact.state == "fenced" and self._is_under_way(at):
            self._add(at, f"the controller has not heard of {fact.broker} for a session, and fences it", "KC-2, KC-20")
        elif fact.state == "shutting-down" and self._is_under_way(at):
            self._add(at, self.sentences.of(fact), "KC-23")

    def on_controller_changed(self, at: Micros, fact: ControllerChanged) -> None:
        """While there is none nobody is fenced and nobody elected."""
        if self._is_under_way(at) or self._may_still_be_lost():
            self._add(at, self.sentences.of(fact), "KC-3, KC-85" if fact.state == "active" else "KC-86")

    def settle(self) -> None:
        """What was counted becomes one step."""
        if self.failures:
            times = f", {len(self.failures)} times until {show(self.failures[-1])}" if len(self.failures) > 1 else ""
            self._add(self.failures[0], f"{self.unreachable}{times}", "N7")
        self.failures = []

    # Words.

    def _add(self, at: Micros, text: str, rule: str, *, order: int = 0) -> None:
        if text:
            self.steps.append(Step(at, text, LIBRDKAFKA.get(rule, rule) if self.client == "librdkafka" else rule, order))

    def _is_mine(self, fact: Any) -> bool:
        return fact.producer == self.record.producer and self.record.number in fact.records

    def _is_under_way(self, at: Micros) -> bool:
        return at >= self.offered_at and not self.done

    def _may_still_be_lost(self) -> bool:
        """Success was reported before all in-sync replicas had it."""
        return self.done and self.uncommitted

    def _is_my_frame(self, fact: Fault) -> bool:
        ends = {end for frame in fact.resolved for end in frame.split(" -> ")}
        return self.record.producer in ends and (self.flying_to in ends or not self.flying_to)


SEES: dict[type, Any] = {
    Offered: Road.on_offered,
    Blocked: Road.on_blocked,
    Refused: Road.on_refused,
    Marked: Road.on_marked,
    ProducerId: Road.on_producer_id,
    Sent: Road.on_sent,
    Retried: Road.on_retried,
    Split: Road.on_split,
    Acked: Road.on_acked,
    Failed: Road.on_failed,
    Disconnected: Road.on_disconnected,
    Learned: Road.on_learned,
    Appended: Road.on_appended,
    Deduplicated: Road.on_deduplicated,
    Rejected: Road.on_rejected,
    TimedOut: Road.on_timed_out,
    Replicated: Road.on_replicated,
    HighWatermark: Road.on_high_watermark,
    Truncated: Road.on_truncated,
    CacheLost: Road.on_cache_lost,
    LogStartMoved: Road.on_start_moved,
    Fault: Road.on_fault,
    PartitionChanged: Road.on_partition_changed,
    BrokerChanged: Road.on_broker_changed,
    ControllerChanged: Road.on_controller_changed,
}
