"""The history: contract (scenario.md section 3): every fact, its moment, one digest, JSON lines there and back."""

from __future__ import annotations

import io
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksim.history import History, HistoryError
from ksim_models.facts import (
    INTERNAL,
    OUTSIDE,
    Acked,
    Appended,
    Blocked,
    Ended,
    Failed,
    Fault,
    FinalLog,
    HighWatermark,
    LoggedBatch,
    Offered,
    PartitionChanged,
    Refused,
    Replicated,
    Sent,
)


def logged(first: Any, count: Any, base_offset: Any) -> Any:
    return LoggedBatch(base_offset, 0, "p1", range(first, first + count), 7, 0, first)


def final_log(replica: Any, *batches: Any, leader: Any = False) -> Any:
    end = sum(len(batch.records) for batch in batches)
    return FinalLog("payments-0", replica, leader, True, 0, end, end, end, batches)


FACTS = [
    (0, Offered("p1", range(5), 0, 1_000)),
    (4_000, Offered("p1", range(5, 8), 3_900, 0, (3_900, 3_950, 4_000))),
    (4_000, Offered("p1", (9, 11), 4_000, 0)),
    (4_000, Refused("p1", (9, 11), "BufferExhaustedException", "no memory \u2014 at all")),
    (5_000, Sent("p1", "payments-0", range(5), "broker-1", "p1->broker-1#1", 1)),
    (5_000, Sent("p1", "payments-0", (5, 7), "broker-1", "p1->broker-1#1", 2)),
    (5_500, Appended("broker-1", "payments-0", "p1", range(5), 0, 0)),
    (6_000, Replicated("broker-2", "payments-0", 5)),
    (6_500, HighWatermark("broker-1", "payments-0", 5)),
    (7_000, Acked("p1", "payments-0", range(5), 0)),
    (7_000, Acked("p1", "payments-0", (), -1)),
    (7_100, Failed("p1", "payments-0", range(5, 8), "TimeoutException", "Expiring 3 record(s)")),
    (7_200, Fault("cut", "cut", "begin", ("p1", "broker-1"), 0)),
    (7_300, PartitionChanged("payments-0", "", 3, ("broker-1",), (), 9, False, "fenced")),
    (7_400, Blocked("p1", 12, "memory", 60_007_400)),
    (9_000, final_log("broker-1", logged(0, 5, 0), logged(5, 3, 5), leader=True)),
    (9_000, final_log("broker-2", logged(0, 5, 0))),
    (9_000, final_log("broker-3", logged(0, 5, 0), logged(8, 3, 5))),
    (9_000, FinalLog("other-0", "broker-1", True, False, 0, 0, 0, 0, ())),
    (9_000, FinalLog("keyed-0", "broker-1", True, True, 0, 2, 2, 2, (LoggedBatch(0, 0, "p1", (5, 7), -1, -1, -1),))),
    (9_000, Ended(True, ("p1",), 77)),
]


def history_of(facts: Any, **options: Any) -> Any:
    history = History({"seed": 7, "how": "simulated"}, **options)
    for at, fact in facts:
        history.add(at, fact)
    return history


def lines_of(history: Any) -> Any:
    text = io.StringIO()
    history.write(text)
    return text.getvalue().splitlines()


def test_a_history_gives_back_every_fact_in_order_with_its_moment() -> None:
    history = history_of(FACTS)

    assert list(history) == FACTS
    assert len(history) == len(FACTS)
    assert all(type(got[1].records) is type(given[1].records) for got, given in zip(history, FACTS) if hasattr(given[1], "records"))


def test_a_history_written_and_read_again_is_the_same_history(tmp_path: Any) -> None:
    history = history_of(FACTS)
    history.write(tmp_path / "run.jsonl")

    again = History.read(tmp_path / "run.jsonl")

    assert list(again) == FACTS
    assert again.digest == history.digest
    assert again.run == {"seed": 7, "how": "simulated"}


def test_the_lines_bear_the_names_of_the_contract() -> None:
    lines = [json.loads(line) for line in lines_of(history_of(FACTS))]

    assert lines[0] == {"fact": "run", "at": 0, "schema": 1, "seed": 7, "how": "simulated"}
    names = "offered refused sent appended replicated high-watermark acked failed fault partition-changed blocked final-log end".split()
    assert list(dict.fromkeys(line["fact"] for line in lines[1:])) == names
    assert lines[1] == {"fact": "offered", "at": 0, "producer": "p1", "records": "0..4", "first_at": 0, "step": 1000, "times": []}


