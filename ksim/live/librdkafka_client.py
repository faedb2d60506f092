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

from ksim.live.columns import NO_KEY, UNSERIALIZABLE, Row, read
from ksim.live.naming import WARM_UP, content
from ksim_models.flaws import UNSERIALIZABLE_TEXT
from ksim_models.on_failure import BREAKER_OPEN, BREAKER_OPEN_TEXT

SPIN_NS = 150_000
"""time.sleep comes back some 100 us late."""
POLL_S = 0.05
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
        tell(*events)


class Reaction:
    """What the application does about a failed send; ksim_models.on_failure says the same of the simulated one."""

    def __init__(self, word: str = "report") -> None:
        """word: "report", "resend", "stop", or "break:FAILURES:MICROSECONDS"."""
        kind, *numbers = word.split(":")
        self.resends, self.stops = kind == "resend", kind == "stop"
        self.open_after, self.half_open_ns = (int(numbers[0]), int(numbers[1]) * 1000) if numbers else (0, 0)
        self.stopped = False
        self.state = "closed"
        self.failures = 0
        self.until = 0
        self.trial = -1
        self.lock = threading.Lock()

    def lets_through(self, number: int, say: Callable[[str, int], None]) -> bool:
        with self.lock:
            if not self.open_after or self.state == "closed":
                return True
            if self.state == "half-open" or time.monotonic_ns() < self.until:
                return False
            self.trial = number
            self._become("half-open", say)
            return True

    def succeeded(self, number: int, say: Callable[[str, int], None]) -> None:
        with self.lock:
            if self.open_after and (self.state == "closed" or number == self.trial):
                self.failures, self.trial = 0, -1
                if self.state != "closed":
                    self._become("closed", say)

    def failed(self, number: int, say: Callable[[str, int], None]) -> None:
        self.stopped = self.stopped or self.stops
        with self.lock:
            if not self.open_after or (self.state != "closed" and number != self.trial):
                return
            self.failures += 1
            if self.state == "closed" and self.failures < self.open_after:
                return
            self.trial, self.until = -1, time.monotonic_ns() + self.half_open_ns
            self._become("open", say)

    def _become(self, state: str, say: Callable[[str, int], None]) -> None:
        self.state = state
        say(state, self.failures)


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

    def say(self, state: str, failures: int) -> None:
        """Of its circuit breaker."""
        outcomes.put({"event": "breaker", "at": time.monotonic_ns(), "workload": self.index, "state": state, "failures": failures})


class Producing:
    """The application: one thread per workload above one producer, and one that serves the delivery reports."""

    def __init__(self, settings: dict[str, str], workloads: Sequence[Workload], index: int, *, first: int = 0, silent: bool = False) -> None:
        self.producer = Producer(settings)
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
        threads = [in_background(f"workload-{workload.index}", self._offer, workload, zero) for workload in self.workloads]
        for thread in threads:
            thread.join()

    def close(self, patience_s: float) -> None:
        """patience_s: -1 for as long as it takes."""
        with self.turnstile:
            self.over = True
        self.producer.flush(patience_s)

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
                has_failed = self._send(workload, size, key, number, end)
            while workload.waits and reaction.resends:
                end.wait()
                if not has_failed or self.over:
                    break
                assert workload.window is not None
                workload.window.acquire()
                end = threading.Event()
                with self.turnstile:
                    has_failed = self._send(workload, size, key, number, end, again=True)

    def _send(self, workload: Workload, size: int, key_number: int, number: int, over: threading.Event, *, again: bool = False) -> list[bool]:
        """`over` is set when the record has its outcome; the list that is returned holds something then if its send failed."""
        key = None if key_number <= NO_KEY else f"key-{key_number}".encode()
        has_failed: list[bool] = []
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
                    self._send(workload, size, key_number, number, threading.Event(), again=True)

        again_from_report: list[bool] = []
        more: dict[str, Any] = {} if workload.partition is None else {"partition": workload.partition}
        offered = {"event": "offered", "record": number, "workload": workload.index, "at": time.monotonic_ns()}
        if again:
            outcomes.put(offered)  # Behind the failure; that there is such a record was told before.
        elif not self.silent:
            tell(offered)
        if not reaction.lets_through(number, workload.say):
            end("refused", **{"class": BREAKER_OPEN, "message": BREAKER_OPEN_TEXT})
            return has_failed
        if key_number == UNSERIALIZABLE:
            refuse(**{"class": "_VALUE_SERIALIZATION", "message": UNSERIALIZABLE_TEXT})  # As confluent-kafka's SerializingProducer.
            return has_failed
        try:
            self.producer.produce(workload.topic, value, key, headers=[*headers], on_delivery=report, **more)
        except BufferError as full:
            refuse(**{"class": "_QUEUE_FULL", "message": str(full)})
        except KafkaException as refusal:
            refuse(**described(refusal.args[0]))
        return has_failed


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
        wait_until(zero - 1_000_000_000 if self.warm_ups else zero)
        self.producing = producing = Producing(self.settings, self.workloads, self.index, first=self.first)
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
