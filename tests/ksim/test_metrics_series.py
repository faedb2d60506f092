"""Each metric against what a hand computes: ten records of 100 bytes, half a millisecond one way (section 6.2 of the client's rule book)."""

from __future__ import annotations

import json
from math import exp, isnan
from pathlib import Path
from typing import Any

import pytest

from ksim.history import History
from ksim.metrics_brokers import OneMinuteRate
from ksim.metrics_names import BROKER_NAMES, JAVA_NAMES, LIBRDKAFKA_NAMES
from ksim.metrics_series import Series
from ksim.runs import Run
from ksim.scenario import Scenario, names
from ksim.simulation import simulate
from ksim_models.facts import Failed, PartitionChanged, Refused, Retried, Sent, Split
from ksim_models.on_failure import BREAKER_OPEN
from ksim_models.units import SECOND

TEN = """
title = "ten records"
kafka = "{kafka}"
client = "{client}"
seed = 7
[topics.payments]
[producers.p1]
config.acks = 1
config.enable.idempotence = false
{settings}
[[workload]]
topic = "payments"
records = {records}
every = "{every}"
start = "1s"
[model]
costs = "none"
[tail]
warm = true
{faults}
"""
REFUSED_ONCE = '[[fault]]\ndo = "answer"\nerror = "NOT_ENOUGH_REPLICAS"\nwhen = { request = "Produce", nth = 1 }\n'
CUT = '[[fault]]\nat = "1s"\ndo = "cut"\nbetween = ["p1", "brokers"]\nfor = "1200ms"\n'
SMALL_BUFFER = """
config.buffer.memory = 2000
config.batch.size = 1000
config.linger.ms = 0
config.max.block.ms = 500
config.delivery.timeout.ms = 2000
config.request.timeout.ms = 1000
"""


def ten(*, kafka: str = "4.3", client: str = "java", settings: str = "", records: int = 10, every: str = "0ms", faults: str = "") -> Run:
    return simulate(Scenario.loads(TEN.format(kafka=kafka, client=client, settings=settings, records=records, every=every, faults=faults)), measured=True)


@pytest.fixture(scope="module")
def series() -> Series:
    """One batch: created at 1000 ms, drained at 1005 when it has lingered, answered at 1006. Read every 500 ms, and at the end."""
    return ten().series("500ms")


@pytest.fixture(scope="module")
def blocked() -> Series:
    """Batches of 1000 bytes in a buffer of 2000, no answer from 1000 ms on: the third send() waits from 1020 on, the next from 1520 on, and so on.

    The cut ends at 2200 ms, but what was connecting meanwhile is heard when its system calls again: the two batches have expired by then, at 3010.
    """
    return ten(settings=SMALL_BUFFER, records=40, every="10ms", faults=CUT).series("10ms")


BYTES = 61 + 10 * 109  # Each record: 2 for its length, 1 attributes, 1 timestamp, 1 offset, 1 no key, 2 length, 100, 1 no headers.
HEADER = 4 + 2 + 2 + 4 + 2 + len("p1") + 1
API_VERSIONS = HEADER + 18 + 6 + 1
"""apache-kafka-java and 4.3.0, each with a byte of length."""
METADATA = HEADER + 1 + 16 + 1 + len("payments") + 1 + 2 + 1
PRODUCE_AROUND = HEADER + 1 + 2 + 4 + 1 + 16 + 1 + 4 + 2 + 1 + 1 + 1
"""Version 13: the topic by its id, the batch behind two bytes of length."""
WARM_UP = 61 + 109


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("record-send-total", 10),
        ("record-send-rate", 10 / (30 + 1.006)),
        ("records-per-request-avg", 10),
        ("record-queue-time-avg", 5),
        ("record-queue-time-max", 5),
        ("request-latency-avg", 1),
        ("request-latency-max", 1),
        ("batch-size-avg", BYTES),
        ("batch-size-max", BYTES),
        ("record-size-avg", 61 + 21 + 1 + 2 + 100 + 1),
        ("record-size-max", 186),
        ("compression-rate-avg", 1),
        ("batch-split-total", 0),
        ("batch-split-rate", 0),
        ("record-retry-total", 0),
        ("record-error-total", 0),
        ("produce-throttle-time-avg", 0),
        ("produce-throttle-time-max", 0),
        ("buffer-total-bytes", 33_554_432),
        ("buffer-available-bytes", 33_554_432),
        ("buffer-exhausted-total", 0),
        ("bufferpool-wait-ratio", 0),
        ("waiting-threads", 0),
        ("requests-in-flight", 0),
        ("connection-count", 2),
        ("connection-creation-total", 2),
        ("connection-close-total", 0),
        ("request-total", 5),
        ("response-total", 5),
        ("request-size-avg", (2 * API_VERSIONS + METADATA + 2 * PRODUCE_AROUND + WARM_UP + BYTES) / 5),
        ("request-size-max", PRODUCE_AROUND + BYTES),
        ("outgoing-byte-total", 2 * API_VERSIONS + METADATA + 2 * PRODUCE_AROUND + WARM_UP + BYTES),
    ],
)
def test_what_the_client_reads_at_the_end(series: Series, metric: str, value: float) -> None:
    """The bootstrap server and the leader: two connections, each with ApiVersions; Metadata; the warm-up's request, and the one with the ten records."""
    assert series.line(metric).values[-1] == pytest.approx(value)


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("record-send-total", 10),
        ("record-send-rate", 10 / (30 + 0.001)),
        ("byte-total", BYTES),
        ("byte-rate", BYTES / 30.001),
        ("compression-rate", 1),
        ("record-retry-total", 0),
        ("record-error-total", 0),
    ],
)
def test_what_the_topic_reads_at_the_end(series: Series, metric: str, value: float) -> None:
    """6.3: its sensors are there since its first drain at 1005 ms; the reading before does not know the topic."""
    line = series.line(metric, topic="payments")

    assert line.at_ms == (1006,)
    assert line.values[-1] == pytest.approx(value)


