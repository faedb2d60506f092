"""Key to line: where each key of a TOML file stands, so that a mistake can be reported with its place.

Not Kafka's: tomllib reads the values but forgets the lines. The text is known to be valid TOML here, so this reader only has to find its way, not to judge.
"""

from __future__ import annotations

from bisect import bisect_right
from contextlib import suppress
from dataclasses import dataclass, field

Path = tuple[str | int, ...]
"""("workload", 0, "rate"): names of keys, and positions in arrays from 0."""

BARE_ENDS = frozenset(",]}#\r\n")
ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\", "e": "\x1b"}
HEX_ESCAPES = {"u": 4, "U": 8, "x": 2}


def lines_of(text: str) -> dict[Path, int]:
    """The line, from 1, of every key, every table and every element of an array. The first one counts where a table is spread over several places."""
    return _Lines(text).read().lines


def statements_of(text: str) -> list[tuple[Path, int]]:
    """Every `key = value` in the order of writing, as far as the text can be followed: also of a text that is not valid."""
    return _Lines(text).read().statements


@dataclass
class _Lines:
    text: str
    position: int = 0
    lines: dict[Path, int] = field(default_factory=dict)
    statements: list[tuple[Path, int]] = field(default_factory=list)
    array_sizes: dict[Path, int] = field(default_factory=dict)
    """How many [[tables]] of a name there were: what follows belongs to the last one."""

    def __post_init__(self) -> None:
        self.starts = [0] + [index + 1 for index, character in enumerate(self.text) if character == "\n"]

    def read(self) -> _Lines:
        with suppress(IndexError, ValueError, OverflowError, RecursionError):  # Only a text that tomllib refuses: what was seen so far is what can be said.
            self._document()
        return self

    def _document(self) -> None:
        table: Path = ()
        while True:
            self._skip_blank(newlines=True)
            if self.position >= len(self.text):
                return
            if self.text.startswith("[", self.position):
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> Path:
        line = self._line()
        in_array = self.text.startswith("[[", self.position)
        self.position += 2 if in_array else 1
        *parents, last = self._key()
        self.position = self.text.index("]", self.position) + (2 if in_array else 1)
        table = (*self._inside(tuple(parents)), last)
        if in_array:
            number = self.array_sizes.get(table, 0)
            self.array_sizes[table] = number + 1
            self.lines.setdefault(table, line)
            table = (*table, number)
        self._remember(table, line)
        return table

    def _inside(self, keys: Path) -> Path:
        path: Path = ()
        for key in keys:
            path = (*path, key)
            if path in self.array_sizes:
                path = (*path, self.array_sizes[path] - 1)
        return path

    def _pair(self, table: Path) -> None:
        line = self._line()
        path = (*table, *self._key())
        self.statements.append((path, line))
        self._remember(path, line)
        self._skip_blank()
        if self.text[self.position] != "=":
            raise ValueError("not a pair")
        self.position += 1
        self._skip_blank()
        self._value(path)

    def _remember(self, path: Path, line: int) -> None:
        for length in range(1, len(path) + 1):
            self.lines.setdefault(path[:length], line)

    def _key(self) -> list[str]:
        keys = []
        while True:
            self._skip_blank()
            start = self.position
            if self.text[start] in "\"'":
                keys.append(self._quoted())
            else:
                while self.text[self.position].isalnum() or self.text[self.position] in "_-":
                    self.position += 1
                if start == self.position:
                    raise ValueError("not a key")
                keys.append(self.text[start : self.position])
            self._skip_blank()
            if self.text[self.position] != ".":
                return keys
            self.position += 1

    def _value(self, path: Path) -> None:
        first = self.text[self.position]
        if first in "\"'":
            self._quoted()
        elif first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        else:
            while self.position < len(self.text) and self.text[self.position] not in BARE_ENDS:
                self.position += 1

    def _array(self, path: Path) -> None:
        self.position += 1
        number = 0
        while True:
            self._skip_blank(newlines=True)
            if self.text[self.position] == "]":
                break
            if self.text[self.position] == ",":
                self.position += 1
                continue
            self.lines[(*path, number)] = self._line()
            self._value((*path, number))
            number += 1
        self.position += 1

    def _inline_table(self, path: Path) -> None:
        self.position += 1
        while True:
            self._skip_blank(newlines=True)
            if self.text[self.position] == "}":
                break
            if self.text[self.position] == ",":
                self.position += 1
                continue
            self._pair(path)
        self.position += 1

    def _quoted(self) -> str:
        quote = self.text[self.position]
        if self.text.startswith(quote * 3, self.position):
            return self._quoted_over_lines(quote * 3)
        self.position += 1
        pieces = []
        while (character := self.text[self.position]) != quote:
            if character == "\n":
                raise ValueError("a string without an end")
            pieces.append(self._escape() if character == "\\" and quote == '"' else character)
            self.position += 1
        self.position += 1
        return "".join(pieces)

    def _escape(self) -> str:
        self.position += 1
        letter = self.text[self.position]
        if letter in HEX_ESCAPES:
            digits = HEX_ESCAPES[letter]
            code = int(self.text[self.position + 1 : self.position + 1 + digits], 16)
            self.position += digits
            return chr(code)
        return ESCAPES.get(letter, letter)

    def _quoted_over_lines(self, quotes: str) -> str:
        self.position += 3
        start = self.position
        while not self.text.startswith(quotes, self.position):
            if self.position >= len(self.text):
                raise ValueError("a string without an end")
            self.position += 2 if quotes == '"""' and self.text[self.position] == "\\" else 1
        while self.text.startswith(quotes[0], self.position + 3):  # Up to two quotes may stand before the closing three.
            self.position += 1
        self.position += 3
        return self.text[start : self.position - 3]

    def _skip_blank(self, *, newlines: bool = False) -> None:
        blank = " \t\r\n" if newlines else " \t"
        while self.position < len(self.text):
            if self.text[self.position] in blank:
                self.position += 1
            elif newlines and self.text[self.position] == "#":
                end = self.text.find("\n", self.position)
                self.position = len(self.text) if end < 0 else end
            else:
                return

    def _line(self) -> int:
        return bisect_right(self.starts, self.position)
