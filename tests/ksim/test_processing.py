"""Did each input take effect exactly once: histories made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from ksim.history import History
from ksim.report import report_on_history
from ksim.verdict import judge
from ksim_models.consumer_facts import CommittedOffset, Processed
from ksim_models.facts import Acked, Ended, FinalLog, LoggedBatch, Offered
from ksim_models.messages import Records

CONFIG: dict[str, Any] = {
    "producers": {"feed": {"acks": "all"}, "copier": {"acks": "all"}},
    "consumers": {"reader": {"group.id": "copy"}},
    "topics": {},
    "brokers": {},
    "applications": {"copy": {"reads": "orders", "writes": "payments", "producer": "copier", "consumer": "reader"}},
}
INPUTS = 10


def history(
    *processed: tuple[int, int],
    written: tuple[int, ...] | None = None,
    committed: int = INPUTS,
    expect: dict[str, Any] | None = None,
    stands: Records = range(INPUTS),
) -> History:
    """Ten inputs in one batch, or those that stand. processed: (first input, how many), each making as many records;
    written: which of these stand in the log, in order.
    """
    told = History({"config": CONFIG, "scenario": {"expect": expect} if expect else {}})
    told.add(0, Offered("feed", range(INPUTS), 0, 0))
    told.add(1, Acked("feed", "orders-0", range(INPUTS), 0))
    made = 0
    for first, count in processed:
        records = range(made, made + count)
        made += count
        told.add(2, Offered("copier", records, 2, 0))
        told.add(2, Processed("copy", "orders-0", first, "feed", range(first, first + count), "copier", records))
        told.add(3, Acked("copier", "payments-0", records, records.start))
    told.add(4, CommittedOffset("reader", "copy", (("orders-0", committed),)))
    told.add(5, CommittedOffset("reader", "copy", (("orders-0", 99),), "CommitFailedException"))
    out = range(made) if written is None else written
    logged = tuple(LoggedBatch(offset, 0, "copier", range(number, number + 1), -1, -1, -1) for offset, number in enumerate(out))
    told.add(6, FinalLog("orders-0", "broker-1", True, True, 0, len(stands), len(stands), len(stands), (LoggedBatch(0, 0, "feed", stands, -1, -1, -1),)))
    told.add(6, FinalLog("payments-0", "broker-1", True, True, 0, len(out), len(out), len(out), logged))
    told.add(7, Ended(True, ("feed", "copier"), 0))
    return told


@pytest.mark.parametrize(
    ("processed", "written", "committed", "told", "witness"),
    [
        (((0, 10),), None, 10, (10, 0, 0, 0, "held"), ""),
        (((0, 4), (4, 6)), None, 10, (10, 0, 0, 0, "held"), ""),
        (((0, 6), (4, 6)), None, 10, (8, 2, 0, 0, "violated"), "orders-0@4"),
        (((0, 10),), (0, 1, 2, 3, 4, 5, 6, 7, 8), 10, (9, 0, 1, 0, "violated"), "orders-0@9"),
        (((0, 10),), (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 3), 10, (9, 1, 0, 0, "violated"), "orders-0@3"),
        (((0, 5),), None, 5, (5, 0, 0, 5, "inconclusive"), ""),
        (((0, 5),), None, 7, (5, 0, 2, 3, "violated"), "orders-0@5"),
        ((), None, 0, (0, 0, 0, 10, "inconclusive"), ""),
    ],
    ids=["once", "two polls", "two inputs again after a rewind", "an output is lost", "an output stands twice", "not yet", "offsets without output", "nothing"],
)
def test_each_input_takes_effect_once_twice_or_not_at_all(processed: Any, written: Any, committed: int, told: tuple[Any, ...], witness: str) -> None:
    (found,) = judge(history(*processed, written=written, committed=committed)).processing

    assert (found.processed_once, found.processed_twice, found.skipped, found.unprocessed, found.verdict) == told
    assert (found.inputs, found.witness) == (INPUTS, witness)
    assert sum(told[:4]) == INPUTS


def test_numbers_that_were_made_and_never_sent_are_made_anew() -> None:
    """Of three records that were made two were sent; of two more none."""
    told = history((0, 3), written=(0, 1, 2, 3, 4, 5, 6, 7, 8, 9))
    told.add(8, Offered("copier", range(3, INPUTS), 2, 0))
    told.add(8, Processed("copy", "orders-0", 2, "feed", range(2, 4), "copier", range(2, 4)))
    told.add(8, Processed("copy", "orders-0", 2, "feed", range(2, 10), "copier", range(2, 10)))
    (found,) = judge(told).processing

    assert (found.processed_once, found.processed_twice) == (INPUTS, 0)


def test_what_was_made_of_a_record_that_was_cut_off_is_no_effect_of_the_one_that_took_its_place() -> None:
    """Three inputs were read before an unclean election put others of the same producer at their offsets."""
    told = history((3, 7), written=tuple(range(10)))
    told.add(8, Offered("copier", range(7, 10), 2, 0))
    told.add(8, Processed("copy", "orders-0", 0, "feed", range(90, 93), "copier", range(7, 10)))
    (found,) = judge(told).processing

    assert (found.processed_once, found.skipped, found.witness) == (7, 3, "orders-0@0")


def test_an_input_is_told_by_its_own_number_where_records_do_not_follow_each_other() -> None:
    """A poll() brought records 0, 2 and 3, of which three were made."""
    told = history(written=(0, 1, 2), stands=(0, 2, 3))
    told.add(8, Offered("copier", range(3), 2, 0))
    told.add(8, Processed("copy", "orders-0", 0, "feed", (0, 2, 3), "copier", range(3)))
    (found,) = judge(told).processing

    assert (found.inputs, found.processed_once, found.skipped) == (3, 3, 0)


def test_it_is_a_verdict_of_its_own_and_part_of_the_whole() -> None:
    doubled = judge(history((0, 6), (4, 6)))
    waiting = judge(history((0, 5), committed=5))

    assert (doubled.anomalies, doubled.verdict) == ((), "violated")
    assert (waiting.verdict, waiting.reasons) == ("inconclusive", ("copy has yet to process 5 inputs",))


def test_a_report_tells_it_and_a_scenario_can_expect_it() -> None:
    report = report_on_history(history((0, 6), (4, 6), expect={"processed_twice": 2, "skipped": 0, "processed_once": ">= 9"}))

    assert report.data["processing"] == {
        "copy": {
            "inputs": 10,
            "processed_once": 8,
            "processed_twice": 2,
            "skipped": 0,
            "unprocessed": 0,
            "verdict": "violated",
            "witness": "orders-0@4",
        }
    }
    expected: Any = report.data["expect"]
    assert {key: line["met"] for key, line in expected.items()} == {"processed_twice": True, "skipped": True, "processed_once": False}
