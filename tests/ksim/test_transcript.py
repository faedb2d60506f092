"""The story of a run: what is told, in which order, and what is summed up; and the stories of tests/stories, word by word."""

from __future__ import annotations

from pathlib import Path

import pytest

from ksim.history import History
from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim.transcript import story, tell
from ksim.transcript_sentences import Sentences, records
from ksim_models.facts import (
    INTERNAL,
    OUTSIDE,
    Acked,
    Appended,
    Disconnected,
    Ended,
    Failed,
    Fault,
    FinalLog,
    LoggedBatch,
    Offered,
    PartitionChanged,
    Refused,
    Rejected,
    Replicated,
    Retried,
    Sent,
    TimedOut,
    TopicChanged,
    Truncated,
)

STORIES = sorted((Path(__file__).parents[1] / "stories").glob("*.txt"))
RULE = "\n----\n"


def history_of(*facts: tuple[int, object]) -> History:
    history = History({"config": {"producers": {"p1": {"acks": "all"}}, "topics": {}, "brokers": {}}})
    for at, fact in facts:
        history.add(at, fact)
    return history


def healthy(number: int, at: int) -> list[tuple[int, object]]:
    """One batch of one record, from send() to acknowledgement."""
    batch = range(number, number + 1)
    return [
        (at, Offered("p1", batch, at, 0)),
        (at, Sent("p1", "payments-0", batch, "broker-1", "c1", 1)),
        (at + 500, Appended("broker-1", "payments-0", "p1", batch, number, 0)),
        (at + 700, Replicated("broker-2", "payments-0", number + 1)),
        (at + 1000, Acked("p1", "payments-0", batch, number)),
    ]


def end(count: int, at: int = 900_000) -> list[tuple[int, object]]:
    batches = (LoggedBatch(0, 0, "p1", range(count), -1, -1, -1),) if count else ()
    return [(at, FinalLog("payments-0", "broker-1", True, True, 0, count, count, count, batches)), (at, Ended(True, ("p1",), 0))]


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in STORIES])
def test_a_story_is_told_as_it_was_reviewed(path: Path, request: pytest.FixtureRequest) -> None:
    name, _, told = path.read_text(encoding="utf-8").partition(RULE)
    now = story(simulate(Scenario.load(name)).history)
    if request.config.getoption("--rewrite"):
        path.write_text(f"{name}{RULE}{now}", encoding="utf-8")
        told = now

    assert now == told


def test_there_are_stories_to_read() -> None:
    assert len(STORIES) >= 3


def test_a_healthy_run_is_one_batch_in_full_and_the_others_in_one_line() -> None:
    lines = list(tell(history_of(*(fact for number in range(50) for fact in healthy(number, number * 5_000)), *end(50))))

    assert lines[0] == "          0 ms  p1 sends record 0 to broker-1"
    assert lines[3] == "          5 ms  p1 sends records 1..49 to broker-1 in 49 batches: appended, copied by the followers and acknowledged, until 246 ms"
    assert len(lines) == 6


def test_what_a_fault_struck_is_told_in_full() -> None:
    batch = range(1, 2)
    facts = [
        *healthy(0, 0),
        (5_000, Offered("p1", batch, 5_000, 0)),
        (5_000, Sent("p1", "payments-0", batch, "broker-1", "c1", 1)),
        (5_400, Fault("dies", "crash", "begin", ("broker-1",), 0)),
        (5_900, Disconnected("p1", "broker-1", "c1", 1, "closed by the other side")),
        (5_900, Retried("p1", "payments-0", batch, "NETWORK_EXCEPTION", 1, 100_000)),
        (106_000, Sent("p1", "payments-0", batch, "broker-2", "c2", 2)),
        (106_500, Appended("broker-2", "payments-0", "p1", batch, 1, 1)),
        (107_000, Acked("p1", "payments-0", batch, 1)),
        *end(2),
    ]

    told = [line.split("ms  ", 1)[1] for line in tell(history_of(*facts))]

    assert told[3:10] == [
        "p1 sends record 1 to broker-1",
        "broker-1 crashes",
        "p1 cannot connect to broker-1 (closed by the other side)",
        "p1 will send record 1 again (NETWORK_EXCEPTION), 100 ms from now at the earliest",
        "p1 sends record 1 to broker-2 again (attempt 2)",
        "broker-2 appends record 1 of p1 at offset 1",
        "p1 is told: record 1 written at offset 1",
    ]


def test_a_batch_that_is_refused_again_and_again_is_summed_up() -> None:
    facts: list[tuple[int, object]] = [(0, Offered("p1", range(1), 0, 0))]
    for attempt in range(1, 9):
        facts.append((attempt * 1_000, Sent("p1", "payments-0", range(1), "broker-1", "c1", attempt)))
        facts.append((attempt * 1_000 + 500, Rejected("broker-1", "payments-0", "p1", range(1), "NOT_ENOUGH_REPLICAS")))
    facts += [(9_000, Failed("p1", "payments-0", range(1), "NotEnoughReplicasException", "Too few.")), *end(0)]

    told = list(tell(history_of(*facts)))

    assert "        1.5 ms  broker-1 refuses record 0 of p1: NOT_ENOUGH_REPLICAS; 8 times, until 8.5 ms" in told
    assert "          2 ms  p1 sends record 0 to broker-1 again; 7 times, until 8 ms" in told
    assert len(told) == 6


