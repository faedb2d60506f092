"""Applications that consume, transform and produce: which consumer, which producer, when they commit.

Not Kafka's; KIP-98 and KIP-447 for what is made of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ksim.plan import ConsumerPlan, ProducerPlan, TopicPlan, WorkloadPlan
from ksim.problems import shown
from ksim.scenario_producers import LEGAL_NAME, check_name
from ksim.scenario_reading import Reading, Table, name_of
from ksim.scenario_shape import APPLICATION, COMMIT_EVERY
from ksim.scenario_values import COUNT, FLAG, SIZE
from ksim_models.copying import CopyHabits

EXAMPLE = "{ records = 100 }"
ONE, PER_PARTITION = "one", "per-partition"


def read_by_applications(content: object, consumers: object) -> dict[str, str]:
    """Consumer -> what its application reads: such a consumer need not say so itself."""
    found: dict[str, str] = {}
    for application in content.values() if isinstance(content, Mapping) else ():
        if isinstance(application, Mapping) and isinstance(application.get("reads"), str):
            names = [application["consumer"]] if "consumer" in application else [*consumers] if isinstance(consumers, Mapping) else []
            found.update({name: application["reads"] for name in names if isinstance(name, str)})
    return found


def spread(
    reading: Reading, content: object, producers: Sequence[ProducerPlan], consumers: Sequence[ConsumerPlan], topics: Sequence[TopicPlan]
) -> list[ProducerPlan]:
    """A producer of an application with one per input partition stands for as many as there are partitions; its transactional.id begins theirs."""
    found: dict[str, list[ProducerPlan]] = {one.name: [one] for one in producers}
    for path, value in reading.tables(("applications",), content).values():
        table = Table(reading, path, value, APPLICATION) if isinstance(value, dict) else None
        if table is None or table.content.get("producers") != PER_PARTITION:
            continue
        template = next((one for one in producers if one.name == table.content.get("producer")), None)
        consumer = next((one for one in consumers if one.name == table.content.get("consumer")), consumers[0] if len(consumers) == 1 else None)
        if template is None or consumer is None or not template.config.transactional_id:
            continue  # Which is a mistake that `read_applications` reports.
        read = [topic for topic in topics if topic.name in consumer.topics]
        found[template.name] = [_own(template, partition) for topic in read for partition in topic.partitions]
    return [one for of in found.values() for one in of]


def _own(template: ProducerPlan, partition: str) -> ProducerPlan:
    name, transactional_id = f"{template.name}-{partition}", f"{template.config.transactional_id}-{partition}"
    given = tuple((key, transactional_id if key == "transactional.id" else value) for key, value in template.given)
    return replace(template, name=name, config=replace(template.config, transactional_id=transactional_id), given=given)


def read_applications(
    reading: Reading,
    content: object,
    consumers: Sequence[ConsumerPlan],
    written: Sequence[ProducerPlan],
    producers: Sequence[ProducerPlan],
    workloads: Sequence[WorkloadPlan],
    topics: Sequence[TopicPlan],
) -> list[CopyHabits]:
    """written: the producers of the file; producers: those that there are (`spread`)."""
    found: list[CopyHabits] = []
    at_work = [workload.producer for workload in workloads]
    taken = [*(one.name for one in consumers), *(one.name for one in producers)]
    for name, (path, value) in reading.tables(("applications",), content).items():
        check_name(reading, path, name, "an application", taken, "another machine")
        table = reading.table(path, value, APPLICATION) or Table(reading, path, {}, APPLICATION)
        consumer = _part(table, "consumer", [one.name for one in consumers])
        many = table.choose("producers", (ONE, PER_PARTITION), "a number of producers") == PER_PARTITION
        producer = _part(table, "producer", [one.name for one in written if one.name not in at_work], must_say=many)
        topics_of = [_topic(table, key, [topic.name for topic in topics]) for key in ("reads", "writes")]
        if consumer is None or producer is None or "" in topics_of:
            continue
        its = next(one for one in consumers if one.name == consumer)
        writer = next(one for one in written if one.name == producer)
        _check(table, its, writer, topics_of[0], found)
        read = [topic for topic in topics if topic.name in its.topics]
        if many:
            _check_many(table, its, writer, read, [*taken, *reading.tables(("applications",), content)], written)
        found.append(
            CopyHabits(
                name,
                topics_of[0],
                topics_of[1],
                consumer,
                producer,
                commit_every=_commit_every(table),
                size=table.take("size", SIZE) or 100,
                transactional=bool(writer.config.transactional_id),
                group_metadata=_with_group_metadata(table, many=many),
                leader_epochs=table.take("leader_epochs", FLAG) is not False,
                per_partition=tuple((partition, f"{producer}-{partition}") for topic in read for partition in topic.partitions) if many else (),
            )
        )
    return found


def _with_group_metadata(table: Table, *, many: bool) -> bool:
    """A program of the time before KIP-447 has none to send along."""
    given = table.take("group_metadata", FLAG)
    return not many if given is None else given


def _part(table: Table, key: str, names: Sequence[str], *, must_say: bool = False) -> str | None:
    if table.has(key):
        what = "a consumer of this scenario" if key == "consumer" else "a producer of this scenario without a workload"
        return table.choose(key, names, what)
    if len(names) == 1 and not must_say:
        return names[0]
    many = f"there are {len(names)} that could be it, so say which" if names else "there is none that could be it"
    what = "[consumers.NAME]" if key == "consumer" else "[producers.NAME] that no workload uses"
    table.problem("", f"{name_of(table.path)}: {key} is missing: {many}.", given=f"no {key}", possible=", ".join(names) or what, names=names)
    return None


def _topic(table: Table, key: str, topics: Sequence[str]) -> str:
    if not table.has(key):
        table.problem("", f"{name_of(table.path)}: {key} is missing.", given=f"no {key}", names=topics)
        return ""
    return table.choose(key, topics, "a topic of this scenario") or ""


def _commit_every(table: Table) -> int:
    inner = table.inner("commit_every", COMMIT_EVERY, ["records"], EXAMPLE)
    if inner is None:
        if table.has("commit_every"):
            table.problem("commit_every", "commit_every is not a table.", possible=EXAMPLE)
        return 1
    return inner.take("records", COUNT) or 1


def _check(table: Table, its: ConsumerPlan, writer: ProducerPlan, reads: str, others: Sequence[CopyHabits]) -> None:
    where = name_of(table.path)
    consumer, producer = its.name, writer.name
    if its.config.group_id is None and not dict(its.given).get("group.id"):  # Else its settings are a mistake that was reported.
        table.problem(
            "consumer", f"{where}: {consumer} has no group.id, so there are no offsets to commit.", possible=f"[consumers.{consumer}] config.group.id"
        )
    if reads not in its.topics:
        table.problem("reads", f"{where}: {consumer} does not read {reads}.", given=reads, names=its.topics)
    for key, mine in (("consumer", consumer), ("producer", producer)):
        if any(mine in (other.consumer, other.producer) for other in others):
            table.problem(key, f"{where}: {mine} is part of another application already.", given=mine, possible=f"a {key} of its own")


def _check_many(
    table: Table, its: ConsumerPlan, writer: ProducerPlan, read: Sequence[TopicPlan], machines: Sequence[str], written: Sequence[ProducerPlan]
) -> None:
    where = f"{name_of(table.path)}: producers = {shown(PER_PARTITION)}"
    if not writer.config.transactional_id and not dict(writer.given).get("transactional.id"):
        table.problem(
            "producers",
            f"{where}: {writer.name} has no transactional.id, by which the new owner of a partition would fence the old one.",
            possible=f"[producers.{writer.name}] config.transactional.id",
        )
    for key, of_librdkafka, name in (("producer", writer.librdkafka, writer.name), ("consumer", its.librdkafka, its.name)):
        if of_librdkafka is not None:
            table.problem(key, f"{where}: this is simulated with the Java client only.", given=name, possible='client = "java"')
    for topic in read:
        if not topic.exists:
            table.problem("producers", f"{where}: nobody knows yet how many partitions {topic.name} will have.", possible="a topic that exists")
        for partition in topic.partitions:
            name = f"{writer.name}-{partition}"
            if machines.count(name) > 1 or name in [one.name for one in written] or LEGAL_NAME.fullmatch(name) is None:
                table.problem(
                    "producers",
                    f"{where}: the producer of {partition} would be called {shown(name)}, as another machine is, or as none can be.",
                    given=name,
                    possible="another name",
                )
