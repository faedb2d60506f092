"""The log of a replica is followed on its disk while a broker writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ksim.live.batches import batches_in, read_batch, with_records
from ksim.live.compressed import NotReadable
from ksim.live.segments import Change, Tail
from live_batches import batch, numbered

FIRST = "00000000000000000000.log"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "payments-0"
    folder.mkdir()
    (folder / FIRST).touch()
    return folder


def append(folder: Path, data: bytes, segment: str = FIRST) -> None:
    with (folder / segment).open("ab") as file:
        file.write(data)


def bases(change: Change | None) -> list[int]:
    assert change is not None
    return [batch.base_offset for batch, _ in change.batches]


def test_new_batches_are_seen_once(folder: Path) -> None:
    tail = Tail(folder)
    append(folder, numbered(0, 1) + numbered(2, base=2))
    first = tail.look()
    nothing = tail.look()
    append(folder, numbered(3, base=3))
    second = tail.look()

    assert bases(first) == [0, 2]
    assert nothing is None
    assert bases(second) == [3]
    assert tail.end == 4


def test_a_log_that_is_not_there_yet_has_no_news(tmp_path: Path) -> None:
    tail = Tail(tmp_path / "payments-0")

    assert tail.look() is None
    assert tail.end == 0


def test_half_a_batch_is_left_for_the_next_look(folder: Path) -> None:
    tail, whole = Tail(folder), numbered(0, 1, 2)
    append(folder, whole[:-5])
    half = tail.look()
    append(folder, whole[-5:])

    assert half is None
    assert bases(tail.look()) == [0]


def test_batches_that_were_cut_off_are_noticed_although_the_file_has_grown_again(folder: Path) -> None:
    tail = Tail(folder)
    kept = numbered(0)
    append(folder, kept + numbered(1, base=1) + numbered(2, base=2))
    tail.look()
    (folder / FIRST).write_bytes(kept + numbered(7, 8, 9, base=1, epoch=1) + numbered(10, base=4, epoch=1))

    change = tail.look()

    assert change is not None
    assert change.truncated == (3, 1)
    assert bases(change) == [1, 4]
    assert change.end == 5


def test_a_log_that_became_shorter_says_so(folder: Path) -> None:
    tail = Tail(folder)
    append(folder, numbered(0) + numbered(1, base=1))
    tail.look()
    (folder / FIRST).write_bytes(numbered(0))

    change = tail.look()

    assert change is not None
    assert (change.truncated, change.batches) == ((2, 1), [])


def test_a_new_segment_goes_on_where_the_last_one_ended(folder: Path) -> None:
    tail = Tail(folder)
    append(folder, numbered(0))
    tail.look()
    append(folder, numbered(1, base=1))
    append(folder, numbered(2, base=2), "00000000000000000002.log")

    assert bases(tail.look()) == [1, 2]


def test_segments_that_were_deleted_at_the_front_are_no_truncation(folder: Path) -> None:
    tail = Tail(folder)
    append(folder, numbered(0, 1))
    tail.look()
    append(folder, numbered(2, base=2), "00000000000000000002.log")
    (folder / FIRST).unlink()

    change = tail.look()

    assert change is not None
    assert change.truncated is None
    assert bases(change) == [2]


def test_a_large_batch_is_read_whole(folder: Path) -> None:
    tail = Tail(folder)
    append(folder, batch([b"0/0 " + b"." * 9_000_000]) + numbered(1, base=1))

    assert bases(tail.look()) == [0, 1]


def test_a_batch_is_read_with_its_leader_epoch_producer_and_records() -> None:
    data = batch([b"0/5 ..", b"w ", b"1/2 "], base=10, epoch=3, producer_id=7, sequence=40)
    found = with_records(read_batch(data), data)

    assert (found.base_offset, found.last_offset, found.leader_epoch, found.producer_id, found.base_sequence) == (10, 12, 3, 7, 40)
    assert found.records == [(10, (0, 5)), (11, None), (12, (1, 2))]


def test_a_fetch_answer_that_is_cut_off_gives_the_whole_batches_only() -> None:
    data = numbered(0) + numbered(1, base=1)

    assert [batch.base_offset for batch, _ in batches_in(data[:-1])] == [0]


def test_a_damaged_batch_is_not_taken_for_an_empty_one() -> None:
    data = numbered(0, 1)

    with pytest.raises(NotReadable):
        with_records(read_batch(data), data[:-8])


def test_a_topic_created_again_begins_a_new_log_and_truncates_none(folder: Path) -> None:
    (folder / "partition.metadata").write_text("version: 0\ntopic_id: old", encoding="utf-8")
    tail = Tail(folder)
    append(folder, numbered(0, 1) + numbered(2, base=2))
    tail.look()
    folder.rename(folder.with_name("payments-0.1234-delete"))
    folder.mkdir()
    (folder / "partition.metadata").write_text("version: 0\ntopic_id: new", encoding="utf-8")
    append(folder, numbered(3))
    change = tail.look()

    assert bases(change) == [0]
    assert change is not None
    assert (change.truncated, change.topic_id, tail.end) == (None, "new", 1)


def test_a_log_is_looked_for_in_every_log_directory(tmp_path: Path) -> None:
    tail = Tail(tmp_path / "one" / "payments-0", tmp_path / "two" / "payments-0")
    (tmp_path / "two" / "payments-0").mkdir(parents=True)
    append(tmp_path / "two" / "payments-0", numbered(0))

    assert bases(tail.look()) == [0]


def test_of_a_batch_in_which_the_log_starts_only_the_rest_is_there() -> None:
    ((found, data),) = batches_in(numbered(5, 6, 7, base=10))
    (fact,) = with_records(found, data).since(11).logged(["p1"])

    assert (fact.base_offset, list(fact.records)) == (11, [6, 7])
    assert with_records(found, data).since(13).logged(["p1"]) == []
