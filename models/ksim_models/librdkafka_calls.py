"""The transactional calls of librdkafka, as confluent-kafka's programs make them: each waits for what it asked of the main thread, or for its time to be over.

Kafka: rd_kafka_init_transactions, _begin_, _commit_, _abort_transaction and rd_kafka_send_offsets_to_transaction in librdkafka's rdkafka_txnmgr.c.
The time-out is the default of confluent-kafka, -1: without end, except that init_transactions gives up after 2 * transaction.timeout.ms and
send_offsets_to_transaction after transaction.timeout.ms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto

from ksim_models.librdkafka_answers import Answers
from ksim_models.librdkafka_errors import CONFLICT, TIMED_OUT, text_of
from ksim_models.librdkafka_queue import PartitionQueue
from ksim_models.librdkafka_sending import LibrdkafkaSending
from ksim_models.librdkafka_transaction_states import TransactionError, normalized
from ksim_models.librdkafka_transactions import LibrdkafkaTransactions
from ksim_models.machine import Effect
from ksim_models.transaction_pending import Group
from ksim_models.transaction_states import Failure, IllegalState
from ksim_models.transactional_calls import NO_GROUP, NONE, BlockingCall, Next
from ksim_models.units import NEVER, Micros, ms

WITHOUT_END = -1
LONGEST_INT = 2**31 - 1


class Step(Enum):
    ASK = auto()
    """The main thread is asked for something, and tells when it is done."""
    ACKNOWLEDGE = auto()
    """So too, at once, and however late it is."""
    FLUSH = auto()
    """Until every message has its report."""


Work = Callable[[Micros, list[Effect]], None]


class Flushing:
    """rd_kafka_flush: while somebody flushes, nothing lingers."""

    def __init__(self, sending: LibrdkafkaSending, queues: Mapping[str, PartitionQueue], linger: Micros) -> None:
        self.sending = sending
        self.queues = queues
        self.linger = linger
        self.is_on = False

    @property
    def is_over(self) -> bool:
        return self.sending.messages_held == 0

    def switch(self, *, on: bool) -> None:
        self.is_on = on
        for queue in self.queues.values():
            self.settle(queue)

    def settle(self, queue: PartitionQueue) -> None:
        queue.linger = 0 if self.is_on else self.linger


class LibrdkafkaCall(BlockingCall):
    def __init__(
        self,
        transactions: LibrdkafkaTransactions,
        flushing: Flushing,
        name: str,
        now: Micros,
        *,
        offsets: Mapping[str, int] = NONE,
        group: Group = NO_GROUP,
        epochs: Mapping[str, int] = NONE,
        timeout_ms: int = WITHOUT_END,
    ) -> None:
        """name: "init", "commit", "abort", "send-offsets", or "begin"."""
        super().__init__(name)
        self.transactions = transactions
        self.flushing = flushing
        self.error: TransactionError | None = None
        self.steps = self._steps(offsets, group, epochs)
        self.asked = False
        if name == "init" and timeout_ms == WITHOUT_END and transactions.timeout_ms < LONGEST_INT // 2:
            timeout_ms = transactions.timeout_ms * 2
        if timeout_ms != WITHOUT_END:
            self.gives_up_at = now + ms(timeout_ms)
        current = transactions.current
        if current.name not in ("", name):
            self._return(TransactionError(CONFLICT, f"Conflicting {current.name} API call is already in progress", retriable=True))
        current.name = current.name or name

    def _steps(self, offsets: Mapping[str, int], group: Group, epochs: Mapping[str, int]) -> list[tuple[Step, Work, bool]]:
        """(what is done, how, whether the call may be taken up again from here on)."""
        does = self.transactions
        acknowledge = (Step.ACKNOWLEDGE, does.acknowledge, False)
        match self.name:
            case "init":
                return [(Step.ASK, does.initialize, True), acknowledge]
            case "begin":
                return [(Step.ACKNOWLEDGE, does.begin_transaction, False)]
            case "commit":
                return [(Step.ASK, does.begin_commit, False), (Step.FLUSH, _nothing, True), (Step.ASK, does.commit, True), acknowledge]
            case "abort":
                purge = does.answers.purge_queues
                return [(Step.ASK, does.begin_abort, False), (Step.FLUSH, purge, True), (Step.ASK, does.abort, True), acknowledge]
            case _:
                return [(Step.ACKNOWLEDGE, lambda now, out: does.send_offsets(offsets, group, epochs, now, out), False)]

    def look(self, now: Micros, out: list[Effect]) -> bool:
        while not self.is_over:
            step, work, resumable = self.steps[0]
            if step is Step.FLUSH:
                if not self._flush(work, now, out):
                    return self.is_over
                continue
            current = self.transactions.current
            if not self.asked and not current.has_result:
                work(now, out)
            self.asked = True
            if current.has_result:
                error = current.take()
            elif step is Step.ASK and now >= self.gives_up_at:
                error = self._timed_out("Timed out waiting for operation to finish, retry call to resume")
            else:
                return False
            if error is not None:
                self._return(error, resumable=resumable)
            else:
                self._next()
        return True

    def _flush(self, work: Work, now: Micros, out: list[Effect]) -> bool:
        """True: on to the next step. Simplified: librdkafka's flush() looks whether it is over every 10 ms, and whenever there are reports."""
        if not self.asked:
            self.asked = True
            work(now, out)
            self.flushing.switch(on=True)
        if not self.flushing.is_over and now < self.gives_up_at:
            return False
        self.flushing.switch(on=False)
        if self.flushing.is_over:
            self._next()
            return True
        held = self.flushing.sending.messages_held
        text = f"Failed to flush all outstanding messages within the API timeout: {held} message(s) remaining"
        self._return(TransactionError(TIMED_OUT, text, retriable=True), resumable=True)
        return False

    def _next(self) -> None:
        self.steps = self.steps[1:]
        self.asked = False
        if not self.steps:
            self._return(None)

    def _timed_out(self, text: str) -> TransactionError:
        known = normalized(self.transactions.init_error) if self.name == "init" else ""
        if known and known != TIMED_OUT:
            return TransactionError(known, f"Failed to initialize Producer ID: {text_of(known)}", retriable=True)
        return TransactionError(TIMED_OUT, text, retriable=True)

    def _return(self, error: TransactionError | None, *, resumable: bool = False) -> None:
        """rd_kafka_txn_curr_api_return0: only a call that may be taken up again keeps the others out."""
        self.is_over, self.error = True, error
        if error is not None:
            self.failure = Failure(error.code, error.text, retriable=error.retriable)
        if self.transactions.current.name == self.name and not (resumable and error is not None and error.retriable):
            self.transactions.current.end()

    @property
    def next(self) -> Next:
        """What librdkafka's documentation says of its errors: repeat, abort, or give the producer up."""
        error = self.error
        if error is None or error.fatal:
            return Next.END
        if error.retriable or (error.requires_abort and self.name == "abort"):
            return Next.REPEAT
        return Next.ABORT if error.requires_abort else Next.END


class LibrdkafkaClient:
    """A transactional producer as its application has it."""

    def __init__(self, transactions: LibrdkafkaTransactions, answers: Answers, linger: Micros) -> None:
        self.transactions = transactions
        self.flushing = Flushing(answers.sending, answers.queues, linger)

    @property
    def number(self) -> int:
        return self.transactions.number

    @property
    def has_error(self) -> bool:
        return self.transactions.has_error

    def begin(self) -> None:
        """begin_transaction, which does not block."""
        call = self.call("begin", 0)
        call.look(0, [])
        if call.failure is not None:
            raise IllegalState(call.failure)

    def call(self, name: str, now: Micros, offsets: Mapping[str, int] = NONE, group: Group = NO_GROUP, epochs: Mapping[str, int] = NONE) -> LibrdkafkaCall:
        return LibrdkafkaCall(self.transactions, self.flushing, name, now, offsets=offsets, group=group, epochs=epochs)


def _nothing(now: Micros, out: list[Effect]) -> None:
    """A flush that throws nothing away before."""


__all__ = ["NEVER", "Flushing", "LibrdkafkaCall", "LibrdkafkaClient"]
