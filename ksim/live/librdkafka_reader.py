"""The process of a reader of librdkafka's, with the producer of its application where it has one: the counterpart of Client.java with Reading.java.

Both languages, in and out, are described in ksim.live.readers and ksim.live.clients. Run as `python -m ksim.live.librdkafka_reader`.
"""

from __future__ import annotations

import os
import sys
import time
from urllib.parse import unquote

from confluent_kafka import Consumer, libversion

from ksim.live.librdkafka_client import SECURITY, Producing, Workload, break_down, in_background, outcomes, tell, tell_outcomes, wait_until
from ksim.live.librdkafka_copying import Copying, Writes
from ksim.live.librdkafka_reading import Reading
from ksim.live.librdkafka_transactions import PROCEED


class Process:
    def __init__(self) -> None:
        self.settings: dict[str, str] = {}
        self.topics: list[str] = []
        self.habits = (0, "none")
        self.reading: Reading | None = None
        self.writes: Writes | None = None
        """Of an application; else nobody writes."""
        self.producer_settings: dict[str, str] = {}
        self.index = self.first = self.transactions = 0
        self.holds: set[tuple[int, str]] = set()
        self.producing: Producing | None = None

    def listen(self) -> None:
        for line in sys.stdin:
            word, *words = (unquote(word) for word in line.rstrip("\n").split(" "))
            match word, words:
                case "consumer-setting", [name, value]:
                    self.settings[name] = value
                case "reads", topics:
                    self.topics = topics
                case "works", [work_us, commit, _]:
                    self.habits = int(work_us), commit
                case "practise", [bootstrap, topic]:
                    own = {name: value for name, value in self.settings.items() if name.startswith(SECURITY)}
                    Consumer({**own, "bootstrap.servers": bootstrap, "group.id": "ksim-practice"}).list_topics(topic, timeout=30)
                case "ready", []:
                    tell({"event": "ready", "at": time.monotonic_ns(), "version": libversion()[0]})
                case "go", [zero]:
                    in_background("go", self.go, int(zero))
                case "close", [patience_ms]:
                    in_background("close", self.close, None if patience_ms == "-" else int(patience_ms) / 1000)
                case "writes", [topic, commit_every, size, _, leader_epochs]:
                    self.writes = Writes(topic, int(commit_every), int(size), leader_epochs == "true")
                case "producer", [index]:
                    self.index = int(index)
                case "setting", [name, value]:
                    self.producer_settings[name] = value
                case "from", [first]:
                    self.first = int(first)
                case "transactions", [begun]:
                    self.transactions = int(begun)
                case "hold", [number, phase]:
                    self.holds.add((int(number), phase))
                case "proceed", []:
                    PROCEED.release()
                case "warm-up", _:
                    pass  # Nobody's: what an application writes is not known before.
                case _:
                    raise ValueError(f"no such command: {word}")

    def go(self, zero: int) -> None:
        wait_until(zero)
        self.reading = Reading(self.settings, self.topics, *self.habits) if self.writes is None else self._copying(self.writes)
        tell({"event": "constructed", "at": time.monotonic_ns()})
        self.reading.run()

    def _copying(self, writes: Writes) -> Copying:
        made = Workload(0, writes.topic, [], None, None)
        producing = self.producing = Producing(self.producer_settings, [made], self.index, first=self.first)
        producing.transactions, producing.holds = self.transactions, frozenset(self.holds)
        work_us, _ = self.habits
        return Copying(self.settings, self.topics, work_us, writes, producing, transactional="transactional.id" in self.producer_settings)

    def close(self, patience_s: float | None) -> None:
        if self.reading is not None:
            self.reading.over.set()
            self.reading.ended.wait(patience_s)
        if self.producing is not None:
            self.producing.close(-1 if patience_s is None else patience_s)
        while not outcomes.empty():
            time.sleep(0.001)
        tell({"event": "closed", "at": time.monotonic_ns()})
        os._exit(0)


def main() -> None:
    in_background("outcomes", tell_outcomes)
    try:
        Process().listen()
    except BaseException as problem:
        break_down(problem)
    os._exit(1)  # Whoever started this process is gone, and so is the reason for it.


if __name__ == "__main__":
    main()
