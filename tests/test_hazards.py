"""The catalogue of published failures: every hazard is a scenario that ends as predicted, or it is said where else it is shown, or why it is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from loading import load

ROOT = Path(__file__).parents[1]
hazards = load(ROOT / "experiments" / "hazards" / "hazards.py")
CATALOGUE = hazards.catalogue()
SCENARIOS = sorted((ROOT / "experiments" / "hazards" / "scenarios").glob("*.toml"))
PRODUCERS = (  # Sections A, B, G, J and K: the client, the network, idempotence, mistakes, overload.
    *(1, 2, 3, 4, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21),
    *(22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 33, 34, 37, 38, 39, 40),
    *(104, 105, 106, 107, 108, 109, 111, 112, 113, 114, 115, 116, 117, 118, 119, 120, 121),
    *(156, 158, 159, 160, 161, 162, 163, 164),
    *(165, 166, 167, 168, 169, 170, 171, 172),
)

TRANSACTIONS = (  # Sections H and I: transactions, consumers.
    *(122, 123, 124, 125, 126, 127, 128, 129, 130, 132, 133, 135, 136, 138, 139),
    *(140, 141, 142, 143, 144, 145, 146, 147, 148, 150, 151, 152, 153, 154),
)

BROKERS = (  # Sections C to F: crashes, replication and the ISR, elections, power and disks.
    *(41, 42, 43, 47, 49, 50, 52, 53),
    *(54, 55, 56, 57, 58, 59, 60, 62, 63, 64, 66, 67, 68, 69, 70, 71, 73, 74, 75, 76, 77, 78, 80),
    *(81, 83, 84, 85, 86, 87, 88, 89, 90, 91),
    *(93, 94, 95, 96, 97, 98, 99, 100, 101),
)


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_hazard_ends_as_its_scenario_predicts(path: Path) -> None:
    met, told = hazards.outcome(path, CATALOGUE[hazards.hazard_of(path)].get("blind", ()))

    assert met, told


@pytest.mark.parametrize("hazard", sorted(CATALOGUE))
def test_every_entry_is_shown_somewhere_or_says_why_not(hazard: str) -> None:
    entry = CATALOGUE[hazard]

    assert hazards.scenarios(hazard) or {"see", "refused", "left_out"} & set(entry)
    for other in entry.get("see", ()):
        assert (ROOT / other).exists() or (ROOT / "ksim" / "scenarios" / f"{other}.toml").exists(), other
    for one in entry.get("refused", ()):
        assert one["says"] in hazards.refusal(one["config"])


def test_every_scenario_belongs_to_a_hazard() -> None:
    assert {hazards.hazard_of(path) for path in SCENARIOS} <= set(CATALOGUE)


def test_no_hazard_is_missing() -> None:
    assert [number for number in (*PRODUCERS, *BROKERS, *TRANSACTIONS) if f"H-{number:03}" not in CATALOGUE] == []


def test_the_page_names_every_hazard() -> None:
    page = hazards.PAGE.read_text(encoding="utf-8")

    assert [hazard for hazard in CATALOGUE if f"| {hazard} |" not in page] == []
    assert "not as predicted" not in page
