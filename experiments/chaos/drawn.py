"""A drawn scenario: clusters, configurations and faults that nobody would think of, each a function of its number."""

from __future__ import annotations

import random
from typing import Any

BROKER_RELEASES = ("3.3", "3.4", "3.5", "3.6", "3.7", "3.8", "3.9", "3.9.1", "4.0.0", "4.0", "4.1", "4.2", "4.3")
CLIENT_RELEASES = ("2.8", *(f"3.{minor}" for minor in range(10)), "4.0", "4.1", "4.2", "4.3")
ERRORS = ("NOT_ENOUGH_REPLICAS", "NOT_ENOUGH_REPLICAS_AFTER_APPEND", "REQUEST_TIMED_OUT", "NOT_LEADER_OR_FOLLOWER", "CORRUPT_MESSAGE", "KAFKA_STORAGE_ERROR")
SMALL_TOPIC_SEGMENTS_FROM, INTERNAL_SEGMENTS_FROM = (3, 3), (4, 1)
"""segment.bytes below 1 MiB is possible before 4.1; from then on internal.segment.bytes is there for tests."""


class Drawing:
    """Producers alone; `drawn_transactions` adds transactions, consumers and applications."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.random = random.Random(number)
        self.brokers = self.random.choice((1, 2, 3, 3, 3, 3, 4, 5))
        self.release = self.random.choice(BROKER_RELEASES)
        self.topics: dict[str, dict[str, Any]] = {}
        self.producers: dict[str, dict[str, Any]] = {}
        self.racks: list[str] = []
        self.controllers = self.random.choice((1, 1, 1, 3, 3, 2))
        self.calm_until = self.random.choice((2_000, 10_000, 30_000))
        """Faults come within so many milliseconds."""

    def scenario(self) -> dict[str, Any]:
        draw = self.random
        for name in ("t", "u")[: draw.choice((1, 1, 2))]:
            self.topics[name] = self._topic()
        for name in ("p1", "p2")[: draw.choice((1, 1, 2))]:
            self.producers[name] = self._producer()
        data: dict[str, Any] = {
            "title": f"chaos {self.number}",
            "kafka": {"brokers": self.release, "clients": draw.choice(CLIENT_RELEASES)},
            "client": "java",
            "seed": self.number,
            "cluster": self._cluster(),
            "topics": self.topics,
            "producers": self.producers,
            "network": {"latency": draw.choice(("100us", "500us", "2ms", "20ms"))},
            "workload": [self._workload() for _ in range(draw.choice((1, 1, 2)))],
            "fault": [self._fault(index) for index in range(draw.randint(1, 8))],
        }
        if draw.random() < 0.3:
            data["model"] = {"power_loss_keeps": "drawn", "writeback": draw.choice(("1s", "30s")), "writeback_scan": "1s"}
        return data

    def _cluster(self) -> dict[str, Any]:
        cluster: dict[str, Any] = {"brokers": self.brokers, "controllers": self.controllers, "config": self._broker_settings()}
        if self.random.random() < 0.2:
            cluster["racks"] = self.racks = [self.random.choice(("a", "b", "c")) for _ in range(self.brokers)]
        return cluster

    def _some(self, possible: dict[str, tuple[Any, ...]], chance: float) -> dict[str, Any]:
        return {name: self.random.choice(values) for name, values in possible.items() if self.random.random() < chance}

    def _broker_settings(self) -> dict[str, Any]:
        possible: dict[str, tuple[Any, ...]] = {
            "replica.lag.time.max.ms": (1_000, 5_000, 10_000),
            "replica.fetch.wait.max.ms": (50, 500, 1_000),
            "replica.fetch.backoff.ms": (10, 1_000),
            "replica.fetch.max.bytes": (300, 5_000),
            "replica.fetch.response.max.bytes": (500, 20_000),
            "replica.high.watermark.checkpoint.interval.ms": (200, 5_000),
            "broker.session.timeout.ms": (3_000, 9_000),
            "broker.heartbeat.interval.ms": (300, 2_000),
            "controller.quorum.append.linger.ms": (0, 25, 200),
            "auto.leader.rebalance.enable": (False, True),
            "leader.imbalance.check.interval.seconds": (1, 10),
            "controlled.shutdown.enable": (False, True),
            "unclean.leader.election.enable": (True,),
            "min.insync.replicas": (1, 2, 3),
            "log.dirs": ("/a,/b", "/a,/b,/c"),
            "log.flush.offset.checkpoint.interval.ms": (500, 60_000),
            "log.flush.start.offset.checkpoint.interval.ms": (500, 60_000),
            "log.retention.check.interval.ms": (1_000,),
            "producer.id.expiration.ms": (2_000,),
            "producer.id.expiration.check.interval.ms": (1_000,),
            "connections.max.idle.ms": (2_000, 600_000),
        }
        return self._some(possible, 0.2)

    def _topic(self) -> dict[str, Any]:
        draw = self.random
        replication = draw.randint(1, self.brokers)
        possible: dict[str, tuple[Any, ...]] = {
            "min.insync.replicas": (1, 2, 2, 3),
            "unclean.leader.election.enable": (False, True),
            "flush.messages": (1, 10),
            "max.message.bytes": (2_000,),
            "retention.bytes": (2_000, 20_000),
            "retention.ms": (2_000, 20_000),
            "segment.ms": (1_000, 5_000),
        }
        small = "internal.segment.bytes" if tuple(map(int, self.release.split(".")[:2])) >= INTERNAL_SEGMENTS_FROM else "segment.bytes"
        possible[small] = (2_100, 10_000)
        return {"partitions": draw.choice((1, 1, 2, 4)), "replication": replication, "config": self._some(possible, 0.25)}

    def _producer(self) -> dict[str, Any]:
        draw = self.random
        if draw.random() < 0.2:
            settings = {"linger.ms": draw.choice((0, 5)), "acks": draw.choice((0, 1, "all")), "message.timeout.ms": draw.choice((2_000, 30_000, 300_000))}
            if settings["acks"] == "all":
                settings["enable.idempotence"] = draw.choice((False, True))
            return {"client": "librdkafka", "config": settings}
        acks = draw.choice((0, 1, "all", "all", "all"))
        timeout = draw.choice((500, 2_000, 30_000))
        settings = {
            "acks": acks,
            "enable.idempotence": acks == "all" and draw.random() < 0.7,
            "max.in.flight.requests.per.connection": draw.randint(1, 5),
            "linger.ms": draw.choice((0, 5, 100)),
            "batch.size": draw.choice((1, 300, 16_384)),
            "request.timeout.ms": timeout,
            "delivery.timeout.ms": timeout + draw.choice((100, 5_000, 120_000)),
        }
        retries = (1, 5) if settings["enable.idempotence"] else (0, 1, 5)
        return {"config": settings | self._some({"max.block.ms": (500, 60_000), "retries": retries, "buffer.memory": (20_000,)}, 0.15)}

    def _workload(self) -> dict[str, Any]:
        draw = self.random
        return {
            "producer": draw.choice(list(self.producers)),
            "topic": draw.choice(list(self.topics)),
            "records": draw.randint(5, 120),
            "every": f"{draw.choice((0, 10, 50, 200, 500))}ms",
            "size": draw.choice((10, 100, 1_000)),
        }

    # What goes wrong.

    def _fault(self, index: int) -> dict[str, Any]:
        draw = self.random
        fault: dict[str, Any] = getattr(self, f"_{draw.choice(self._kinds())}_fault")()
        if "when" not in fault:
            fault["at"] = f"{draw.randrange(self.calm_until)}ms"
        return {"name": str(index)} | fault

    def _kinds(self) -> tuple[str, ...]:
        return ("machine", "machine", "machine", "link", "link", "frame", "admin", "admin", "disk")

    def _lasting(self) -> str:
        return f"{self.random.choice((10, 300, 2_000, 12_000, 30_000)) + self.random.randrange(1_000)}ms"

    def _partition(self) -> str:
        name = self.random.choice(list(self.topics))
        return f"{name}-{self.random.randrange(self.topics[name]['partitions'])}"

    def _broker(self) -> str:
        return f"broker-{self.random.randint(1, self.brokers)}"

    def _machine_fault(self) -> dict[str, Any]:
        draw = self.random
        partition = self._partition()
        possible = [self._broker(), self._broker(), f"leader({partition})", f"followers({partition})", f"isr({partition})", "brokers", "any-broker"]
        possible += ["controller", f"controller-{draw.randint(1, self.controllers)}", *(f"rack({rack})" for rack in self.racks[:1])]
        who = draw.choice(possible)
        deeds = ("crash", "pause", "shutdown") if who.startswith("controller") else ("crash", "power-loss", "power-loss", "pause", "shutdown")
        fault: dict[str, Any] = {"do": draw.choice((*deeds, "slow-cpu")), "who": who}
        if fault["do"] == "slow-cpu":
            return fault | {"factor": draw.choice((10, 1_000)), "for": self._lasting()}
        return fault if draw.random() < 0.1 else fault | {"for": self._lasting()}

    def _link_fault(self) -> dict[str, Any]:
        draw = self.random
        one = self._broker()
        others = [f"broker-{number}" for number in range(1, self.brokers + 1) if f"broker-{number}" != one]
        client = draw.choice(list(self.producers))
        possible = [["controller", one], [f"controller-{draw.randint(1, self.controllers)}", one], [client, one], [client, f"leader({self._partition()})"]]
        if self.controllers > 1:
            possible.append(["controller-1", f"controller-{draw.randint(2, self.controllers)}"])
        if others:
            possible += [[one, draw.choice(others)], [one, "brokers"]]
        ends = draw.choice(possible)
        match draw.choice(("cut", "cut", "cut", "reset", "slow")):
            case "cut":
                return {"do": "cut", "between": ends, "one_way": draw.random() < 0.3, "for": self._lasting()}
            case "reset":
                return {"do": "reset", "between": ends}
            case _:
                return {"do": "slow", "between": ends, "latency": draw.choice(("5ms", "300ms", "2s")), "for": self._lasting()}

    def _frame_fault(self) -> dict[str, Any]:
        draw = self.random
        do = draw.choice(("lose-request", "lose-response", "delay", "answer", "hang"))
        fault: dict[str, Any] = {"do": do, "when": {"request": "Produce", "nth": draw.randint(1, 20), "times": draw.randint(1, 3)}}
        if do == "delay":
            fault["by"] = self._lasting()
        if do == "answer":
            fault |= {"error": draw.choice(ERRORS), "processed": draw.random() < 0.5}
        return fault

    def _admin_fault(self) -> dict[str, Any]:
        draw = self.random
        topic = draw.choice(list(self.topics))
        match draw.choice(("elect", "elect", "reassign", "reassign", "alter", "delete-records", "recreate-topic")):
            case "elect":
                return {"do": "elect", "partition": self._partition(), "kind": draw.choice(("preferred", "unclean"))}
            case "reassign":
                return {"do": "reassign", "partition": self._partition(), "to": draw.sample(range(1, self.brokers + 1), draw.randint(1, self.brokers))}
            case "alter":
                name, value = draw.choice((("min.insync.replicas", 1), ("min.insync.replicas", 2), ("unclean.leader.election.enable", True)))
                return {"do": "alter", "target": topic, "config": {name: value}}
            case "delete-records":
                return {"do": "delete-records", "partition": self._partition(), "before": draw.choice((-1, 5, 50))}
            case _:
                return {"do": "recreate-topic", "topic": topic}

    def _disk_fault(self) -> dict[str, Any]:
        do, partition = self.random.choice(("disk-full", "disk-error", "slow-disk")), self._partition()
        fault: dict[str, Any] = {"do": do, "who": self.random.choice((self._broker(), f"leader({partition})"))}
        if do == "slow-disk":
            return fault | {"factor": self.random.choice((10, 1_000)), "for": self._lasting()}
        if self.random.random() < 0.5:
            fault["partition"] = partition
        return fault | {"for": self._lasting()}
