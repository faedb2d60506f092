"""Mistakes that people make with Kafka's settings, and what each of them is told: a row per mistake.

What was written, in whose place -> the name or value that is suggested (None: nothing is near), and words of the explanation.
"-" before the words: it is no mistake but a note, as the client itself would run.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ksim.problems import ScenarioError
from ksim.scenario import Scenario
from ksim_models.config import Origin, Problem, Setting, resolve_broker, resolve_librdkafka, resolve_producer, resolve_topic
from ksim_models.profiles import broker_profile, client_profile

Row = tuple[str, str | None, str]

IN_FLIGHT = "max.in.flight.requests.per.connection"

JAVA: list[Row] = [
    # A name misspelt, shortened, or as another place spells it.
    ("enable.idempotance=true", "enable.idempotence", "Did you mean enable.idempotence?"),
    ("idempotence=true", "enable.idempotence", "Did you mean"),
    ("ack=1", "acks", "Did you mean acks?"),
    ("required.acks=1", "acks", "Did you mean acks?"),
    ("retry=3", "retries", "Did you mean retries?"),
    ("linger=5", "linger.ms", "Did you mean linger.ms?"),
    ("linger_ms=5", "linger.ms", "Did you mean linger.ms?"),
    ("linger-ms=5", "linger.ms", "Did you mean linger.ms?"),
    ("lingerMs=5", "linger.ms", "Did you mean linger.ms?"),
    ("LINGER_MS=5", "linger.ms", "Did you mean linger.ms?"),
    ("maxInFlightRequests=1", IN_FLIGHT, "Did you mean"),
    ("retry.backoff=1", "retry.backoff.ms", "Did you mean"),
    ("bootstrap.server=b:1", "bootstrap.servers", "Did you mean"),
    ("transaction.id=t", "transactional.id", "Did you mean transactional.id?"),
    ("buffer.size=1", "buffer.memory", "Did you mean"),
    ("KAFKA_LINGER_MS=5", "linger.ms", "is how a container's environment spells it"),
    ("CONNECT_PRODUCER_ACKS=1", "acks", "is how Kafka Connect spells it"),
    ("producer.override.acks=all", "acks", "is how Kafka Connect spells it"),
    ("spring.kafka.producer.retries=3", "retries", "is how Spring Boot spells it"),
    ("spring.kafka.producer.batch-size=1", "batch.size", "is how Spring Boot spells it"),
    ("spring.kafka.producer.properties.linger.ms=1", "linger.ms", "is how Spring Boot spells it"),
    ("spring.kafka.producer.transaction-id-prefix=t", "transactional.id", "is how Spring Boot spells it"),
    # librdkafka's names, old names, and what is no producer's.
    ("message.timeout.ms=1000", "delivery.timeout.ms", "is librdkafka's name: the Java client's is delivery.timeout.ms"),
    ("queue.buffering.max.ms=5", "linger.ms", "is librdkafka's name"),
    ("max.in.flight=1", IN_FLIGHT, "is librdkafka's name"),
    ("compression.codec=gzip", "compression.type", "is librdkafka's name"),
    ("message.max.bytes=1", "max.request.size", "is librdkafka's name"),
    ("block.on.buffer.full=true", None, "went with Kafka 0.11 (KIP-19); max.block.ms"),
    ("timeout.ms=1", None, "went with Kafka 0.11"),
    ("producer.type=async", None, "the Scala producer's"),
    ("min.insync.replicas=2", None, "it is a topic's or a broker's; write it under [topics.NAME] config"),
    ("min_insync_replicas=2", None, "it is a topic's or a broker's"),
    ("max.message.bytes=1", None, "it is a topic's or a broker's"),
    ("replication.factor=3", None, "write it as replication under [topics.NAME]"),
    ("log.retention.ms=1", None, "it is a broker's; write it under [cluster] config"),
    ("group.id=g", None, "- a consumer's setting, which a producer ignores"),
    ("auto.offset.reset=latest", None, "- a consumer's setting"),
    ("enable.auto.commit=true", None, "- a consumer's setting"),
    ("isolation.level=read_committed", None, "- a consumer's setting"),
    ("some.settting=1", None, "The Java client would log that it does not know it, and run without it"),
    # Values.
    ("acks=2", None, "How many replicas must have a record is not the producer's to say: that is min.insync.replicas"),
    ("acks=ALL", "all", "String must be one of: all, -1, 0, 1"),
    ("acks=leader", "1", "Did you mean 1?"),
    ("acks=none", "0", "Did you mean 0?"),
    ("acks=quorum", "all", "Did you mean all?"),
    ("acks=TRUE ", None, "Possible: all, -1, 0, 1"),
    ("acks=", None, "Possible: all, -1, 0, 1"),
    ("enable.idempotence=yes", "true", "Expected value to be either true or false"),
    ("enable.idempotence=off", "false", "Did you mean false?"),
    ("enable.idempotence=1", "true", "Did you mean true?"),
    ("enable.idempotence=ture", "true", "Did you mean true?"),
    ("compression.type=GZIP", "gzip", "Did you mean gzip?"),
    ("compression.type=zstandard", "zstd", "Did you mean zstd?"),
    ("compression.type=brotli", None, "none, gzip, snappy, lz4, zstd"),
    ("retries=-1", None, "Value must be at least 0"),
    ("retries=2147483648", None, "Not a number of type INT"),
    ("retries=1_000", "1000", "Did you mean 1000?"),
    ("retries=1,000", "1000", "Did you mean 1000?"),
    ("retries=Integer.MAX_VALUE", "2147483647", "Did you mean 2147483647?"),
    ("retries=3s", None, "it is a plain number, without a unit"),
    ("retries=", None, "it is no integer"),
    ("linger.ms=30sec", "30s", "Did you mean 30s?"),
    ("linger.ms=-1", None, "Value must be at least 0"),
    ("request.timeout.ms=5m", "5min", "Did you mean 5min?"),
    ("request.timeout.ms=3000000000", None, "Not a number of type INT"),
    ("batch.size=16k", "16KiB", "Did you mean 16KiB?"),
    ("buffer.memory=32 mb", "32MiB", "Did you mean 32MiB?"),
    (f"{IN_FLIGHT}=0", None, "Value must be at least 1"),
    # Settings against each other.
    ("delivery.timeout.ms=1000", None, "at least 30005"),
    ("enable.idempotence=true acks=1", None, "Must set acks to all in order to use the idempotent producer"),
    ("enable.idempotence=true retries=0", None, "Must set retries to non-zero"),
    ("transactional.id=t acks=1", None, "Cannot set a transactional.id without also enabling idempotence"),
    ("acks=1", None, "- Idempotence, on by default, is switched off in silence by acks=1"),
    ("buffer.memory=1", None, "- every send() throws IllegalArgumentException (C8)"),
    ("reconnect.backoff.ms=5000", None, "- reconnect.backoff.max.ms, not set, becomes reconnect.backoff.ms = 5000"),
    ("reconnect.backoff.ms=5000 reconnect.backoff.max.ms=1000", None, "- every reconnect waits 1000 ms, without jitter (C5"),
    ("3.6: reconnect.backoff.ms=5000 reconnect.backoff.max.ms=1000", None, "- every reconnect waits 5000 ms, without jitter (C5"),
    ("3.6: socket.connection.setup.timeout.ms=60000", None, "- every connection attempt lasts 60000 ms at most (C5"),
    # By release.
    (f"3.9: {IN_FLIGHT}=6", None, "- switched off in silence by max.in.flight"),
    (f"4.0: {IN_FLIGHT}=6", None, "Current value is 6"),
    (f"2.8: {IN_FLIGHT}=6 enable.idempotence=true", None, f"Must set {IN_FLIGHT} to at most 5 to use the idempotent producer"),
    ("3.6: retry.backoff.max.ms=1", None, "- came with Kafka 3.7: 3.6 does not know it and ignores it"),
    ("3.7: metadata.recovery.strategy=none", None, "- came with Kafka 3.8"),
    ("3.9: metadata.recovery.rebootstrap.trigger.ms=1", None, "- came with Kafka 4.0"),
    ("3.2: partitioner.ignore.keys=true", None, "- came with Kafka 3.3"),
    ("4.0: transaction.two.phase.commit.enable=true", None, "- came with Kafka 4.1"),
    ("4.0: auto.include.jmx.reporter=true", None, "- went with Kafka 4.0"),
    ("4.3: client.rack=a", None, "- came with Kafka 4.4"),
]

LIBRDKAFKA: list[Row] = [
    ("linger=5", "linger.ms", "librdkafka refuses it: No such configuration property"),
    ("message.timeout=1", "message.timeout.ms", "Did you mean message.timeout.ms?"),
    ("message.timeot.ms=1", "message.timeout.ms", "Did you mean message.timeout.ms?"),
    ("queue.buffering.max.message=1", "queue.buffering.max.messages", "Did you mean"),
    ("messageTimeoutMs=1", "message.timeout.ms", "Did you mean"),
    ("socket_timeout_ms=100", "socket.timeout.ms", "Did you mean"),
    ("KAFKA_ACKS=1", "acks", "is how a container's environment spells it: librdkafka's own name is acks"),
    ("spring.kafka.producer.acks=1", "acks", "is how Spring Boot spells it"),
    ("buffer.memory=1", "queue.buffering.max.kbytes", "is the Java client's name: librdkafka's is queue.buffering.max.kbytes"),
    ("max.block.ms=1", "queue.buffering.max.messages", "is the Java client's name"),
    ("max.request.size=1", "message.max.bytes", "is the Java client's name"),
    ("partitioner.class=x", "partitioner", "is the Java client's name"),
    ("partitioner.ignore.keys=true", "partitioner", "is the Java client's name"),
    ("send.buffer.bytes=1", "socket.send.buffer.bytes", "is the Java client's name"),
    ("metadata.max.idle.ms=1", "metadata.max.age.ms", "is the Java client's name"),
    ("compression.gzip.level=1", "compression.level", "is the Java client's name"),
    ("key.serializer=x", None, "librdkafka sends bytes"),
    ("interceptor.classes=x", None, "it is the Java client's, and librdkafka has nothing like it"),
    ("metric.reporters=x", None, "it is the Java client's"),
    ("dr_msg_cb=f", None, "a program sets it with a function of its own"),
    ("on_delivery=f", None, "a program sets it with a function of its own"),
    ("error_cb=f", None, "a program sets it with a function of its own"),
    ("min.insync.replicas=2", None, "[topics.NAME] config"),
    ("log.retention.ms=2", None, "[cluster] config"),
    ("group.id=g", None, "- a consumer's setting, which a producer ignores"),
    ("enable.auto.commit=true", None, "- a consumer's setting"),
    ("auto.offset.reset=latest", None, "- a consumer's setting"),
    ("acks=2", None, "a broker refuses all but these: INVALID_REQUIRED_ACKS"),
    ("acks=leader", "1", "Did you mean 1?"),
    ("enable.idempotence=yes", "true", 'librdkafka says: Expected bool value for "enable.idempotence": true or false'),
    ("partitioner=murmur3", "murmur2", "Did you mean murmur2?"),
    ("partitioner=MURMUR2", "murmur2", "Did you mean murmur2?"),
    ("compression.codec=zip", "gzip", "compression.codec is another name of compression.type"),
    ("compression.codec=inherit", None, "none, gzip, snappy, lz4, zstd"),
    ("retries=-1", None, 'Configuration property "message.send.max.retries" value -1 is outside allowed range 0..2147483647'),
    ("retries=3000000000", None, "value -1294967296 is outside allowed range"),
    ("retries=4294967297", None, "librdkafka itself would take it for 1"),
    ("message.timeout.ms=5sec", "5s", "librdkafka itself would take it for 5"),
    ("message.timeout.ms=-1", None, "message.timeout.ms is another name of delivery.timeout.ms"),
    ("socket.timeout.ms=5", None, "is outside allowed range 10..300000"),
    ("batch.size=0", None, "is outside allowed range 1..2147483647"),
    ("message.max.bytes=100", None, "is outside allowed range 1000..1000000000"),
    ("linger.ms=0.5x", None, "librdkafka itself would take it for 0.5"),
    ("linger.ms=1000000", None, "is outside allowed range 0..900000"),
    ("batch.size=16k", "16KiB", "Did you mean 16KiB?"),
    ("acks=all request.required.acks=1", None, "two names of one setting, and both are given"),
    ("linger.ms=1 queue.buffering.max.ms=1", None, "two names of one setting"),
    ("enable.idempotence=true acks=1", None, "`acks` must be set to `all` when `enable.idempotence` is true"),
    ("enable.idempotence=true max.in.flight=6", None, "`max.in.flight` must be set <= 5"),
    ("enable.idempotence=true retries=0", None, "`retries` must be set >= 1"),
    ("enable.idempotence=true queuing.strategy=lifo", None, "`queuing.strategy` must be set to `fifo`"),
    ("enable.gapless.guarantee=true", None, "`enable.gapless.guarantee` requires `enable.idempotence`"),
    ("message.timeout.ms=100 linger.ms=100", None, "`message.timeout.ms` must be greater than `linger.ms`"),
    ("reconnect.backoff.ms=20000", None, "`reconnect.backoff.max.ms` must be >= `reconnect.backoff.ms`"),
    ("delivery.report.only.error=true", None, "not yet supported"),
    ("transactional.id=t message.timeout.ms=100000", None, "`message.timeout.ms` must be set <= `transaction.timeout.ms`"),
]

BROKER: list[Row] = [
    ("min.insync.replica=2", "min.insync.replicas", "Did you mean min.insync.replicas?"),
    ("KAFKA_MIN_INSYNC_REPLICAS=2", "min.insync.replicas", "is how a container's environment spells it: Kafka's own name is min.insync.replicas"),
    ("KAFKA_CFG_NUM_REPLICA_FETCHERS=2", "num.replica.fetchers", "is how a container's environment spells it"),
    ("unclean.leader.election=true", "unclean.leader.election.enable", "Did you mean"),
    ("replica.lag.time.max=1", "replica.lag.time.max.ms", "Did you mean"),
    ("replica.lag.max.messages=4000", None, "went with Kafka 0.9 (KIP-16)"),
    ("max.message.bytes=1", None, "a broker's name for it is message.max.bytes"),
    ("retention.ms=1", None, "it is a topic's; write it under [topics.NAME] config"),
    ("acks=all", None, "it is a producer's; write it under [producers.NAME] config"),
    ("min.insync.replicas=0", None, "Value must be at least 1"),
    ("message.max.bytes=1M", "1MiB", "Did you mean 1MiB?"),
    ("unclean.leader.election.enable=on", "true", "Did you mean true?"),
    ("replica.lag.time.max.ms=400", None, "(CFG-2)"),
    ("broker.heartbeat.interval.ms=20s", None, "- the controller will fence brokers that are well (KC-2)"),
    ("4.0: log.segment.bytes=1000", None, "Value must be at least 1048576"),
    ("broker.session.timeout.ms=0", None, "Kafka checks no range here"),
    ("inter.broker.protocol.version=2.8", None, "- went with Kafka 4.0: 4.3 does not know it and ignores it"),
]

TOPIC: list[Row] = [
    ("min.in.sync.replicas=2", "min.insync.replicas", "Did you mean"),
    ("minInsyncReplicas=2", "min.insync.replicas", "Did you mean"),
    ("message.max.bytes=1", None, "a topic's name for it is max.message.bytes"),
    ("log.retention.ms=1", None, "it is a broker's; write it under [cluster] config"),
    ("replica.lag.time.max.ms=1", None, "it is a broker's"),
    ("acks=all", None, "it is a producer's"),
    ("replication.factor=3", None, "write it as replication under [topics.NAME]"),
    ("replication=3", None, "not under its config"),
    ("min.insync.replicas=two", None, "Not a number of type INT"),
    ("unclean.leader.election.enable=off", "false", "Did you mean false?"),
    ("message.format.version=2.8", None, "4.3 does not know it and refuses it. Kafka refuses it: Unknown topic config name"),
    ("some.setting=1", None, "Kafka refuses it: Unknown topic config name"),
]

TABLES = {"java": JAVA, "librdkafka": LIBRDKAFKA, "broker": BROKER, "topic": TOPIC}
ROWS = [pytest.param(whose, *row, id=f"{whose} {row[0]}") for whose, rows in TABLES.items() for row in rows]


def told(whose: str, written: str) -> tuple[tuple[Problem, ...], tuple[str, ...]]:
    """Problems and notes. `3.9: a=1 b=2`: two settings, for a release."""
    release, colon, rest = written.partition(": ")
    release, rest = (release, rest) if colon else ("4.3", written)
    pairs = [rest.partition("=")] if rest.count("=") == 1 else [pair.partition("=") for pair in rest.split(" ")]
    settings = [Setting(name, value, Origin("scenario.toml", line)) for line, (name, _, value) in enumerate(pairs, start=1)]
    match whose:
        case "java":
            resolution = resolve_producer(settings, client_profile(release))
            return resolution.problems, resolution.notes
        case "librdkafka":
            own = resolve_librdkafka(settings)
            return own.problems, own.notes
        case "broker":
            broker = resolve_broker(settings, broker_profile(release))
            return broker.problems, broker.notes
        case _:
            topic = resolve_topic(settings, broker_profile(release))
            return topic.problems, topic.notes


@pytest.mark.parametrize(("whose", "written", "nearest", "words"), ROWS)
def test_a_mistake_is_told_with_what_was_meant(whose: str, written: str, nearest: str | None, words: str) -> None:
    problems, notes = told(whose, written)

    if words.startswith("- "):
        assert problems == ()
        assert any(words.removeprefix("- ") in note for note in notes), notes
        return
    problem = next((problem for problem in problems if words in problem.message), None)
    assert problem is not None, problems
    assert problem.nearest == nearest
    assert problem.given
    assert problem.possible
    assert len(problems) == 1 or "not yet supported" in problems[0].message


def test_there_are_as_many_mistakes_as_people_make() -> None:
    assert {whose: len(rows) for whose, rows in TABLES.items()} == {"java": len(JAVA), "librdkafka": len(LIBRDKAFKA), "broker": 17, "topic": 12}
    assert len(JAVA) > 80
    assert len(LIBRDKAFKA) > 50


PROPERTIES: list[tuple[str, int | None, str | None, str]] = [
    # the file, the line of the mistake (None: it is read), the suggestion, words of the message or "setting value" as read
    ("acks=all # wait for all\n", 1, "all", "a comment needs a line of its own: write all"),
    ("acks=all // wait for all\n", 1, "all", "a comment needs a line of its own"),
    ("linger.ms=5;\n", 1, "5", "a value goes to the end of its line"),
    ("retries=3,\n", 1, "3", "a value goes to the end of its line"),
    ('acks="all"\n', 1, "all", "quotes are part of the value: write all"),
    ("enable.idempotence='true'\n", 1, "true", "quotes are part of the value"),
    ("acks=all\n\nacks=1\n", 3, None, "acks is given twice (also in line 1): Java takes the last one without a word"),
    ("linger.ms=5\nlinger_ms=6\n", 2, "linger.ms", "Did you mean linger.ms?"),
    ("linger.ms 5\n", None, None, "linger.ms 5"),
    ("linger.ms: 5\n", None, None, "linger.ms 5"),
    ("  linger.ms = 5  \n", None, None, "linger.ms 5"),
    ("# acks=2\n! acks=3\nlinger.ms=5\n", None, None, "linger.ms 5"),
    ("linger.ms=\\\n    1\\\n    2\n", None, None, "linger.ms 12"),
    ("bootstrap.servers=a:1,\\\n  b:2\nacks=2\n", 3, None, "acks"),
    ("acks=\\u0061ll\n", None, None, "acks all"),
    ("linger\\.ms=5\n", None, None, "linger.ms 5"),
    ("acks=\\u12\n", 1, None, "Java cannot read this file"),
    ("acks\n", 1, None, "Possible: all, -1, 0, 1"),
    ("=1\n", 1, None, "is not a setting that a producer knows"),
    ("[producer]\nacks=all\n", 1, None, "would be a section, and a .properties file has none"),
    ("linger.ms=30s\n", None, None, "linger.ms 30000"),
]

SCENARIO = """
kafka = "4.3"
seed = 1
[topics.t]
[[workload]]
topic = "t"
records = 1
every = "0ms"
"""


@pytest.mark.parametrize(("text", "line", "nearest", "words"), PROPERTIES, ids=[repr(case[0]) for case in PROPERTIES])
def test_a_properties_file_is_read_as_java_reads_it(tmp_path: Path, text: str, line: int | None, nearest: str | None, words: str) -> None:
    path = tmp_path / "p.properties"
    path.write_text(text)
    scenario = Scenario.loads(SCENARIO, "x.toml").override(producer_config=str(path))

    if line is None:
        name, value = words.split()
        (found,) = (line for line in scenario.check().effective()["p1"] if line.name == name)
        assert str(found.value) == value
        return
    with pytest.raises(ScenarioError) as caught:
        scenario.check()
    (problem,) = caught.value.problems
    assert (problem.origin.line, problem.nearest) == (line, nearest)
    assert words in problem.message
