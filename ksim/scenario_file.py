"""Scenario files and .properties files: bytes in, data with lines out, and every way in which a file can disappoint as a problem with its place.

.properties: as java.util.Properties.load reads them, which is how Kafka's own tools do (ISO-8859-1, escapes, continued lines).
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path as FilePath

import javaproperties

from ksim.problems import ScenarioError, listed, nearest
from ksim.toml_lines import Path, lines_of, statements_of
from ksim_models.config import Origin, Problem, Setting

LARGEST_FILE_BYTES = 10_000_000
DEEPEST = 100
TWICE = re.compile(r"Cannot declare \((.*)\) twice")
QUOTED = r"'([^']*)'"
LINE = re.compile(r"\(at line (\d+), column (\d+)\)")


@dataclass(frozen=True, slots=True)
class Text:
    """A scenario's text: what to call it, and the folder from which its own paths count."""

    file: str
    text: str
    folder: FilePath | None = None


def find(name_or_path: str) -> Text:
    """A NAME is built in; with `/` or ending in `.toml` it is a file; `-` is standard input."""
    if name_or_path.endswith(".properties"):
        message = "a .properties file holds a producer's settings, and is no scenario: give it beside one, --producer.config FILE."
        raise failure(name_or_path, None, message, given=name_or_path, possible="a built-in name, a .toml file or -", close=f"--producer.config {name_or_path}")
    if name_or_path == "-":
        return Text("<stdin>", _decoded(sys.stdin.buffer.read(), "<stdin>"))
    if _is_path(name_or_path):
        return Text(name_or_path, _decoded(read_bytes(name_or_path), name_or_path), FilePath(name_or_path).parent)
    return Text(f"{name_or_path}.toml", built_in(name_or_path))


def built_in(name: str) -> str:
    """The text of a built-in scenario."""
    names = built_in_names()
    if name not in names:
        close = nearest(name, names)
        hint = f" There is a file of this name: write ./{name}." if os.path.isfile(name) else f" Did you mean {close}?" if close else ""
        message = f"there is no built-in scenario of this name (a file has a / in its name or ends in .toml).{hint} Built in: {', '.join(names)}."
        raise failure(name, None, message, given=name, possible=listed(names), close=close)
    return (resources.files("ksim") / "scenarios" / f"{name}.toml").read_text(encoding="utf-8")


