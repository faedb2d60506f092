"""Producers: their settings from every place, weakest first, settled by the rules of the client's release.

Kafka: KafkaProducer's constructor; `kafka-producer-perf-test --producer.config` for the files that people already have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath

from ksim.plan import ProducerPlan
from ksim.problems import ScenarioError, shown
from ksim.scenario_file import properties
from ksim.scenario_reading import Reading, Table
from ksim.scenario_shape import PRODUCER
from ksim.scenario_values import TEXT
from ksim_models.config import Effective, ProducerConfig, Setting, resolve_producer
from ksim_models.producer_keys import PRODUCER_KEYS
from ksim_models.profiles import ClientProfile
from ksim_models.settings import in_kafka_spelling

DEFAULT_PRODUCER = "p1"
LEGAL_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")
RESERVED_NAME = re.compile(r"broker(s|-\d+)?|controller(-\d+)?|any-broker|topic")
JAVA = "java"


@dataclass(frozen=True, slots=True)
class Producers:
    plans: list[ProducerPlan]
    effective: dict[str, tuple[Effective, ...]]


def read_producers(reading: Reading, content: object, profile: ClientProfile, folder: FilePath | None) -> Producers:
    tables = reading.tables(("producers",), content) or {DEFAULT_PRODUCER: (("producers", DEFAULT_PRODUCER), {})}
    producers = Producers([], {})
    for name, (path, value) in tables.items():
        if LEGAL_NAME.fullmatch(name) is None or RESERVED_NAME.fullmatch(name):
            reading.problem(
                path,
                f"{shown(name)} cannot be the name of a producer.",
                given=name,
                possible="a letter, then letters, digits and . _ -; not the name of a broker or controller",
            )
        table = reading.table(path, value, PRODUCER) or Table(reading, path, {}, PRODUCER)
        check_client(table)
        settings = [*_file_settings(table, folder), *table.settings()]
        resolved = resolve_producer(settings, profile)
        reading.problems.extend(resolved.problems)
        reading.notes.extend(f"{name}: {note}" for note in resolved.notes)
        producers.plans.append(
            ProducerPlan(name=name, client=JAVA, profile=profile, config=resolved.config or ProducerConfig(), given=in_kafka_spelling(settings, PRODUCER_KEYS))
        )
        producers.effective[name] = resolved.effective
    return producers


def check_client(table: Table) -> None:
    client = table.take("client", TEXT)
    if client is not None and client.partition(":")[0] == "librdkafka":
        table.problem("client", f"client = {shown(client)} is not yet supported.", possible='"java"')
    elif client is not None:
        table.choose("client", [JAVA], "a client library that is known")


def _file_settings(table: Table, folder: FilePath | None) -> list[Setting]:
    """The weakest: what the producer's own file says."""
    name = table.take("file", TEXT)
    if name is None:
        return []
    try:
        return properties(name, folder)
    except ScenarioError as mistake:
        for problem in mistake.problems:
            if problem.origin.line is None:  # The file itself is the mistake, and it is here that it was named.
                table.problem("file", f"file = {shown(name)}: {problem.message}", possible=problem.possible)
            else:
                table.reading.problems.append(problem)
        return []


def producer_names(content: object) -> list[str]:
    """The producers that there are, or will be."""
    return list(content) if isinstance(content, Mapping) and content else [DEFAULT_PRODUCER]
