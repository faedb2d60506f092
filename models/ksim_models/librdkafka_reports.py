"""Delivery reports: what the application, and the history, are told of messages.

Kafka: rd_kafka_dr_msgq in librdkafka. The warm-up is no part of the history.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.facts import Acked, Failed, Offered, Retried, Sent
from ksim_models.librdkafka_broker_thread import BrokerThread
from ksim_models.librdkafka_errors import text_of
from ksim_models.librdkafka_queue import Message, MessageBatch, records_of
from ksim_models.librdkafka_sending import LibrdkafkaSending
from ksim_models.machine import Effect, Note
from ksim_models.units import Micros


class Reports:
    def __init__(self, producer: str, sending: LibrdkafkaSending) -> None:
        self.producer = producer
        self.sending = sending
        self.failures = 0
        """Messages that have failed, so far."""

    def offered(self, messages: Sequence[Message], out: list[Effect]) -> None:
        """The history learns of the records when they leave the queue for the first time."""
        fresh = [message for message in messages if not message.told and message.number >= 0]
        for message in fresh:
            message.told = True
        if not fresh:
            return
        first = fresh[0].produced_at
        step = fresh[1].produced_at - first if len(fresh) > 1 else 0
        steady = all(message.produced_at == first + index * step for index, message in enumerate(fresh))
        times = () if steady else tuple(message.produced_at for message in fresh)
        out.append(Note(Offered(self.producer, records_of(fresh), first, step if steady else 0, times)))

    def sent(self, thread: BrokerThread, batch: MessageBatch, out: list[Effect]) -> None:
        for message in batch.messages:
            message.sends += 1
        assert thread.connection is not None
        if told := told_of(batch.messages):
            out.append(Note(Sent(self.producer, batch.queue.partition, records_of(told), thread.broker, thread.connection, told[0].sends)))

    def retried(self, partition: str, messages: Sequence[Message], error: str, now: Micros, out: list[Effect]) -> None:
        if told := told_of(messages):
            out.append(Note(Retried(self.producer, partition, records_of(told), error, told[0].sends, told[0].backoff_until - now)))

    def acked(self, partition: str, messages: Sequence[Message], base_offset: int, now: Micros, out: list[Effect]) -> None:
        if told := told_of(messages):
            self.offered(told, out)
            out.append(Note(Acked(self.producer, partition, records_of(told), base_offset)))
            if self.sending.reactions.wanted:
                self.sending.reactions.succeeded([message.number for message in told], now, out)
        self.sending.finished(messages, now)

    def failed(self, partition: str, messages: Sequence[Message], error: str, now: Micros, out: list[Effect]) -> None:
        self.failures += len(messages)
        if told := told_of(messages):
            self.offered(told, out)
            out.append(Note(Failed(self.producer, partition, records_of(told), error, text_of(error))))
        if not self.sending.reactions.wanted:
            self.sending.finished(messages, now)
            return
        for message in messages:  # One report after another; what it is about is forgotten behind it (rd_kafka_msg_destroy).
            self.sending.failed(message, now, out)
            self.sending.finished([message], now)

    def failed_unassigned(self, topic: str, messages: Sequence[Message], error: str, now: Micros, out: list[Effect]) -> None:
        """They never had a partition: the history says which they would have named, or the first."""
        for message in messages:
            self.failed(f"{topic}-{message.thread.arrivals.partition or 0}", [message], error, now, out)


def told_of(messages: Sequence[Message]) -> list[Message]:
    return [message for message in messages if message.number >= 0]