def built_in_names() -> list[str]:
    folder = resources.files("ksim") / "scenarios"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def parse(text: str, file: str) -> tuple[dict[str, object], dict[Path, Origin]]:
    """The tables of a TOML text, and where each key stands."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as mistake:
        raise _toml_failure(text, file, str(mistake)) from None
    except RecursionError:
        raise _too_deep(file) from None
    except ValueError as mistake:  # Numbers of thousands of digits, times that no calendar has.
        why = "a number has thousands of digits" if "integer string conversion" in str(mistake) else str(mistake)
        raise failure(file, None, f"a value cannot be read: {why}.", given="a value", possible="a plain number, text or time") from None
    if _is_deep(data):  # A dotted key of a thousand parts.
        raise _too_deep(file)
    return data, {path: Origin(file, line) for path, line in lines_of(text).items()}


def _too_deep(file: str) -> ScenarioError:
    return failure(file, None, "arrays or tables are nested too deep to be read.", given="deep nesting", possible="a few levels")


def _is_deep(data: object) -> bool:
    level = [data]
    for _ in range(DEEPEST):
        level = [inner for value in level for inner in _inside(value)]
        if not level:
            return False
    return True


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def properties(path: str, problems: list[Problem], folder: FilePath | None = None) -> list[Setting]:
    """The settings of a .properties file, in its order, with their lines. Raises ScenarioError where it cannot be read at all."""
    name = str(folder / path) if folder is not None else path
    content = read_bytes(name)
    settings: list[Setting] = []
    first_line: dict[str, int] = {}
    line = 1
    try:
        for element in javaproperties.parse(content):
            if isinstance(element, javaproperties.KeyValue):
                origin = Origin(name, line, own_file=True)
                if element.key in first_line:
                    message = f"{element.key} is given twice (also in line {first_line[element.key]}): Java takes the last one without a word."
                    problems.append(Problem(given=element.key, possible="each setting once", nearest=None, message=message, origin=origin))
                first_line.setdefault(element.key, line)
                settings.append(Setting(element.key, element.value.strip(), origin))
            line += len(re.findall(r"\r\n|\r|\n", element.source))
    except javaproperties.InvalidUEscapeError as mistake:
        raise failure(name, line, f"{mistake}: Java cannot read this file.", given=mistake.escape, possible="\\u and four hexadecimal digits") from None
    return settings


def read_bytes(name: str) -> bytes:
    try:
        with open(name, "rb") as stream:
            content = stream.read(LARGEST_FILE_BYTES + 1)
    except (OSError, ValueError) as mistake:  # ValueError: a NUL in the name.
        close = _neighbour(name) if isinstance(mistake, FileNotFoundError) else None
        hint = f" Did you mean {close}?" if close else ""
        raise failure(name, None, f"the file cannot be read: {_reason(mistake)}.{hint}", given=name, possible="a file that can be read", close=close) from None
    if len(content) > LARGEST_FILE_BYTES:
        raise failure(name, None, f"the file is larger than {LARGEST_FILE_BYTES:_} bytes.", given=name, possible="a scenario or a .properties file")
    return content


def failure(file: str, line: int | None, message: str, *, given: str = "", possible: str = "", close: str | None = None) -> ScenarioError:
    return ScenarioError([Problem(given=given or "nothing", possible=possible, nearest=close, message=message, origin=Origin(file or "(no name)", line))])


def _neighbour(name: str) -> str | None:
    """The file beside it that was probably meant."""
    folder, wanted = os.path.split(name)
    ending = os.path.splitext(wanted)[1]
    try:
        names = sorted(other for other in os.listdir(folder or ".") if other.endswith(ending))
    except (OSError, ValueError):
        return None
    close = nearest(wanted, names)
    return os.path.join(folder, close) if close else None


def _is_path(name: str) -> bool:
    return "/" in name or name.endswith(".toml") or (sys.platform == "win32" and "\\" in name)


def _decoded(content: bytes, file: str) -> str:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as mistake:
        line = content[: mistake.start].count(b"\n") + 1
        raise failure(
            file, line, f"byte {mistake.start} is not UTF-8, which TOML demands.", given=f"0x{content[mistake.start]:02x}", possible="UTF-8 text"
        ) from None
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def _reason(mistake: OSError | ValueError) -> str:
    return (mistake.strerror or str(mistake)) if isinstance(mistake, OSError) else str(mistake)


def _toml_failure(text: str, file: str, complaint: str) -> ScenarioError:
    place = LINE.search(complaint)
    line = int(place[1]) if place else text.count("\n") + (not text.endswith("\n"))
    what = LINE.sub("", complaint).replace("(at end of document)", "at the end of the file").strip()
    written = text.split("\n")[line - 1 : line]
    given = written[0].strip()[:80] if written else ""
    if what == "Cannot overwrite a value":
        explained = _clash(text, file, line)
        if explained is not None:
            return explained
        what = "a key is given twice, or is both a value and a table"
    if table := TWICE.fullmatch(what):
        what = f"the table [{'.'.join(re.findall(QUOTED, table[1]))}] is given twice"
    return failure(file, line, f"this is not valid TOML: {what}.", given=given, possible="valid TOML (texts in quotes, each key once)")


def _clash(text: str, file: str, line: int) -> ScenarioError | None:
    """Two keys of which one is the beginning of the other, as a few of Kafka's names are."""
    before = statements_of("\n".join(text.split("\n")[:line]) + "\n")
    if not before:
        return None
    *earlier, (last, last_line) = before
    for other, other_line in reversed(earlier):
        if other == last:
            message = f"{_setting(last)} is given twice (also in line {other_line})."
            return failure(file, last_line, message, given=_setting(last), possible="each key once")
        shorter, longer = sorted((last, other), key=len)
        if longer[: len(shorter)] == shorter:
            short, long = _setting(shorter), _setting(longer)
            message = f"{short} is also the beginning of {long} (lines {other_line} and {last_line}), and TOML takes it for a table: "
            message += f'quote the shorter one, config."{short}" = ...'
            return failure(file, last_line, message, given=short, possible=f'"{short}"', close=f'config."{short}"')
    return None


def _setting(path: Path) -> str:
    """Kafka's name, where the path has one."""
    after = path[path.index("config") + 1 :] if "config" in path else path
    return ".".join(str(part) for part in after)
