"""Which behavioural vectors the tests name: those of the producer (PV) and those of brokers and controller (BV).

A vector is named by a test function (test_pv_055_...), by the docstring of one, or by the title of a row in a table of tests ("PV-055 ...").
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parent


class Vectors:
    """sections: the ids of the vectors as they were distilled from Kafka's own tests; where a number is missing none was given."""

    def __init__(self, prefix: str, sections: Mapping[str, str], *, excused: str) -> None:
        self.prefix = prefix
        self.known = [one for text in sections.values() for one in self.ids(text)]
        self.excused = set(self.ids(excused))

    def ids(self, text: str) -> Iterator[str]:
        """ "001 004-006" is PV-001, PV-004, PV-005 and PV-006."""
        for word in text.split():
            first, _, last = word.partition("-")
            for number in range(int(first), int(last or first) + 1):
                yield f"{self.prefix}-{number:03}"

    def mentioned(self, text: str) -> list[str]:
        """ "BV-115 to BV-117" and "BV-115, BV-116" alike."""
        found = re.findall(rf"{self.prefix}-(\d{{3}})(?: to {self.prefix}-(\d{{3}}))?", text)
        return [one for first, last in found for one in self.ids(f"{first}-{last}")]

    def named(self, source: str) -> tuple[set[str], set[str]]:
        """The vectors that the tests of one file name, and those it calls inexpressible."""
        tested: set[str] = set()
        inexpressible: set[str] = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                tested.update(f"{self.prefix}-{number}" for number in re.findall(rf"{self.prefix.lower()}_(\d{{3}})", node.name))
                tested.update(self.mentioned(ast.get_docstring(node) or ""))
            elif isinstance(node, ast.Call):
                tested.update(self._titles([word.value for word in node.keywords if word.arg == "id"] + node.args[:1]))
            elif isinstance(node, ast.keyword) and node.arg == "ids" and isinstance(node.value, ast.List):
                tested.update(self._titles(node.value.elts))
            elif isinstance(node, ast.Tuple):
                tested.update(self._titles(node.elts[:1]))
            elif isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Dict):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if any(isinstance(target, ast.Name) and target.id == "INEXPRESSIBLE" for target in targets):
                    inexpressible.update(self._titles(node.value.keys))
        return tested, inexpressible

    def _titles(self, nodes: Iterable[ast.expr | None]) -> list[str]:
        texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        return [one for text in texts for one in self.mentioned(text)]

    def uncounted(self, sources: Iterable[str]) -> list[str]:
        """The vectors that no test names and nothing excuses."""
        counted = set(self.excused)
        for source in sources:
            counted.update(*self.named(source))
        return [one for one in self.known if one not in counted]


def sources(*, but: str) -> dict[str, str]:
    """Every file of tests, but the one that counts."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(ROOT.rglob("test_*.py")) if path != Path(but)}
