"""Idempotence in librdkafka: one producer id for all partitions, drained before it changes; and what an error means for a batch with a sequence.

Kafka: librdkafka's rdkafka_idempotence.c, rd_kafka_handle_idempotent_Produce_error and _success (L5 to L8 of the client's rule book).
"""

from __future__ import annotations

from enum import Enum

from ksim_models.librdkafka_queue import MessageBatch, PartitionQueue
from ksim_models.units import MILLISECOND, NEVER, Micros

ASK_EVERY: Micros = 500 * MILLISECOND
"""rd_kafka_idemp_pid_timer_restart."""
LAST_EPOCH = 32_767


class State(Enum):
    """rd_kafka_idemp_state_t."""

    INIT = "nobody has asked for a producer id"
    REQ_PID = "no producer id"
    WAIT_TRANSPORT = "the coordinator cannot be reached"
    WAIT_PID = "asked for one"
    ASSIGNED = "messages may be sent"
    DRAIN_RESET = "another producer id is asked for when nothing is in flight"
    DRAIN_BUMP = "the epoch rises when nothing is in flight"
    WAIT_TXN_ABORT = "the epoch rises when the transaction has been aborted"
    FATAL_ERROR = "nothing more is sent"


class Verdict(Enum):
    ORDINARY = "as without idempotence"
    DUPLICATE = "it had been written: success"
    BUMP_AND_RETRY = "an earlier batch is missing: try again under a new epoch"
    FATAL = "nothing can be promised any more"


class LibrdkafkaIdempotence:
    def __init__(self, born_at: Micros) -> None:
        self.state = State.REQ_PID
        self.producer_id = -1
        self.epoch = -1
        self.ask_at: Micros = born_at + ASK_EVERY

    @property
    def is_assigned(self) -> bool:
        return self.state is State.ASSIGNED

    @property
    def wants_an_id(self) -> bool:
        return self.state is State.REQ_PID

    @property
    def is_draining(self) -> bool:
        return self.state in (State.DRAIN_BUMP, State.DRAIN_RESET)

    def is_stale(self, queue: PartitionQueue) -> bool:
        return queue.producer_id != self.producer_id or queue.epoch != self.epoch

    def asked(self) -> None:
        self.state, self.ask_at = State.WAIT_PID, NEVER

    def not_given(self, now: Micros) -> None:
        self.state, self.ask_at = State.REQ_PID, now + ASK_EVERY

    def given(self, producer_id: int, epoch: int) -> None:
        self.producer_id, self.epoch, self.state = producer_id, epoch, State.ASSIGNED

    def drain(self) -> None:
        self.state = State.DRAIN_BUMP

    def bump(self) -> None:
        """The client raises its epoch by itself."""
        self.epoch = (self.epoch + 1) & LAST_EPOCH
        self.state = State.ASSIGNED

    def judge(self, batch: MessageBatch, error: str) -> Verdict:
        queue = batch.queue
        if error == "DUPLICATE_SEQUENCE_NUMBER":
            return Verdict.DUPLICATE
        if error == "OUT_OF_ORDER_SEQUENCE_NUMBER":
            # The first in flight: client and broker disagree. A later one: the error of one before it explains this one.
            return Verdict.BUMP_AND_RETRY if batch.first_sequence > queue.next_ack_sequence else Verdict.FATAL
        if error == "UNKNOWN_PRODUCER_ID":
            first_attempt = not batch.messages[0].retries and queue.next_error_sequence == batch.first_sequence
            return Verdict.BUMP_AND_RETRY if first_attempt else Verdict.FATAL
        return Verdict.ORDINARY

    def succeeded(self, batch: MessageBatch) -> None:
        queue = batch.queue
        if queue.next_error_sequence == queue.next_ack_sequence:
            queue.next_error_sequence = batch.next_sequence
        queue.next_ack_sequence = batch.next_sequence
