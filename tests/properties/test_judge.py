"""A judge that never turns red is worthless: whatever is done to a clean history must show in its verdict (architecture, section 9)."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from ksim.history import History
from ksim.metrics import measure
from ksim.verdict import judge
from ksim_models.facts import INTERNAL, Acked, Appended, Ended, Failed, FinalLog, HighWatermark, LoggedBatch, Offered, Refused, Replicated, Sent

CONFIG: dict[str, object] = {"producers": {name: {"acks": "all", "enable.idempotence": True} for name in ("p1", "p2")}, "topics": {}, "brokers": {}}
Line = tuple[int, object]


@st.composite
def clean(draw: st.DrawFn) -> list[Line]:
    """One or two producers, one to three partitions, batches in order; some refused, some failed and absent, the rest acked and logged."""
    lines: list[Line] = []
    logs: dict[str, list[LoggedBatch]] = {f"payments-{number}": [] for number in range(draw(st.integers(1, 3)))}
    ends = dict.fromkeys(logs, 0)
    numbers = dict.fromkeys(draw(st.sampled_from([["p1"], ["p1", "p2"]])), 0)
    now = 0
    for size in draw(st.lists(st.integers(1, 5), min_size=2, max_size=12)):
        producer = draw(st.sampled_from(sorted(numbers)))
        partition = draw(st.sampled_from(sorted(logs)))
        fate = draw(st.sampled_from(["acked", "acked", "acked", "failed", "refused"]))
        records = range(numbers[producer], numbers[producer] + size)
        numbers[producer] += size
        now += draw(st.integers(0, 3_000))
        lines.append((now, Offered(producer, records, now, 0)))
        if fate == "refused":
            lines.append((now, Refused(producer, records, "TimeoutException", "")))
            continue
        lines.append((now, Sent(producer, partition, records, "broker-1", "c", 1)))
        now += 1_000
        if fate == "failed":
            lines.append((now, Failed(producer, partition, records, "TimeoutException", "")))
            continue
        lines.append((now, Appended("broker-1", partition, producer, records, ends[partition], 0)))
        lines.append((now, HighWatermark("broker-1", partition, ends[partition] + size)))
        lines.append((now, Acked(producer, partition, records, ends[partition])))
        logs[partition].append(LoggedBatch(ends[partition], 0, producer, records, 0, 0, records.start))
        ends[partition] += size
    for partition, end in ends.items():
        lines.append((now, FinalLog(partition, "broker-1", True, True, 0, end, end, end, tuple(logs[partition]))))
    return [*lines, (now, Ended(True, tuple(numbers), 0))]


def history_of(lines: list[Line]) -> History:
    history = History({"config": CONFIG})
    for at, fact in lines:
        history.add(at, fact)
    return history


def flat(log: FinalLog) -> list[tuple[str, int]]:
    return [(batch.producer, number) for batch in log.batches for number in batch.records]


def rewritten(lines: list[Line], contents: dict[str, list[tuple[str, int]]]) -> list[Line]:
    """The same lines with other records in the logs, one record in each batch."""
    result: list[Line] = []
    for at, fact in lines:
        if isinstance(fact, FinalLog) and fact.partition in contents:
            written = contents[fact.partition]
            batches = tuple(LoggedBatch(offset, 0, producer, range(number, number + 1), 0, 0, 0) for offset, (producer, number) in enumerate(written))
            end = len(written)
            fact = dataclasses.replace(fact, batches=batches, high_watermark=end, last_stable_offset=end, log_end_offset=end)
        result.append((at, fact))
    return result


def logs_of(lines: list[Line]) -> dict[str, list[tuple[str, int]]]:
    return {fact.partition: flat(fact) for _, fact in lines if isinstance(fact, FinalLog)}


def one_record(data: st.DataObject, lines: list[Line]) -> tuple[dict[str, list[tuple[str, int]]], str, int] | None:
    """The logs, and one record in one of them."""
    logs = logs_of(lines)
    filled = sorted(partition for partition in logs if logs[partition])
    if not filled:
        return None
    partition = data.draw(st.sampled_from(filled))
    return logs, partition, data.draw(st.integers(0, len(logs[partition]) - 1))


@given(clean())
def test_a_clean_history_holds_and_the_population_law_is_kept(lines: list[Line]) -> None:
    verdict = judge(history_of(lines))
    records = verdict.records

    assert (verdict.verdict, verdict.anomalies) == ("held", ())
    assert records["offered"] == records["refused"] + records["accepted"] == records["sends"]
    assert records["accepted"] == records["acked"] + records["failed"] + records["unknown"]
    assert (records["ok"], records["absent"]) == (records["acked"], records["failed"] + records["refused"])


@given(clean(), st.data())
def test_a_record_dropped_from_the_log_is_lost(lines: list[Line], data: st.DataObject) -> None:
    if (found := one_record(data, lines)) is None:
        return
    logs, partition, place = found
    del logs[partition][place]

    records = judge(history_of(rewritten(lines, logs))).records

    assert (records["lost"], records["duplicated"], records["reordered"]) == (1, 0, 0)
    assert records["ok"] == records["acked"] - 1


@given(clean(), st.data())
def test_a_second_copy_anywhere_behind_the_first_is_a_duplicate_and_nothing_else(lines: list[Line], data: st.DataObject) -> None:
    if (found := one_record(data, lines)) is None:
        return
    logs, partition, place = found
    logs[partition].insert(data.draw(st.integers(place + 1, len(logs[partition]))), logs[partition][place])

    verdict = judge(history_of(rewritten(lines, logs)))

    assert [(anomaly.name, anomaly.count, anomaly.allowed) for anomaly in verdict.anomalies] == [("duplicated", 1, False)]


@given(clean(), st.data())
def test_two_neighbours_of_one_producer_that_change_places_are_reordered(lines: list[Line], data: st.DataObject) -> None:
    logs = logs_of(lines)
    pairs = [(partition, place) for partition, log in sorted(logs.items()) for place in range(len(log) - 1) if log[place][0] == log[place + 1][0]]
    if not pairs:
        return
    partition, place = data.draw(st.sampled_from(pairs))
    log = logs[partition]
    log[place], log[place + 1] = log[place + 1], log[place]

    verdict = judge(history_of(rewritten(lines, logs)))

    assert [(anomaly.name, anomaly.count) for anomaly in verdict.anomalies] == [("reordered", 1)]


@given(clean(), st.data())
def test_a_record_moved_to_another_partition_is_misrouted_and_lost_at_home(lines: list[Line], data: st.DataObject) -> None:
    found = one_record(data, lines)
    if found is None or len(found[0]) == 1:
        return
    logs, partition, place = found
    record = logs[partition].pop(place)
    logs[data.draw(st.sampled_from(sorted(set(logs) - {partition})))].append(record)

    records = judge(history_of(rewritten(lines, logs))).records

    assert (records["misrouted"], records["lost"]) == (1, 1)


@given(clean(), st.data())
def test_an_outcome_that_is_flipped_changes_the_verdict(lines: list[Line], data: st.DataObject) -> None:
    """An acknowledgement turned into a failure makes ghosts; a failure turned into an acknowledgement makes losses."""
    outcomes = [place for place, (_, fact) in enumerate(lines) if isinstance(fact, (Acked, Failed))]
    if not outcomes:
        return
    place = data.draw(st.sampled_from(outcomes))
    at, fact = lines[place]
    assert isinstance(fact, (Acked, Failed))
    flipped: object
    if isinstance(fact, Acked):
        wanted, flipped = "ghost", Failed(fact.producer, fact.partition, fact.records, "TimeoutException", "")
    else:
        wanted, flipped = "lost", Acked(fact.producer, fact.partition, fact.records, 0)

    verdict = judge(history_of([*lines[:place], (at, flipped), *lines[place + 1 :]]))

    assert [(anomaly.name, anomaly.count) for anomaly in verdict.anomalies] == [(wanted, len(fact.records))]


@given(clean(), st.data())
def test_an_outcome_that_is_missing_makes_a_run_of_a_living_client_inconclusive(lines: list[Line], data: st.DataObject) -> None:
    outcomes = [place for place, (_, fact) in enumerate(lines) if isinstance(fact, (Acked, Failed))]
    if not outcomes:
        return
    place = data.draw(st.sampled_from(outcomes))

    verdict = judge(history_of([*lines[:place], *lines[place + 1 :]]))

    assert verdict.verdict == "inconclusive"
    assert verdict.records["unknown"] > 0


@given(clean(), st.data())
def test_a_high_watermark_below_the_end_hides_records(lines: list[Line], data: st.DataObject) -> None:
    if (found := one_record(data, lines)) is None:
        return
    logs, partition, place = found
    lower = [
        (at, dataclasses.replace(fact, high_watermark=place) if isinstance(fact, FinalLog) and fact.partition == partition else fact) for at, fact in lines
    ]

    assert judge(history_of(lower)).records["hidden"] == len(logs[partition]) - place


@given(clean())
def test_dropping_every_internal_fact_changes_no_verdict_and_no_figure(lines: list[Line]) -> None:
    outside = [line for line in lines if not isinstance(line[1], INTERNAL)]
    noise = [(0, Replicated("broker-9", "payments-0", 10**6)), *lines]

    assert judge(history_of(outside)) == judge(history_of(lines)) == judge(history_of(noise))
    assert measure(history_of(outside)) == measure(history_of(lines))


@given(clean())
def test_a_history_that_was_written_and_read_is_judged_the_same(lines: list[Line]) -> None:
    history = history_of(lines)
    written: list[str] = []

    class Memory:
        def write(self, text: str) -> None:
            written.append(text)

    history.write(Memory())  # type: ignore[arg-type]
    again = History.read(written)

    assert again.digest == history.digest
    assert judge(again) == judge(history)
