"""librdkafka's producer, as confluent-kafka has it, in a process of its own: the counterpart of Client.java.

Kafka: librdkafka's rd_kafka_produce and its delivery reports. Both languages, in and out, are described in ksim.live.clients.
Run as `python -m ksim.live.librdkafka_client`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from urllib.parse import unquote

from confluent_kafka import KafkaError, KafkaException, Message, Producer, libversion

from ksim.live.client_reactions import Reaction
from ksim.live.columns import NO_KEY, UNSERIALIZABLE, Row, read
from ksim.live.librdkafka_transactions import PROCEED, Habits, Sent, Transactions
from ksim.live.naming import WARM_UP, content
from ksim_models.flaws import UNSERIALIZABLE_TEXT
from ksim_models.on_failure import BREAKER_OPEN, BREAKER_OPEN_TEXT

SPIN_NS = 150_000
"""time.sleep comes back some 100 us late."""
POLL_S = 0.05
LOOK_NS = 5_000_000
PRACTICE_RECORDS = 200
PRACTICE_EVERY_US = 500
PRACTICE_WITHIN_S = 30
WARM_UP_BYTES = 100
SECURITY = ("security.", "sasl.", "ssl.", "enable.ssl.")

tell_lock = threading.Lock()
outcomes: SimpleQueue[dict[str, Any]] = SimpleQueue()


def tell(*events: dict[str, Any]) -> None:
    text = "".join(json.dumps(event, separators=(",", ":")) + "\n" for event in events).encode()
    with tell_lock:
        while text:
            text = text[os.write(sys.stdout.fileno(), text) :]


def tell_outcomes() -> None:
    """A thread of their own: whoever serves the delivery reports must not wait for a pipe."""
    while True:
        events = [outcomes.get()]
        while not outcomes.empty() and len(events) < 1000:
            events.append(outcomes.get())
        heard = [event.pop("heard") for event in events if "heard" in event]
        tell(*events)
        for one in heard:
            one.set()


def tell_and_wait(event: dict[str, Any]) -> None:
    """Behind all that was to be told before."""
    heard = event["heard"] = threading.Event()
    outcomes.put(event)
    heard.wait()


class Workload:
    def __init__(self, index: int, topic: str, rows: Sequence[Row], partition: int | None, window: int | None, reaction: Reaction | None = None) -> None:
        self.index = index
        self.topic = topic
        self.rows = rows
        self.partition = partition
        self.window = None if window is None else threading.Semaphore(window)
        self.noise = 0
        """Millionths of its bytes that no codec makes smaller."""
        self.waits = window == 1
        self.reaction = reaction or Reaction()
        self.habits: Habits | None = None
        """How it goes into transactions."""

    def say(self, state: str, failures: int) -> None:
        """Of its circuit breaker."""
        outcomes.put({"event": "breaker", "at": time.monotonic_ns(), "workload": self.index, "state": state, "failures": failures})


class Producing:
    """The application: one thread per workload above one producer, and one that serves the delivery reports."""

    def __init__(self, settings: dict[str, str], workloads: Sequence[Workload], index: int, *, first: int = 0, silent: bool = False) -> None:
        self.producer = Producer(settings)
        self.transactions = 0
        """So many an earlier process has begun."""
        self.holds: frozenset[tuple[int, str]] = frozenset()
        self.in_transactions: list[threading.Thread] = []
        self.workloads = workloads
        self.index = index
        self.silent = silent
        self.over = False
        self.problem: KafkaError | None = None
        self.next = first
        self.ended = 0
        self.turnstile = threading.Lock()
        """Records have their numbers in the order in which they enter produce(), which never blocks."""
        in_background("poll", self._poll)

    def run(self, zero: int) -> None:
        threads = []
        for workload in self.workloads:
            work = self._offer if workload.habits is None else self._go_through_transactions
            threads.append(in_background(f"workload-{workload.index}", work, workload, zero))
            if workload.habits is not None:
                self.in_transactions.append(threads[-1])
        for thread in threads:
            thread.join()

    def close(self, patience_s: float) -> None:
        """patience_s: -1 for as long as it takes."""
        with self.turnstile:
            self.over = True
        for thread in self.in_transactions:
            thread.join(None if patience_s < 0 else patience_s)  # A call that is under way is waited for; rd_kafka_destroy aborts nothing.
        self.producer.flush(patience_s)

    def _go_through_transactions(self, workload: Workload, zero: int) -> None:
        assert workload.habits is not None
        times = [at for at, _, _ in workload.rows]
        transactions = Transactions(
            InTransactions(self, workload),
            times,
            workload.habits,
            zero=zero,
            waits=workload.waits,
            say=tell_and_wait,
            wait_until=self._wait_until,
            begun=self.transactions,
            holds=self.holds,
        )
        transactions.run()
        told = {"at": time.monotonic_ns(), "workload": workload.index}
        if transactions.left:
            outcomes.put({"event": "stopped", **told, "left": transactions.left})
        outcomes.put({"event": "finished", **told})

    def _wait_until(self, moment: int) -> None:
        """Or until the application is asked to end."""
        while not self.over and moment - time.monotonic_ns() > LOOK_NS:
            time.sleep(LOOK_NS / 1e9)
        if not self.over:
            wait_until(moment)

    def _poll(self) -> None:
        while True:
            try:
                self.producer.poll(POLL_S)
            except KafkaException:
                traceback.print_exc()  # After a fatal error every call raises; the reports still come.
                time.sleep(0.001)

    def _offer(self, workload: Workload, zero: int) -> None:
        reaction = workload.reaction
        for place, (at, size, key) in enumerate(workload.rows):
            if not reaction.stopped:
                wait_until(zero + at * 1000)
                if workload.window is not None:
                    workload.window.acquire()
            if reaction.stopped:
                outcomes.put({"event": "stopped", "at": time.monotonic_ns(), "workload": workload.index, "left": len(workload.rows) - place})
                return
            end = threading.Event()
            with self.turnstile:
                if self.over:
                    return
                number = self.next
                self.next += 1
                has_failed, _ = self.send(workload, size, key, number, end)
            while workload.waits and reaction.resends:
                end.wait()
                if not has_failed or self.over:
                    break
                assert workload.window is not None
                workload.window.acquire()
                end = threading.Event()
                with self.turnstile:
                    has_failed, _ = self.send(workload, size, key, number, end, again=True)

    def send(self, workload: Workload, size: int, key_number: int, number: int, over: threading.Event, *, again: bool = False) -> tuple[list[bool], list[bool]]:
        """`over` is set when the record has its outcome; the first list holds something then if its send failed, the second one at once if it was refused."""
        key = None if key_number <= NO_KEY else f"key-{key_number}".encode()
        has_failed: list[bool] = []
        was_refused: list[bool] = []
        reaction = workload.reaction
        value, headers = content(WARM_UP if self.silent else f"{self.index}/{number}", max(0, size - len(key or b"")), workload.noise)
        told: dict[str, Any] = {"record": number, "workload": workload.index}

        def end(event: str, **details: object) -> None:
            self.ended += 1
            if not self.silent:
                outcomes.put({"event": event, "at": time.monotonic_ns(), **told, **details})
            over.set()
            if workload.window is not None and not again_from_report:
                workload.window.release()

        def refuse(**details: object) -> None:
            reaction.failed(number, workload.say)
            was_refused.append(True)
            end("refused", **details)

        def report(error: KafkaError | None, message: Message) -> None:
            partition = message.partition()
            place = -1 if partition is None else partition
            if error is None:
                offset = message.offset()
                reaction.succeeded(number, workload.say)
                end("acked", partition=place, offset=-1 if offset is None or offset < 0 else offset)
            else:
                self.problem = error
                has_failed.append(True)
                if reaction.resends and not workload.waits and not self.over:
                    again_from_report.append(True)
                elif not reaction.resends:
                    reaction.failed(number, workload.say)
                end("failed", partition=place, **described(error))
                if again_from_report:
                    self.send(workload, size, key_number, number, threading.Event(), again=True)

        again_from_report: list[bool] = []
        more: dict[str, Any] = {} if workload.partition is None else {"partition": workload.partition}
        offered = {"event": "offered", "record": number, "workload": workload.index, "at": time.monotonic_ns()}
        if again:
            outcomes.put(offered)  # Behind the failure; that there is such a record was told before.
        elif not self.silent:
            tell(offered)
        if not reaction.lets_through(number, workload.say):
            end("refused", **{"class": BREAKER_OPEN, "message": BREAKER_OPEN_TEXT})
            return has_failed, was_refused
        if key_number == UNSERIALIZABLE:
            refuse(**{"class": "_VALUE_SERIALIZATION", "message": UNSERIALIZABLE_TEXT})  # As confluent-kafka's SerializingProducer.
            return has_failed, was_refused
        try:
            self.producer.produce(workload.topic, value, key, headers=[*headers], on_delivery=report, **more)
        except BufferError as full:
            refuse(**{"class": "_QUEUE_FULL", "message": str(full)})
        except KafkaException as refusal:
            refuse(**described(refusal.args[0]))
        return has_failed, was_refused


class InTransactions:
    """One workload's records, handed over when its application says so."""

    def __init__(self, producing: Producing, workload: Workload) -> None:
        self.producing = producing
        self.workload = workload
        self.producer = producing.producer

    def is_over(self) -> bool:
        return self.producing.over

    def call(self, place: int, number: int) -> Sent:
        producing, workload = self.producing, self.workload
        _, size, key = workload.rows[place]
        if workload.window is not None:
            workload.window.acquire()
        end = threading.Event()
        with producing.turnstile:
            again = number >= 0
            if not again:
                number, producing.next = producing.next, producing.next + 1
            failed, refused = producing.send(workload, size, key, number, end, again=again)

        def has_failed() -> bool:
            end.wait()
            return bool(failed)

        return Sent(number, place, refused=bool(refused), has_failed=has_failed)


