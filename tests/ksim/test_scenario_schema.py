"""The JSON Schema: what the reader accepts, an editor accepts; what has an unknown key, an editor marks."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from ksim.scenario import names
from ksim.scenario_file import built_in
from ksim.scenario_schema import schema

VALIDATOR: Any = Draft202012Validator(schema())

SECOND_SAMPLE_AS_FAR_AS_SUPPORTED = """\
format = 1
title  = "The second sample of the contract, without transactions, consumers and applications"
kafka  = { brokers = "4.3", clients = "3.3" }
client = "java"
seed   = 11

[cluster]
brokers     = 3
controllers = 1
config.replica.lag.time.max.ms = 30000
[cluster.broker-2]
config.num.replica.fetchers = 2

[topics.orders]
[topics.payments]
replication = 3
assignment  = [[1, 2, 3]]

[producers.feed]
file = "producer.properties"
[producers.copier]
config.linger.ms = "20ms"

[[workload]]
producer   = "feed"
topic      = "orders"
for        = "10s"
rate       = 200
arrivals   = "poisson"
size       = { mean = 1000, spread = 200 }
key        = { distinct = 50, skew = 1.0 }
wait       = "none"
start      = "0s"
on_failure = "report"

[[fault]]
name = "leader dies"
at   = "2s"
do   = "crash"
who  = "leader(payments-0)"
for  = "5s"

[network]
latency   = "0.5ms"
bandwidth = "1Gbit/s"
links     = [{ from = "feed", to = "broker-2", latency = "100ms" }]

[model]
writeback        = "30s"
append           = "40us"
power_loss_keeps = "drawn"

[tail]
heal  = true
limit = "300s"

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


def test_the_second_sample_is_valid_as_far_as_it_is_supported() -> None:
    assert mistakes_of(SECOND_SAMPLE_AS_FAR_AS_SUPPORTED) == []


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
