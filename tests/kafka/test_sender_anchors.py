"""What the real Java client did on real brokers, played by `ksim replay`, and what its rules do here."""

from __future__ import annotations

import pytest

from ksim.runs import Run
from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim_models.facts import Disconnected, Failed, FinalLog, Refused

HEADER = 'format = 1\ntitle = "as measured"\nseed = 1\n'


def run(text: str) -> Run:
    return simulate(Scenario.loads(HEADER + text))


def test_a_frozen_idempotent_client_doubles_a_record_under_its_next_epoch() -> None:
    """Measured with 4.3.0: record 0 failed ("Disconnected from node 1 due to timeout") and stands in the log, record 1 stands there at offsets 1 and 2.

    When it wakes, both requests have timed out. The first batch is past its delivery time-out, so it fails, with retries left: the epoch is raised (I15).
    The second one, though appended long ago, is sent again under the new epoch (I12).
    """
    found = run("""
kafka = "4.3"
[topics.payments]
partitions = 1
[producers.p1]
config.linger.ms = 0
config.request.timeout.ms = 1000
config.delivery.timeout.ms = 3000
[[workload]]
topic = "payments"
records = 3
every = "500ms"
start = "1s"
[[fault]]
do = "hang"
when = { response = "Produce", nth = 1 }
[[fault]]
at = "1700ms"
do = "pause"
who = "p1"
for = "2500ms"
""")
    batches = [batch for _, log in found.history.of(FinalLog) if log.leader for batch in log.batches]

    assert [(batch.base_offset, list(batch.records), batch.producer_epoch) for batch in batches] == [(0, [0], 0), (1, [1], 0), (2, [1], 1), (3, [2], 1)]
    assert found.metrics.errors == {"TimeoutException": 1}
    assert [(anomaly.name, anomaly.allowed) for anomaly in found.verdict.anomalies] == [("ghost", True), ("duplicated", True)]


@pytest.mark.parametrize(("kafka", "refused"), [("4.3", 6), ("3.9", 0)])
def test_when_its_only_broker_is_gone_a_client_of_4_0_blocks_in_send_and_an_older_one_fills_its_queue(kafka: str, refused: int) -> None:
    """M6 (i). Measured: 7 refused with 4.3.0, whose broker took two seconds longer to be back; none with 3.9.

    With no node left to ask, the client forgets every topic, and each send() waits max.block.ms for it.
    """
    found = run(f"""
kafka = "{kafka}"
[cluster]
brokers = 1
[topics.payments]
partitions = 1
replication = 1
[producers.p1]
config.max.block.ms = 2000
[[workload]]
topic = "payments"
records = 150
every = "100ms"
start = "1s"
[[fault]]
at = "3s"
do = "crash"
who = "broker-1"
for = "10s"
""")
    told = [fact.message for _, fact in found.history.of(Refused)]

    assert told == ["Topic payments not present in metadata after 2000 ms."] * refused
    assert found.verdict.records["acked"] == 150 - refused


@pytest.mark.parametrize("processed", ["false", "true"])
@pytest.mark.parametrize(("kafka", "again"), [("4.0", 1), ("3.9", 0)])
def test_a_broker_that_demands_it_makes_the_client_begin_again(kafka: str, again: int, processed: str) -> None:
    """M6 (iii), by the fault `answer`; a client before 4.0 does not know the code (S19) and takes an answer without brokers for a failure (M3)."""
    found = run(f"""
kafka = "{kafka}"
[topics.payments]
[producers.p1]
config.metadata.recovery.strategy = "rebootstrap"
[[workload]]
topic = "payments"
records = 20
every = "50ms"
[[fault]]
do = "answer"
error = "REBOOTSTRAP_REQUIRED"
processed = {processed}
when = {{ request = "Metadata", nth = 1 }}
""")

    assert len({fact.why for _, fact in found.history.of(Disconnected) if fact.why == "rebootstrap"}) == again
    assert found.verdict.records["ok"] == 20


def test_the_next_expiry_ends_a_poll_and_what_is_overdue_fails_before_it_expires() -> None:
    """S5, N14. Measured with 4.3.0: record 2 failed, and records 3 to 6, in flight behind it, stood in the log twice.

    Five in flight and nothing else to do: the poll sleeps until record 2 expires, 6 s after its send(). By then its request is overdue, so it fails by
    its time-out, with retries left: the epoch is raised (I15), and the other four are sent again under it.
    """
    found = run("""
kafka = "4.3"
[topics.t]
partitions = 1
[producers.p1]
config.linger.ms = 0
config.request.timeout.ms = 5000
config.delivery.timeout.ms = 6000
[[workload]]
topic = "t"
records = 9
every = "1s"
[[fault]]
do = "delay"
by = "30s"
when = { response = "Produce", nth = 3 }
""")

    order = [list(batch.records) for _, log in found.history.of(FinalLog) if log.leader for batch in log.batches]
    assert order[:11] == [[0], [1], [2], [3], [4], [5], [6], [3], [4], [5], [6]]
    assert next((at, fact.error) for at, fact in found.history.of(Failed)) == (8_000_000, "TimeoutException")
