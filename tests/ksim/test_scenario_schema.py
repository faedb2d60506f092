"""The JSON Schema: what the reader accepts, an editor accepts; what has an unknown key, an editor marks."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from ksim.scenario import names
from ksim.scenario_file import built_in
from ksim.scenario_schema import schema

VALIDATOR: Any = Draft202012Validator(schema())

SAMPLES = sorted((Path(__file__).parents[2] / "experiments" / "samples").glob("*.toml"))
WHAT_THE_SAMPLES_LEAVE_OUT = """\
kafka = { brokers = "4.3", clients = "3.3" }
[producers.copier]
config.linger.ms = "20ms"
[[workload]]
topic = "payments"
records = 1
every = 1
[model]
writeback        = "30s"
power_loss_keeps = "drawn"
[expect]
lost = 0
errors.TimeoutException = 0
verdict = "held"
"""


def mistakes_of(text: str) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(tomllib.loads(text))]


def test_the_schema_is_a_schema_and_plain_json() -> None:
    Draft202012Validator.check_schema(schema())

    assert json.loads(json.dumps(schema())) == schema()


@pytest.mark.parametrize("name", [name for name, _ in names()])
def test_a_built_in_scenario_is_valid(name: str) -> None:
    assert mistakes_of(built_in(name)) == []


@pytest.mark.parametrize("text", [*(path.read_text(encoding="utf-8") for path in SAMPLES), WHAT_THE_SAMPLES_LEAVE_OUT])
def test_a_sample_is_valid(text: str) -> None:
    assert mistakes_of(text) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("topcis = 1\n", "topcis"),
        ("[tail]\nheel = true\n", "heel"),
        ("[model]\nwriteback_sacn = '1s'\n", "writeback_sacn"),
        ("[topics.x]\npartitons = 1\n", "partitons"),
        ("[[fault]]\nat = 1\ndo = 'crsh'\n", "crsh"),
        ("[[fault]]\ndo = 'crash'\n", "{'do': 'crash'}"),
        ("[cluster]\nbrokers = '3'\n", "'3'"),
        ("[consumers.x]\ntopic = 'x'\n", "topic"),
        ("[expect]\nduplicates = 1\n", "duplicates"),
    ],
)
def test_what_the_reader_refuses_an_editor_marks(text: str, words: str) -> None:
    (mistake,) = mistakes_of("[[workload]]\ntopic = 'x'\nrecords = 1\nevery = 1\n" + text)

    assert words in mistake
