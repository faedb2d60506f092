"""A real cluster with the proxy on its links, and a few records to put on it: what the tests of tests/live stand on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar

import confluent_kafka

from ksim import Scenario
from ksim.live.ask import NewTopic
from ksim.live.book import Book
from ksim.live.clock import Clock
from ksim.live.cluster import ClusterSpec, KraftCluster
from ksim.live.kafka import installed
from ksim.live.logs import Watchers
from ksim.live.naming import Naming
from ksim.live.processes import Workplace
from ksim.live.proxy import Proxy
from ksim.plan import Plan

T = TypeVar("T")

SCENARIO = """
format = 1
kafka  = "{kafka}"
seed   = 1
[cluster]
config.replica.lag.time.max.ms = 3000
[topics.payments]
assignment = [[1, 2, 3], [2, 3, 1]]
config.min.insync.replicas = 2
[producers.p1]
[producers.p2]
[[workload]]
producer = "p1"
topic    = "payments"
records  = 1
every    = "1ms"
"""


class Stand:
    """Everything runs on one event loop; `run` runs it until a coroutine is done."""

    def __init__(self, kafka: str, *, controllers: int = 1) -> None:
        self.plan: Plan = replace(Scenario.loads(SCENARIO.format(kafka=kafka)).plan(1), controllers=tuple(f"controller-{n}" for n in range(1, controllers + 1)))
        self.workplace = Workplace()
        self.runner = asyncio.Runner()
        self.naming = Naming()
        self.book = Book(Clock())

    def __enter__(self) -> Stand:
        self.workplace.__enter__()
        spec = ClusterSpec.of(self.plan)
        self.cluster = KraftCluster(spec, installed(spec.version, self.workplace), self.workplace)
        try:
            self.run(self._start())
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.run(self._close())
        self.runner.close()
        self.workplace.__exit__(kind, error, trace)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def _start(self) -> None:
        self.proxy = Proxy()
        for link in self.cluster.links:
            await self.proxy.open_link(link, self.cluster.owner_of)
        await self.cluster.start()
        await self.cluster.ready()

    async def _close(self) -> None:
        await self.cluster.close()
        await self.proxy.close()

    def reset(self) -> None:
        self.run(self.cluster.reset())
        self.naming = Naming()
        self.book = Book(Clock())

    @property
    def topic(self) -> str:
        return self.naming.real("payments")

    async def create_topics(self) -> None:
        topics = [NewTopic(self.naming.real(topic.name), topic.assignment, topic.given) for topic in self.plan.topics]
        await self.cluster.ask.create_topics("broker-1", topics)

    async def watch(self) -> Watchers:
        watchers = Watchers(self.cluster, self.plan, self.naming, self.book)
        await watchers.start()
        self.book.clock.start_at(time.monotonic_ns())
        watchers.begin()
        return watchers

    async def produce(self, numbers: range, *, partition: int = 0, producer: int = 0, **settings: object) -> list[object]:
        """Offsets, or the name of the error, in the order of the answers."""
        return await asyncio.to_thread(self._produce, numbers, partition, producer, settings)

    def _produce(self, numbers: range, partition: int, producer: int, settings: dict[str, object]) -> list[object]:
        answers: list[object] = []
        given = {name.replace("_", "."): value for name, value in settings.items()}
        servers = ",".join(f"{host}:{port}" for host, port in self.cluster.addresses.values())
        client = confluent_kafka.Producer({"bootstrap.servers": servers, "acks": "all", "log_level": 0, **given})
        for number in numbers:
            value = f"{producer}/{number} ".encode()
            client.produce(
                self.topic,
                value=value,
                partition=partition,
                on_delivery=lambda error, message: answers.append(error.name() if error else message.offset()),
            )
        client.flush(30)
        return answers
