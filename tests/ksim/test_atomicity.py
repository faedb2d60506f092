"""What transactions promised: histories made by hand, each with one thing that must show."""

from __future__ import annotations

from typing import Any

import pytest

from ksim.history import History
from ksim.verdict import Verdict, judge
from ksim_models.consumer_facts import Read
from ksim_models.facts import Acked, Ended, Failed, FinalLog, LoggedBatch, Offered, Refused, Sent, Transaction

JAVA = {"acks": "all", "enable.idempotence": True, "client": "java", "transactional.id": "t"}
CONSUMERS = {"committed": {"isolation.level": "read_committed"}, "all": {"isolation.level": "read_uncommitted"}}


class Story:
    """One transactional producer, two partitions; every record goes out alone, in a batch of its own, and is acknowledged."""

    def __init__(self, kafka: str = "4.3", client: str = "java", features: dict[str, Any] | None = None) -> None:
        topics = {"payments": {"min.insync.replicas": 2}}
        self.config: dict[str, Any] = {"producers": {"p1": JAVA | {"client": client}}, "consumers": CONSUMERS, "topics": topics, "brokers": {}}
        scenario = {"cluster": {"features": features or {}}}
        self.history = History({"config": self.config, "scenario": scenario, "kafka": kafka, "client": client})
        self.logs: dict[str, list[LoggedBatch]] = {"payments-0": [], "payments-1": []}
        self.now = 0
        self.offered = 0
        self.number = 0

    def tell(self, fact: object) -> None:
        self.now += 1
        self.history.add(self.now, fact)

    def begin(self) -> None:
        self.number += 1
        self.tell(Transaction("p1", self.number, "begin"))

    def end(self, phase: str, **more: Any) -> None:
        self.tell(Transaction("p1", self.number, phase, **more))

    def write(self, partition: str, number: int, *, transactional: bool = True) -> None:
        log = self.logs[partition]
        log.append(LoggedBatch(len(log), 0, "p1", range(number, number + 1), 7, self.number, 0, transactional))

    def mark(self, partition: str, marker: str) -> None:
        log = self.logs[partition]
        log.append(LoggedBatch(len(log), 0, "", range(1), 7, self.number, -1, True, marker))

    def send(self, partition: str, *, outcome: str = "acked", written: bool = True) -> int:
        number, self.offered = self.offered, self.offered + 1
        records = range(number, number + 1)
        self.tell(Offered("p1", records, self.now, 0))
        if outcome == "refused":
            self.tell(Refused("p1", records, "TimeoutException", ""))
            return number
        self.tell(Sent("p1", partition, records, "broker-1", "c", 1))
        if written:
            self.write(partition, number)
        if outcome == "acked":
            self.tell(Acked("p1", partition, records, len(self.logs[partition]) - 1))
        elif outcome == "failed":
            self.tell(Failed("p1", partition, records, "TimeoutException", ""))
        return number

    def read(self, consumer: str, partition: str, number: int) -> None:
        offset = next(batch.base_offset for batch in self.logs[partition] if number in batch.records and batch.producer)
        self.tell(Read(consumer, partition, "p1", range(number, number + 1), offset))

    def verdict(self) -> Verdict:
        for partition, log in self.logs.items():
            ended: set[int] = set()
            stable = len(log)
            for batch in reversed(log):
                if batch.marker:
                    ended.add(batch.producer_id)
                elif batch.transactional and batch.producer_id not in ended:
                    stable = batch.base_offset
            for broker in ("broker-1", "broker-2"):
                leads = broker == "broker-1"
                self.tell(FinalLog(partition, broker, leads, leads, 0, len(log), stable, len(log), tuple(log)))
        self.tell(Ended(True, ("p1",), 0))
        return judge(self.history)


def found(verdict: Verdict) -> dict[str, int]:
    told = ("offered", "refused", "accepted", "acked", "failed", "unknown", "sends")
    return {name: count for name, count in verdict.records.items() if count and name not in told}


def both_partitions(story: Story, *, marker: str | None) -> None:
    for partition in story.logs:
        story.send(partition)
    if marker:
        for partition in story.logs:
            story.mark(partition, marker)


