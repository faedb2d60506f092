"""Every behavioural vector of the Java producer is named by a test, or says why it cannot be one.

The ids are those of the vectors distilled from Kafka's own tests, section by section; where an id is missing none was given.
A vector is named by a test function (test_pv_055_...), by the docstring of one, or by the title of a row in a table of tests ("PV-055 ...").
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

SECTIONS = {
    "1 retry, expiry, ordering": "001 002 004 005 007 008 010 011 013 014 016 017 019 020",
    "2 leader changes and backoff": "025-032 034 035 037 038 040 041",
    "3 idempotent producer": "050 052 053 055 056 058 059 061-071 073-077 079 080 082 083 085 086 088 089 091 092 094 095",
    "4 transactions, the normal flow": "100 101 103 104 106 107 109 110 112 113 115 116 118 119 121 122 124 125",
    "5 transactions, errors": "130 131 133-140 142 143 145 146 148 149 151 152 154 155 157 158 160 161 163 164 166-170 172 173 175 176 178 179 181 182 184",
    "6 time-outs of the API, close": "190-194 196 197 199 200 202 203 205 206",
    "7 configuration and send()": "211-215 217 218 220-224 226 227 229 230",
    "8 accumulator, memory, partitioner": "241 242 244 245 247 248 250 251 253 254 256 257 259 260 262 263 265 266 268 269 271-275",
    "9 derived": "301 302 304 305 307 308 310",
}
TRANSACTIONAL = "075 100-184 190-197 199 200 202 206 217 229 230"
"""They come with transactions."""


def ids(text: str) -> Iterator[str]:
    """ "001 004-006" is PV-001, PV-004, PV-005 and PV-006."""
    for word in text.split():
        first, _, last = word.partition("-")
        for number in range(int(first), int(last or first) + 1):
            yield f"PV-{number:03}"


def named(source: str) -> tuple[set[str], set[str]]:
    """The vectors that the tests of one file name, and those it calls inexpressible."""
    tested: set[str] = set()
    inexpressible: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            tested.update(f"PV-{number}" for number in re.findall(r"pv_(\d{3})", node.name))
            tested.update(mentioned(ast.get_docstring(node) or ""))
        elif isinstance(node, ast.Call):
            titles = [word.value for word in node.keywords if word.arg == "id"] + node.args[:1]
            tested.update(one for title in titles if isinstance(title, ast.Constant) and isinstance(title.value, str) for one in mentioned(title.value))
        elif isinstance(node, ast.keyword) and node.arg == "ids" and isinstance(node.value, ast.List):
            tested.update(one for title in node.value.elts if isinstance(title, ast.Constant) for one in mentioned(str(title.value)))
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Dict):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == "INEXPRESSIBLE" for target in targets):
                inexpressible.update(one for key in node.value.keys if isinstance(key, ast.Constant) for one in mentioned(str(key.value)))
    return tested, inexpressible


def mentioned(text: str) -> list[str]:
    return re.findall(r"PV-\d{3}", text)


def uncounted(sources: Iterable[str]) -> list[str]:
    """The vectors that no test names and nothing excuses."""
    counted = set(ids(TRANSACTIONAL))
    for source in sources:
        counted.update(*named(source))
    return [one for text in SECTIONS.values() for one in ids(text) if one not in counted]


def sources() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(ROOT.rglob("test_*.py")) if path != Path(__file__)}


def test_every_vector_is_named_by_a_test_or_says_why_it_is_not() -> None:
    assert uncounted(sources().values()) == []
    assert sum(1 for text in SECTIONS.values() for _ in ids(text)) == 182


def test_what_is_inexpressible_is_not_tested_too() -> None:
    for name, source in sources().items():
        tested, inexpressible = named(source)

        assert tested & inexpressible == set(), name


def test_a_hole_would_show() -> None:
    """The checker turns red: on a vector that was renamed away, and on one that only a comment mentions."""
    assert uncounted([text.replace("PV-055", "PV-999").replace("pv_055", "pv_999") for text in sources().values()]) == ["PV-055"]
    assert named('# PV-055\nTABLE = {"PV-055": 1}\nINEXPRESSIBLE = {"PV-020": "why"}\n') == (set(), {"PV-020"})
