"""From data to plan: every table read, every default filled in, every mistake found; nothing is carried out here.

Not Kafka's: the edge of ksim, where arguments are validated once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path as FilePath

from ksim.plan import Plan
from ksim.problems import in_order
from ksim.scenario_admin import tell_of_the_minimum
from ksim.scenario_alerts import read_alerts
from ksim.scenario_applications import read_applications, read_by_applications, spread
from ksim.scenario_chaos import read_chaos
from ksim.scenario_cluster import read_brokers, read_releases, read_topics
from ksim.scenario_consumers import read_consumers
from ksim.scenario_faults import read_faults
from ksim.scenario_moments import tell_of_moments_that_never_come
from ksim.scenario_names import Names
from ksim.scenario_producers import ClientLibrary, read_client, read_producers
from ksim.scenario_reading import Reading, Source, Table
from ksim.scenario_shape import FORMAT, SCENARIO
from ksim.scenario_tail import read_expectations, read_model, read_network, read_tail, refuse_standing_time
from ksim.scenario_transactions import check_transactions, coordinated
from ksim.scenario_values import SEED, TEXT, whole
from ksim.scenario_workload import read_workloads, tell_of_compression
from ksim_models.config import Effective, Problem

UNTITLED = "A scenario without a title"
NO_SEED = -1
"""Stands in a plan until the run's seed is put there."""


@dataclass(frozen=True, slots=True)
class Made:
    """The plan without a seed, and all there is to say about it. With problems the plan is not to be used."""

    plan: Plan
    seed: int | None
    problems: tuple[Problem, ...]
    effective: Mapping[str, tuple[Effective, ...]]
    """Of the producers and consumers."""
    cluster: Mapping[str, tuple[Effective, ...]]
    """Of the brokers, and of the topics as "topic NAME"."""


def make_plan(data: dict[str, object], source: Source, folder: FilePath | None, found_before: tuple[Problem, ...]) -> Made:
    reading = Reading(source, problems=list(found_before))
    scenario = _scenario_table(reading, data)
    client = read_client(scenario, ClientLibrary())
    releases = read_releases(scenario)
    brokers, controllers, formatted = read_brokers(reading, data.get("cluster"), releases.brokers)
    releases = replace(releases, brokers=formatted)
    topics = read_topics(reading, data.get("topics"), brokers, releases.brokers)
    producers = read_producers(reading, data.get("producers"), releases.clients, client, folder)
    of_applications = read_by_applications(data.get("applications"), data.get("consumers"))
    taken = [one.name for one in producers.plans]
    consumers = read_consumers(reading, data.get("consumers"), releases.clients, client, topics, taken, folder, of_applications)
    writers = spread(reading, data.get("applications"), producers.plans, consumers.plans, topics)
    names = Names(
        brokers=[broker.name for broker in brokers],
        controllers=controllers,
        producers=[producer.name for producer in writers],
        partitions={topic.name: topic.partitions for topic in topics},
        replicas=max((len(topic.assignment[0]) for topic in topics if topic.exists), default=1),
        consumers=[consumer.name for consumer in consumers.plans],
        racks=list(dict.fromkeys(broker.rack for broker in brokers if broker.rack)),
        coordinated=list(dict.fromkeys(coordinated(writers, consumers.plans))),
        applications=[*reading.tables(("applications",), data.get("applications"))],
    )
    workloads = read_workloads(reading, data.get("workload"), names)
    tell_of_compression(reading, workloads, writers)
    check_transactions(reading, workloads, writers)
    applications = read_applications(reading, data.get("applications"), consumers.plans, producers.plans, writers, workloads, topics)
    faults = read_faults(reading, data.get("fault"), names, workloads, writers, releases.brokers, data.get("chaos"))
    tell_of_moments_that_never_come(reading, faults, writers, workloads, applications)
    chaos = read_chaos(reading, data.get("chaos"), names, faults, releases.brokers)
    tell_of_the_minimum(reading, faults, topics, releases.brokers)
    network = read_network(reading, data.get("network"), names)
    refuse_standing_time(reading, network, brokers, writers)
    expectations = read_expectations(reading, data.get("expect"))
    alerts = read_alerts(reading, data.get("alert"), writers, consumers=bool(consumers.plans))
    tail = read_tail(reading, data.get("tail"))
    seed = scenario.take("seed", SEED)
    plan = Plan(
        title=scenario.take("title", TEXT) or UNTITLED,
        seed=NO_SEED,
        broker_version=releases.brokers.version,
        client_version=releases.clients.version,
        broker_profile=releases.brokers,
        brokers=tuple(brokers),
        controllers=tuple(controllers),
        topics=tuple(topics),
        producers=tuple(writers),
        workloads=tuple(workloads),
        faults=tuple(faults),
        network=network,
        expect=tuple(expectations),
        heal=tail.heal,
        limit=tail.limit,
        warm=tail.warm,
        model=read_model(reading, data.get("model")),
        alerts=tuple(alerts),
        consumers=tuple(consumers.plans),
        applications=tuple(applications),
        chaos=tuple(chaos),
        notes=tuple(dict.fromkeys(reading.notes)),
    )
    return Made(plan, seed, tuple(in_order(reading.problems)), producers.effective | consumers.effective, reading.cluster)


def _scenario_table(reading: Reading, data: dict[str, object]) -> Table:
    scenario = Table(reading, (), data, SCENARIO)
    version = data.get("format", FORMAT)
    if isinstance(version, int) and not isinstance(version, bool) and version > FORMAT:
        scenario.problem("format", f"format = {version}: this file is of a newer format than ksim reads.", possible=str(FORMAT))
    else:
        scenario.take("format", whole(1, FORMAT, str(FORMAT)))
    if "scenario" in data or "sweep" in data:
        key = "scenario" if "scenario" in data else "sweep"
        scenario.problem(key, "this is a sweep file, not a scenario: use `ksim sweep`.", given=key, possible="a scenario file")
        scenario = Table(reading, (), {name: value for name, value in data.items() if name not in ("scenario", "sweep", "seeds", "metrics")}, SCENARIO)
    scenario.check_keys()
    return scenario