@pytest.mark.parametrize(
    ("told", "marker", "classes"),
    [
        ("committed", "commit", {"ok": 2}),
        ("aborted", "abort", {"absent": 2}),
        ("committed", "abort", {"lost": 2}),
        ("aborted", "commit", {"aborted_read": 2}),
        ("failed", "commit", {}),
        ("failed", "abort", {}),
        ("committed", None, {"hidden": 2}),
        ("aborted", None, {"absent": 2}),
        ("failed", None, {}),
    ],
)
def test_what_the_application_was_told_beside_what_the_markers_say(told: str, marker: str | None, classes: dict[str, int]) -> None:
    """A call that failed tells nothing: both ends are right, as long as all records share it."""
    story = Story()
    story.begin()
    both_partitions(story, marker=marker)
    story.end(told, call="commit" if told == "failed" else "")
    verdict = story.verdict()

    assert found(verdict) == classes
    assert all(not anomaly.allowed for anomaly in verdict.anomalies if anomaly.name != "hidden")


@pytest.mark.parametrize("told", ["committed", "failed"])
def test_a_part_that_is_visible_and_a_part_that_is_not_are_torn_whatever_was_told(told: str) -> None:
    story = Story()
    story.begin()
    first, second = story.send("payments-0"), story.send("payments-1")
    story.mark("payments-0", "commit")
    story.mark("payments-1", "abort")
    story.end(told, call="commit")
    verdict = story.verdict()
    anomaly = next(anomaly for anomaly in verdict.anomalies if anomaly.name == "torn")

    assert (first, second) == (0, 1)
    assert found(verdict) == {"torn": 2} | ({"lost": 1} if told == "committed" else {})
    assert (anomaly.count, anomaly.allowed, anomaly.jepsen) == (2, False, "G1b")


@pytest.mark.parametrize("allowed", [False, True])
def test_a_transaction_is_torn_with_leave_where_the_part_that_is_gone_is_lost_with_leave(allowed: bool) -> None:
    story = Story()
    story.config["topics"]["payments"]["min.insync.replicas"] = 1 if allowed else 2
    story.begin()
    story.send("payments-0")
    story.send("payments-1", written=False)
    story.mark("payments-0", "commit")
    story.end("committed")

    assert [(anomaly.name, anomaly.allowed) for anomaly in story.verdict().anomalies] == [("lost", allowed), ("torn", allowed)]


@pytest.mark.parametrize(
    ("kafka", "client", "features", "allowed"),
    [
        ("4.3", "java", {}, False),
        ("4.3", "java", {"transaction.version": 0}, True),
        ("4.3", "java", {"transaction.version": 1}, True),
        ("4.3", "java", {"transaction": {"version": 1}}, True),  # As TOML reads a dotted key.
        ("3.9", "java", {}, True),
        ("4.3", "librdkafka", {}, True),
    ],
)
def test_a_torn_transaction_is_allowed_where_transactions_share_an_epoch(kafka: str, client: str, features: dict[str, Any], allowed: bool) -> None:
    """TC-46, KAFKA-17754: the protocol belongs to the pair of client and brokers."""
    story = Story(kafka, client, features)
    story.begin()
    story.send("payments-0")
    story.send("payments-1")
    story.mark("payments-0", "commit")
    story.mark("payments-1", "abort")
    story.end("committed")

    assert [(anomaly.name, anomaly.allowed) for anomaly in story.verdict().anomalies] == [("lost", allowed), ("torn", allowed)]


def test_a_commit_in_spite_of_a_failed_send_tears_the_transaction_and_before_3_2_java_does_it() -> None:
    """H-133, KAFKA-9279."""
    for kafka in ("3.1", "3.2"):
        story = Story(kafka, features={"transaction.version": 2})
        story.begin()
        story.send("payments-0")
        story.send("payments-1", outcome="failed", written=False)
        story.mark("payments-0", "commit")
        story.end("committed")
        verdict = story.verdict()

        assert found(verdict) == {"torn": 2}
        assert ("3.2" in verdict.anomalies[0].because) == (kafka == "3.1")


def test_a_refused_record_is_no_part_of_its_transaction() -> None:
    story = Story()
    story.begin()
    story.send("payments-0")
    story.send("payments-1", outcome="refused")
    story.mark("payments-0", "commit")
    story.end("committed")

    assert found(story.verdict()) == {"ok": 1, "absent": 1}


def test_copies_of_an_aborted_transaction_are_no_duplicates_and_a_record_sent_again_belongs_to_the_later_one() -> None:
    story = Story()
    story.begin()
    number = story.send("payments-0")
    story.mark("payments-0", "abort")
    story.end("aborted")
    story.begin()
    story.offered = number
    story.send("payments-0")
    story.mark("payments-0", "commit")
    story.end("committed")

    assert found(story.verdict()) == {"ok": 1}


