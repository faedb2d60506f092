"""Producers of a replay: each a process of its own that sends what it is told at the times it is told, and says what it saw.

Kafka: the Java client's KafkaProducer behind Client.java, librdkafka's behind librdkafka_client.py. Both speak the two languages that are described here.

What a client is told: lines of words, each word percent-encoded.

    producer INDEX                           its place in the plan, for the identity of records
    setting NAME VALUE                       in the client's own spelling
    from NUMBER                              of its first record, where another process had those before
    workload TOPIC FILE PARTITION WINDOW ON_FAILURE
                                             "-" where there is none; ON_FAILURE: report, resend, stop, or break:FAILURES:MICROSECONDS
                                             FILE: 16 bytes per record: time in us, bytes, number of its key (-1: none, -2: cannot be serialized)
    transaction WORKLOAD RECORDS END ABORT_EVERY THINK BEGINS_AT ON_FAILURE
                                             how the workload's records go into transactions; times in us
    transactions NUMBER                      so many an earlier process has begun
    hold NUMBER PHASE                        having said this step of this transaction, it waits for "proceed"
    content WORKLOAD MILLIONTHS              where the producer compresses: so much of each record is noise, and a batch compresses about to that
    warm-up TOPIC PARTITION                  the real producer sends a record here a second before time zero
    practise BOOTSTRAP TOPIC                 a throw-away producer sends a few records, so that the process is warm
    ready                                    answered when all before is done
    go ZERO                                  time zero, on the monotonic clock in ns: then the real producer is constructed and the workloads begin
    proceed                                  with the step that was held
    close PATIENCE                           no more records, and when all have their outcome, or after so many ms ("-": never), the process ends

What it says: JSON lines, each with "event" and "at" (monotonic clock, ns).

    ready     version                        of the client library
    constructed, warm, closed
    announced until, workload                records below this number may be offered, and in a log, even if no more is heard of them
    offered   record, workload               the moment of send(); written before it is called, unless it was announced, or is sent again
    acked     record, workload, partition, offset (-1: not told)
    failed    record, workload, partition (-1: not known), class, message
    refused   record, workload, class, message: send() threw, or returned an already failed future
    breaker   workload, state, failures      of the application's circuit breaker
    transaction number, phase, and call, class, message where it failed: a step that was taken, or is taken next (ksim_models.facts.Transaction)
    finished  workload                       its application has come to the end of its transactions
    stopped   workload, left                 a send failed, and so many records are never offered
    broken    class, message                 the process ends
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from ksim.dice import Dice
from ksim.live import columns
from ksim.live.book import Book
from ksim.live.child import Child, Workplace
from ksim.live.client_events import records_of, together
from ksim.live.client_transactions import HELD_S, ClientTransactions
from ksim.live.errors import LiveError
from ksim.live.naming import Naming
from ksim.plan import Plan
from ksim.workload import schedule
from ksim_models.arrivals import Arrivals
from ksim_models.facts import Acked, BreakerChanged, Failed, Fault, Offered, Refused
from ksim_models.on_failure import REPORT, OnFailure, Reaction
from ksim_models.units import Micros

JAVA = "java"
PIPE_BYTES = 1 << 20
"""Some 20,000 lines: a client must never wait for us. (Linux; elsewhere the pipe is what it is.)"""
READ_BYTES = 1 << 15
"""At a time: a proxy lives in the same loop, and a thousand lines take some milliseconds."""
READY_WITHIN_S = 60
CLOSED_WITHIN_S = 5
LOOK_S = 0.01
LOOKS_FOR_A_CODE = 100
REPLACED = frozenset("bootstrap.servers client.id key.serializer value.serializer interceptor.classes metric.reporters delivery.report.only.error".split())
"""Settings that are ours in a replay: the doors, the names, records of bytes, and every outcome told."""
SECRET = re.compile(r"password|passwd|secret|jaas|token|credential|user\.info|\.key$|\.pem$|username")
HIDDEN = "[hidden]"
TRANSACTIONAL_ID = "transactional.id"


class LiveClient:
    """One producer of the plan. All methods are called from the event loop.

    `command`: how its process is started (`java_command` or `librdkafka_command`).
    """

    def __init__(self, plan: Plan, index: int, command: Sequence[str], *, naming: Naming, book: Book, workplace: Workplace) -> None:
        self.plan = plan.producers[index]
        self.name = self.plan.name
        self.index = index
        self.command = command
        self.naming = naming
        self.book = book
        self.workplace = workplace
        dice = Dice(plan.seed)
        self.workloads: Sequence[Arrivals] = [schedule(workload, dice, plan.faults) for workload in plan.workloads if workload.producer == self.name]
        self.total = sum(workload.total for workload in self.workloads)
        self.transactions = ClientTransactions(plan, self.name, self.workloads, book)
        topics = {workload.topic for workload in self.workloads}
        warm = plan.warm and not self.plan.config.transactional_id  # Before initTransactions it may send nothing.
        self.warm_ups = [(topic.name, number) for topic in plan.topics if warm and topic.name in topics for number in range(len(topic.assignment))]
        self.offered = 0
        """Different records: one that is sent again counts once."""
        self.ended = 0
        self.returning = False
        """Another process of it is about to start."""
        self.version = ""
        """Of the client library, as it says itself."""
        self.alive = False
        """Its process runs and was not told to end."""
        self.constructed_at: Micros | None = None
        """When the real producer stood there, ready for the first send()."""
        self.is_warm = not self.warm_ups
        self.trouble: LiveError | None = None
        self._child: Child | None = None
        self._known = bytearray(self.total)
        """1 for every record that was offered."""
        self._settled = bytearray(self.total)
        """1 for every record whose last send has its outcome."""
        self._next = [0] * len(self.workloads)
        """Per workload: how many of its records were offered."""
        self._closing = False
        self._busy_until: Micros = 0
        """When the last record of a workload would have come that has stopped: the heal comes then, as in a simulation."""
        self._lives = 0
        self._doors: Sequence[str] = ()
        self._practise: tuple[str, str] | None = None
        self._announced = 0
        self._announcing = 0
        """The workload whose records were announced last."""
        self._last_heard: Micros = 0
        self._ready = asyncio.Event()
        self._gone = asyncio.Event()
        self._unread = b""
        self._secrets = sorted({value for name, value in self.plan.given if SECRET.search(name) and len(value) > 2}, key=len, reverse=True)

    async def start(self, doors: Sequence[str], practise: tuple[str, str] | None = None) -> None:
        """Up to the moment before time zero. `doors`: HOST:PORT of each broker, as this client is to see them.

        `practise`: bootstrap servers that lead past the proxy, and the real name of a topic that is nobody's.
        """
        self._doors, self._practise = doors, practise
        self._lives += 1
        life = f"{self.name}-{self._lives}" if self._lives > 1 else self.name
        self._child = self.workplace.start(f"client-{life}", self.command, env=_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.alive = True
        self._listen(self._child.stdout.fileno())
        self._say("producer", str(self.index))
        self._say("from", str(self.offered))
        for name, value in self.settings(doors).items():
            self._say("setting", name, value)
        await self._tell_its_work(life)
        for topic, partition in self.warm_ups if self._lives == 1 else ():
            self._say("warm-up", self.naming.real(topic), str(partition))
        if practise is not None:
            self._say("practise", *practise)
        self._say("ready")
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                await self._ready.wait()
        except TimeoutError:
            raise LiveError(f"producer {self.name}: its process was not ready after {READY_WITHIN_S} s.{self._last_words()}") from None
        self.check()

    async def _tell_its_work(self, life: str) -> None:
        folder = self.workplace.folder / "workloads"
        folder.mkdir(exist_ok=True)
        files = [folder / f"{life}-{number}" for number in range(len(self.workloads))]
        for file, workload, first in zip(files, self.workloads, self._next):
            await asyncio.to_thread(columns.write, file, columns.rows(workload, first))
        for file, workload in zip(files, self.workloads):
            numbers = ["-" if one is None else str(one) for one in (workload.partition, workload.window)]
            on_failure = REPORT if workload.transaction is not None else workload.on_failure
            self._say("workload", self.naming.real(workload.topic), str(file), *numbers, _in_one_word(on_failure))
        for words in self.transactions.words():
            self._say(*words)
        if self.plan.config.compression_type != "none":
            for index, workload in enumerate(self.workloads):
                self._say("content", str(index), str(workload.compression_ratio))

    def settings(self, doors: Sequence[str]) -> dict[str, str]:
        """What was written, and what is ours in a replay."""
        own = {name: value for name, value in self.plan.given if name not in REPLACED}
        bootstrap = ",".join(doors[number - 1] for number in self.plan.bootstrap(len(doors)))
        if TRANSACTIONAL_ID in own:
            own[TRANSACTIONAL_ID] = self.naming.real_id(own[TRANSACTIONAL_ID])
        return own | {"bootstrap.servers": bootstrap, "client.id": self.name}

    def go(self, zero_ns: int) -> None:
        """`zero_ns`: some time ahead; at least 2 s where the plan says warm, as the real producer is then constructed a second before."""
        self._say("go", str(zero_ns))

    async def start_again(self, zero_ns: int) -> None:
        """Another process, which goes on with the next record."""
        self.returning = True
        await self._gone.wait()
        if self._child is not None:
            self._child.close_pipes()
        self._closing, self._unread, self._announced = False, b"", self.offered
        self._settle(range(self.offered))  # Whoever had no outcome has none for ever.
        self._ready, self._gone = asyncio.Event(), asyncio.Event()
        await self.start(self._doors, self._practise)
        self.go(zero_ns)
        self.returning = False

    @property
    def all_offered(self) -> bool:
        """Every record was handed to send(), or never will be. Raises what went wrong with the process."""
        self.check()
        if self.returning or self.book.clock.now() < self._busy_until:
            return False
        return not self.alive or self._closing or self.offered == self.total

    @property
    def is_done(self) -> bool:
        """Every record has its outcome, or never will."""
        self.check()
        return not self.returning and (not self.alive or (self.ended == self.total and not self.transactions.under_way))

    def check(self) -> None:
        if self.trouble is not None:
            raise self.trouble

    def kill(self) -> None:
        """At once, as by kill -9. What it had said is still read."""
        self.alive = False
        if self._child is not None:
            self._child.kill()

    def pause(self) -> None:
        if self._child is not None:
            self._child.pause()

    def resume(self) -> None:
        if self._child is not None:
            self._child.resume()

    async def close(self, within_s: float = CLOSED_WITHIN_S) -> None:
        """As an application ends: nothing more is offered, what was sent gets its outcome; after `within_s` it is killed. Its last line is read."""
        if self._child is None:
            return
        self.alive = False
        if self._child.code is None:
            self._child.resume()
            self._say("close", "-")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._gone.wait()
        self._child.kill()
        await self._gone.wait()
        self._child.close_pipes()

    async def shut_down(self, within: Micros | None = None) -> None:
        """As an application ends in the middle of a play: nothing more is offered; close() has so long, or as long as it takes."""
        if self._child is not None and self.alive:
            self._closing = True
            self._say("close", "-" if within is None else str(within // 1000))
            await self._gone.wait()

    # What it is told.

    def _say(self, *words: str) -> None:
        assert self._child is not None
        with contextlib.suppress(BrokenPipeError):  # Its end is noticed where its lines are read.
            self._child.stdin.write((" ".join(quote(word, safe="") for word in words) + "\n").encode())
            self._child.stdin.flush()

    # What it says.

    def _listen(self, pipe: int) -> None:
        os.set_blocking(pipe, False)
        with contextlib.suppress(AttributeError, OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        asyncio.get_running_loop().add_reader(pipe, self._read, pipe)

    def _read(self, pipe: int) -> None:
        try:
            read = os.read(pipe, READ_BYTES)
        except BlockingIOError:
            return
        if not read:
            asyncio.get_running_loop().remove_reader(pipe)
            self._on_end()
            return
        *lines, self._unread = (self._unread + read).split(b"\n")
        self.hear(lines)

    def hear(self, lines: Sequence[bytes]) -> None:
        """Lines of the client, turned into facts; neighbours of one kind become one fact."""
        text = b",".join(line for line in lines if line.startswith(b"{"))
        for events in together(json.loads(b"[" + text + b"]")):  # All in one go: three times as fast as one by one.
            self._last_heard = self._at(events[-1])
            getattr(self, "_on_" + events[0]["event"])(events)

    def _on_ready(self, events: list[dict[str, Any]]) -> None:
        self.version = events[0]["version"]
        wanted = self.plan.client_version
        if wanted and not f"{self.version}.".startswith(f"{wanted}."):
            self.trouble = LiveError(
                f"producer {self.name}: {self.plan.client} {wanted} is asked for, and {self.version} is installed: pip install 'confluent-kafka=={wanted}.*'."
            )
        self._ready.set()

    def _on_announced(self, events: list[dict[str, Any]]) -> None:
        self._announced = max(self._announced, events[0]["until"])
        self._announcing = events[0]["workload"]

    def _on_constructed(self, events: list[dict[str, Any]]) -> None:
        self.constructed_at = self._at(events[0])

    def _on_warm(self, events: list[dict[str, Any]]) -> None:
        self.is_warm = True

    def _on_closed(self, events: list[dict[str, Any]]) -> None:
        pass  # The end of the process follows.

    def _on_broken(self, events: list[dict[str, Any]]) -> None:
        self.trouble = LiveError(f"producer {self.name}: {events[0]['class']}: {self._plain(events[0]['message'])}")

    def _on_offered(self, events: list[dict[str, Any]]) -> None:
        times = tuple(self._at(event) for event in events)
        records = records_of(events)
        for number, at in zip(records, times):
            self._count_offer(number, events[0]["workload"], at)
        self.book.note(Offered(self.name, records, times[0], 0, times if len(times) > 1 else ()), times[0])

    def _count_offer(self, number: int, workload: int, at: Micros) -> None:
        if self._known[number]:  # It is sent again, so it is pending again.
            self.ended -= self._settled[number]
            self._settled[number] = 0
            return
        self._known[number] = 1
        self.offered += 1
        flaw = self.workloads[workload].flaws.get(self._next[workload])
        self._next[workload] += 1
        if flaw is not None:
            self.book.note(Fault(flaw.fault, flaw.do, "hit", (f"{self.name}/{number}",), 1), at)

    def _settle(self, records: range) -> None:
        for number in records:
            self.ended += not self._settled[number]
            self._settled[number] = 1

    def _on_breaker(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            workload = self.workloads[event["workload"]].workload
            self.book.note(BreakerChanged(self.name, workload, event["state"], event["failures"]), self._at(event))

    def _on_stopped(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            workload = self.workloads[event["workload"]]
            self.total -= event["left"]
            self._busy_until = max(self._busy_until, workload.time_of(workload.total - 1))
            self._next[event["workload"]] = workload.total

    def _on_transaction(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            if self.transactions.heard(event, self._at(event), self._plain, *self._sent_offsets(event)):
                asyncio.get_running_loop().call_later(HELD_S, self._say, "proceed")

    def _sent_offsets(self, event: dict[str, Any]) -> tuple[tuple[tuple[str, int], ...], str]:
        """Of a group, with its transaction: none where nothing is read."""
        del event
        return (), ""

    def _on_finished(self, events: list[dict[str, Any]]) -> None:
        self.transactions.under_way = False

    def _on_acked(self, events: list[dict[str, Any]]) -> None:
        self._settle(records_of(events))
        self.book.note(Acked(self.name, self._partition(events[0]), records_of(events), events[0]["offset"]), self._at(events[0]))

    def _on_failed(self, events: list[dict[str, Any]]) -> None:
        self._settle(records_of(events))
        first = events[0]
        self.book.note(Failed(self.name, self._partition(first), records_of(events), first["class"], self._plain(first["message"])), self._at(first))

    def _on_refused(self, events: list[dict[str, Any]]) -> None:
        self._settle(records_of(events))
        self.book.note(Refused(self.name, records_of(events), events[0]["class"], self._plain(events[0]["message"])), self._at(events[0]))

    def _on_end(self, look: int = 0) -> None:
        """Its output has ended; its exit code follows at once, or it lives on without us."""
        code = self._child.code if self._child is not None else None
        if code is None and look < LOOKS_FOR_A_CODE:
            asyncio.get_running_loop().call_later(LOOK_S, self._on_end, look + 1)
            return
        if self.alive and not self._closing and self.trouble is None:
            how = "" if code is None else f" by signal {-code}" if code < 0 else f" with exit code {code}"
            self.trouble = LiveError(f"producer {self.name}: its process ended by itself{how}.{self._last_words()}")
        self.alive = False
        self._offer_what_was_announced()
        self._gone.set()
        self._ready.set()

    def _offer_what_was_announced(self) -> None:
        """Killed in the middle of a burst: what was announced may have been sent, and nobody knows its outcome."""
        for number in range(self._announced):
            if not self._known[number]:
                self._count_offer(number, self._announcing, self._last_heard)
                self.book.note(Offered(self.name, range(number, number + 1), self._last_heard, 0), self._last_heard)

    def _at(self, event: dict[str, Any]) -> Micros:
        return self.book.clock.of(event["at"])

    def _partition(self, event: dict[str, Any]) -> str:
        workload = self.workloads[event["workload"]]
        return f"{workload.topic}-{max(0, event['partition'])}"

    def _plain(self, text: str) -> str:
        """In the scenario's names, and without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text.replace(self.naming.prefix, "")

    def _last_words(self) -> str:
        lines = self._child.last_lines() if self._child is not None else ""
        return f" Its last lines:\n{self._plain(lines)}" if lines else ""


def _in_one_word(on_failure: OnFailure) -> str:
    if on_failure.reaction is Reaction.BREAK:
        return f"break:{on_failure.open_after}:{on_failure.half_open}"
    word: str = on_failure.reaction.value
    return word


# How the processes are started.


def _environment() -> dict[str, str]:
    """A child of ours finds what we found."""
    return {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}


def librdkafka_command() -> list[str]:
    return [sys.executable, "-m", "ksim.live.librdkafka_client"]


def librdkafka_reader_command() -> list[str]:
    return [sys.executable, "-m", "ksim.live.librdkafka_reader"]