def described(error: KafkaError) -> dict[str, str]:
    return {"class": error.name(), "message": error.str().removeprefix("Unable to produce message: ")}  # confluent-kafka's words before librdkafka's.


class Client:
    def __init__(self) -> None:
        self.index = 0
        self.first = 0
        self.settings: dict[str, str] = {}
        self.workloads: list[Workload] = []
        self.warm_ups: list[tuple[str, int]] = []
        self.producing: Producing | None = None
        self.transactions = 0
        self.holds: set[tuple[int, str]] = set()

    def listen(self) -> None:
        for line in sys.stdin:
            word, *words = (unquote(word) for word in line.rstrip("\n").split(" "))
            match word, words:
                case "producer", [index]:
                    self.index = int(index)
                case "setting", [name, value]:
                    self.settings[name] = value
                case "workload", [topic, file, partition, window, reaction]:
                    rows, place = read(Path(file)), len(self.workloads)
                    self.workloads.append(Workload(place, topic, rows, number_or_none(partition), number_or_none(window), Reaction(reaction)))
                case "content", [index, noise]:
                    self.workloads[int(index)].noise = int(noise)
                case "transaction", [index, *habits]:
                    self.workloads[int(index)].habits = Habits(habits)
                case "transactions", [begun]:
                    self.transactions = int(begun)
                case "hold", [number, phase]:
                    self.holds.add((int(number), phase))
                case "proceed", []:
                    PROCEED.release()
                case "from", [first]:
                    self.first = int(first)
                case "warm-up", [topic, partition]:
                    self.warm_ups.append((topic, int(partition)))
                case "practise", [bootstrap, topic]:
                    self.practise(bootstrap, topic)
                case "ready", []:
                    tell({"event": "ready", "at": time.monotonic_ns(), "version": libversion()[0]})
                case "go", [zero]:
                    in_background("go", self.go, int(zero))
                case "close", [patience_ms]:
                    in_background("close", self.close, -1 if patience_ms == "-" else int(patience_ms) / 1000)
                case _:
                    raise ValueError(f"no such command: {word}")

    def practise(self, bootstrap: str, topic: str) -> None:
        """By the same code, and not through the proxy: the library is loaded, and nothing of it is told."""
        own = {name: value for name, value in self.settings.items() if name.startswith(SECURITY)} | {"bootstrap.servers": bootstrap, "linger.ms": "0"}
        rows = [(number * PRACTICE_EVERY_US, 100, number % 2 - 1) for number in range(PRACTICE_RECORDS)]
        practice = Producing(own, [Workload(0, topic, rows, None, None)], 0, silent=True)
        practice.run(time.monotonic_ns())
        practice.producer.flush(PRACTICE_WITHIN_S)
        if practice.problem is not None:
            raise KafkaException(practice.problem)
        if practice.ended < PRACTICE_RECORDS:
            raise TimeoutError(f"no answer from {bootstrap} within {PRACTICE_WITHIN_S} s")

    def go(self, zero: int) -> None:
        begins = [workload.habits.begins_at_ns for workload in self.workloads if workload.habits is not None]
        wait_until(zero + min([-1_000_000_000 if self.warm_ups else 0, *begins]))
        self.producing = producing = Producing(self.settings, self.workloads, self.index, first=self.first)
        producing.transactions, producing.holds = self.transactions, frozenset(self.holds)
        tell({"event": "constructed", "at": time.monotonic_ns()})
        if self.warm_ups:
            value, headers = content(WARM_UP, WARM_UP_BYTES)
            for topic, partition in self.warm_ups:
                producing.producer.produce(topic, value, partition=partition, headers=[*headers])
            in_background("warm-up", self.warm_up, producing.producer)
        producing.run(zero)

    def warm_up(self, producer: Producer) -> None:
        producer.flush()
        tell({"event": "warm", "at": time.monotonic_ns()})

    def close(self, patience_s: float) -> None:
        """As an application ends: no more records, and then whatever was sent has its outcome."""
        if self.producing is not None:
            self.producing.close(patience_s)
        while not outcomes.empty():
            time.sleep(0.001)
        tell({"event": "closed", "at": time.monotonic_ns()})
        os._exit(0)


def number_or_none(word: str) -> int | None:
    return None if word == "-" else int(word)


def wait_until(moment: int) -> None:
    while (left := moment - time.monotonic_ns()) > 0:
        time.sleep(max(0, left - SPIN_NS) / 1e9)


def in_background(name: str, work: Callable[..., None], *arguments: object) -> threading.Thread:
    def guarded() -> None:
        try:
            work(*arguments)
        except BaseException as problem:
            break_down(problem)

    thread = threading.Thread(target=guarded, name=name, daemon=True)
    thread.start()
    return thread


def break_down(problem: BaseException) -> None:
    traceback.print_exception(problem)
    said = described(problem.args[0]) if isinstance(problem, KafkaException) else {"class": type(problem).__name__, "message": str(problem)}
    tell({"event": "broken", "at": time.monotonic_ns(), **said})
    os._exit(3)


def main() -> None:
    sys.setswitchinterval(0.0001)  # Else a thread whose moment has come may wait 5 ms for the one that serves reports.
    in_background("outcomes", tell_outcomes)
    try:
        Client().listen()
    except BaseException as problem:
        break_down(problem)
    os._exit(1)  # Whoever started this process is gone, and so is the reason for it.


if __name__ == "__main__":
    main()
