"""Read, process, write at drawn moments (experiments/chaos): a few seeds of each row, each weakened setting, and that a planted bug is seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ksim.scenario import Scenario
from ksim_models.group_offsets import GroupOffsets
from loading import load

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "chaos"
copies = load(FOLDER / "read_process_write.py")


@pytest.mark.parametrize("seed", range(16))
def test_each_input_takes_effect_once_whatever_strikes(seed: int) -> None:
    found = copies.judged(copies.drawn(seed), 29)

    assert found.kind in ("once", "not finished", "allowed"), found


def of_librdkafka(seed: int) -> dict[str, Any]:
    """The same, written and read by librdkafka's clients; the auditor is no member of a group, and so the Java client's."""
    data: dict[str, Any] = copies.drawn(seed) | {"client": "librdkafka"}
    data["consumers"]["auditor"]["client"] = "java"
    for one in data["consumers"].values():
        one["config"].pop("max.poll.records", None)
    for one in data["producers"].values():
        config = one["config"]
        early = config.pop("request.timeout.ms", None) is not None
        patience = config.pop("delivery.timeout.ms", 60_000)
        if "transaction.timeout.ms" in config:
            config |= {"message.timeout.ms": min(patience, config["transaction.timeout.ms"])} | ({"socket.timeout.ms": 1_000} if early else {})
    return data


@pytest.mark.parametrize("seed", range(16))
def test_with_librdkafka_too(seed: int) -> None:
    found = copies.judged(of_librdkafka(seed), 29)

    assert found.kind in ("once", "not finished", "allowed"), found


@pytest.mark.parametrize(("seed", "harm"), [(185, "skipped"), (225, "unprocessed")])
def test_what_is_late_strikes_the_next_transaction_before_version_2(seed: int, harm: str) -> None:
    """185: a late commit ends the next transaction, whose batch is refused then; 225: late offsets of an aborted one stay pending, and nobody ends them."""
    data = copies.drawn(seed)
    assert copies.judged(data).harm == (harm,)
    assert copies.judged(data).kind == "allowed"

    late = [fault for fault in data["fault"] if fault["do"] == "delay"]
    without = {**data, "fault": [fault for fault in data["fault"] if fault not in late]}
    assert late
    assert copies.judged(without).kind == "once"


def test_two_seeds_in_a_row_are_the_rows_of_the_table() -> None:
    for seed in range(16):
        data = copies.drawn(seed)
        release, group = copies.ROWS[seed % 8]
        assert (data["kafka"], len(data["applications"])) == (release, group)
        Scenario(**data)


@pytest.mark.parametrize("number", range(len(copies.WEAKENED)))
def test_a_weakened_setting_is_shown_by_its_first_seed_and_not_with_the_setting(number: int) -> None:
    one, written = copies.WEAKENED[number], json.loads(copies.RESULTS.read_text(encoding="utf-8"))["weakened"][number]
    assert (written["setting"], written["row"]) == (one.setting, list(one.row))
    if written["first"] is None:
        assert not written["shown"]
        return

    assert copies.shows(one, written["first"])
    assert not {*copies.check(copies.drawn(written["first"], one.row)).harm} & {*one.shows}


def test_a_planted_bug_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """An aborted transaction commits its offsets all the same."""
    right = GroupOffsets.end
    monkeypatch.setattr(GroupOffsets, "end", lambda offsets, producer_id, *, committed: right(offsets, producer_id, committed=True))

    assert any("skipped" in copies.check(copies.drawn(seed)).harm for seed in range(16))


def test_the_results_are_of_all_rows_and_of_one_known_harm() -> None:
    results: dict[str, Any] = json.loads(copies.RESULTS.read_text(encoding="utf-8"))

    assert set(results["counts"]) == {f"{release} {group}" for release, group in copies.ROWS}
    harm = {
        row: bad for row, counts in results["counts"].items() if (bad := {kind: counts[kind] for kind in counts.keys() - {"once", "not finished", "allowed"}})
    }
    assert harm == {"4.3 2": {"harm": 1}}  # Seed 2527: pendingTxnOffsetCommits, which is Kafka's own (T13, t-copy-stale-offsets).
