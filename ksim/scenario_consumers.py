"""Consumers: what they read, their settings from every place, and what their applications do.

Kafka: KafkaConsumer's constructor, subscribe(), assign().
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath

from ksim.plan import ConsumerPlan, TopicPlan
from ksim.problems import shown
from ksim.scenario_groups import check_groups
from ksim.scenario_producers import JAVA, ClientLibrary, check_name, file_settings, read_client
from ksim.scenario_reading import Reading, Table
from ksim.scenario_shape import CONSUMER
from ksim.scenario_values import DURATION, choice
from ksim_models.config import (
    ConsumerConfig,
    Effective,
    LibrdkafkaConsumerResolution,
    consumer_by_one_name,
    resolve_consumer,
    resolve_librdkafka_consumer,
)
from ksim_models.consumer_keys import CONSUMER_KEYS
from ksim_models.librdkafka_consumer_keys import LIBRDKAFKA_CONSUMER_KEYS
from ksim_models.profiles import ClientProfile
from ksim_models.settings import Origin, Setting, in_kafka_spelling

AUTO_COMMIT = "enable.auto.commit"


@dataclass(frozen=True, slots=True)
class Consumers:
    plans: list[ConsumerPlan]
    effective: dict[str, tuple[Effective, ...]]


def read_consumers(
    reading: Reading,
    content: object,
    profile: ClientProfile,
    general: ClientLibrary,
    topics: Sequence[TopicPlan],
    producers: Sequence[str],
    folder: FilePath | None,
    of_applications: Mapping[str, str],
) -> Consumers:
    """general: the client of those that name none of their own. of_applications: consumer -> what its application reads."""
    consumers = Consumers([], {})
    for name, (path, value) in reading.tables(("consumers",), content).items():
        check_name(reading, path, name, "a consumer", producers, "a broker, a controller or a producer")
        table = reading.table(path, value, CONSUMER) or Table(reading, path, {}, CONSUMER)
        settings = [*file_settings(table, folder), *table.settings()]
        if name in of_applications:
            settings = _of_an_application(reading, name, settings)
        client = read_client(table, general)
        is_java = client.name == JAVA
        resolved = resolve_consumer(settings, profile) if is_java else resolve_librdkafka_consumer(settings, reading.source.of(path))
        reading.problems.extend(resolved.problems)
        reading.notes.extend(f"{name}: {note}" for note in resolved.notes)
        read = _topics(table, [topic.name for topic in topics], of_applications.get(name))
        work = table.take("work", DURATION) or 0
        config = resolved.config or ConsumerConfig()
        commit = _commit(table, config)
        given = in_kafka_spelling(settings, CONSUMER_KEYS) if is_java else in_kafka_spelling(consumer_by_one_name(settings), LIBRDKAFKA_CONSUMER_KEYS)
        own = resolved.own if isinstance(resolved, LibrdkafkaConsumerResolution) else None
        consumers.plans.append(ConsumerPlan(name, profile, config, read, work, commit, given, client.name, client.version, own))
        consumers.effective[name] = resolved.effective
    check_groups(reading, consumers.plans)
    return consumers


def _of_an_application(reading: Reading, name: str, settings: list[Setting]) -> list[Setting]:
    """It commits the offsets of what it has written, so nobody else should; what is written is legal all the same."""
    written = [setting.value for setting in settings if setting.name == AUTO_COMMIT]
    if not written:
        reading.notes.append(f"{name}: {AUTO_COMMIT} counts as false, since its application commits what it has written itself; Kafka's default is true")
        return [Setting(AUTO_COMMIT, False, Origin("the application that it is part of")), *settings]
    if str(written[-1]).strip().lower() == "true":
        reading.notes.append(
            f"warning: {name}: {AUTO_COMMIT} = true: poll() commits offsets whatever becomes of what is made of the records: inputs may be skipped (H-150)"
        )
    return settings


def _commit(table: Table, config: ConsumerConfig) -> str:
    commit = table.take("commit", choice("sync", "async", "none"))
    if commit in ("sync", "async") and config.group_id is None:
        table.problem("commit", f"{table.path[-1]}: commit = {commit}: without a group.id there is nothing to commit to (InvalidGroupIdException).")
    return commit or ("sync" if config.group_id is not None and not config.enable_auto_commit else "none")


def _topics(table: Table, known: Sequence[str], otherwise: str | None) -> tuple[str, ...]:
    given = table.content.get("topics", None if otherwise is None else [otherwise])
    if not isinstance(given, list) or not given or not all(isinstance(topic, str) for topic in given):
        example = f'topics = ["{known[0] if known else "payments"}"]'
        missing = "topics is missing" if given is None else f"topics = {shown(given)} is no list of topics"
        table.problem("topics", f"{table.path[-1]}: {missing}.", given=shown(given) if given is not None else "nothing", possible=example)
        return ()
    for topic in given:
        if topic not in known:
            table.problem("topics", f"{table.path[-1]}: there is no topic {shown(topic)} in this scenario.", given=topic, names=known)
    return tuple(dict.fromkeys(given))