def test_records_that_will_be_lost_are_told_apart() -> None:
    facts = [fact for number in range(6) for fact in healthy(number, number * 5_000)]

    told = story(history_of(*facts, *end(3)))

    assert "p1 sends records 1..2 to broker-1 in 2 batches: appended, copied by the followers and acknowledged, until 11 ms\n" in told
    assert "p1 sends records 3..5 to broker-1 in 3 batches: appended, copied by the followers and acknowledged; they will be lost, until 26 ms\n" in told
    assert "records 3..5 of p1: acknowledged, and not in the final log: lost\n" in told


def test_a_change_of_leader_is_told_as_a_change() -> None:
    sentences = Sentences()

    told = [
        sentences.of(PartitionChanged("payments-0", leader, epoch, isr, (), 0, False, ""))
        for leader, epoch, isr in [
            ("broker-1", 0, ("broker-1", "broker-2")),
            ("broker-2", 1, ("broker-2",)),
            ("broker-2", 1, ("broker-2", "broker-1")),
            ("", 2, ("broker-2",)),
        ]
    ]

    assert told == [
        "payments-0 keeps its leader broker-1 (ISR broker-1, broker-2)",
        "the controller makes broker-2 leader of payments-0 (epoch 1, ISR broker-2)",
        "the ISR of payments-0 grows: broker-2 leads (ISR broker-2, broker-1)",
        "the controller: nobody leads payments-0 now (ISR broker-2)",
    ]


@pytest.mark.parametrize(
    ("fact", "sentence"),
    [
        (Fault("x", "crash", "begin", ("broker-2", "broker-3"), 0), "broker-2 and broker-3 crash"),
        (Fault("x", "crash", "end", ("broker-2",), 0), "broker-2 starts again"),
        (Fault("x", "pause", "begin", ("broker-2",), 0), "broker-2 freezes: the process stops, the sockets stay open"),
        (Fault("x", "cut", "begin", ("p1 <-> broker-1",), 0), "the network between p1 and broker-1 swallows everything, and nobody is told"),
        (Fault("x", "lose-response", "hit", ("broker-1 -> p1",), 1), "the response broker-1 -> p1 is lost, and its connection is closed"),
        (Fault("x", "crash", "not-injected", (), 0, "nobody leads"), "the fault x does not happen: nobody leads"),
        (Fault("x", "crash", "summary", ("broker-2",), 3), ""),
        (Truncated("broker-1", "payments-0", 61, 99), "broker-1 cuts its log back from 99 to 61: the leader does not have the rest"),
        (Acked("p1", "payments-0", range(2), -1), "p1 is told: records 0..1 written, but not where"),
        (TimedOut("broker-1", "payments-0", "p1", range(1), "REQUEST_TIMED_OUT"),
         "broker-1 waits no longer for copies of record 0 of p1: REQUEST_TIMED_OUT; they stay in its log"),
        (Refused("p1", range(3, 4), "TimeoutException", "Topic t not present."), "send() of record 3 of p1 fails, TimeoutException: Topic t not present"),
    ],
)  # fmt: skip
def test_a_fact_is_one_sentence(fact: object, sentence: str) -> None:
    assert Sentences().of(fact) == sentence


def test_the_partition_is_named_where_there_are_several() -> None:
    assert Sentences(several_partitions=True).of(Sent("p1", "payments-1", range(2), "broker-1", "c", 1)) == "p1 sends records 0..1 of payments-1 to broker-1"


@pytest.mark.parametrize(
    ("numbers", "text"),
    [(range(7, 8), "record 7"), (range(3), "records 0..2"), ((1, 5, 9), "records 1, 5, 9"), (tuple(range(0, 20, 2)), "10 records (0, 2, 4, 6, 8, 10, ...)")],
)
def test_records_are_named_briefly(numbers: range | tuple[int, ...], text: str) -> None:
    assert records(numbers) == text


def test_a_topic_is_created_again_only_where_it_was_deleted() -> None:
    sentences = Sentences()
    facts = TopicChanged("t", 1, "created"), TopicChanged("t", 1, "deleted"), TopicChanged("t", 2, "created")

    assert [sentences.of(fact) for fact in facts] == ["the topic t is created", "the topic t is deleted", "a topic t is created again, under another id"]


def test_every_kind_of_fact_is_told_or_left_out_on_purpose() -> None:
    from ksim.transcript_sentences import TELLERS

    assert {cls.__name__ for cls in (*OUTSIDE, *INTERNAL)} - {cls.__name__ for cls in TELLERS} == {"Offered", "Replicated"}


def test_refused_records_belong_to_no_batch_and_many_are_one_line() -> None:
    refused = [(at, fact) for at in range(5) for fact in (Offered("p1", range(at, at + 1), at, 0), Refused("p1", range(at, at + 1), "Late", "No memory."))]

    assert story(history_of(*refused, *end(0))).startswith("          0 ms  send() of records 0..4 of p1 fails, Late: No memory; 5 times, until 0.004 ms\n")
