"""What changes for a scenario between two releases: its settings, what is refused or ignored, and what client and brokers do differently.

Kafka: the upgrade notes of a release, asked about one configuration.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ksim.plan import Plan, ProducerPlan
from ksim.scenario import Scenario
from ksim.scenario_plan import Made
from ksim_models.config import Effective, Problem, topic_config
from ksim_models.producer_keys import PRODUCER_KEYS
from ksim_models.profiles import broker_profile, client_profile
from ksim_models.switch import ProducerUse, TopicUse
from ksim_models.switches import Differing, differing

NOT_KNOWN = "(not known)"


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that holds another value, or comes from another place, in each of the two releases."""

    whose: str
    """"producer p1", "topic payments", "brokers"."""
    name: str
    values: tuple[str, str]
    origins: tuple[str, str]
    """"default of 3.9", "mine.toml:4", "forced by ..."; empty where the setting is not known."""


@dataclass(frozen=True, slots=True)
class Remark:
    """What only one of the two releases has to say: that it refuses something, or ignores it, or makes something else of it."""

    release: str
    text: str
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Behaviour:
    """A switch that the two releases have in different positions."""

    of: str
    """"client" or "brokers"."""
    switch: str
    sentence: str
    cited: str
    cannot_matter: str
    """Why it cannot matter to this scenario; empty where it can, or where nobody can say."""


@dataclass(frozen=True, slots=True)
class Difference:
    releases: tuple[str, str]
    changes: tuple[Change, ...]
    refused: tuple[Remark, ...]
    noted: tuple[Remark, ...]
    behaviour: tuple[Behaviour, ...]

    @property
    def is_empty(self) -> bool:
        return not (self.changes or self.refused or self.noted or self.behaviour)


def difference(one: Scenario, other: Scenario, releases: tuple[str, str], *, only_producers: bool = False) -> Difference:
    """Of one scenario under two releases, which both exist. only_producers: there is no cluster to speak of."""
    before, after = one.examined(), other.examined()
    possible = [made.plan for made in (before, after) if not made.problems]
    behaviour = [*_of_clients(before.plan, possible, releases, anywhere=only_producers), *_of_brokers(possible, releases)]
    return Difference(
        releases=releases,
        changes=tuple(change for change in _settings(before, after) if change.whose.startswith("producer ") or not only_producers),
        refused=_only_one(releases, *([Remark("", problem.message, problem) for problem in made.problems] for made in (before, after))),
        noted=_only_one(releases, *([Remark("", note) for note in _telling(made, only_producers=only_producers)] for made in (before, after))),
        behaviour=tuple(found for found in behaviour if found.of == "client" or not only_producers),
    )


def shown(value: object) -> str:
    """As a .properties file would have it."""
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case _:
            return str(value)


def _settings(before: Made, after: Made) -> Iterable[Change]:
    """Of producers, then of brokers and topics; those of brokers that are all alike are one."""
    for producer, lines in before.effective.items():
        yield from _changes(f"producer {producer}", lines, after.effective[producer])
    alike: dict[tuple[tuple[str, tuple[str, str], tuple[str, str]], ...], list[str]] = {}
    for whose, lines in before.cluster.items():
        found = tuple((change.name, change.values, change.origins) for change in _changes(whose, lines, after.cluster.get(whose, ())))
        alike.setdefault(found, []).append(whose)
    for found, several in alike.items():
        yield from (Change(", ".join(several), name, values, origins) for name, values, origins in found)


def _changes(whose: str, one: Sequence[Effective], other: Sequence[Effective]) -> Iterable[Change]:
    before, after = ({line.name: line for line in lines} for lines in (one, other))
    for name in dict.fromkeys([*before, *after]):
        lines = before.get(name), after.get(name)
        first, second = (NOT_KNOWN if line is None else shown(line.value) for line in lines)
        if first != second:
            origins = ["" if line is None else line.origin for line in lines]
            key = PRODUCER_KEYS.get(name)
            if key is not None and key.no_part and all(not origin or origin.startswith("default") for origin in origins):
                continue  # Nobody wrote it, and it decides nothing.
            yield Change(whose, name, (first, second), (origins[0], origins[1]))


def _only_one(releases: tuple[str, str], before: list[Remark], after: list[Remark]) -> tuple[Remark, ...]:
    """What one release says and the other does not. The numbers of the releases, and how each words its refusal, are no difference."""

    def plain(remark: Remark, release: str) -> object:
        return (remark.problem.given, remark.problem.origin) if remark.problem is not None else remark.text.replace(release, "X.Y")

    said = [{plain(remark, release) for remark in remarks} for release, remarks in zip(releases, (before, after), strict=True)]
    return tuple(
        Remark(release, remark.text, remark.problem)
        for release, remarks, others in ((releases[0], before, said[1]), (releases[1], after, said[0]))
        for remark in remarks
        if plain(remark, release) not in others
    )


def _telling(made: Made, *, only_producers: bool) -> Iterable[str]:
    return (note for note in made.plan.notes if not only_producers or any(note.startswith(f"{name}: ") for name in made.effective))


def _of_clients(any_plan: Plan, possible: Sequence[Plan], releases: tuple[str, str], *, anywhere: bool) -> Iterable[Behaviour]:
    """librdkafka has releases of its own: nothing of it changes with Kafka's. `possible`: what a release refuses tells nothing about its producers."""
    if all(producer.client != "java" for producer in any_plan.producers):
        return
    uses = [_use(plan, producer, anywhere=anywhere) for plan in possible for producer in plan.producers if producer.client == "java"]
    for found in differing(client_profile(releases[0]), client_profile(releases[1])):
        yield _behaviour("client", found, [found.switch.idle(use) for use in uses])


def _of_brokers(possible: Sequence[Plan], releases: tuple[str, str]) -> Iterable[Behaviour]:
    uses = [
        TopicUse(
            topic_config(topic.given, plan.brokers[0].config),
            max(len(replicas) for replicas in topic.assignment),
            _needs_coordinators(plan),
            len(plan.controllers),
        )
        for plan in possible
        for topic in plan.topics
    ]
    for found in differing(broker_profile(releases[0]), broker_profile(releases[1])):
        yield _behaviour("brokers", found, [found.switch.idle_topic(use) for use in uses])


def _needs_coordinators(plan: Plan) -> bool:
    return any(producer.config.transactional_id for producer in plan.producers) or any(consumer.config.group_id for consumer in plan.consumers)


def _behaviour(of: str, found: Differing, reasons: list[str]) -> Behaviour:
    """It cannot matter where it cannot to anybody, under neither release."""
    cannot = "; ".join(dict.fromkeys(reasons)) if reasons and all(reasons) else ""
    return Behaviour(of, found.switch.name, found.sentence, found.switch.cited, cannot)


def _use(plan: Plan, producer: ProducerPlan, *, anywhere: bool) -> ProducerUse:
    """anywhere: nobody said to which topics it sends."""
    partitions = {topic.name: len(topic.assignment) for topic in plan.topics}
    spreads = anywhere or any(
        workload.producer == producer.name and workload.partition is None and not workload.keys.distinct and partitions[workload.topic] > 1
        for workload in plan.workloads
    )
    return ProducerUse(producer.config, dict(producer.given), spreads)
