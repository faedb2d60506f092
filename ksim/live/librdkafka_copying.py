"""An application that reads with librdkafka, makes one record of each, and writes them with librdkafka, in one process: consume, transform, produce.

Not Kafka's: the program of librdkafka's examples/transactions.c, as confluent-kafka has its calls. `ksim_models.copying_librdkafka_consumer` and
`ksim_models.copying_producer` are the same course of events, simulated; Reading.java is its counterpart.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, KafkaException, Message, TopicPartition

from ksim.live.librdkafka_client import Producing, tell_and_wait
from ksim.live.librdkafka_reading import IDLE_S, Reading, say
from ksim.live.librdkafka_transactions import Calls

NO_USE = "The application's producer is of no use any more."


@dataclass(frozen=True, slots=True)
class Writes:
    """Of what it makes. In one process everybody has group metadata, so KIP-447 cannot be left out here."""

    topic: str
    commit_every: int
    size: int
    leader_epochs: bool


class Copying(Reading):
    def __init__(self, settings: dict[str, str], topics: list[str], work_us: int, writes: Writes, producing: Producing, *, transactional: bool) -> None:
        super().__init__(settings, topics, work_us, "none")
        self.writes = writes
        self.producing = producing
        self.calls = None
        if transactional:
            self.calls = Calls(producing.producer, say=tell_and_wait, begun=producing.transactions, holds=producing.holds)
        self.count = 0
        """Read since the last commit."""
        self.offsets: dict[tuple[str, int], tuple[int, int]] = {}
        """Of these: the next offset of each partition, and the leader epoch of the last record read."""
        self.begun = False
        self.of_no_use = False
        self.fates: list[list[bool]] = []
        """Of each record since the last commit: something stands there once its send has failed."""

    def run(self) -> None:
        if self.calls is not None and self.calls.call("init") is not None:
            self._come_to_an_end()
        super().run()

    def _subscribe(self) -> None:
        if not self.of_no_use:
            self.consumer.subscribe(self.topics, on_revoke=self._on_revoked, on_lost=self._on_lost)

    @property
    def _goes_on(self) -> bool:
        return super()._goes_on and not self.of_no_use

    # One record.

    def _take(self, message: Message) -> None:
        self._tell_read(message)
        topic, partition, offset = str(message.topic()), message.partition() or 0, message.offset() or 0
        self.count += 1
        epoch = message.leader_epoch() if self.writes.leader_epochs else None
        self.offsets[topic, partition] = offset + 1, -1 if epoch is None else epoch
        if not self.begun and self.calls is not None:
            if not self.calls.begin():
                self._come_to_an_end()
                return
            self.begun = True
        if self._send(message) and self.count >= self.writes.commit_every:
            self._end()

    def _send(self, message: Message) -> bool:
        """False: produce() threw, and what was open is not any more."""
        producing = self.producing
        who = self._who(message)
        with producing.turnstile:
            number, producing.next = producing.next, producing.next + 1
            if who is not None:
                say("processed", **self._slice(message, who), made=number)
            failed, refused = producing.send(producing.workloads[0], self.writes.size, -1, number, threading.Event())
        if refused and self.calls is not None:
            self._abort(rewinds=True)
            return False
        self.fates += [failed, refused]
        return True

    # The end of what is open.

    def _end(self) -> None:
        calls = self.calls
        if calls is None:
            self.producing.producer.flush()
            if any(self.fates):
                self._rewind()
            else:
                self._commit(self._shown(), offsets=self._to_commit(), asynchronous=False)
            self._close()
            return
        calls.tell("send-offsets", group=str(self.group), offsets=self._shown())
        problem = calls.call("send-offsets", self._send_offsets)
        if problem is None:
            calls.tell("commit")
            problem = calls.call("commit")
        if problem is None:
            calls.tell("committed")
            self._tell_offsets("")
            self._close()
        elif problem.fatal() or not problem.txn_requires_abort():
            self._come_to_an_end()
        else:
            self._tell_offsets(str(problem.name()))
            self._abort(rewinds=True)

    def _send_offsets(self) -> None:
        self.producing.producer.send_offsets_to_transaction(self._to_commit(), self.consumer.consumer_group_metadata())

    def _abort(self, *, rewinds: bool) -> None:
        assert self.calls is not None
        self.calls.tell("abort")
        if self.calls.call("abort") is not None:
            self._come_to_an_end()
            return
        self.calls.tell("aborted")
        if rewinds:
            self._rewind()
        self._close()

    def _close(self) -> None:
        self.begun = False
        self.count = 0
        self.offsets, self.fates = {}, []

    def _rewind(self) -> None:
        """Back to the committed offsets, or to the beginning where there are none; asked for until it is answered."""
        mine = self.consumer.assignment()
        while mine:
            try:
                found = self.consumer.committed(mine, timeout=10)
                if all(one.error is None for one in found):
                    break
            except KafkaException:
                pass
            time.sleep(IDLE_S)
        for one in found if mine else ():
            one.offset = one.offset if one.offset >= 0 else OFFSET_BEGINNING
            try:
                self.consumer.seek(one)
            except KafkaException as problem:
                if problem.args[0].name() != "_STATE":  # Else it has not begun: at what is committed, then.
                    raise

    def _come_to_an_end(self) -> None:
        self.of_no_use = True
        self._close()
        tell_and_wait({"event": "ended", "at": time.monotonic_ns(), "class": "KafkaException", "message": NO_USE})

    # Rebalances, within poll() or close().

    def _on_revoked(self, consumer: object, partitions: object) -> None:
        del consumer, partitions
        if self.count:
            self._end()

    def _on_lost(self, consumer: object, partitions: object) -> None:
        del consumer, partitions
        if self.begun:
            self._abort(rewinds=False)
        else:
            self._close()

    def _idle(self) -> None:
        if self.count:
            self._end()
        else:
            super()._idle()

    # What is said.

    def _to_commit(self) -> list[TopicPartition]:
        make: Callable[..., TopicPartition] = TopicPartition
        return [
            make(topic, partition, offset) if epoch < 0 else make(topic, partition, offset, leader_epoch=epoch)
            for (topic, partition), (offset, epoch) in sorted(self.offsets.items())
        ]

    def _shown(self) -> list[list[Any]]:
        return [[topic, partition, offset] for (topic, partition), (offset, _) in sorted(self.offsets.items())]

    def _tell_offsets(self, error: str) -> None:
        assert self.calls is not None
        say("offsets", offsets=self._shown(), transaction=self.calls.number, **{"class": error})