def test_each_node_has_metrics_of_its_own_and_a_bootstrap_server_is_a_node(series: Series) -> None:
    """producer-node-metrics."""
    leader = {metric: series.line(metric, node="broker-1").values[-1] for metric in ("request-total", "response-total", "request-latency-avg")}
    (bootstrap,) = [line for line in series["request-total"] if line.node.startswith("bootstrap/")]

    assert leader == {"request-total": 3, "response-total": 3, "request-latency-avg": 1}
    assert bootstrap.values[-1] == 2


def test_metadata_age_is_in_seconds_since_the_last_full_answer(series: Series) -> None:
    """It came 997 ms before time zero: a connection, ApiVersions, Metadata, each a round trip, after the warm-up began at -1000 ms."""
    assert series.line("metadata-age").values == pytest.approx((0.997, 1.497, 1.997, 2.003))


def test_metadata_age_is_nan_before_the_first_answer() -> None:
    cold = TEN.replace("warm = true", "").replace('start = "1s"', "")
    ages = simulate(Scenario.loads(cold.format(kafka="4.3", client="java", settings="", records=10, every="10ms", faults="")), measured=True).series("1ms")

    assert [isnan(value) for value in ages.line("metadata-age").values[:5]] == [True, True, True, False, False]


def test_buffer_available_bytes_fall_when_a_batch_is_created_and_rise_when_it_is_answered() -> None:
    """Read every millisecond: batch.size is taken at 1000, though the I/O thread wakes at 1005 only."""
    line = ten().series("1ms").line("buffer-available-bytes")
    total, less = 33_554_432, 33_554_432 - 16_384

    assert [line.at(at) for at in (999, 1000, 1005, 1006)] == [total, less, less, total]


def test_record_retry_total_counts_what_is_put_back_and_record_queue_time_the_whole_age_at_every_drain() -> None:
    """3.6: no linger, a constant backoff of 100 ms. Sent at 1000, refused at 1001, sent again at 1101."""
    found = ten(kafka="3.6", faults=REFUSED_ONCE).series("1ms")
    retries, sends = found.line("record-retry-total"), found.line("record-send-total")

    assert [retries.at(at) for at in (1000, 1001, 1101)] == [0, 10, 10]
    assert [sends.at(at) for at in (999, 1000, 1100, 1101)] == [0, 10, 10, 20]
    assert [found.line("record-queue-time-avg").at(at) for at in (1000, 1101)] == [0, 50.5]
    assert found.line("record-queue-time-max").at(1101) == 101
    assert found.line("record-retry-total", topic="payments").values[-1] == 10
    assert found.line("record-retry-rate").at(1002) == pytest.approx(10 / 31.002)