def test_a_record_of_an_unknown_outcome_that_is_sent_again_in_another_transaction_may_stand_twice() -> None:
    """GB-14: a duplicate from outside the transaction, which the application made."""
    story = Story()
    story.begin()
    number = story.send("payments-0")
    story.mark("payments-0", "commit")
    story.end("failed", call="commit", error="TimeoutException")
    story.begin()
    story.offered = number
    story.send("payments-0")
    story.mark("payments-0", "commit")
    story.end("committed")
    verdict = story.verdict()

    assert found(verdict) == {"duplicated": 1}
    assert (verdict.anomalies[0].allowed, verdict.anomalies[0].because) == (True, "the application sent the record again")


@pytest.mark.parametrize(("consumer", "allowed"), [("all", True), ("committed", False)])
def test_an_aborted_record_that_a_consumer_was_given(consumer: str, allowed: bool) -> None:
    """H-135: with the default isolation level that is no bug."""
    story = Story()
    story.begin()
    number = story.send("payments-0")
    story.read(consumer, "payments-0", number)
    story.mark("payments-0", "abort")
    story.end("aborted")
    verdict = story.verdict()

    assert found(verdict) == {"aborted_read": 1}
    assert (verdict.anomalies[0].allowed, verdict.anomalies[0].because == "isolation.level=read_uncommitted") == (allowed, allowed)


def test_a_committed_record_may_be_read_by_anybody() -> None:
    story = Story()
    story.begin()
    number = story.send("payments-0")
    for consumer in CONSUMERS:
        story.read(consumer, "payments-0", number)
    story.mark("payments-0", "commit")
    story.end("committed")

    assert found(story.verdict()) == {"ok": 1}


def test_what_stands_behind_a_transaction_that_nobody_ends_is_hidden() -> None:
    """TC-47, H-123: the last stable offset cannot pass it."""
    story = Story()
    story.begin()
    story.write("payments-0", story.send("payments-1", written=False))
    late = LoggedBatch(1, 0, "p1", range(1, 2), 8, 0, 0, True)
    story.send("payments-0", written=False)
    story.logs["payments-0"] += [late, LoggedBatch(2, 0, "", range(1), 8, 0, -1, True, "commit")]
    story.end("committed")

    assert story.verdict().records["hidden"] == 2


@pytest.mark.parametrize("told", ["committed", "aborted", "failed"])
def test_a_failed_record_in_a_transaction_that_nobody_ends_is_hidden_whatever_was_told(told: str) -> None:
    """TC-47: its batch came late; it stands in the log, above the last stable offset."""
    story = Story()
    story.begin()
    story.send("payments-0", outcome="failed")
    story.end(told, call="abort" if told == "failed" else "")
    verdict = story.verdict()

    assert found(verdict) == {"hidden": 1}
    assert (verdict.anomalies[0].allowed, verdict.anomalies[0].because) == (True, "a failed send says nothing about the log")
    assert verdict.anomalies[0].witness.offsets == (0,)


@pytest.mark.parametrize(
    ("kafka", "client", "verifies", "allowed"),
    [
        ("3.5", "java", True, True),
        ("3.6", "java", True, False),
        ("3.9", "java", False, True),
        ("4.3", "java", False, False),
        ("4.3", "librdkafka", False, True),
        ("4.3", "librdkafka", True, False),
    ],
)
def test_a_transaction_may_hang_where_nobody_verifies_it(kafka: str, client: str, verifies: bool, allowed: bool) -> None:
    """TC-47, H-123: with an epoch for each transaction the late batch is fenced, verified or not."""
    story = Story(kafka, client)
    story.config["brokers"]["broker-1"] = {} if verifies else {"transaction.partition.verification.enable": False}
    story.config["producers"]["p2"] = {"acks": "all", "enable.idempotence": True, "client": "java"}
    story.send("payments-0", outcome="unknown")
    story.tell(Offered("p2", range(1), 1, 0))
    story.logs["payments-0"].append(LoggedBatch(1, 0, "p2", range(1), 8, 0, 0))
    story.tell(Acked("p2", "payments-0", range(1), 1))
    verdict = story.verdict()

    assert found(verdict) == {"hidden": 1}
    assert verdict.anomalies[0].allowed == allowed
    assert ("do not verify" in verdict.anomalies[0].because) == allowed


def test_a_history_with_markers_is_the_same_when_written_and_read(tmp_path: Any) -> None:
    story = Story()
    story.begin()
    both_partitions(story, marker="abort")
    story.end("aborted")
    first = story.verdict()
    story.history.write(tmp_path / "history.jsonl")
    again = History.read(tmp_path / "history.jsonl")

    assert (judge(again), again.digest) == (first, story.history.digest)
    assert list(again) == list(story.history)