def test_the_digest_of_a_known_history_never_changes() -> None:
    """Recorded once: the same bytes on every platform and Python version."""
    assert history_of(FACTS).digest == "sha256:b2b739875356fd716c4f15d855856879086e2567698d73fde6783d367b7d7195"


def test_the_digest_covers_every_fact_but_the_run_line() -> None:
    history = history_of(FACTS)

    assert History({"seed": 8}).digest == History({}).digest
    for missing in range(len(FACTS)):
        assert history_of(FACTS[:missing] + FACTS[missing + 1 :]).digest != history.digest
    assert history_of([(at + 1, fact) for at, fact in FACTS]).digest != history.digest


def test_the_digest_is_the_same_whether_the_facts_are_kept_or_not(monkeypatch: Any) -> None:
    monkeypatch.setattr("ksim.packed.CHUNK", 100)
    forgetful = history_of(FACTS, keep=False)

    assert forgetful.digest == history_of(FACTS).digest
    assert len(forgetful) == len(FACTS)
    with pytest.raises(HistoryError, match="not kept"):
        list(forgetful)


def test_facts_are_chosen_by_class() -> None:
    history = history_of(FACTS)

    assert list(history.of(Acked, Failed)) == [line for line in FACTS if isinstance(line[1], (Acked, Failed))]
    assert list(history.of(PartitionChanged)) == [(7_300, FACTS[13][1])]
    assert list(history.of(Ended)) == [FACTS[-1]]
    assert list(history.outside()) == [line for line in FACTS if isinstance(line[1], OUTSIDE)]


def test_a_number_that_does_not_fit_its_field_is_kept_all_the_same() -> None:
    far = 1 << 40
    facts = [
        (far, Acked("p1", "payments-0", range(far, far + 2), far)),
        (far + 5, Acked("p1", "payments-0", range(2), 0)),
        (3, Replicated("broker-1", "payments-0", far)),
        (4, final_log("broker-1", logged(far, 2, 0))),
        (5, Sent("p1", "payments-0", range(1 << 17), "broker-1", "c" * 70_000, 1 << 9)),
        (6, Sent("p1", "payments-0", (far, 3), "broker-1", "c", 1)),
        (7, Offered("p1", range(3), 9, 0, (9, 9))),
    ]

    assert list(history_of(facts)) == facts
    assert History.read(lines_of(history_of(facts))).digest == history_of(facts).digest


def test_more_names_than_have_numbers_are_kept_all_the_same() -> None:
    facts = [(number, Replicated(f"broker-{number}", "payments-0", 5)) for number in range(65_600)]

    assert list(history_of(facts)) == facts


def test_a_hot_fact_takes_about_twenty_bytes() -> None:
    """Issue: at most 200 bytes per batch of history."""
    facts = []
    for number in range(1_000):
        records, at = range(number * 10, number * 10 + 10), number * 1_000
        facts += [
            (at, Offered("p1", records, at, 100)),
            (at, Sent("p1", "payments-0", records, "broker-1", "c", 1)),
            (at, Appended("broker-1", "payments-0", "p1", records, number * 10, 0)),
            (at, Replicated("broker-2", "payments-0", number * 10 + 10)),
            (at, Replicated("broker-3", "payments-0", number * 10 + 10)),
            (at, HighWatermark("broker-1", "payments-0", number * 10 + 10)),
            (at, Acked("p1", "payments-0", records, number * 10)),
        ]
    batches = [logged(number * 10, 10, number * 10) for number in range(1_000)]
    facts += [(2_000_000, final_log(broker, *batches)) for broker in ("broker-1", "broker-2", "broker-3")]

    assert history_of(facts).size_bytes <= 1_000 * 165


RUN = '{"fact":"run","at":0,"schema":1}'


@pytest.mark.parametrize(
    ("content", "line", "words", "given"),
    [
        (b"\x7fELF\xd0\x00", 1, "byte 5 is not UTF-8: a history is JSON lines", "byte 0xd0"),
        (RUN.encode() + b"\n\xff", 2, "byte 1 is not UTF-8", "byte 0xff"),
        (b"\x1f\x8b\x08\x00", 0, "it is compressed", "a gzip file"),
        (b"\x00\x01", 1, "a history is JSON lines", ""),
    ],
    ids=["binary", "later", "compressed", "zeros"],
)
def test_a_file_that_is_no_text_is_told_as_what_it_is(tmp_path: Path, content: bytes, line: int, words: str, given: str) -> None:
    path = tmp_path / "some.jsonl"
    path.write_bytes(content)

    with pytest.raises(HistoryError) as caught:
        History.read(path)

    assert caught.value.line == line
    assert words in caught.value.message
    assert "codec" not in caught.value.message
    assert given in caught.value.given


