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

from ksim.live.columns import NO_KEY, Row, read
from ksim.live.naming import WARM_UP, content

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


class Workload:
    def __init__(self, index: int, topic: str, rows: Sequence[Row], partition: int | None, window: int | None) -> None:
        self.index = index
        self.topic = topic
        self.rows = rows
        self.partition = partition
        self.window = None if window is None else threading.Semaphore(window)
        self.noise = 0
        """Millionths of its bytes that no codec makes smaller."""


class Producing:
    """The application: one thread per workload above one producer, and one that serves the delivery reports."""

    def __init__(self, settings: dict[str, str], workloads: Sequence[Workload], index: int, *, silent: bool = False) -> None:
        self.producer = Producer(settings)
        self.workloads = workloads
        self.index = index
        self.silent = silent
        self.over = False
        self.problem: KafkaError | None = None
        self.next = 0
        self.ended = 0
        self.turnstile = threading.Lock()
        """Records have their numbers in the order in which they enter produce(), which never blocks."""
        in_background("poll", self._poll)

    def run(self, zero: int) -> None:
        threads = [in_background(f"workload-{workload.index}", self._offer, workload, zero) for workload in self.workloads]
        for thread in threads:
            thread.join()

    def close(self) -> None:
        with self.turnstile:
            self.over = True
        self.producer.flush()

    def _poll(self) -> None:
        while True:
            try:
                self.producer.poll(POLL_S)
            except KafkaException:
                traceback.print_exc()  # After a fatal error every call raises; the reports still come.
                time.sleep(0.001)

    def _offer(self, workload: Workload, zero: int) -> None:
        for at, size, key in workload.rows:
            wait_until(zero + at * 1000)
            if workload.window is not None:
                workload.window.acquire()
            with self.turnstile:
                if self.over:
                    return
                self._send(workload, size, None if key == NO_KEY else f"key-{key}".encode())

    def _send(self, workload: Workload, size: int, key: bytes | None) -> None:
        number = self.next
        self.next += 1
        value, headers = content(WARM_UP if self.silent else f"{self.index}/{number}", max(0, size - len(key or b"")), workload.noise)
        told: dict[str, Any] = {"record": number, "workload": workload.index}

        def end(event: str, **details: object) -> None:
            self.ended += 1
            if not self.silent:
                outcomes.put({"event": event, "at": time.monotonic_ns(), **told, **details})
            if workload.window is not None:
                workload.window.release()

        def report(error: KafkaError | None, message: Message) -> None:
            partition = message.partition()
            place = -1 if partition is None else partition
            if error is None:
                offset = message.offset()
                end("acked", partition=place, offset=-1 if offset is None or offset < 0 else offset)
            else:
                self.problem = error
                end("failed", partition=place, **described(error))

        more: dict[str, Any] = {} if workload.partition is None else {"partition": workload.partition}
        if not self.silent:
            tell({"event": "offered", "record": number, "at": time.monotonic_ns()})
        try:
            self.producer.produce(workload.topic, value, key, headers=[*headers], on_delivery=report, **more)
        except BufferError as full:
            end("refused", **{"class": "_QUEUE_FULL", "message": str(full)})
        except KafkaException as refusal:
            end("refused", **described(refusal.args[0]))


def described(error: KafkaError) -> dict[str, str]:
    return {"class": error.name(), "message": error.str().removeprefix("Unable to produce message: ")}  # confluent-kafka's words before librdkafka's.


class Client:
    def __init__(self) -> None:
        self.index = 0
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
                case "workload", [topic, file, partition, window]:
                    self.workloads.append(Workload(len(self.workloads), topic, read(Path(file)), number_or_none(partition), number_or_none(window)))
                case "content", [index, noise]:
                    self.workloads[int(index)].noise = int(noise)
                case "warm-up", [topic, partition]:
                    self.warm_ups.append((topic, int(partition)))
                case "practise", [bootstrap, topic]:
                    self.practise(bootstrap, topic)
                case "ready", []:
                    tell({"event": "ready", "at": time.monotonic_ns(), "version": libversion()[0]})
                case "go", [zero]:
                    in_background("go", self.go, int(zero))
                case "close", []:
                    in_background("close", self.close)
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
        self.producing = producing = Producing(self.settings, self.workloads, self.index)
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

    def close(self) -> None:
        """As an application ends: no more records, and then whatever was sent has its outcome."""
        if self.producing is not None:
            self.producing.close()
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
