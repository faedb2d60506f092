"""Facts: the lines of a history, small and typed, one per batch rather than one per record.

A fact does not carry its moment: the history stores it beside.
The first group is what an outsider can see, in simulation and on a live cluster alike, and is all that `judge` reads.
The second group is internal: it serves explanations, invariants and pictures.
"""

from __future__ import annotations

from ksim_models.consumer_facts import CommittedOffset, PollFailed, Processed, Read
from ksim_models.coordination_facts import MarkerWritten as MarkerWritten
from ksim_models.coordination_facts import TransactionState as TransactionState
from ksim_models.machine import message
from ksim_models.messages import Records

# Outside facts.


@message
class Offered:
    """Records handed to send(). Record i of `records` was offered at `first_at + i * step`, or at `times[i]` where the distances differ.

    `at` of this line: when the client took them.
    """

    producer: str
    records: Records
    first_at: int
    step: int
    times: tuple[int, ...] = ()

    def moment_of(self, number: int) -> int:
        """When this record was handed to send()."""
        place = self.records.index(number)
        return self.times[place] if self.times else self.first_at + place * self.step

    def moments(self) -> list[int]:
        """Of each record."""
        return [*self.times] or [self.first_at + place * self.step for place in range(len(self.records))]


@message
class Refused:
    """send() threw, or returned an already failed future: never entered the accumulator."""

    producer: str
    records: Records
    error: str
    message: str


@message
class Sent:
    """A batch left the client in a Produce request. `attempt` counts from 1."""

    producer: str
    partition: str
    records: Records
    broker: str
    connection: str
    attempt: int


@message
class Acked:
    """Success reported to the application. `offset` of the first record, -1 where the client was not told (acks=0)."""

    producer: str
    partition: str
    records: Records
    offset: int


@message
class Failed:
    """An exception reported to the application: Kafka's class name and text."""

    producer: str
    partition: str
    records: Records
    error: str
    message: str


@message
class Transaction:
    """A step of a producer's transaction, as its application sees it; `number` counts from 1.

    phase: "begin", "send-offsets", "commit", "abort" (about to be called), "committed", "aborted", "failed" (this call threw: `error`, `message`;
    `call` says which); "commit-sent": the request for it has left, which the application does not see. Number 0: before the first.
    """

    producer: str
    number: int
    phase: str
    call: str = ""
    error: str = ""
    message: str = ""
    offsets: tuple[tuple[str, int], ...] = ()
    """With "send-offsets": (partition, next offset to read)."""
    group: str = ""


@message
class BreakerChanged:
    """An application's circuit breaker is "open", "half-open" or "closed" from now on; `failures`: in a row, up to now.

    `workload`: its place in the scenario, from 0.
    """

    producer: str
    workload: int
    state: str
    failures: int


@message
class Marked:
    """An application's outbox (`workload`: its place in the scenario, from 0) has committed that these rows are sent."""

    producer: str
    workload: int
    records: Records


@message
class Fault:
    """A fault begins, hits one frame, ends, or is summed up at the end of the run.

    phase: "begin", "hit", "end", "not-injected" or "summary". `resolved`: the machines or frames, as ("broker-1",) or ("broker-1 -> p1",).
    `touched` is final in the summary only.
    """

    name: str
    do: str
    phase: str
    resolved: tuple[str, ...]
    touched: int
    why: str = ""


@message
class LoggedBatch:
    """One batch of a final log."""

    base_offset: int
    leader_epoch: int
    producer: str
    records: Records
    producer_id: int
    producer_epoch: int
    base_sequence: int
    transactional: bool = False
    marker: str = ""
    """"commit" or "abort": the end of this producer id's transaction here, which takes an offset and has no records."""


@message
class FinalLog:
    """One replica's log when the run is over. Exactly one replica of a readable partition is `leader`; `readable` is false where nobody leads."""

    partition: str
    replica: str
    leader: bool
    readable: bool
    log_start_offset: int
    high_watermark: int
    last_stable_offset: int
    log_end_offset: int
    batches: tuple[LoggedBatch, ...]


@message
class Ended:
    """The run is over. `quiet`: nothing was pending; otherwise the limit struck."""

    quiet: bool
    living_producers: tuple[str, ...]
    """Producers that had not crashed: only their sends must have an outcome."""
    events: int


# Internal facts: simulation only.


@message
class Appended:
    """A leader appended a client's batch."""

    broker: str
    partition: str
    producer: str
    records: Records
    base_offset: int
    leader_epoch: int


