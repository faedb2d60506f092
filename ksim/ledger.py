"""The ledger: what a sweep has found so far, on disk, so that an interrupted sweep goes on where it stopped.

Not Kafka's: one SQLite file in WAL mode. One writer, the sweep itself; its workers only compute.
A run is a function of configuration, seed and code, and these are the key.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from types import TracebackType

from ksim.problems import ScenarioError
from ksim_models.config import Origin, Problem

TABLE = """
CREATE TABLE IF NOT EXISTS runs (
    config_hash TEXT NOT NULL, seed TEXT NOT NULL, code_version TEXT NOT NULL, result TEXT NOT NULL,
    PRIMARY KEY (config_hash, seed, code_version)
) WITHOUT ROWID
"""
PATIENCE_S = 30  # Another sweep may be writing into the same file for a moment.

Key = tuple[str, int]
"""Configuration and seed."""
Result = dict[str, object]


class Ledger:
    """`with Ledger(path) as ledger`. Results are added in batches, one transaction each: after a power cut whole batches are there or not."""

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self.version = code_version()
        try:
            self.file = sqlite3.connect(self.path, timeout=PATIENCE_S)
            others = [name for (name,) in self.file.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name != 'runs'")]
            if others:
                raise sqlite3.DatabaseError(f"it holds other tables ({', '.join(sorted(others)[:3])})")
            self.file.execute("PRAGMA journal_mode = WAL")
            self.file.execute(TABLE)
            self.file.execute("SELECT config_hash, seed, code_version, result FROM runs LIMIT 0")
        except sqlite3.Error as mistake:
            message = f"this is no ledger of a sweep: {mistake}. Give another path, or one that does not exist yet."
            raise ScenarioError([Problem(self.path, "a new file, or the ledger of an earlier sweep", None, message, Origin(self.path))]) from None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.file.close()

    def known(self, keys: Iterable[Key]) -> Iterator[tuple[Key, Result]]:
        """Those of `keys` that this very code has already computed."""
        select = "SELECT result FROM runs WHERE config_hash = ? AND seed = ? AND code_version = ?"
        for config_hash, seed in keys:
            found = self.file.execute(select, (config_hash, str(seed), self.version)).fetchone()  # As text: a seed may be larger than SQLite's integers.
            if found is not None:
                yield (config_hash, seed), json.loads(found[0])

    def add(self, results: Iterable[tuple[Key, Result]]) -> None:
        with self.file:
            rows = [(config_hash, str(seed), self.version, json.dumps(result, allow_nan=False)) for (config_hash, seed), result in results]
            self.file.executemany("INSERT OR IGNORE INTO runs VALUES (?, ?, ?, ?)", rows)


def code_version() -> str:
    """What the rules and the machine are made of: another source, another version, whether it was released or not."""
    sha = hashlib.sha256()
    for package in ("ksim", "ksim_models"):
        for name, content in _sources(resources.files(package), package):
            sha.update(f"{name}\0{len(content)}\0".encode() + content)
    return sha.hexdigest()[:16]


def _sources(folder: Traversable, name: str) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir() and entry.name != "__pycache__":
            yield from _sources(entry, f"{name}/{entry.name}")
        elif entry.name.endswith(".py"):
            yield f"{name}/{entry.name}", entry.read_bytes()
