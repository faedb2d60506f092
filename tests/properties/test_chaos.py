"""Random chaos (experiments/chaos): a few of its seeds, and that it finds, shrinks and shows what fails."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from ksim.scenario import Scenario
from ksim_models.facts import FinalLog, LoggedBatch
from loading import load

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "chaos"
chaos = load(FOLDER / "chaos.py")


@pytest.mark.parametrize("seed", range(12))
def test_a_drawn_cluster_ends_with_a_verdict_and_every_invariant_holds(seed: int) -> None:
    assert chaos.check(chaos.drawn(seed), chaos.EVERY[seed % 4])[0] in chaos.VERDICTS


def test_a_seed_is_always_the_same_scenario_and_a_file_says_all_of_it() -> None:
    for seed in range(50):
        data = chaos.drawn(seed)
        assert data == chaos.drawn(seed)
        assert tomllib.loads(chaos.toml(data)) == data
        Scenario(**data)


def test_every_kind_of_fault_and_every_release_of_brokers_is_drawn() -> None:
    drawn = [chaos.drawn(seed) for seed in range(400)]
    deeds = Counter(fault["do"] for data in drawn for fault in data["fault"])

    assert set(deeds) == {
        *("crash", "power-loss", "pause", "shutdown", "cut", "reset", "slow", "lose-request", "lose-response", "delay", "answer", "hang"),
        *("elect", "reassign", "alter", "delete-records", "recreate-topic", "disk-full", "disk-error", "slow-disk", "slow-cpu"),
    }
    assert {data["kafka"]["brokers"].rpartition(".")[0] or "" for data in drawn} >= {"3", "4"}
    assert {data["cluster"]["brokers"] for data in drawn} == {1, 2, 3, 4, 5}


def test_every_other_scenario_has_transactions_and_each_of_their_parts_is_drawn() -> None:
    drawn = [chaos.drawn(seed) for seed in range(1, 400, 2)]
    whos = " ".join(json.dumps(data["fault"]) for data in drawn)
    with_transactions = [data for data in drawn if "transactional.id" in json.dumps(data["producers"])]

    assert len(with_transactions) > 0.8 * len(drawn)
    assert {len(data.get("applications", {})) for data in drawn} == {0, 1, 2}
    assert {level for data in drawn for level in data["cluster"].get("features", {}).values()} == {0, 1, 2}
    assert {data["cluster"]["controllers"] for data in drawn} == {1, 3}
    assert all(word in whos for word in ("coordinator(", "after-commit-sent", "EndTxn", "TxnOffsetCommit", "WriteTxnMarkers", "copy0"))
    assert any("racks" in data["cluster"] for data in drawn)


def test_what_fails_is_shrunk_to_what_it_needs() -> None:
    data = next(data for data in map(chaos.drawn, range(100)) if len(data["fault"]) >= 6 and any(fault["do"] == "cut" for fault in data["fault"]))
    least = chaos.shrink(data, lambda candidate: any(fault["do"] == "cut" for fault in candidate["fault"]))

    assert [fault["do"] for fault in least["fault"]] == ["cut"]
    assert [workload["records"] for workload in least["workload"]] == [1]
    assert not any(table["config"] for table in (least["cluster"], *least["topics"].values(), *least["producers"].values()))


def test_a_broken_invariant_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader whose high watermark passes the end of its log."""
    from ksim_models.isr import Leadership

    right = Leadership.committable
    monkeypatch.setattr(Leadership, "committable", lambda *given: right(*given) + 1)
    kinds = {chaos.check(chaos.drawn(seed), 1)[0] for seed in range(12)}

    assert "invariant" in kinds or "internal" in kinds


def final(*batches: tuple[int, range], start: int = 0) -> FinalLog:
    logged = tuple(LoggedBatch(base, 0, "p1", records, -1, -1, -1) for base, records in batches)
    return FinalLog("t-0", "broker-1", True, True, start, 8, 8, 8, logged)


def test_replicas_are_compared_record_by_record_from_where_both_have_some() -> None:
    """A log may start in the middle of a batch (seed 475)."""
    whole, cut, other = final((0, range(8))), final((5, range(5, 8)), start=5), final((0, range(7)), (7, range(9, 10)))

    assert chaos.common(whole, cut) == chaos.common(cut, whole) != []
    assert chaos.common(whole, other) != chaos.common(other, whole)


def test_the_page_is_made_of_the_results() -> None:
    results, copies = (json.loads(path.read_text(encoding="utf-8")) for path in (chaos.RESULTS, chaos.COPIES))

    assert chaos.PAGE.read_text(encoding="utf-8") == chaos.page(results, copies)
    assert set(results["counts"]) <= {*chaos.VERDICTS, "too long"}
