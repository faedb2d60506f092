"""Whatever is done to a clean history of transactions must show in its verdict."""

from __future__ import annotations

import dataclasses
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ksim.history import History
from ksim.verdict import judge
from ksim_models.facts import Acked, Ended, FinalLog, LoggedBatch, Offered, Sent, Transaction

CONFIG: dict[str, object] = {
    "producers": {"p1": {"acks": "all", "enable.idempotence": True, "transactional.id": "t"}},
    "topics": {"payments": {"min.insync.replicas": 2}},
    "brokers": {},
}
Line = tuple[int, object]
Logs = dict[str, list[LoggedBatch]]


@st.composite
def clean(draw: st.DrawFn) -> tuple[list[Line], Logs]:
    """A producer whose transactions follow each other, over one to three partitions; each ends as it was told."""
    lines: list[Line] = []
    logs: Logs = {f"payments-{number}": [] for number in range(draw(st.integers(1, 3)))}
    offered = 0
    for number in range(1, draw(st.integers(1, 5)) + 1):
        lines.append((number, Transaction("p1", number, "begin")))
        touched = draw(st.lists(st.tuples(st.sampled_from(sorted(logs)), st.integers(1, 4)), min_size=1, max_size=5))
        for partition, size in touched:
            records = range(offered, offered + size)
            offered += size
            end = _end(logs[partition])
            lines += [
                (number, Offered("p1", records, number, 0)),
                (number, Sent("p1", partition, records, "broker-1", "c", 1)),
                (number, Acked("p1", partition, records, end)),
            ]
            logs[partition].append(LoggedBatch(end, 0, "p1", records, 7, number, 0, True))
        fate = draw(st.sampled_from(["committed", "committed", "aborted"]))
        for partition in dict(touched):
            logs[partition].append(LoggedBatch(_end(logs[partition]), 0, "", range(1), 7, number, -1, True, "commit" if fate == "committed" else "abort"))
        lines.append((number, Transaction("p1", number, fate)))
    return lines, logs


def _end(log: list[LoggedBatch]) -> int:
    return log[-1].base_offset + len(log[-1].records) if log else 0


def counts(lines: list[Line], logs: Logs) -> Counter[str]:
    """Of the classes that are not zero; the last stable offset is worked out from the logs."""
    history = History({"config": CONFIG, "kafka": "4.3"})
    for at, fact in lines:
        history.add(at, fact)
    for partition, log in logs.items():
        ended: set[int] = set()
        stable = end = _end(log)
        for batch in reversed(log):
            ended |= {batch.producer_id} if batch.marker else set()
            stable = batch.base_offset if batch.transactional and not batch.marker and batch.producer_id not in ended else stable
        for broker in ("broker-1", "broker-2"):
            history.add(10**6, FinalLog(partition, broker, broker == "broker-1", True, 0, end, stable, end, tuple(log)))
    history.add(10**6, Ended(True, ("p1",), 0))
    verdict = judge(history)
    assert all(not anomaly.allowed for anomaly in verdict.anomalies if anomaly.name not in ("ghost", "removed"))
    return Counter({anomaly.name: anomaly.count for anomaly in verdict.anomalies})


def transactions(lines: list[Line]) -> dict[int, tuple[str, set[int]]]:
    """Per number: how it ended, and its records."""
    found: dict[int, tuple[str, set[int]]] = {}
    records: set[int] = set()
    for _, fact in lines:
        if isinstance(fact, Offered):
            records |= {*fact.records}
        elif isinstance(fact, Transaction) and fact.phase != "begin":
            found[fact.number], records = (fact.phase, records), set()
    return found


def a_place(data: st.DataObject, logs: Logs, *, marker: bool) -> tuple[str, int]:
    places = [(partition, place) for partition, log in sorted(logs.items()) for place, batch in enumerate(log) if bool(batch.marker) == marker]
    return data.draw(st.sampled_from(places))


@given(clean())
def test_transactions_that_ended_as_they_were_told_have_no_anomaly(drawn: tuple[list[Line], Logs]) -> None:
    assert not counts(*drawn)


@given(clean(), st.data())
def test_a_marker_that_says_the_opposite_loses_or_shows_its_part_and_tears_what_has_another(drawn: tuple[list[Line], Logs], data: st.DataObject) -> None:
    lines, logs = drawn
    partition, place = a_place(data, logs, marker=True)
    marker = logs[partition][place]
    fate, records = transactions(lines)[marker.producer_epoch]
    here = {number for batch in logs[partition] if batch.producer_epoch == marker.producer_epoch and not batch.marker for number in batch.records}
    logs[partition][place] = dataclasses.replace(marker, marker="abort" if marker.marker == "commit" else "commit")

    found = counts(lines, logs)

    assert found["lost" if fate == "committed" else "aborted_read"] == len(here)
    assert found["torn"] == (len(records) if records != here else 0)


@given(clean(), st.data())
def test_a_marker_that_is_missing_hides_what_was_committed_and_all_behind_it(drawn: tuple[list[Line], Logs], data: st.DataObject) -> None:
    """Until the next marker of this producer id, which ends both."""
    lines, logs = drawn
    partition = data.draw(st.sampled_from(sorted(partition for partition, log in logs.items() if log)))
    marker = logs[partition].pop()
    fate, _ = transactions(lines)[marker.producer_epoch]
    here = sum(len(batch.records) for batch in logs[partition] if batch.producer_epoch == marker.producer_epoch)

    assert counts(lines, logs) == (Counter({"hidden": here}) if fate == "committed" else Counter())


@given(clean(), st.data())
def test_an_outcome_of_a_transaction_that_is_told_wrongly_shows(drawn: tuple[list[Line], Logs], data: st.DataObject) -> None:
    lines, logs = drawn
    places = [place for place, (_, fact) in enumerate(lines) if isinstance(fact, Transaction) and fact.phase != "begin"]
    place = data.draw(st.sampled_from(places))
    at, fact = lines[place]
    assert isinstance(fact, Transaction)
    _, records = transactions(lines)[fact.number]
    told = "aborted" if fact.phase == "committed" else "committed"

    found = counts([*lines[:place], (at, dataclasses.replace(fact, phase=told)), *lines[place + 1 :]], logs)

    assert found == Counter({"aborted_read" if told == "aborted" else "lost": len(records)})


@given(clean(), st.data())
def test_a_batch_dropped_from_a_committed_transaction_is_lost_and_tears_it(drawn: tuple[list[Line], Logs], data: st.DataObject) -> None:
    lines, logs = drawn
    partition, place = a_place(data, logs, marker=False)
    batch = logs[partition].pop(place)
    fate, records = transactions(lines)[batch.producer_epoch]
    expected = Counter({"lost": len(batch.records)}) if fate == "committed" else Counter()
    if fate == "committed" and len(records) > len(batch.records):
        expected["torn"] = len(records)

    assert counts(lines, logs) == expected