def test_compression_rate_and_batch_split_total_when_a_compressed_batch_is_too_large_for_its_topic() -> None:
    """A43: a split is one, and no retry; what waits gives all its memory back."""
    text = TEN.format(kafka="4.3", client="java", settings='config.compression.type = "gzip"', records=300, every="0ms", faults="")
    run = simulate(Scenario.loads(text.replace("[topics.payments]", "[topics.payments]\nconfig.max.message.bytes = 2000")), measured=True)
    found = run.series("1ms")

    assert found.line("batch-split-total").values[-1] == len(list(run.history.of(Split))) > 0
    assert found.line("record-retry-total").values[-1] == 0
    assert 0.3 < found.line("compression-rate-avg").values[-1] < 0.8
    assert found.line("compression-rate", topic="payments").values[-1] == pytest.approx(found.line("compression-rate-avg").values[-1])
    assert found.line("buffer-available-bytes").values[-1] == 33_554_432


def test_record_error_total_counts_the_records_of_a_failed_batch() -> None:
    found = ten(kafka="3.6", settings="config.retries = 0", faults=REFUSED_ONCE).series("1ms")

    assert [found.line("record-error-total").at(at) for at in (1000, 1001)] == [0, 10]
    assert found.line("record-error-total", topic="payments").values[-1] == 10
    assert found.line("record-error-rate").at(1001) == pytest.approx(10 / 31.001)


def test_a_batch_that_expired_in_flight_is_counted_once_more_when_its_connection_is_given_up() -> None:
    """Sender.failBatch counts before it asks whether the batch is done; the application is told once."""
    settings = "config.linger.ms = 0\nconfig.delivery.timeout.ms = 2000\nconfig.request.timeout.ms = 1500\nconfig.retry.backoff.ms = 10"
    hang = '[[fault]]\ndo = "hang"\nwhen = { request = "Produce", nth = 1, times = 2 }\nfor = "10s"\n'
    run = ten(settings=settings, records=3, faults=hang)
    errors = run.series("1ms").line("record-error-total")

    assert [(at, len(fact.records)) for at, fact in run.history.of(Failed)] == [(3_000_000, 3)]
    assert (errors.at(2_999), errors.at(3_000), errors.values[-1]) == (0, 3, 6)
    assert run.metrics.metrics["record-error-total"] == 3


def test_a53_what_a_fatal_error_aborts_is_told_to_the_application_and_counted_nowhere() -> None:
    """Ten records wait for a producer id that is refused: each fails, and Kafka's record-error-total stays 0."""
    faults = '[[fault]]\ndo = "answer"\nerror = "INVALID_REQUEST"\nwhen = { request = "InitProducerId" }\n'
    cold = TEN.replace("config.enable.idempotence = false", "").replace("config.acks = 1", "").replace("warm = true", "").replace('start = "1s"', "")
    run = simulate(Scenario.loads(cold.format(kafka="4.3", client="java", settings="", records=10, every="0ms", faults=faults)), measured=True)

    assert sum(len(fact.records) for _, fact in run.history.of(Failed)) == 10
    assert run.series().line("record-error-total").values[-1] == 0


def test_what_fails_before_its_topic_was_ever_drained_is_an_error_of_the_client_only() -> None:
    """6.3: the sensors of a topic are registered at its first drain. Nobody leads: the only broker is gone before the first record."""
    faults = '[[fault]]\nat = "500ms"\ndo = "crash"\nwho = "brokers"\nfor = "20s"\n'
    settings = "config.delivery.timeout.ms = 2000\nconfig.request.timeout.ms = 1000"
    cold = TEN.format(kafka="4.3", client="java", settings=settings, records=10, every="0ms", faults=faults)
    found = simulate(Scenario.loads(cold), measured=True).series()

    assert found.line("record-error-total").values[-1] == 10
    assert not [line for line in found.lines if line.topic]


def test_bufferpool_metrics_when_the_buffer_is_full(blocked: Series) -> None:
    """Waits end at 1520, 2020 and 2520 (exhausted), and as memory comes, from 3012 on: 500 + 500 + 500 + 492 ms, then 98."""
    available, waiting = blocked.line("buffer-available-bytes"), blocked.line("waiting-threads")
    waited, exhausted = blocked.line("bufferpool-wait-time-ns-total"), blocked.line("buffer-exhausted-total")

    assert [available.at(at) for at in (990, 1000, 1010, 2200)] == [2000, 1000, 0, 0]
    assert [waiting.at(at) for at in (1010, 1020, 1520, 3100, 3110)] == [0, 1, 1, 1, 0]
    assert [waited.at(at) / 1_000_000 for at in (1510, 1520, 2020, 2520, 3020, 3110)] == [0, 500, 1000, 1500, 1992, 2090]
    assert [exhausted.at(at) for at in (1510, 1520, 2020, 2520, 3110)] == [0, 1, 2, 3, 3]
    assert blocked.line("bufferpool-wait-ratio").at(1520) == pytest.approx(0.5 / 31.52)
    assert blocked.line("buffer-exhausted-rate").at(1520) == pytest.approx(1 / 31.52)
    assert blocked.line("record-error-total").at(2206) == 2, "a send() that threw counts"


