"""Every rule that the models cite is named by a test: a rule without a test is a claim."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
CITED = re.compile(r"\b(?:(BP|PS|RP|LR|KC|INV|ERR|CFG)-(\d+[a-z]?)|([ACIMNS])(\d{1,2}[a-z]?))\b")
IN_A_NAME = re.compile(r"test_[a-z0-9_]*")
NAMED = re.compile(r"(?:(bp|ps|rp|lr|kc|inv)_|([acimns]))(\d+[a-z]?)_")


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
