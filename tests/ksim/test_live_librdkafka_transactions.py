"""The application of a replay above librdkafka: the same steps as the simulated one, and the same answer to each kind of error."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
from confluent_kafka import KafkaError, KafkaException

from ksim import Scenario, ScenarioError
from ksim.live.librdkafka_transactions import Habits, Sent, Transactions
from ksim.live.refusals import refuse_what_is_not_replayed

RETRIABLE = KafkaError(KafkaError._TIMED_OUT, "later", False, True, False)
ABORTABLE = KafkaError(KafkaError._INCONSISTENT, "2 message(s) failed delivery", False, False, True)
FATAL = KafkaError(KafkaError._FENCED, "fenced", True, False, False)
PLAIN = KafkaError(KafkaError._STATE, "wrong state")


class Scripted:
    """A producer whose calls fail as was said, each once."""

    def __init__(self, **failures: list[KafkaError]) -> None:
        self.failures = failures
        self.producer: Any = self
        self.sent: list[int] = []
        self.refused: set[int] = set()
        self.failed: set[int] = set()

    def is_over(self) -> bool:
        return False

    def call(self, place: int, number: int) -> Sent:
        number = place if number < 0 else number
        self.sent.append(number)
        refused = number in self.refused
        self.refused.discard(number)
        return Sent(number, place, refused=refused, has_failed=lambda: number in self.failed)

    def _fail(self, name: str) -> None:
        if self.failures.get(name):
            raise KafkaException(self.failures[name].pop(0))

    def init_transactions(self) -> None:
        self._fail("init")

    def begin_transaction(self) -> None:
        self._fail("begin")

    def commit_transaction(self) -> None:
        self._fail("commit")

    def abort_transaction(self) -> None:
        self._fail("abort")


def play(sends: Scripted, *, records: int = 4, on_failure: str = "report", abort_every: int = 0, waits: bool = False) -> list[str]:
    told: list[str] = []

    def say(event: dict[str, Any]) -> None:
        told.append(f"{event['call']}: {event['class']}" if event["phase"] == "failed" else f"{event['phase']} {event['number']}")

    habits = Habits(["2", "commit", str(abort_every), "0", "0", on_failure])
    Transactions(sends, [0] * records, habits, zero=0, waits=waits, say=say, wait_until=lambda moment: None, begun=0, holds=frozenset()).run()
    return told


COMMITTED = ["begin 1", "commit 1", "committed 1", "begin 2", "commit 2", "committed 2"]


@pytest.mark.parametrize(
    ("failures", "told", "sent"),
    [
        ({}, COMMITTED, [0, 1, 2, 3]),
        ({"init": [RETRIABLE]}, ["init: _TIMED_OUT", *COMMITTED], [0, 1, 2, 3]),
        ({"init": [FATAL]}, ["init: _FENCED"], [0, 1, 2, 3]),
        ({"begin": [PLAIN]}, ["begin: _STATE"], [0, 1, 2, 3]),
        ({"commit": [RETRIABLE]}, ["begin 1", "commit 1", "commit: _TIMED_OUT", *COMMITTED[2:]], [0, 1, 2, 3]),
        ({"commit": [ABORTABLE]}, ["begin 1", "commit 1", "commit: _INCONSISTENT", "abort 1", "aborted 1", *COMMITTED[3:]], [0, 1, 2, 3]),
        ({"commit": [FATAL]}, ["begin 1", "commit 1", "commit: _FENCED"], [0, 1, 2, 3]),
        (
            {"commit": [ABORTABLE], "abort": [RETRIABLE, ABORTABLE]},
            ["begin 1", "commit 1", "commit: _INCONSISTENT", "abort 1", "abort: _TIMED_OUT", "abort: _INCONSISTENT", "aborted 1", *COMMITTED[3:]],
            [0, 1, 2, 3],
        ),
    ],
)
def test_an_error_says_itself_what_is_to_be_done(failures: dict[str, list[KafkaError]], told: list[str], sent: list[int]) -> None:
    sends = Scripted(**{name: list(of) for name, of in failures.items()})

    assert play(sends) == told
    assert sends.sent == sent


def test_a_transaction_that_was_not_to_be_aborted_is_sent_again_if_that_is_asked_for() -> None:
    sends = Scripted(commit=[ABORTABLE])
    play(sends, on_failure="resend")

    assert sends.sent == [0, 1, 0, 1, 2, 3]


def test_after_a_failure_nothing_more_is_sent_if_that_is_asked_for() -> None:
    sends = Scripted(commit=[ABORTABLE])
    play(sends, on_failure="stop")

    assert sends.sent == [0, 1]


def test_a_planned_abort_is_no_failure() -> None:
    assert play(Scripted(), abort_every=2) == [*COMMITTED[:4], "abort 2", "aborted 2"]


@pytest.mark.parametrize("way", ["refused", "failed"])
def test_a_record_that_is_refused_or_that_fails_before_the_next_ends_the_transaction(way: str) -> None:
    sends = Scripted()
    getattr(sends, way).add(0)

    assert play(sends, records=2, waits=True)[:3] == ["begin 1", "abort 1", "aborted 1"]


def test_an_application_of_two_clients_is_not_replayed() -> None:
    text = """
kafka = "4.3"
seed = 1
[topics.a]
[topics.b]
[producers.p]
client = "librdkafka"
config.transactional.id = "p"
[consumers.c]
config.group.id = "g"
[applications.copy]
reads = "a"
writes = "b"
producer = "p"
[producers.feed]
[[workload]]
producer = "feed"
topic = "a"
records = 1
every = "1ms"
"""
    with pytest.raises(ScenarioError, match="both of one client"):
        refuse_what_is_not_replayed(Scenario.loads(text).plan())
