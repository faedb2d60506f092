"""Every behavioural vector of brokers and controller is named by a test, or says why it cannot be one, or stands among those still to come.

The ids are those of the vectors distilled from Kafka's own tests, section by section; where a number is missing none was given.
A vector is named by a test function (test_bv_125_...), by the docstring of one, or by a title in a table of tests ("BV-196 with ELR").
Sections C and H are those of transactions and come with them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

SECTIONS = {
    "A producer state": "001 002 004-011 013-017 019 020 022 023 025 026 028-032 034 035 037 038",
    "B transactions inside a partition": "040 041 043-047 049-053 055 056 058 059 061 062",
    "D log offsets, high watermark, truncation, epochs": "090-092 094-098 100 101 103 104 106-110 112 113 115 116 118-122 124 125",
    "E partition leader": "130-134 136 137 139-143 145 146 148 149 151 152 154 155 157 158 160 161 163 164 166 167",
    "F produce and fetch": "170 172 173 175 176 178 179",
    "G controller": "190-197 199 200 202-206 208 209 211 212 214 215 217-227 229 230 232 233 235-239",
    "I derived": "331 332 334-338 340 341 343 344 346 347",
}
OPEN = {
    "006-008 013-017 020 025 026 037": "transactions: markers, and producer state with open ones",
    "040 041 043-047 049-053 055 056 058 059 061 062": "transactions",
}
"""Still to be done, and why it is not yet."""


def ids(text: str) -> Iterator[str]:
    """ "001 004-006" is BV-001, BV-004, BV-005 and BV-006."""
    for word in text.split():
        first, _, last = word.partition("-")
        for number in range(int(first), int(last or first) + 1):
            yield f"BV-{number:03}"


def mentioned(text: str) -> list[str]:
    """ "BV-115 to BV-117" and "BV-115, BV-116" alike."""
    found = re.findall(r"BV-(\d{3})(?: to BV-(\d{3}))?", text)
    return [f"BV-{number:03}" for first, last in found for number in range(int(first), int(last or first) + 1)]


def named(source: str) -> tuple[set[str], set[str]]:
    """The vectors that the tests of one file name, and those it calls inexpressible."""
    tested: set[str] = set()
    inexpressible: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            tested.update(f"BV-{number}" for number in re.findall(r"bv_(\d{3})", node.name))
            tested.update(mentioned(ast.get_docstring(node) or ""))
        elif isinstance(node, ast.Call):
            titles = [word.value for word in node.keywords if word.arg == "id"] + node.args[:1]
            tested.update(one for title in titles if isinstance(title, ast.Constant) and isinstance(title.value, str) for one in mentioned(title.value))
        elif isinstance(node, ast.keyword) and node.arg == "ids" and isinstance(node.value, ast.List):
            tested.update(one for title in node.value.elts if isinstance(title, ast.Constant) for one in mentioned(str(title.value)))
        elif isinstance(node, ast.Tuple) and node.elts and isinstance(node.elts[0], ast.Constant) and isinstance(node.elts[0].value, str):
            tested.update(mentioned(node.elts[0].value))
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Dict):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == "INEXPRESSIBLE" for target in targets):
                inexpressible.update(one for key in node.value.keys if isinstance(key, ast.Constant) for one in mentioned(str(key.value)))
    return tested, inexpressible


def uncounted(sources: Iterable[str]) -> list[str]:
    """The vectors that no test names and nothing excuses."""
    counted = {one for text in OPEN for one in ids(text)}
    for source in sources:
        counted.update(*named(source))
    return [one for text in SECTIONS.values() for one in ids(text) if one not in counted]


def sources() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(ROOT.rglob("test_*.py")) if path != Path(__file__)}


def test_every_vector_of_a_broker_is_a_test_or_says_why_not() -> None:
    for text, why in OPEN.items():
        print(f"open: BV {text}: {why}")

    assert uncounted(sources().values()) == []


def test_no_vector_is_both_tested_and_excused() -> None:
    found = [named(source) for source in sources().values()]
    tested = set().union(*(one for one, _ in found))
    excused = set().union(*(one for _, one in found))

    assert sorted(tested & excused) == []
    assert sorted(tested & {one for text in OPEN for one in ids(text)}) == []


def test_what_is_open_or_inexpressible_is_a_vector() -> None:
    known = {one for text in SECTIONS.values() for one in ids(text)}
    excused = {one for source in sources().values() for one in named(source)[1]} | {one for text in OPEN for one in ids(text)}

    assert sorted(excused - known) == []
    assert len(known) == 165


def test_a_vector_without_a_test_would_show() -> None:
    """The counter turns red."""
    everything = [source for name, source in sources().items() if name != "test_controller_vectors.py"]

    assert "BV-205" in uncounted(everything)
    assert named('def test_x():\n    """BV-001."""\nINEXPRESSIBLE = {"BV-002": "why"}\n') == ({"BV-001"}, {"BV-002"})
    assert mentioned("BV-115 to BV-117, BV-130") == ["BV-115", "BV-116", "BV-117", "BV-130"]
