"""Producers: their settings from every place, weakest first, settled by the rules of the client's release.

Kafka: KafkaProducer's constructor; `kafka-producer-perf-test --producer.config` for the files that people already have.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path as FilePath

from ksim.plan import ProducerPlan
from ksim.problems import ScenarioError, shown
from ksim.scenario_file import properties
from ksim.scenario_reading import Reading, Table
from ksim.scenario_shape import PRODUCER
from ksim.scenario_values import TEXT
from ksim.toml_lines import Path
from ksim_models.config import Effective, LibrdkafkaResolution, ProducerConfig, Setting, by_one_name, resolve_librdkafka, resolve_producer
from ksim_models.librdkafka_keys import LIBRDKAFKA, LIBRDKAFKA_KEYS
from ksim_models.producer_keys import PRODUCER_KEYS
from ksim_models.profiles import ClientProfile
from ksim_models.settings import in_kafka_spelling

DEFAULT_PRODUCER = "p1"
LEGAL_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")
RESERVED_NAME = re.compile(r"broker(s|-\d+)?|controller(-\d+)?|any-broker|topic")
JAVA = "java"
CLIENTS = (JAVA, LIBRDKAFKA)
LIBRDKAFKA_VERSION = re.compile(r"2(\.\d{1,3}){0,2}")


@dataclass(frozen=True, slots=True)
class ClientLibrary:
    name: str = JAVA
    version: str = ""
    """Of librdkafka, where one was asked for."""


@dataclass(frozen=True, slots=True)
class Producers:
    plans: list[ProducerPlan]
    effective: dict[str, tuple[Effective, ...]]


def read_producers(reading: Reading, content: object, profile: ClientProfile, general: ClientLibrary, folder: FilePath | None) -> Producers:
    """`general`: the client of those that name none of their own."""
    tables = reading.tables(("producers",), content) or {DEFAULT_PRODUCER: (("producers", DEFAULT_PRODUCER), {})}
    producers = Producers([], {})
    for name, (path, value) in tables.items():
        check_name(reading, path, name, "a producer", (), "a broker or controller")
        table = reading.table(path, value, PRODUCER) or Table(reading, path, {}, PRODUCER)
        client = read_client(table, general)
        settings = [*file_settings(table, folder), *table.settings()]
        resolved = resolve_producer(settings, profile) if client.name == JAVA else resolve_librdkafka(settings)
        given = in_kafka_spelling(settings, PRODUCER_KEYS) if client.name == JAVA else in_kafka_spelling(by_one_name(settings), LIBRDKAFKA_KEYS)
        reading.problems.extend(resolved.problems)
        reading.notes.extend(f"{name}: {note}" for note in resolved.notes)
        own = resolved.own if isinstance(resolved, LibrdkafkaResolution) else None
        config = resolved.config or ProducerConfig()
        producers.plans.append(ProducerPlan(name, client.name, profile, config=config, given=given, client_version=client.version, librdkafka=own))
        producers.effective[name] = resolved.effective
    return producers


def check_name(reading: Reading, path: Path, name: str, of: str, taken: Collection[str], others: str) -> None:
    """`others`: who else has one, as a person says it; `taken`: those of them that the scenario names."""
    if LEGAL_NAME.fullmatch(name) is None or RESERVED_NAME.fullmatch(name) or name in taken:
        possible = f"a letter, then letters, digits and . _ -; not the name of {others}"
        reading.problem(path, f"{shown(name)} cannot be the name of {of}.", given=name, possible=possible)


def read_client(table: Table, otherwise: ClientLibrary) -> ClientLibrary:
    """`client = "java"`, `"librdkafka"` or `"librdkafka:2.16"`. The releases of the Java client are those of `kafka`."""
    client = table.take("client", TEXT)
    if client is None:
        return otherwise
    name, colon, version = client.partition(":")
    if name == LIBRDKAFKA and colon and LIBRDKAFKA_VERSION.fullmatch(version) is None:
        table.problem("client", f"client = {shown(client)}: this is no version of librdkafka that is known.", possible='"librdkafka" or "librdkafka:2.16"')
    elif name == LIBRDKAFKA:
        return ClientLibrary(name, version)
    elif table.choose("client", CLIENTS, "a client library that is known") == JAVA:
        return ClientLibrary()
    return otherwise


def file_settings(table: Table, folder: FilePath | None) -> list[Setting]:
    """The weakest: what the producer's own file says."""
    name = table.take("file", TEXT)
    if name is None:
        return []
    try:
        return properties(name, table.reading.problems, folder)
    except ScenarioError as mistake:
        for problem in mistake.problems:
            if problem.origin.line is None:  # The file itself is the mistake, and it is here that it was named.
                here = table.reading.source.of((*table.path, "file"))
                problem = replace(problem, given=shown(name), message=f"file = {shown(name)}: {problem.message}", origin=here)
            table.reading.problems.append(problem)
        return []


def producer_names(content: object) -> list[str]:
    """The producers that there are, or will be."""
    return list(content) if isinstance(content, Mapping) and content else [DEFAULT_PRODUCER]
