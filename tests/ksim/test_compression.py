"""Compression from the scenario file to the log: what is said of it, what it does to batches, and what a live client sends."""

from __future__ import annotations

import zlib

import pytest

from ksim.live.naming import content, identity
from ksim.runs import Run
from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim.transcript import story
from ksim_models.facts import Rejected, Sent, Split

TEXT = """\
title = "records that compress"
kafka = "4.3"
seed = 7
[topics.payments]
[producers.p1]
config."compression.type" = "zstd"
config."linger.ms" = 50
[[workload]]
topic = "payments"
records = 4000
every = "1ms"
size = 1000
compression_ratio = 0.2
"""


def notes(text: str) -> list[str]:
    return [note for note in Scenario.loads(text).notes if "compress" in note]


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (
            ("compression_ratio = 0.2", ""),
            "workload 1: p1 compresses (zstd) and nothing says how well; records are taken to shrink to a half (compression_ratio = 0.5)",
        ),
        (("zstd", "none"), "workload 1: compression_ratio plays no part: p1 does not compress (compression.type = none)"),
        (("", ""), None),
    ],
    ids=["assumed", "for nothing", "as it should be"],
)
def test_a_ratio_that_is_assumed_or_given_for_nothing_is_noted(change: tuple[str, str], note: str | None) -> None:
    assert notes(TEXT.replace(*change)) == ([note] if note else [])


def test_the_level_of_a_codec_is_accepted_and_changes_nothing() -> None:
    plain, levelled = TEXT, TEXT.replace('config."linger.ms"', 'config."compression.zstd.level" = 19\nconfig."linger.ms"')

    assert simulate(Scenario.loads(plain)).history.digest == simulate(Scenario.loads(levelled)).history.digest
    assert any("compression_ratio" in note for note in notes(levelled))


def batches(text: str) -> list[int]:
    return [len(fact.records) for _, fact in simulate(Scenario.loads(text)).history.of(Sent) if isinstance(fact, Sent)]


def test_compressed_batches_hold_more_records() -> None:
    """A13, A14."""
    plain, compressed = batches(TEXT.replace("zstd", "none")), batches(TEXT)

    assert max(plain) == 16
    assert max(compressed) > 20
    assert sum(plain) == sum(compressed) == 4_000


@pytest.fixture(scope="module")
def refused() -> Run:
    """The broker takes no batch that is larger than 4 kB; the client makes them of 16 KiB."""
    return simulate(Scenario.loads(TEXT.replace("[topics.payments]", '[topics.payments]\nconfig."max.message.bytes" = 4000').replace("= 0.2", "= 0.9")))


def test_batches_that_are_too_large_are_split_and_nothing_is_lost(refused: Run) -> None:
    """A43, BP-28."""
    kinds = {type(fact) for _, fact in refused.history}

    assert {Rejected, Split} <= kinds
    assert refused.verdict.verdict == "held"
    assert refused.verdict.records["ok"] == 4_000


def test_the_story_tells_of_the_split(refused: Run) -> None:
    assert "too large for the broker, into batches of" in story(refused.history)


@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.4, 0.7, 1.0])
@pytest.mark.parametrize("size", [100, 1_000])
def test_what_a_live_client_sends_compresses_about_to_the_ratio(size: int, ratio: float) -> None:
    """Within 0.06 for records of 100 bytes, whose identity and frame weigh more, and 0.02 for 1000 (gzip)."""
    values = [content(f"0/{number}", size, int(ratio * 1_000_000))[0] for number in range(64_000 // size)]
    whole = b"".join(bytes([0, number % 64 * 2, 1, 0, 0]) + value for number, value in enumerate(values))

    assert len(zlib.compress(whole)) / len(whole) == pytest.approx(ratio, abs=0.06 if size == 100 else 0.02)
    assert {len(value) for value in values} == {size}
    assert identity(values[-1]) == (0, len(values) - 1)
