"""A drawn scenario with transactions: transactional producers, consumers, groups, applications that read, process and write, and what goes wrong with them."""

from __future__ import annotations

from typing import Any

from drawn import ERRORS, Drawing

APIS_OF_TRANSACTIONS = ("InitProducerId", "AddPartitionsToTxn", "AddOffsetsToTxn", "TxnOffsetCommit", "EndTxn", "WriteTxnMarkers", "FindCoordinator")
APIS_OF_GROUPS = ("JoinGroup", "SyncGroup", "Heartbeat", "LeaveGroup", "OffsetCommit", "OffsetFetch", "ListOffsets", "OffsetForLeaderEpoch", "Fetch")
ERRORS_OF_COORDINATORS = (
    *("COORDINATOR_NOT_AVAILABLE", "NOT_COORDINATOR", "COORDINATOR_LOAD_IN_PROGRESS", "CONCURRENT_TRANSACTIONS", "REQUEST_TIMED_OUT"),
    *("INVALID_PRODUCER_EPOCH", "PRODUCER_FENCED", "INVALID_TXN_STATE", "UNKNOWN_TOPIC_OR_PARTITION", "TRANSACTION_ABORTABLE", "INVALID_PRODUCER_ID_MAPPING"),
)
ERRORS_OF_GROUPS = (
    *("COORDINATOR_NOT_AVAILABLE", "NOT_COORDINATOR", "COORDINATOR_LOAD_IN_PROGRESS"),
    *("REBALANCE_IN_PROGRESS", "ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID"),
)
PHASES = ("after-begin", "before-produce", "before-offsets", "before-commit", "after-commit-sent", "before-abort")