def test_requests_in_flight_connections_and_closes_when_nothing_comes_back(blocked: Series) -> None:
    """Two requests hang from 1000 and 1010 on; at 2011 the time-out closes their connection, and another is begun."""
    flying, connections, closes = (blocked.line(name) for name in ("requests-in-flight", "connection-count", "connection-close-total"))

    assert [flying.at(at) for at in (990, 1000, 1010, 2010, 2020)] == [0, 1, 2, 2, 0]
    assert [connections.at(at) for at in (2010, 2020)] == [2, 2]
    assert [closes.at(at) for at in (2010, 2020)] == [0, 1]
    assert blocked.line("connection-close-rate").at(2020) == pytest.approx(1 / 32.02)


def test_acks_0_has_no_request_in_flight_and_no_latency() -> None:
    found = ten(settings="").series("1ms")
    silent = simulate(
        Scenario.loads(TEN.replace("config.acks = 1", "config.acks = 0").format(kafka="4.3", client="java", settings="", records=10, every="0ms", faults=""))
    )

    assert max(found.line("requests-in-flight").values) == 1
    assert max(silent.series("1ms").line("requests-in-flight").values) == 0
    assert all(isnan(value) for value in silent.series("1ms").line("request-latency-avg").values)


def test_a_dead_clients_metrics_end_with_it() -> None:
    faults = '[[fault]]\nat = "1500ms"\ndo = "crash"\nwho = "p1"\n'
    found = ten(records=100, every="10ms", faults=faults).series("500ms")

    assert found.line("record-send-total").at_ms == (0, 500, 1000)
    assert found.line("UnderReplicatedPartitions", node="broker-1").at_ms[-1] > 1500


