"""Every rule that the models cite is named by a test: a rule without a test is a claim. Every rule of the books is cited, or listed as simplified."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CITED = re.compile(r"\b(?:(BP|PS|RP|LR|KC|TC|GC|CV|INV|ERR|CFG)-(\d+[a-z]?)|([ACIMNST])(\d{1,2}[a-z]?))\b")
IN_A_NAME = re.compile(r"test_[a-z0-9_]*")
NAMED = re.compile(r"(?:(bp|ps|rp|lr|kc|tc|gc|cv|inv)_|([acimnst]))(\d+[a-z]?)_")


def cited(text: str) -> set[str]:
    return {f"{match[1]}-{match[2]}" if match[1] else f"{match[3]}{match[4]}" for match in CITED.finditer(text)}


def named(text: str) -> set[str]:
    """In a docstring, an id of a table, or the name of a test: test_bp_24_below_min_isr."""
    names = " ".join(IN_A_NAME.findall(text))
    return cited(text) | {f"{match[1].upper()}-{match[3]}" if match[1] else f"{match[2].upper()}{match[3]}" for match in NAMED.finditer(names)}


def test_every_rule_that_the_models_cite_is_named_by_a_test() -> None:
    tests = set().union(*(named(path.read_text(encoding="utf-8")) for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)))
    rules = {rule: path.name for path in sorted((ROOT / "models").rglob("*.py")) for rule in cited(path.read_text(encoding="utf-8"))}

    assert {rule: where for rule, where in rules.items() if rule not in tests} == {}
    assert len(rules) > 150


def test_a_rule_without_a_test_would_show() -> None:
    """The checker turns red."""
    assert cited('"""BP-999: a rule, and A99."""') - named("def test_bp_24_something(): pass") == {"BP-999", "A99"}
    assert named("def test_bp_24_bp_27_a_thing(): pass\ndef test_a39_another(): pass") == {"BP-24", "BP-27", "A39"}


# The rule books: that of brokers whole, that of clients as far as sections 1 to 6.

BOOK = {
    "VP": "1-2",
    "BP": "1-7 10-16 20-30 40-49",
    "PS": "1-4 10-19 30-34 40-45 50-55 60-68",
    "RP": "1-8 10-17 20-28 30-40 50-60 70-75 80-82",
    "LR": "1-12",
    "KC": "1-4 10-25 40-48 50-59 60-66 70-74 80-86",
    "TC": "1-11 20-28 30-34 40-48 50-64",
    "GC": "1-10",
    "CV": "1-13",
    "CFG": "1-2",
    "ERR": "0-2",
    "C": "1-13",
    "A": "1-55",
    "S": "1-6 10-23",
    "N": "1-14",
    "M": "1-7",
    "I": "1-18",
    "T": "1-14 20-34 40-47 50-51",
    "X": "1-3",
}
"""The books lie outside of this repository."""
RANGE = re.compile(r"\b(VP-|BP-|PS-|RP-|LR-|KC-|TC-|GC-|CV-|CFG-|ERR-|[ACIMNSTX])(\d+)a?(?: to (?:\1)?(\d+))?\b")


def expected() -> set[str]:
    rules = set()
    for family, ranges in BOOK.items():
        for span in ranges.split():
            first, _, last = span.partition("-")
            rules |= {f"{family}{'' if len(family) == 1 else '-'}{number}" for number in range(int(first), int(last or first) + 1)}
    return rules


def in_ranges(texts: Iterable[str]) -> set[str]:
    """ "KC-70 to KC-72" names three."""
    return {f"{family}{number}" for text in texts for family, first, last in RANGE.findall(text) for number in range(int(first), int(last or first) + 1)}


def test_every_rule_of_the_book_is_implemented_and_cited_or_listed_as_simplified() -> None:
    models = in_ranges(path.read_text(encoding="utf-8") for part in ("models", "ksim") for path in sorted((ROOT / part).rglob("*.py")))
    simplified = in_ranges([(ROOT / "models" / "README.md").read_text(encoding="utf-8")])

    assert sorted(expected() - models - simplified) == []
    assert len(expected()) == 449


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("(RP-20, RP-24)", {"RP-20", "RP-24"}),
        ("KC-70 to KC-72", {"KC-70", "KC-71", "KC-72"}),
        ("ERR-0 to 2", {"ERR-0", "ERR-1", "ERR-2"}),
        ("T20 to T22", {"T20", "T21", "T22"}),
    ],
)
def test_a_range_names_every_rule_in_it(text: str, rules: set[str]) -> None:
    assert in_ranges([text]) == rules