class TransactionalDrawing(Drawing):
    """Latencies are not too short, and runs not too long: while a partition has too few in-sync replicas a coordinator sends its markers again and again,

    without any pause (TransactionMarkerRequestCompletionHandler), which is thousands of exchanges a second.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.consumers: dict[str, dict[str, Any]] = {}
        self.applications: dict[str, dict[str, Any]] = {}
        self.ids: list[str] = []
        """What has a coordinator."""
        self.controllers = self.random.choice((1, 1, 1, 1, 1, 3))
        self.calm_until = self.random.choice((2_000, 5_000, 12_000))
        self.busy: set[str] = set()
        """Transactional producers that have a workload."""
        self.copies = self.random.choice((0, 1, 1, 2))
        """Applications, all in one group."""

    def scenario(self) -> dict[str, Any]:
        draw = self.random
        data = super().scenario()
        data["network"]["latency"] = draw.choice(("1ms", "2ms", "20ms"))
        data["tail"] = {"limit": "30s"}
        for name in ("c1", "c2")[: draw.choice((0, 1, 1, 2))]:
            self._consumer(name)
        for number in range(self.copies):
            self._application(number)
        if self.applications:  # Somebody has to write what they read.
            data["workload"][0]["topic"] = "t"
        data |= {"consumers": self.consumers, "applications": self.applications}
        data["fault"] = [self._fault(index) for index in range(draw.randint(1, 6))]
        return {key: value for key, value in data.items() if value != {} or key not in ("consumers", "applications")}

    def _cluster(self) -> dict[str, Any]:
        cluster = super()._cluster()
        if int(self.release.split(".")[0]) >= 4 and self.random.random() < 0.4:
            cluster["features"] = {"transaction.version": self.random.choice((0, 1, 2))}
        return cluster

    def _broker_settings(self) -> dict[str, Any]:
        draw = self.random
        factor = draw.randint(1, min(3, self.brokers))
        settings = super()._broker_settings()
        for topic, kind in (("transaction.state.log", "transaction"), ("offsets.topic", "offsets")):
            settings[f"{topic}.num.partitions"] = draw.choice((1, 2, 3))
            settings[f"{topic}.replication.factor"] = factor
            if kind == "transaction":
                settings[f"{topic}.min.isr"] = draw.randint(1, factor)
        settings["transaction.abort.timed.out.transaction.cleanup.interval.ms"] = draw.choice((500, 10_000))
        possible: dict[str, tuple[Any, ...]] = {
            "group.initial.rebalance.delay.ms": (0, 500),
            "group.min.session.timeout.ms": (1_000,),
            "transactional.id.expiration.ms": (2_000, 20_000),
            "transaction.remove.expired.transaction.cleanup.interval.ms": (1_000,),
            "offsets.commit.timeout.ms": (500,),
        }
        if tuple(map(int, self.release.split(".")[:2])) >= (3, 6):
            possible["transaction.partition.verification.enable"] = (False, True)
        return settings | self._some(possible, 0.25)

    def _topic(self) -> dict[str, Any]:
        """As many replicas as must be in sync: where there are fewer no transaction ever ends (before 4.1 brokers take the minimum at its word)."""
        topic = super()._topic()
        minimum = topic["config"].get("min.insync.replicas", 1)
        if minimum > topic["replication"]:
            topic["config"]["min.insync.replicas"] = topic["replication"]
        return topic

    def _producer(self) -> dict[str, Any]:
        """One in three has no transactions: what stands between those of others."""
        draw = self.random
        if draw.random() < 0.3:
            return super()._producer()
        own = draw.choice((f"id-{len(self.producers)}", "id"))  # Two with one id fence each other.
        return self._transactional(own)

    def _transactional(self, own: str) -> dict[str, Any]:
        draw = self.random
        if own not in self.ids:
            self.ids.append(own)
        timeout = draw.choice((500, 2_000, 30_000))
        settings: dict[str, Any] = {
            "transactional.id": own,
            "transaction.timeout.ms": draw.choice((1_000, 5_000, 60_000)),
            "linger.ms": draw.choice((0, 5, 100)),
            "batch.size": draw.choice((1, 300, 16_384)),
            "max.in.flight.requests.per.connection": draw.randint(1, 5),
            "request.timeout.ms": timeout,
            "delivery.timeout.ms": timeout + draw.choice((100, 5_000, 120_000)),
        }
        settings["transaction.timeout.ms"] = max(settings["transaction.timeout.ms"], settings["delivery.timeout.ms"] if draw.random() < 0.5 else 0)
        return {"config": settings | self._some({"max.block.ms": (500, 5_000), "retries": (1, 5), "buffer.memory": (20_000,)}, 0.15)}

    def _workload(self) -> dict[str, Any]:
        """A producer with transactions has one workload, and the records of a transaction are few."""
        draw = self.random
        workload = super()._workload() | {"records": draw.randint(5, 50), "every": f"{draw.choice((0, 10, 50, 100))}ms"}
        free = [name for name in self.producers if name not in self.busy]
        name = workload["producer"] = draw.choice(free) if free else f"p{len(self.producers) + 1}"
        if not free:
            self.producers[name] = super()._producer()
        if "transactional.id" in self.producers[name]["config"]:
            self.busy.add(name)
        if "transactional.id" in self.producers[name]["config"]:
            transaction: dict[str, Any] = {"records": draw.randint(1, 12)}
            transaction |= self._some({"abort_every": (1, 2, 3), "end": ("commit", "abort"), "think": ("2ms", "500ms", "3s")}, 0.3)
            workload |= {"transaction": transaction, "on_failure": draw.choice(("report", "resend", "stop"))}
        return workload

    def _consumer(self, name: str) -> None:
        draw = self.random
        config: dict[str, Any] = {"isolation.level": draw.choice(("read_committed", "read_committed", "read_uncommitted"))}
        config["auto.offset.reset"] = draw.choice(("earliest", "earliest", "latest"))
        if draw.random() < 0.6:
            config |= self._member(draw.choice(("g", f"g-{name}"))) | {"enable.auto.commit": draw.choice((True, False))}
        config |= self._some({"fetch.max.bytes": (500,), "max.partition.fetch.bytes": (300, 2_000), "fetch.max.wait.ms": (10,)}, 0.2)
        consumer: dict[str, Any] = {"topics": draw.sample(list(self.topics), draw.randint(1, len(self.topics))), "config": config}
        self.consumers[name] = consumer | self._some({"work": ("1ms", "100ms")}, 0.3)

    def _member(self, group: str) -> dict[str, Any]:
        draw = self.random
        if group not in self.ids:
            self.ids.append(group)
        member: dict[str, Any] = {"group.id": group, "session.timeout.ms": draw.choice((6_000, 10_000, 45_000)), "heartbeat.interval.ms": 1_000}
        return member | self._some({"max.poll.interval.ms": (5_000, 300_000), "max.poll.records": (1, 5), "request.timeout.ms": (2_000,)}, 0.25)

    def _application(self, number: int) -> None:
        draw = self.random
        consumer, producer = f"reader{number}", f"copier{number}"
        own = "copy" if draw.random() < 0.15 else f"copy-{number}"
        self.producers[producer] = self._transactional(own) if draw.random() < 0.8 else Drawing._producer(self)
        self.producers[producer].pop("client", None)
        if not {"transactional.id", "delivery.timeout.ms"} & set(self.producers[producer]["config"]):
            self.producers[producer]["config"] = {}  # librdkafka's: applications are Java's.
        config = self._member("copies") | {"auto.offset.reset": draw.choice(("earliest", "earliest", "earliest", "latest"))}
        config["isolation.level"] = draw.choice(("read_committed", "read_committed", "read_committed", "read_uncommitted"))
        if draw.random() < 0.1:
            config["enable.auto.commit"] = True
        self.consumers[consumer] = {"config": config}
        application: dict[str, Any] = {"reads": "t", "writes": list(self.topics)[-1] if len(self.topics) > 1 else "out", "producer": producer}
        application |= {"consumer": consumer, "commit_every": {"records": draw.choice((1, 3, 10, 30))}}
        if draw.random() < 0.1:
            application["group_metadata"] = False
        self.applications[f"copy{number}"] = application
        if application["writes"] == "out":
            self.topics.setdefault("out", self._topic())

    # What goes wrong.

    def _kinds(self) -> tuple[str, ...]:
        return ("machine", "link", "frame", "admin", "disk", "process", "process", "coordinator", "coordinator", "exchange", "exchange", "moment")

    def _lasting(self) -> str:
        return f"{self.random.choice((10, 300, 2_000, 2_000, 10_000)) + self.random.randrange(1_000)}ms"

    def _clients(self) -> list[str]:
        """Who is a process of its own; none of an application's parts is."""
        parts = {part for one in self.applications.values() for part in (one["consumer"], one["producer"])}
        return [name for name in (*self.producers, *self.consumers, *self.applications) if name not in parts]

    def _process_fault(self) -> dict[str, Any]:
        draw = self.random
        fault = {"do": draw.choice(("crash", "crash", "pause", "shutdown")), "who": draw.choice(self._clients())}
        return fault if draw.random() < 0.1 else fault | {"for": self._lasting()}

    def _coordinator_fault(self) -> dict[str, Any]:
        draw = self.random
        if not self.ids:
            return self._process_fault()
        who = f"coordinator({draw.choice(self.ids)})"
        match draw.choice(("machine", "machine", "cut", "reset")):
            case "machine":
                return {"do": draw.choice(("crash", "power-loss", "pause", "shutdown")), "who": who, "for": self._lasting()}
            case "cut":
                end = draw.choice(("brokers", "controller", draw.choice(self._clients())))
                return {"do": "cut", "between": [end, who], "one_way": draw.random() < 0.3, "for": self._lasting()}
            case _:
                return {"do": "reset", "between": [draw.choice(self._clients()), who]}

    def _moment_fault(self) -> dict[str, Any]:
        """At a moment of a transaction, to whoever matters then."""
        draw = self.random
        fault = self._process_fault() if draw.random() < 0.5 else self._coordinator_fault()
        return fault | {"when": {"transaction": draw.randint(1, 6), "phase": draw.choice(PHASES)}}

    def _exchange_fault(self) -> dict[str, Any]:
        draw = self.random
        api = draw.choice(APIS_OF_TRANSACTIONS if draw.random() < 0.6 else APIS_OF_GROUPS)
        fault: dict[str, Any] = {"do": draw.choice(("lose-request", "lose-response", "delay", "answer", "hang"))}
        fault["when"] = {"request": api, "nth": draw.randint(1, 12), "times": draw.randint(1, 3)}
        if fault["do"] == "delay":
            fault["by"] = self._lasting()
        if fault["do"] == "answer":
            errors = ERRORS_OF_COORDINATORS if api in APIS_OF_TRANSACTIONS else ERRORS_OF_GROUPS
            if api in ("Fetch", "ListOffsets", "OffsetForLeaderEpoch"):
                errors = tuple(error for error in ERRORS if error.startswith(("NOT_LEADER", "KAFKA_STORAGE")))
            fault |= {"error": draw.choice(errors), "processed": draw.random() < 0.5}
        return fault
