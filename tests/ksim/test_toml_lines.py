"""Lines of a TOML text: every key that tomllib knows has its line."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksim.scenario import names
from ksim.scenario_file import built_in
from ksim.toml_lines import lines_of

TRICKY = '''\
a = 1
"b.c" = 2                  # a comment = not a key
d . e."f g" = [
  1, # one
  { x = 1, y.z = "]" },
]
s = """
not = 1
\\""" still
"""
t = \'\'\'x = "\'\'\'\'
[h.i]
j = { k = [1, 2], "\\u006c" = \'}\' }
[[m]]
n = 1
[[m]]
n = 2
[m.o]
p = 2026-11-24 10:00:00
[[m.q]]
r = -inf
'''


def test_every_key_of_a_toml_text_is_found_in_its_line() -> None:
    expected = {
        ("a",): 1,
        ("b.c",): 2,
        ("d", "e", "f g"): 3,
        ("d", "e", "f g", 0): 4,
        ("d", "e", "f g", 1): 5,
        ("d", "e", "f g", 1, "y", "z"): 5,
        ("s",): 7,
        ("t",): 11,
        ("h", "i"): 12,
        ("h", "i", "j", "k", 1): 13,
        ("h", "i", "j", "l"): 13,
        ("m",): 14,
        ("m", 0, "n"): 15,
        ("m", 1): 16,
        ("m", 1, "n"): 17,
        ("m", 1, "o", "p"): 19,
        ("m", 1, "q", 0, "r"): 21,
    }
    lines = lines_of(TRICKY)

    assert {path: lines.get(path) for path in expected} == expected
    assert set(lines) == {*_paths(tomllib.loads(TRICKY), ())}


@pytest.mark.parametrize("name", [name for name, _ in names()])
def test_the_lines_know_the_paths_that_tomllib_knows(name: str) -> None:
    text = built_in(name)

    assert set(lines_of(text)) == {*_paths(tomllib.loads(text), ())}


@given(st.text(max_size=40) | st.text(alphabet="ab.=[]{}\"'\\\n#, 1", max_size=40))
def test_no_valid_toml_has_a_key_without_a_line(text: str) -> None:
    try:
        data = tomllib.loads(text)
    except ValueError:
        data = {}
        text = ""

    assert set(lines_of(text.replace("\r\n", "\n"))) == {*_paths(data, ())}


def _paths(value: object, path: tuple[str | int, ...]) -> list[tuple[str | int, ...]]:
    inside = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    return [found for key, element in inside for found in ((*path, key), *_paths(element, (*path, key)))]