def test_under_replicated_and_under_min_isr_partitions_are_those_of_their_leader() -> None:
    """broker-2 and broker-3 are gone from 1 s to 20 s; the controller fences them after nine seconds or so."""
    faults = '[[fault]]\nat = "1s"\ndo = "crash"\nwho = "followers(payments-0)"\nfor = "19s"\n'
    run = ten(settings="", faults=faults)
    found = run.series()
    shrunk = next(at for at, fact in run.history.of(PartitionChanged) if len(fact.isr) < 3)
    whole = [at for at, fact in run.history.of(PartitionChanged) if len(fact.isr) == 3][-1]
    under = found.line("UnderReplicatedPartitions", node="broker-1")

    assert [under.at(at) for at in (shrunk // 1000 - 1000, shrunk // 1000 + 1000, whole // 1000 - 1000)] == [0, 1, 1]
    assert under.values[-1] == 0
    assert max(found.line("UnderMinIsrPartitionCount", node="broker-1").values) == 0, "min.insync.replicas is 1"
    assert not {*range(1_000, 20_000, 1_000)} & {*found.line("UnderReplicatedPartitions", node="broker-2").at_ms}, "nothing is read of what is gone"
    assert {*range(30_000, under.at_ms[-1], 1_000)} <= {*found.line("UnderReplicatedPartitions", node="broker-2").at_ms}


def test_a_partition_is_under_replicated_against_the_replicas_that_a_reassignment_left_it() -> None:
    """Those being added do not count before they are there."""
    faults = '[[fault]]\nat = "1s"\ndo = "reassign"\npartition = "payments-0"\nto = ["broker-1", "broker-2"]\n'
    found = ten(faults=faults).series("50ms")

    assert max(found.line("UnderReplicatedPartitions", node="broker-1").values) == 0


def test_offline_partitions_are_the_active_controllers() -> None:
    faults = '[[fault]]\nat = "1s"\ndo = "crash"\nwho = "brokers"\nfor = "30s"\n'
    found = ten(faults=faults).series()
    offline = found.line("OfflinePartitionsCount", node="controller-1")

    assert (offline.at(1_000), offline.at(30_000), offline.values[-1]) == (0, 1, 0)
    assert set(found.line("ActiveControllerCount", node="controller-1").values) == {1}


def test_isr_shrinks_per_sec_counts_what_the_leader_shrinks_and_not_what_the_controller_fences() -> None:
    """A paused follower is fenced by the controller; one that is cut off from its leader alone is shrunk by the leader after replica.lag.time.max.ms."""
    fenced = ten(faults='[[fault]]\nat = "1s"\ndo = "pause"\nwho = "broker-3"\nfor = "20s"\n').series()
    lagging = ten(faults='[[fault]]\nat = "1s"\ndo = "cut"\nbetween = ["broker-1", "broker-3"]\nfor = "60s"\n').series()

    assert max(fenced.line("UnderReplicatedPartitions", node="broker-1").values) == 1
    assert max(fenced.line("IsrShrinksPerSec", node="broker-1").values) == 0
    assert max(lagging.line("IsrShrinksPerSec", node="broker-1").values) == pytest.approx(0.2 * (1 - exp(-5 / 60)))


def test_a_one_minute_rate_counts_every_five_seconds_and_decays() -> None:
    """Yammer's EWMA: the first count is taken as it is, each later one moves the rate by 1 - exp(-5/60) of the difference."""
    rate = OneMinuteRate(0)
    rate.mark(7 * SECOND)

    assert rate.read(9 * SECOND) == 0
    assert rate.read(10 * SECOND) == pytest.approx(0.2 * (1 - exp(-5 / 60)))
    assert rate.read(70 * SECOND) == pytest.approx(0.2 * (1 - exp(-5 / 60)) * exp(-1))

    first = OneMinuteRate(0)
    first.mark(SECOND)
    assert first.read(5 * SECOND) == 0.2


# librdkafka.


@pytest.mark.parametrize(
    ("metric", "node", "value"),
    [
        ("txmsgs", "", 10),
        ("msg_cnt", "", 0),
        ("tx", "broker-1", 3),
        ("rx", "broker-1", 3),
        ("connects", "broker-1", 1),
        ("outbuf_cnt", "broker-1", 0),
        ("waitresp_cnt", "broker-1", 0),
    ],
)
def test_what_librdkafka_counts(metric: str, node: str, value: float) -> None:
    """ApiVersions, the warm-up and the ten records to the leader; the lines are those of its statistics."""
    found = ten(client="librdkafka").series("100ms")
    lines = {line.node: line for line in found[metric]} if metric in found.names else {}

    assert (lines[node].values[-1] if node in lines else 0) == value


def test_librdkafkas_msg_cnt_is_what_has_no_delivery_report_and_its_rtt_is_in_microseconds() -> None:
    found = ten(client="librdkafka").series("1ms")
    held = found.line("msg_cnt")

    assert [held.at(at) for at in (999, 1000, 1004)] == [0, 10, 10]
    assert held.values[-1] == 0
    assert {value for value in found.line("rtt.avg", node="broker-1").values if not isnan(value)} == {1000.0}


# Properties of every run.


COME_BACK = {"copy-behind-a-flush", "copy-in-transactions", "copy-per-partition", "outbox"}
"""Their client ends and comes back as another, whose totals begin at nothing."""


@pytest.mark.parametrize("name", [name for name, _ in names() if name not in COME_BACK])
def test_totals_at_the_end_are_those_of_the_run(name: str) -> None:
    """A retry that never left again is in Kafka's total, and not in the report's, which outside facts alone must tell; so is an error that is counted twice."""
    run = simulate(Scenario.load(name), measured=True)
    found = run.series()
    totals = run.metrics.metrics
    for metric, facts in (("record-send-total", [Sent]), ("record-retry-total", [Retried]), ("record-error-total", [Failed, Refused])):
        counted = sum(line.values[-1] for line in found[metric] if not line.topic)

        assert counted == sum(len(fact.records) for _, fact in run.history.of(*facts) if not (isinstance(fact, Refused) and fact.error == BREAKER_OPEN))
        assert counted >= totals[metric]
    assert sum(line.values[-1] for line in found["record-send-total"] if not line.topic) == totals["record-send-total"]


@pytest.mark.parametrize("name", ["leader-crash", "below-min-isr", "leader-crash-acks-0"])
def test_a_run_that_is_measured_has_the_same_facts_and_two_have_the_same_series(name: str) -> None:
    plain, measured = simulate(Scenario.load(name)), simulate(Scenario.load(name), measured=True)

    assert plain.history.digest == measured.history.digest
    assert plain.events == measured.events
    assert list(plain.history) == list(measured.history)
    assert repr(plain.series("250ms")) == repr(measured.series("250ms")), "a run that was not measured is simulated once more"


def test_every_name_has_a_line_where_its_client_takes_part() -> None:
    java, librdkafka = ten().series(), ten(client="librdkafka", faults='[[fault]]\nat = "1s"\ndo = "reset"\nbetween = ["p1", "brokers"]\n').series()

    assert set(java.names) == {*JAVA_NAMES, *BROKER_NAMES}
    assert set(librdkafka.names) == {*LIBRDKAFKA_NAMES, *BROKER_NAMES}


# What a user does with them.


def test_series_are_indexed_by_kafkas_name_and_an_unknown_one_is_told_the_nearest(series: Series) -> None:
    assert [line.topic for line in series["byte-rate"]] == ["payments"]
    with pytest.raises(KeyError, match="did you mean record-send-rate"):
        series["record-sent-rate"]
    with pytest.raises(KeyError, match="2 lines"):
        Series((*series.lines, *series.lines), 1).line("metadata-age")


def test_a_row_is_one_reading_and_nan_is_null_in_json(series: Series, tmp_path: Path) -> None:
    series.write(tmp_path / "m.csv")
    series.write(tmp_path / "m.jsonl", form="jsonl")
    rows = (tmp_path / "m.csv").read_text(encoding="utf-8").splitlines()
    lines: list[dict[str, Any]] = [json.loads(text) for text in (tmp_path / "m.jsonl").read_text(encoding="utf-8").splitlines()]

    assert rows[0] == "at_ms,client,metric,node,topic,value"
    assert "0,p1,batch-size-avg,,,NaN" in rows
    assert f"1006,p1,batch-size-avg,,,{BYTES}" in rows
    assert {"at_ms": 0, "client": "p1", "metric": "batch-size-avg", "value": None} in lines
    assert {"at_ms": 1006, "client": "p1", "metric": "byte-total", "topic": "payments", "value": BYTES} in lines
    assert len(rows) - 1 == len(lines) == sum(len(line.values) for line in series.lines)


def test_to_pandas_has_a_row_per_reading(series: Series) -> None:
    pandas = pytest.importorskip("pandas")
    table = series.to_pandas()

    assert isinstance(table, pandas.DataFrame)
    assert list(table.columns) == ["at_ms", "client", "metric", "node", "topic", "value"]
    assert table.query("metric == 'record-send-total' and topic == ''")["value"].tolist() == [0, 0, 0, 10]


def test_it_shows_itself_in_a_terminal_and_in_a_notebook(series: Series) -> None:
    from rich.console import Console

    console = Console(width=160)
    with console.capture() as told:
        console.print(series)

    assert "record-send-total" in told.get()
    assert "ten records: " in str(series)
    assert "<td>record-send-total</td><td>p1</td><td>0</td><td>10</td><td>10</td>" in series._repr_html_()


@pytest.mark.parametrize("step", ["0ms", "1us", "soon", 0])
def test_a_step_is_whole_milliseconds(step: str | int) -> None:
    with pytest.raises(ValueError):
        ten().series(step)


@pytest.mark.parametrize(
    ("error", "counted"), [("TimeoutException", 3), ("SerializationException", 3), ("IllegalArgumentException", 0), ("CircuitBreakerOpenException", 0)]
)
def test_record_error_total_counts_what_send_throws_if_it_is_kafkas(error: str, counted: int) -> None:
    """KafkaProducer.doSend counts ApiException, KafkaException and InterruptException, and no other."""
    plan = ten().plan
    history = History({"how": "live"})
    history.add(2_000_000, Refused("p1", range(3), error, ""))

    assert Run(plan, history, 0, 3_000_000, 0.0).series().line("record-error-total").values[-1] == counted


def test_of_a_recorded_live_run_the_facts_tell_what_was_sent_retried_and_failed() -> None:
    """Nobody sees inside a live client: its other metrics have no line."""
    simulated = ten(kafka="3.6", faults=REFUSED_ONCE)
    simulated.history.run["how"] = "live"
    live = Run(simulated.plan, simulated.history, 0, simulated.simulated_us, 0.0)
    found = live.series("1ms")

    assert [found.line("record-send-total").at(at) for at in (999, 1000, 1101)] == [0, 10, 20]
    assert found.line("record-retry-total").values[-1] == 10
    assert found.line("records-per-request-avg").values[-1] == 10
    assert found.line("record-send-total", topic="payments").values[-1] == 20
    assert "buffer-available-bytes" not in found.names
    assert "UnderReplicatedPartitions" not in found.names
