"""Did the consumers see each record: histories made by hand, and what the default of auto.offset.reset does."""

from __future__ import annotations

from typing import Any

import pytest

from ksim import Run, Scenario, simulate
from ksim.history import History
from ksim.reading import Missed
from ksim.report import report_on, report_on_history
from ksim.report_text import text
from ksim.verdict import judge
from ksim_models.consumer_facts import CommittedOffset, Read
from ksim_models.facts import Acked, Ended, FinalLog, LoggedBatch, Offered

RECORDS = 10


def history(
    *given: tuple[str, int, int], committed: int = 0, policy: str = "earliest", cut_off: int = RECORDS, expect: dict[str, Any] | None = None
) -> History:
    """Ten records in one batch. given: (consumer, first offset, how many). cut_off: what was read from there on, by offset, was the other producer's."""
    readers = {name: {"group.id": group, "auto.offset.reset": policy} for name, group in (("one", "g"), ("two", "g"), ("alone", None))}
    tables = {name: {"topics": ["t"]} for name in readers}
    told = History({"config": {"consumers": readers}, "scenario": {"consumers": tables, **({"expect": expect} if expect else {})}})
    told.add(0, Offered("p1", range(RECORDS), 0, 0))
    told.add(1, Acked("p1", "t-0", range(RECORDS), 0))
    for consumer, first, count in given:
        for offset in range(first, first + count):
            told.add(2, Read(consumer, "t-0", "p1" if offset < cut_off else "p2", range(offset, offset + 1), offset))
    told.add(3, CommittedOffset("one", "g", (("t-0", committed),)))
    told.add(4, CommittedOffset("one", "g", (("t-0", 99),), "CommitFailedException"))
    logged = (LoggedBatch(0, 0, "p1", range(RECORDS), -1, -1, -1),)
    told.add(6, FinalLog("t-0", "broker-1", True, True, 0, RECORDS, RECORDS, RECORDS, logged))
    told.add(7, Ended(True, ("p1",), 0))
    return told


@pytest.mark.parametrize(
    ("given", "committed", "figures", "witness"),
    [
        ([("one", 0, 10)], 10, (10, 0, 0, 0), None),
        ([("one", 0, 6), ("two", 6, 4)], 0, (10, 0, 0, 0), None),
        ([("one", 0, 6), ("two", 4, 6)], 0, (8, 2, 0, 0), None),
        ([("one", 0, 5)], 0, (5, 0, 0, 5), None),
        ([("one", 3, 5)], 0, (5, 0, 3, 2), 0),
        ([("one", 0, 2), ("one", 6, 2)], 0, (4, 0, 4, 2), 2),
        ([("one", 0, 2)], 7, (2, 0, 5, 3), 2),
        ([], 0, (0, 0, 0, 10), None),
    ],
    ids=["once", "two members", "again by another", "not yet", "begun late", "jumped", "committed and not read", "nothing"],
)
def test_each_record_is_read_once_twice_skipped_or_not_yet(given: Any, committed: int, figures: tuple[int, ...], witness: int | None) -> None:
    group, _ = judge(history(*given, committed=committed)).reading

    assert (group.readers, group.inputs) == ("one, two", RECORDS)
    assert (group.read_once, group.read_twice, group.skipped, group.unread) == figures
    assert group.witness == (None if witness is None else Missed(f"p1/{witness}", "t-0", witness))


def test_a_consumer_without_a_group_is_counted_by_itself() -> None:
    group, alone = judge(history(("one", 0, 10), ("alone", 4, 6), committed=10)).reading

    assert (group.skipped, alone.readers, alone.skipped) == (0, "alone", 4)


def test_a_skip_is_explained_by_where_the_reader_begins_or_by_what_stood_there() -> None:
    late = judge(history(("one", 3, 5), policy="latest")).reading[0]
    cut = judge(history(("one", 0, 10), policy="earliest", cut_off=7)).reading[0]
    nothing = judge(history(("one", 3, 5), policy="earliest")).reading[0]

    assert (late.because, late.witness) == ("auto.offset.reset=latest", Missed("p1/0", "t-0", 0))
    assert (cut.skipped, cut.witness) == (3, Missed("p1/7", "t-0", 7))
    assert "cut off" in cut.because
    assert nothing.because == ""


def test_skips_are_in_the_report_and_may_be_expected_and_leave_the_verdict_alone() -> None:
    told = report_on_history(history(("one", 3, 5), ("alone", 0, 10), expect={"skipped": 3, "unread": 2, "read_once": 15, "read_twice": 0}))

    assert told.data["verdict"] == "held"
    assert (told.met, told.exit_code) == (True, 0)
    assert told.data["reading"] == {
        "one, two": {
            "inputs": 10, "read_once": 5, "read_twice": 0, "skipped": 3, "unread": 2, "because": None,
            "witness": {"record": "p1/0", "partition": "t-0", "offset": 0},
        },
        "alone": {"inputs": 10, "read_once": 10, "read_twice": 0, "skipped": 0, "unread": 0, "because": None, "witness": None},
    }  # fmt: skip


def run(policy: str) -> Run:
    return simulate(
        Scenario.loads(
            "kafka = '4.3'\nseed = 7\n[topics.t]\n[consumers.reader]\ntopics = ['t']\nconfig.group.id = 'g'\n"
            f"config.auto.offset.reset = '{policy}'\n[[workload]]\ntopic = 't'\nrecords = 1000\nevery = '5ms'\n"
        )
    )


def test_who_joins_for_three_seconds_and_begins_at_the_end_has_skipped_what_came_meanwhile() -> None:
    """group.initial.rebalance.delay.ms: the first assignment of an empty group waits for it (GC-4)."""
    late, early = run("latest"), run("earliest")
    (skipping,), (reading,) = late.verdict.reading, early.verdict.reading

    assert 600 <= skipping.skipped <= 700
    assert skipping.read_once + skipping.skipped == 1000
    assert (reading.read_once, reading.skipped) == (1000, 0)
    assert late.verdict.verdict == "held"
    assert f"reader: of 1000 records {skipping.read_once} were read once, 0 more than once, {skipping.skipped} skipped, 0 not yet read" in text(report_on(late))
    assert "witness: record p1/0, at offset 0 of t-0; auto.offset.reset=latest" in text(report_on(late))
