"""A scenario as plain data in its normal form: Kafka's dotted names flat under `config`, plain lists and dicts, Python's underscored words undone.

Kafka's names have dots, which TOML takes for tables: `config.min.insync.replicas = 2` arrives nested and is made flat again here.
So every spelling of one scenario is equal.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from datetime import date, time
from fractions import Fraction
from numbers import Integral, Real

from ksim.problems import shown
from ksim.scenario_reading import Reading, name_of
from ksim.toml_lines import Path
from ksim_models.config import Origin

Data = dict[str, object]

RESERVED_WORDS = {"for_": "for", "from_": "from"}
SECRET = re.compile(r"^(sasl|ssl|security|basic\.auth|bearer\.auth|config\.providers)\.|password|secret|token|credential|jaas|user\.info", re.IGNORECASE)
"""Names of settings whose values are for the client alone."""
HIDDEN = "(not recorded)"

NAMED_TABLES = ("topics", "producers", "consumers", "applications")
"""Tables whose keys are names that somebody chose."""


def normal(given: Mapping[str, object], reading: Reading, origins: dict[Path, Origin], *, underscored: bool) -> Data:
    """The data in normal form. `origins` learns the flat paths. `underscored`: `for_` and `from_` are accepted, as Python needs."""
    words = RESERVED_WORDS if underscored else {}
    plain = _plain(dict(given), (), reading, words)
    assert isinstance(plain, dict)
    for path, table in _tables_with_config(plain):
        config = table.get("config")
        if isinstance(config, dict):
            table["config"] = flat(config, (*path, "config"), reading, origins)
    expect = plain.get("expect")
    if isinstance(expect, dict):
        plain["expect"] = flat(expect, ("expect",), reading, origins)
    return plain


def flat(config: Mapping[str, object], path: Path, reading: Reading, origins: dict[Path, Origin]) -> Data:
    """{"acks": "all", "enable": {"idempotence": False}} becomes {"acks": "all", "enable.idempotence": False}; one setting in two spellings is a mistake."""
    settings: Data = {}
    first_at: dict[str, Path] = {}
    for setting_path, value in _leaves(config, path):
        name = ".".join(str(part) for part in setting_path[len(path) :])
        if name in settings:
            first = reading.source.of(first_at[name])
            where = f" (also in line {first.line})" if first.line else ""
            reading.problem(setting_path, f"{name_of(path)}: {name} is given twice{where}.", given=f"{name} = {shown(value)}", possible="each setting once")
            continue
        settings[name] = value
        first_at[name] = setting_path
        origin = reading.source.of(setting_path)
        origins[(*path, name)] = origin
    return settings


def without_secrets(data: Data) -> Data:
    """A copy for histories and reports: what concerns security stands there by name only."""
    told = copy.deepcopy(data)
    for _, table in _tables_with_config(told):
        config = table.get("config")
        if isinstance(config, dict):
            table["config"] = {name: HIDDEN if SECRET.search(name) else value for name, value in config.items()}
    return told


def split_path(path: str | Path) -> Path:
    """`"fault.0.at"` is ("fault", 0, "at"); names with dots are quoted, `topics."a.b".partitions`."""
    if not isinstance(path, str):
        return tuple(path)
    parts: list[str | int] = []
    for number, piece in enumerate(path.split('"')):
        if number % 2:
            parts.append(piece)
        else:
            parts.extend(int(part) if part.isascii() and part.isdigit() else part for part in piece.split(".") if part)
    return tuple(parts)


def with_setting(data: Data, path: Path, value: object) -> Data:
    """A copy in which the value stands at this path; tables are made as needed."""
    changed = copy.deepcopy(data)
    table: object = changed
    for part in path[:-1]:
        if isinstance(table, list) and isinstance(part, int):
            table = table[part]
        elif isinstance(table, dict):
            table = table.setdefault(str(part), {})
    if isinstance(table, list) and isinstance(path[-1], int):
        table[path[-1]] = value
    elif isinstance(table, dict):
        table[str(path[-1])] = value
    return changed


def _plain(value: object, path: Path, reading: Reading, words: Mapping[str, str]) -> object:
    match value:
        case bool() | int() | float() | str() | None | date() | time():
            return value  # TOML has dates and times; no key takes one, and each says so itself.
        case Mapping():
            return _plain_table(value, path, reading, words)
        case list() | tuple():
            return [_plain(element, (*path, number), reading, words) for number, element in enumerate(value)]
        case Integral():
            return int(value)  # numpy's integers, as a notebook hands them over.
        case Fraction():
            return int(value) if value.denominator == 1 else float(value)
        case Real():
            return float(value)
        case _:
            reading.problem(
                path, f"{name_of(path)} = {shown(value)} is neither text, number, true or false, array nor table.", given=shown(value), possible="plain data"
            )
            return shown(value)


def _plain_table(table: Mapping[object, object], path: Path, reading: Reading, words: Mapping[str, str]) -> Data:
    plain: Data = {}
    names_are_free = (len(path) == 1 and path[0] in NAMED_TABLES) or "config" in path
    for key, value in table.items():
        if value is None:
            continue  # As if it had not been given: convenient where an argument is optional.
        name = str(key) if names_are_free else words.get(str(key), str(key))
        if name in plain:
            reading.problem((*path, name), f"{name_of((*path, name))} is given twice.", given=str(key), possible="each key once")
            continue
        plain[name] = _plain(value, (*path, name), reading, words)
    return plain


def _tables_with_config(data: Data) -> list[tuple[Path, Data]]:
    found: list[tuple[Path, Data]] = []
    cluster = data.get("cluster")
    if isinstance(cluster, dict):
        found.append((("cluster",), cluster))
        found.extend((("cluster", name), table) for name, table in cluster.items() if isinstance(table, dict) and name != "config")
    for group in NAMED_TABLES:
        tables = data.get(group)
        if isinstance(tables, dict):
            found.extend(((group, name), table) for name, table in tables.items() if isinstance(table, dict))
    faults = data.get("fault")
    if isinstance(faults, list):
        found.extend((("fault", number), table) for number, table in enumerate(faults) if isinstance(table, dict))
    return found


def _leaves(table: Mapping[str, object], path: Path) -> list[tuple[Path, object]]:
    found: list[tuple[Path, object]] = []
    for name, value in table.items():
        if isinstance(value, dict) and value:
            found.extend(_leaves(value, (*path, name)))
        else:
            found.append(((*path, name), value))
    return found