@pytest.mark.parametrize(
    ("lines", "line", "told"),
    [
        ([], 0, "no line"),
        (["nonsense"], 1, "not JSON"),
        (["[1]"], 1, "one JSON object"),
        (['{"fact":"run","schema":2}'], 1, "schema = 2"),
        (['{"fact":"acked"}'], 1, 'possible is "run"'),
        ([RUN, RUN], 2, "second"),
        ([RUN, '{"fact":"ackd","at":0}'], 2, "did you mean 'acked'"),
        ([RUN, '{"fact":["acked"],"at":0}'], 2, "is not known"),
        ([RUN, '{"fact":"high-watermark","at":0,"broker":"b","partition":"p","offset":"3"}'], 2, 'offset: given "3", possible is a whole number'),
        ([RUN, '{"fact":"high-watermark","at":true,"broker":"b","partition":"p","offset":3}'], 2, "at: given true"),
        ([RUN, "", '{"fact":"high-watermark","at":0,"broker":7,"partition":"p","offset":3}'], 3, "broker: given 7, possible is a text"),
        ([RUN, '{"fact":"high-watermark","at":0,"broker":"b","partition":"p"}'], 2, "lacks 'offset'"),
        ([RUN, '{"fact":"high-watermark","at":0,"broker":"b","partition":"p","offset":1,"ofset":1}'], 2, "has no 'ofset': did you mean 'offset'"),
        ([RUN, '{"fact":"acked","at":0,"producer":"p1","partition":"p","records":"5..1","offset":3}'], 2, "FIRST..LAST"),
        ([RUN, '{"fact":"acked","at":0,"producer":"p1","partition":"p","records":[-1],"offset":3}'], 2, "FIRST..LAST"),
        ([RUN, '{"fact":"end","at":0,"quiet":1,"living_producers":[],"events":0}'], 2, "quiet: given 1, possible are true and false"),
        ([RUN, '{"fact":"end","at":0,"quiet":true,"living_producers":"p1","events":0}'], 2, "possible is a list"),
        ([RUN, "[" * 100_000], 2, "not JSON"),
        ([RUN, '{"at":' + "9" * 5_000 + "}"], 2, ""),
    ],
)
def test_a_bad_line_is_told_with_its_number_what_was_given_and_what_is_possible(lines: Any, line: Any, told: Any) -> None:
    with pytest.raises(HistoryError) as caught:
        History.read(lines)

    assert caught.value.line == line
    assert told in caught.value.message


def test_a_bad_line_inside_a_final_log_is_told() -> None:
    line = json.loads(lines_of(history_of([FACTS[15]]))[1])
    line["batches"] = [7]

    with pytest.raises(HistoryError, match="given 7, possible is an object"):
        History.read([RUN, json.dumps(line)])


def test_a_file_that_is_absent_or_no_text_is_told_by_name(tmp_path: Any) -> None:
    (tmp_path / "noise").write_bytes(b"\xff\xfe\x00")

    for name in ("absent", "noise", ""):
        with pytest.raises(HistoryError) as caught:
            History.read(tmp_path / name)
        assert caught.value.file == str(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path))


@given(st.lists(st.text()))
def test_whatever_stands_in_a_file_reading_it_raises_nothing_but_a_history_error(lines: Any) -> None:
    with pytest.raises(HistoryError):
        History.read([*lines, "{"])


def test_every_class_of_facts_can_be_written_and_read() -> None:
    """A fact added to ksim_models.facts needs no code here."""
    samples: dict[str, Any] = {"str": "x", "int": 3, "bool": True, "Records": range(2), "tuple[str, ...]": ("a", "b"), "tuple[int, ...]": (4, 5)}
    samples["tuple[tuple[str, int], ...]"] = (("a", 6),)
    samples["tuple[LoggedBatch, ...]"] = (logged(0, 2, 0),)
    facts = [(at, cls(*(samples[str(field.type)] for field in fields(cls)))) for at, cls in enumerate((*OUTSIDE, *INTERNAL))]

    assert list(History.read(lines_of(history_of(facts)))) == facts
