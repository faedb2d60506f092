"""Sentences: what each fact says, in words that a student can read aloud.

Not Kafka's, but the words are: leader, ISR, high watermark, epoch.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from ksim_models.consumer_facts import CommittedOffset, PollFailed, Processed, Read
from ksim_models.facts import (
    Acked,
    Appended,
    Became,
    Blocked,
    BreakerChanged,
    BrokerChanged,
    CacheLost,
    Connected,
    ControllerChanged,
    Deduplicated,
    Disconnected,
    Ended,
    Failed,
    Fault,
    FinalLog,
    GaveUp,
    HighWatermark,
    Learned,
    LogStartMoved,
    Marked,
    MarkerWritten,
    PartitionChanged,
    ProducerId,
    Refused,
    Rejected,
    ReplicasChanged,
    Retried,
    Sent,
    Split,
    TimedOut,
    TopicChanged,
    Transaction,
    TransactionState,
    Truncated,
)
from ksim_models.messages import NO_OFFSET, Records
from ksim_models.units import NEVER, show

MOST_NUMBERS = 6
FIRST_EPOCH = 0  # Of a leader, when its topic is created.
FORMS = re.compile(r"\{(\w+)\|(\w+)\}")

BEGINS = {
    "crash": "{who} {crash|crashes}",
    "power-loss": "{who} {lose|loses} power: what is not on the disk is gone, and nobody is told",
    "delete-records": "{who} {are|is} asked to delete records",
    "pause": "{who} {freeze|freezes}: the process stops, the sockets stay open",
    "restart": "{who} {start|starts} again",
    "cut": "the network between {who} swallows everything, and nobody is told",
    "reset": "the connections between {who} are closed, and both sides are told",
    "slow": "the network between {who} gets slower",
    "slow-disk": "the disk of {who} gets slower",
    "slow-cpu": "the processor of {who} gets slower",
}
ENDS = {
    "crash": "{who} {start|starts} again",
    "power-loss": "{who} {have|has} power again and {start|starts}",
    "pause": "{who} {wake|wakes} up",
    "cut": "the network between {who} carries again",
    "slow": "the network between {who} is as quick as before",
    "slow-disk": "the disk of {who} is as quick as before",
    "slow-cpu": "the processor of {who} is as quick as before",
}
PHASES = {
    "begin": "begins",
    "send-offsets": "sends offsets to",
    "commit": "asks to commit",
    "commit-sent": "has sent the request to commit",
    "abort": "asks to abort",
    "committed": "is told that it has committed",
    "aborted": "is told that it has aborted",
}
HITS = {
    "lose-request": "the request {frame} is lost, and its connection is closed",
    "lose-response": "the response {frame} is lost, and its connection is closed",
    "hang": "{frame}: nothing comes through this connection any more, and it stays open",
    "delay": "{frame}: this message is late",
    "answer": "{frame}: the answer is replaced by an error",
    "unserializable": "record {frame} cannot be serialized",
    "oversize": "record {frame} is larger than the others",
}


@dataclass(slots=True)
class Sentences:
    """Remembers what was said before: a change is told as a change."""

    several_partitions: bool = False
    roughly: bool = False
    """For many batches in one line: without what differs from one to the next."""
    partitions: dict[str, PartitionChanged] = field(default_factory=dict)
    leaders: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    connected: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)

    def of(self, fact: object) -> str:
        """Nothing for what need not be said."""
        tell = TELLERS.get(type(fact))
        return tell(self, fact) if tell else ""

    # Transactions, consumers.

    def _transaction(self, fact: Transaction) -> str:
        which = f"transaction {fact.number}" if fact.number else "its transactions"
        if fact.phase == "failed":
            return f"{fact.producer} is told: {fact.call} of {which} failed, {fact.error}: {fact.message.rstrip('.')}"
        offsets = f", with {_offsets(fact.offsets)} of {fact.group}" if fact.offsets else ""
        return f"{fact.producer} {PHASES.get(fact.phase, fact.phase)} {which}{offsets}"

    def _processed(self, fact: Processed) -> str:
        return f"{fact.application} makes {records(fact.made)} of {fact.writer} from {records(fact.records)} of {fact.producer}{self._where(fact.partition)}"

    def _read(self, fact: Read) -> str:
        return f"{fact.consumer} is given {records(fact.records)} of {fact.producer}{self._where(fact.partition)}{self._at(fact.base_offset)}"

    def _committed_offset(self, fact: CommittedOffset) -> str:
        if fact.error:
            return f"{fact.client} is told: the commit of {_offsets(fact.offsets)} of {fact.group} failed, {fact.error}"
        return f"{fact.client} has committed {_offsets(fact.offsets)} of {fact.group}"

    def _poll_failed(self, fact: PollFailed) -> str:
        return f"{fact.consumer} ends with {fact.error}: {fact.message.rstrip('.')}"

    # The road of a batch.

    def _sent(self, fact: Sent) -> str:
        attempt = "" if self.roughly else f" (attempt {fact.attempt})"
        again = f" again{attempt}" if fact.attempt > 1 else ""
        return f"{fact.producer} sends {records(fact.records)}{self._where(fact.partition)} to {fact.broker}{again}"

    def _appended(self, fact: Appended) -> str:
        return f"{fact.broker} appends {records(fact.records)} of {fact.producer}{self._where(fact.partition)}{self._at(fact.base_offset)}"

    def _deduplicated(self, fact: Deduplicated) -> str:
        return f"{fact.broker} has {records(fact.records)} of {fact.producer} already{self._at(fact.base_offset, ', ')}: acknowledged, nothing appended"

    def _rejected(self, fact: Rejected) -> str:
        return f"{fact.broker} refuses {records(fact.records)} of {fact.producer}{self._where(fact.partition)}: {fact.error}"

    def _timed_out(self, fact: TimedOut) -> str:
        return f"{fact.broker} waits no longer for copies of {records(fact.records)} of {fact.producer}: {fact.error}; they stay in its log"

    def _committed(self, fact: HighWatermark) -> str:
        where = "on" if self.roughly else f"to {fact.offset}"
        return f"{fact.broker} moves the high watermark{self._where(fact.partition)} {where}: all in-sync replicas have what stands before it"

    def _acked(self, fact: Acked) -> str:
        told = ", but not where" if fact.offset == NO_OFFSET else self._at(fact.offset)
        return f"{fact.producer} is told: {records(fact.records)} written{told}"

    def _failed(self, fact: Failed) -> str:
        return f"{fact.producer} is told: {records(fact.records)} failed, {fact.error}: {fact.message.rstrip('.')}"

    def _refused(self, fact: Refused) -> str:
        return f"send() of {records(fact.records)} of {fact.producer} fails, {fact.error}: {fact.message.rstrip('.')}"

    def _retried(self, fact: Retried) -> str:
        backoff = "after a backoff" if self.roughly else f"{show(fact.backoff_us)} from now at the earliest"
        return f"{fact.producer} will send {records(fact.records)} again ({fact.error}), {backoff}"

    def _split(self, fact: Split) -> str:
        return f"{fact.producer} cuts {records(fact.records)}, too large for the broker, into batches of {', '.join(map(str, fact.counts))}"

    def _marked(self, fact: Marked) -> str:
        return f"the relay of {fact.producer} has marked {records(fact.records)} as sent"

    def _breaker_changed(self, fact: BreakerChanged) -> str:
        match fact.state:
            case "open":
                return f"the circuit breaker of {fact.producer} opens after {fact.failures} failures in a row: nothing is handed to send()"
            case "half-open":
                return f"the circuit breaker of {fact.producer} lets one record through"
            case _:
                return f"the circuit breaker of {fact.producer} closes: records pass again"

    # Faults.

    def _fault(self, fact: Fault) -> str:
        match fact.phase:
            case "begin":
                return _inflect(BEGINS.get(fact.do, "{who}: " + fact.do + " begins"), fact.resolved)
            case "end":
                return _inflect(ENDS.get(fact.do, "{who}: " + fact.do + " ends"), fact.resolved)
            case "hit":
                return HITS.get(fact.do, "{frame}: " + fact.do).format(frame=", ".join(fact.resolved))
            case "not-injected":
                return f"the fault {fact.name} does not happen: {fact.why}"
            case _:
                return ""

    # The cluster.

    def _partition_changed(self, fact: PartitionChanged) -> str:
        before = self.partitions.get(fact.partition)
        self.partitions[fact.partition] = fact
        isr = f"ISR {_names(fact.isr)}" + (f", ELR {_names(fact.elr)}" if fact.elr else "")
        if not fact.leader:
            return f"the controller: nobody leads {fact.partition} now ({isr})"
        if fact.unclean:
            return f"the controller makes {fact.leader} leader of {fact.partition} although it may lack records (unclean; epoch {fact.leader_epoch}, {isr})"
        if before is None and fact.leader_epoch == FIRST_EPOCH:
            return f"{fact.partition} keeps its leader {fact.leader} ({isr})"
        if before is None or before.leader != fact.leader:
            return f"the controller makes {fact.leader} leader of {fact.partition} (epoch {fact.leader_epoch}, {isr})"
        if len(fact.isr) != len(before.isr):
            return f"the ISR of {fact.partition} {'shrinks' if len(fact.isr) < len(before.isr) else 'grows'}: {fact.leader} leads ({isr})"
        return f"{fact.partition} is led by {fact.leader} as before (epoch {fact.leader_epoch}, {isr})"

    def _broker_changed(self, fact: BrokerChanged) -> str:
        match fact.state:
            case "registered":
                return f"{fact.broker} registers with the controller"
            case "fenced":
                return f"the controller fences {fact.broker}: it may lead nothing"
            case "shutting-down":
                return f"the controller takes from {fact.broker} what it leads: it is about to shut down"
            case "shut-down":
                return f"the controller lets {fact.broker} go: it is fenced, and ends"
            case _:
                return f"the controller lets {fact.broker} take part again"

    def _controller_changed(self, fact: ControllerChanged) -> str:
        if fact.state == "active":
            return f"{fact.controller} is the active controller from here on (epoch {fact.epoch}): every broker has a full session again"
        return f"{fact.controller} is the active controller no longer"

    def _replicas_changed(self, fact: ReplicasChanged) -> str:
        if not fact.adding and not fact.removing:
            return f"{fact.partition} is held by {', '.join(fact.replicas)} from here on: the reassignment is complete"
        moves = [f"{word} {', '.join(names)}" for word, names in (("adding", fact.adding), ("removing", fact.removing)) if names]
        return f"the controller reassigns {fact.partition}: {'; '.join(moves)}"

    def _topic_changed(self, fact: TopicChanged) -> str:
        if fact.state == "deleted":
            self.deleted.add(fact.topic)
            return f"the topic {fact.topic} is deleted"
        return f"a topic {fact.topic} is created again, under another id" if fact.topic in self.deleted else f"the topic {fact.topic} is created"

    def _became(self, fact: Became) -> str:
        if fact.role != "leader":
            return ""
        return f"{fact.broker} leads {fact.partition} from here on (epoch {fact.leader_epoch}); its log ends at {fact.log_end_offset}"

    def _truncated(self, fact: Truncated) -> str:
        return f"{fact.broker} cuts its log{self._where(fact.partition)} back from {fact.from_offset} to {fact.to_offset}: the leader does not have the rest"

    def _start_moved(self, fact: LogStartMoved) -> str:
        why = "as its leader's does" if fact.why == "leader" else fact.why
        return f"the log{self._where(fact.partition)} on {fact.broker} starts at offset {fact.offset} from now on ({why})"

    def _cache_lost(self, fact: CacheLost) -> str:
        gone = f"offsets {fact.to_offset} to {fact.from_offset - 1} were in the page cache only, and are gone"
        return f"{fact.broker} had its log{self._where(fact.partition)} on the disk up to {fact.to_offset}: {gone}"

    def _gave_up(self, fact: GaveUp) -> str:
        return f"{fact.broker} could not reach the controller for {fact.why}, and ends by itself"

    # The client.

    def _connected(self, fact: Connected) -> str:
        self.connected.add(fact.connection)
        return f"{fact.client} is connected to {fact.broker}"

    def _disconnected(self, fact: Disconnected) -> str:
        if fact.connection not in self.connected:
            return f"{fact.client} cannot connect to {fact.broker} ({fact.why})"
        unanswered = f" with {fact.requests} request{'s' * (fact.requests > 1)} unanswered" if fact.requests else ""
        return f"{fact.client} loses its connection to {fact.broker}{unanswered} ({fact.why})"

    def _learned(self, fact: Learned) -> str:
        known = self.leaders.get((fact.client, fact.partition))
        self.leaders[fact.client, fact.partition] = now = fact.leader, fact.leader_epoch
        if known == now:
            return ""
        return f"{fact.client} learns that {fact.leader or 'nobody'} leads {fact.partition} (epoch {fact.leader_epoch})"

    def _transaction_state(self, fact: TransactionState) -> str:
        return f"{fact.broker}, coordinator of {fact.transactional_id}: {fact.state} (producer id {fact.producer_id}, epoch {fact.producer_epoch})"

    def _marker_written(self, fact: MarkerWritten) -> str:
        what = "commit" if fact.committed else "abort"
        return f"{fact.broker} writes the {what} marker of producer id {fact.producer_id} (epoch {fact.producer_epoch}){self._where(fact.partition)}"

    def _producer_id(self, fact: ProducerId) -> str:
        return f"{fact.producer} has producer id {fact.producer_id}, epoch {fact.producer_epoch} ({fact.why})"

    def _blocked(self, fact: Blocked) -> str:
        until = f"until {show(fact.until_us)} at most" if fact.until_us < NEVER else "for ever (KAFKA-14303)"
        return f"send() of record {fact.record} of {fact.producer} waits for {fact.why}, {until}"

    # The end.

    def _final_log(self, fact: FinalLog) -> str:
        if not fact.leader:
            return ""
        if not fact.readable:
            return f"the final log of {fact.partition} cannot be read"
        return f"the final log of {fact.partition}, on {fact.replica}, ends at offset {fact.log_end_offset}, high watermark {fact.high_watermark}"

    def _ended(self, fact: Ended) -> str:
        return "all is quiet: the run is over" if fact.quiet else "the limit is reached, and not all is quiet: the run is over"

    def _at(self, offset: int, link: str = " ") -> str:
        return "" if self.roughly else f"{link}at offset {offset}"

    def _where(self, partition: str) -> str:
        """Where there is one partition only, its name is noise."""
        return f" of {partition}" if self.several_partitions else ""


TELLERS: dict[type, Callable[..., str]] = {
    Sent: Sentences._sent,
    Appended: Sentences._appended,
    Deduplicated: Sentences._deduplicated,
    Rejected: Sentences._rejected,
    TimedOut: Sentences._timed_out,
    HighWatermark: Sentences._committed,
    Acked: Sentences._acked,
    Failed: Sentences._failed,
    Refused: Sentences._refused,
    BreakerChanged: Sentences._breaker_changed,
    Marked: Sentences._marked,
    Retried: Sentences._retried,
    Split: Sentences._split,
    Fault: Sentences._fault,
    PartitionChanged: Sentences._partition_changed,
    TransactionState: Sentences._transaction_state,
    MarkerWritten: Sentences._marker_written,
    BrokerChanged: Sentences._broker_changed,
    ReplicasChanged: Sentences._replicas_changed,
    TopicChanged: Sentences._topic_changed,
    ControllerChanged: Sentences._controller_changed,
    Became: Sentences._became,
    Transaction: Sentences._transaction,
    Processed: Sentences._processed,
    Read: Sentences._read,
    CommittedOffset: Sentences._committed_offset,
    PollFailed: Sentences._poll_failed,
    Truncated: Sentences._truncated,
    LogStartMoved: Sentences._start_moved,
    CacheLost: Sentences._cache_lost,
    GaveUp: Sentences._gave_up,
    Connected: Sentences._connected,
    Disconnected: Sentences._disconnected,
    Learned: Sentences._learned,
    ProducerId: Sentences._producer_id,
    Blocked: Sentences._blocked,
    FinalLog: Sentences._final_log,
    Ended: Sentences._ended,
}


def records(numbers: Records) -> str:
    """`records 0..4`, `record 7`, `records 1, 5, 9`."""
    if len(numbers) == 1:
        return f"record {numbers[0]}"
    if isinstance(numbers, range) and numbers.step == 1:
        return f"records {numbers[0]}..{numbers[-1]}"
    listed = ", ".join(map(str, numbers[:MOST_NUMBERS]))
    return f"records {listed}" if len(numbers) <= MOST_NUMBERS else f"{len(numbers)} records ({listed}, ...)"


def _offsets(offsets: tuple[tuple[str, int], ...]) -> str:
    return "offset" + "s" * (len(offsets) > 1) + " " + ", ".join(f"{offset} of {partition}" for partition, offset in offsets)


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(names) if names else "nobody"


def _inflect(pattern: str, who: tuple[str, ...]) -> str:
    """`{crash|crashes}`: the first form for several."""
    if "between" in pattern:
        names = ", ".join(path.replace(" <-> ", " and ").replace(" -> ", " and (this way only) ") for path in who)
    else:
        names = " and ".join(who)
    several = len(who) > 1
    return FORMS.sub(lambda forms: forms[1] if several else forms[2], pattern).format(who=names)