@message
class Deduplicated:
    """A leader found the batch among the last five of its producer (PS-10): acknowledged, nothing appended."""

    broker: str
    partition: str
    producer: str
    records: Records
    base_offset: int


@message
class Rejected:
    """A leader refused the batch; nothing was appended."""

    broker: str
    partition: str
    producer: str
    records: Records
    error: str


@message
class TimedOut:
    """A parked acks=all request reached its time-out at the broker (BP-44): the records stay in the log."""

    broker: str
    partition: str
    producer: str
    records: Records
    error: str


@message
class Replicated:
    """A follower's log now ends here."""

    broker: str
    partition: str
    log_end_offset: int


@message
class HighWatermark:
    """The leader's high watermark moved."""

    broker: str
    partition: str
    offset: int


@message
class Truncated:
    broker: str
    partition: str
    to_offset: int
    from_offset: int


@message
class LogStartMoved:
    """This replica's log starts here now. why: "delete-records", "retention.ms", "retention.bytes", or "leader": a follower goes along."""

    broker: str
    partition: str
    offset: int
    why: str


@message
class CacheLost:
    """A power loss took what was in the page cache and not on the disk: the log ended at `from_offset` and ends at `to_offset` now."""

    broker: str
    partition: str
    to_offset: int
    from_offset: int


@message
class GaveUp:
    """A broker ends by itself, because it could not reach the controller for too long (KC-1, BP-30)."""

    broker: str
    why: str


@message
class PartitionChanged:
    """The controller committed a partition's new state: leader ("" for none), ISR, ELR, epochs."""

    partition: str
    leader: str
    leader_epoch: int
    isr: tuple[str, ...]
    elr: tuple[str, ...]
    partition_epoch: int
    unclean: bool
    why: str


@message
class ReplicasChanged:
    """The controller committed another assignment: `adding` and `removing` are under way, and empty when the reassignment is complete."""

    partition: str
    replicas: tuple[str, ...]
    adding: tuple[str, ...]
    removing: tuple[str, ...]


@message
class TopicChanged:
    """The controller committed that a topic is gone ("deleted"), or there again under another id ("created")."""

    topic: str
    topic_id: int
    state: str


@message
class BrokerChanged:
    """The controller committed a broker's registration ("registered"), "fenced", "unfenced", "shutting-down" (it hands over) or "shut-down" (it may go)."""

    broker: str
    broker_epoch: int
    state: str


@message
class ControllerChanged:
    """Of several controllers this one became the active one of an epoch ("active"), or stopped being it while it ran ("resigned")."""

    controller: str
    epoch: int
    state: str


@message
class Became:
    """A broker took up a role for a partition: "leader" or "follower", under an epoch."""

    broker: str
    partition: str
    role: str
    leader_epoch: int
    log_end_offset: int
    high_watermark: int


@message
class Retried:
    """A client put a batch back into its queue: it may be drained again `backoff_us` later at the earliest."""

    producer: str
    partition: str
    records: Records
    error: str
    attempt: int
    backoff_us: int


@message
class Split:
    """A batch was too large for the broker: its records go back into the queue as batches of so many each."""

    producer: str
    partition: str
    records: Records
    counts: tuple[int, ...]


@message
class Connected:
    client: str
    broker: str
    connection: str


@message
class Disconnected:
    """A client lost or closed a connection; `requests` were unanswered on it."""

    client: str
    broker: str
    connection: str
    requests: int
    why: str


@message
class Learned:
    """A client's metadata names a (new) leader for a partition."""

    client: str
    partition: str
    leader: str
    leader_epoch: int


@message
class ProducerId:
    """A client has a producer id and epoch."""

    producer: str
    producer_id: int
    producer_epoch: int
    why: str


@message
class Blocked:
    """send() blocks, and why ("metadata", "memory", "partitioner"); `until_us` is when it gives up."""

    producer: str
    record: int
    why: str
    until_us: int


OUTSIDE = (Offered, Refused, Sent, Acked, Failed, Transaction, Processed, Read, CommittedOffset, PollFailed, BreakerChanged, Marked, Fault, FinalLog, Ended)
INTERNAL = (
    Appended,
    Deduplicated,
    Rejected,
    TimedOut,
    Replicated,
    HighWatermark,
    Truncated,
    LogStartMoved,
    CacheLost,
    GaveUp,
    PartitionChanged,
    BrokerChanged,
    Became,
    Retried,
    Split,
    Connected,
    Disconnected,
    Learned,
    ProducerId,
    Blocked,
    ReplicasChanged,
    TopicChanged,
    ControllerChanged,
    MarkerWritten,
    TransactionState,
)
