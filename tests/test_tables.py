"""The tables of known numbers: each experiment still meets its own, in small, and its page says what its results say."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from loading import load

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
NAMES = sorted(path.name for path in EXPERIMENTS.glob("q*-*"))


def experiment(name: str) -> Any:
    return load(EXPERIMENTS / name / "run.py")


tables = load(EXPERIMENTS / "tables.py")


def test_every_table_has_its_experiment() -> None:
    assert [name.partition("-")[0] for name in NAMES] == ["q1", "q2", "q3", "q4", "q6", "q7", "q8"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_small_run_is_within_the_tolerance_of_its_table(name: str) -> None:
    assert experiment(name).main(["--quick", "--jobs", "1"]) == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_rows_are_within_tolerance(name: str) -> None:
    checks = tables.load_checks(EXPERIMENTS / name / "results.csv")

    assert len(checks) > 10
    assert [check.row for check in checks if not check.within] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_of_the_page_are_those_of_the_results(name: str) -> None:
    page = (EXPERIMENTS / name / "README.md").read_text(encoding="utf-8")

    assert experiment(name).PAGE.filled(page, tables.load_checks(EXPERIMENTS / name / "results.csv")) == page


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("q1-lost-acknowledgements", lambda p, retries, mode: {"absent": p, "ghost": 0.0, "duplicated": 0.0, "copies": 1 - p}),
        ("q8-batching-under-poisson-arrivals", lambda rate, linger_ms, full: (0.9, 12.0, 14.75)),
        ("q3-what-a-dying-leader-takes-along", lambda rate, delay_us, kind: 2.0 * rate * delay_us / 1e6),
    ],
)
def test_a_wrong_formula_is_found(name: str, wrong: object, monkeypatch: pytest.MonkeyPatch) -> None:
    module = experiment(name)
    monkeypatch.setattr(module, "expected", wrong)

    assert module.main(["--quick", "--jobs", "1"]) == 1


# The formulas, against numbers that are known otherwise.


def test_without_idempotence_the_closed_form_is_the_published_one() -> None:
    found = experiment("q1-lost-acknowledgements").expected(0.2, 3, "off")

    assert [round(found[name], 6) for name in ("absent", "ghost", "duplicated", "copies")] == [0.0016, 0.015196, 0.19456, 1.229005]


def test_with_idempotence_the_batch_behind_a_gap_fails_as_well() -> None:
    """P(clean) = s / (p^n + s): by hand for p = q = 0.1 and one retry."""
    found = experiment("q1-lost-acknowledgements").expected(0.1, 1, "on")

    assert math.isclose(found["absent"], 0.01 * 1.81 / 0.82)
    assert math.isclose(found["copies"], 1 - found["absent"])


def test_batches_fill_as_published() -> None:
    share_full, size, held_ms = experiment("q8-batching-under-poisson-arrivals").expected(1_000, 20, 16)

    assert (round(share_full, 5), round(size, 3), round(held_ms, 2)) == (0.89514, 15.75, 14.75)


def test_the_waits_of_a_retry_are_whole_milliseconds_below_the_maximum() -> None:
    module = experiment("q4-retry-backoff")

    assert (min(module.distribution(2)), max(module.distribution(2))) == (320, 479)
    assert module.mean_of(module.distribution(0)) == pytest.approx(99.5)
    assert module.distribution(4)[1000] == pytest.approx(0.5)
    assert module.attempts_in(1_000) == pytest.approx(4), "three waits are over by 837 ms at the latest, four last 1200 ms at least"


def test_a_later_batch_before_it_in_the_log_overtakes_a_batch() -> None:
    assert experiment("q2-reordering-by-retry").overtaken([1, 2, 0, 3]) == [2, 0, 0, 0]


# The checks must be able to turn red.


def test_a_band_leaves_the_chance_of_a_false_alarm_in_each_tail() -> None:
    least, most = tables.band(0.1, 1_000)

    assert (least, most) == pytest.approx((100 - 4 * 9.49, 100 + 4 * 9.49), abs=4)
    assert tables.band(1e-6, 1_000) == (0, 1), "what is rare may be seen once"
    assert tables.band(0.0, 1_000) == (0, 0)
    assert tables.band(1.0, 1_000) == (1_000, 1_000)


def test_what_lies_outside_its_band_is_not_within() -> None:
    assert tables.share("row", "share", 0.1, 100, 1_000).within
    assert not tables.share("row", "share", 0.1, 150, 1_000).within
    assert not tables.mean("row", "mean", 10, [10.9, 11.0, 11.1], tolerance=0.05).within
    assert tables.mean("row", "mean", 10, [10.3, 10.4, 10.5], tolerance=0.05).within
    assert not tables.exactly("row", "count", 0, 1, 10).within


def test_results_survive_being_written_and_read(tmp_path: Path) -> None:
    checks = [tables.share("a, b", "share", 0.25, 26, 100), tables.exactly("c", "count", 0, 0, 5)]
    tables.save_checks(checks, tmp_path / "results.csv")

    assert [check.row for check in tables.load_checks(tmp_path / "results.csv")] == ["a, b", "c"]
    assert tables.load_checks(tmp_path / "results.csv")[0].ksim == 0.26


def test_a_page_without_a_place_for_its_numbers_is_refused() -> None:
    page = tables.Page(Path("somewhere"), lambda figure, checks: None)

    with pytest.raises(AssertionError, match="no place for numbers"):
        page.filled("# A page\n", [])
