"""A fact as one line of JSON, and back: the words in which a history is written down.

The lines are those of the project's public contract: `{"fact": "sent", "at": 5000, ...}` with `at` in microseconds.
Internal facts are named after their classes ("high-watermark").
A range of records is written "0..4", both ends included; records that do not follow each other are a list.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii

from ksim_models.facts import INTERNAL, OUTSIDE, Ended, LoggedBatch
from ksim_models.messages import Records

SCHEMA = 1
LARGEST = 2**53  # Up to here every JSON reader keeps a whole number exact.


class HistoryError(Exception):
    """A history that cannot be read, or that contradicts itself: which file, which line (0: none in particular), and what is wrong."""

    def __init__(self, file: str, line: int, message: str, given: str = "") -> None:
        super().__init__(file, line, message, given)
        self.file, self.line, self.message, self.given = file, line, message, given

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.message}" if place else self.message


class BadLine(ValueError):
    """What is wrong with one line; whoever knows file and number makes a HistoryError of it."""


def fact_name(cls: type) -> str:
    """The contract's word for a class of facts: FinalLog is "final-log"."""
    if cls is Ended:
        return "end"
    return re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()


def write_line(at: int, fact: object) -> str:
    """One fact as canonical JSON: the same text on every platform and Python."""
    table = TABLES[type(fact)]
    return f'{{"fact":"{table.name}","at":{at}{table.fields_of(fact)}}}'


def read_fact(line: Mapping[str, object]) -> tuple[int, object]:
    """The moment and the fact of a parsed line. Raises BadLine."""
    name = line.get("fact")
    table = BY_NAME.get(name) if isinstance(name, str) else None
    if table is None:
        raise BadLine(f"fact = {shown(name)} is not known{nearest(name, BY_NAME)}")
    at = _whole(line.get("at"), "at")
    return at, table.read({key: value for key, value in line.items() if key not in ("fact", "at")})


canonical = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode


def shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(given: object, possible: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(given, possible, 1) if isinstance(given, str) else []
    return f": did you mean {close[0]!r}?" if close else f": possible are {', '.join(possible)}"


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    write: Callable[[object], str]
    """The value as canonical JSON: put together as text, since transactions tell many facts and the encoder is made anew for each."""
    read: Callable[[object, str], object]
    required: bool


@dataclass(frozen=True, slots=True)
class Table:
    """How one class is written and read: made once from its annotations, so that a new fact needs no code here."""

    name: str
    cls: Callable[..., object]
    fields: tuple[Field, ...]

    def fields_of(self, fact: object) -> str:
        """Each with a comma before it."""
        return "".join([f',"{field.name}":{field.write(getattr(fact, field.name))}' for field in self.fields])

    def written(self, value: object) -> str:
        return f"{{{self.fields_of(value)[1:]}}}"

    def read(self, given: object) -> object:
        if not isinstance(given, dict):
            raise BadLine(f"{self.name}: given {shown(given)}, possible is an object")
        values = {}
        for field in self.fields:
            if field.name in given:
                values[field.name] = field.read(given.pop(field.name), field.name)
            elif field.required:
                raise BadLine(f"{self.name} lacks {field.name!r}")
        for key in given:
            raise BadLine(f"{self.name} has no {key!r}{nearest(key, {field.name: None for field in self.fields})}")
        return self.cls(**values)


def _table(cls: type) -> Table:
    hints = typing.get_type_hints(cls)
    fields = []
    for field in dataclasses.fields(cls):
        write, read = _codec(hints[field.name])
        fields.append(Field(field.name, write, read, field.default is dataclasses.MISSING))
    return Table(fact_name(cls), cls, tuple(fields))


def _codec(hint: object) -> tuple[Callable[[object], str], Callable[[object, str], object]]:
    if hint == Records:
        return _write_records, _read_records
    if hint in SIMPLE:
        return SIMPLE[hint]
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return _tuple_codec(arguments[0])
    if typing.get_origin(hint) is tuple:
        return _fixed_codec(arguments)
    if typing.get_origin(hint) in (types.UnionType, typing.Union) and len(arguments) == 2 and arguments[1] is type(None):
        write, read = _codec(arguments[0])
        return (lambda value: "null" if value is None else write(value)), (lambda value, name: None if value is None else read(value, name))
    assert isinstance(hint, type), f"no way is known to write a {hint}"
    table = _table(hint)
    return table.written, lambda value, name: table.read(value)


def _tuple_codec(item: object) -> tuple[Callable[[object], str], Callable[[object, str], object]]:
    write, read = _codec(item)

    def read_all(value: object, name: str) -> object:
        if not isinstance(value, list):
            raise BadLine(f"{name}: given {shown(value)}, possible is a list")
        return tuple(read(one, name) for one in value)

    return (lambda value: f"[{','.join([write(one) for one in typing.cast(tuple[object, ...], value)])}]"), read_all


def _fixed_codec(items: tuple[object, ...]) -> tuple[Callable[[object], str], Callable[[object, str], object]]:
    codecs = [_codec(item) for item in items]

    def read_all(value: object, name: str) -> object:
        if not isinstance(value, list) or len(value) != len(codecs):
            raise BadLine(f"{name}: given {shown(value)}, possible is a list of {len(codecs)}")
        return tuple(read(one, name) for one, (_, read) in zip(value, codecs, strict=True))

    def write_all(value: object) -> str:
        return f"[{','.join([write(one) for one, (write, _) in zip(typing.cast(tuple[object, ...], value), codecs, strict=True)])}]"

    return write_all, read_all


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise BadLine(f"{name}: given {shown(value)}, possible is a text")
    return value


def _flag(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise BadLine(f"{name}: given {shown(value)}, possible are true and false")
    return value


def _whole(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -LARGEST <= value <= LARGEST:
        raise BadLine(f"{name}: given {shown(value)}, possible is a whole number of at most 53 bits")
    return value


def _write_plain(value: object) -> str:
    return str(value) if type(value) is int else canonical(value)


def _write_text(value: object) -> str:
    return encode_basestring_ascii(value) if type(value) is str else canonical(value)


SIMPLE: dict[object, tuple[Callable[[object], str], Callable[[object, str], object]]] = {
    str: (_write_text, _text),
    bool: (_write_plain, _flag),
    int: (_write_plain, _whole),
}


def _write_records(value: object) -> str:
    if isinstance(value, range) and value.step == 1:
        return f'"{value.start}..{value.start + len(value) - 1}"'
    return canonical(list(typing.cast(Records, value)))


def _read_records(value: object, name: str) -> object:
    if isinstance(value, str) and (ends := re.fullmatch(r"([0-9]{1,16})\.\.(-?[0-9]{1,16})", value)):
        first, last = int(ends[1]), int(ends[2])
        if -1 <= first - 1 <= last < LARGEST:
            return range(first, last + 1)
    if isinstance(value, list) and all(type(number) is int and 0 <= number < LARGEST for number in value):
        return tuple(value)
    raise BadLine(f'{name}: given {shown(value)}, possible is "FIRST..LAST" or a list of record numbers')


TABLES: dict[type, Table] = {cls: _table(cls) for cls in (*OUTSIDE, *INTERNAL)}
BY_NAME: dict[str, Table] = {table.name: table for table in TABLES.values()}
assert LoggedBatch not in TABLES  # A logged batch is part of a final log, not a line of its own.
