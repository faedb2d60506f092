"""What a real cluster did under the same faults (live facts S1, S2, S1d, S5, S6):
outcomes, log orders and moments must agree within the spread measured there.
"""

from __future__ import annotations

import pytest

from ksim.runs import Run
from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim_models.facts import Deduplicated, FinalLog, Rejected, TimedOut

HEADER = 'format = 1\ntitle = "as measured"\nseed = 3\n'
HELD = '[[fault]]\nwhen = { request = "Produce", nth = 4 }\ndo = "delay"\nby = "150ms"\n'
"""The harness held requests for 150 ms, so that five pile up behind each other."""
WARM_UP = '[[workload]]\ntopic = "t"\nrecords = 1\nevery = "0ms"\n'
"""The clients were connected before the faults began; a cold one may ask a frozen broker for metadata and wait for it."""


def run(text: str) -> Run:
    return simulate(Scenario.loads(HEADER + text))


def log_order(run: Run) -> list[int]:
    return [number for _, log in run.history.of(FinalLog) if log.leader for batch in log.batches for number in batch.records]


def one_by_one(faults: str, *, idempotence: bool, in_flight: int = 5, every: str = "20ms", records: int = 11, more: str = "", kafka: str = "4.3") -> Run:
    return run(f"""
kafka = "{kafka}"
[topics.t]
config.min.insync.replicas = 2
[producers.p1]
config.enable.idempotence = {str(idempotence).lower()}
config.max.in.flight.requests.per.connection = {in_flight}
config.batch.size = 1
config.linger.ms = 0
{more}
[[workload]]
topic = "t"
records = {records}
every = "{every}"
start = "10ms"
{faults}""")


@pytest.mark.parametrize("kafka", ["4.3", "3.9"])
def test_s1_burst_the_broker_serves_two_more_and_the_client_comes_back_in_reverse_order(kafka: str) -> None:
    found = one_by_one(HELD + '[[fault]]\nwhen = { request = "Produce", nth = 5 }\ndo = "lose-response"\n', idempotence=False, kafka=kafka)

    assert log_order(found) == [0, 1, 2, 3, 4, 5, 6, 8, 7, 6, 5, 4, 9, 10]
    assert (found.verdict.records["duplicated"], found.verdict.records["reordered"]) == (3, 1)


def test_s1_single_the_duplicate_stands_beside_the_original_and_costs_a_quarter_of_a_second_at_most() -> None:
    found = one_by_one('[[fault]]\nwhen = { request = "Produce", nth = 6 }\ndo = "lose-response"\n', idempotence=False, in_flight=1, every="50ms")

    assert log_order(found) == [0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10]
    assert 80 <= found.metrics.latency_ms["max"] <= 254


@pytest.mark.parametrize("in_flight", [1, 5])
def test_s2_the_same_fault_with_idempotence_leaves_neither_duplicate_nor_permutation(in_flight: int) -> None:
    found = one_by_one(HELD + '[[fault]]\nwhen = { request = "Produce", nth = 5 }\ndo = "lose-response"\n', idempotence=True, in_flight=in_flight)

    assert log_order(found) == list(range(11))
    assert [fact.base_offset for _, fact in found.history.of(Deduplicated)][:1] == [4], "answered with the offset of the original"


def test_s1d_a_late_response_repeats_every_request_of_the_connection() -> None:
    late = '[[fault]]\nwhen = { response = "Produce", nth = 5 }\ndo = "delay"\nby = "3s"\n'
    times = "config.request.timeout.ms = 1000\nconfig.delivery.timeout.ms = 30000"

    plain = one_by_one(late, idempotence=False, every="100ms", records=9, more=times)
    idempotent = one_by_one(late, idempotence=True, every="100ms", records=9, more=times)

    assert log_order(plain) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 7, 6, 5, 4]
    assert log_order(idempotent) == list(range(9))


@pytest.mark.parametrize("idempotence", [False, True])
def test_s3p_a_lost_request_with_nothing_else_in_flight_is_only_late(idempotence: bool) -> None:
    found = one_by_one('[[fault]]\nwhen = { request = "Produce", nth = 6 }\ndo = "lose-request"\n', idempotence=idempotence, in_flight=1, every="150ms")

    assert log_order(found) == list(range(11))
    assert 80 <= found.metrics.latency_ms["max"] <= 135


@pytest.mark.parametrize("kafka", ["4.3", "3.9"])
def test_s3_burst_a_lost_request_duplicates_its_neighbour_whose_answer_was_on_the_same_connection(kafka: str) -> None:
    faults = HELD + '[[fault]]\nwhen = { request = "Produce", nth = 5 }\ndo = "lose-request"\n'
    found = one_by_one(faults, idempotence=False, kafka=kafka)

    assert log_order(found) == [0, 1, 2, 3, 7, 6, 5, 4, 3, 8, 9, 10]
    assert (found.verdict.records["duplicated"], found.verdict.records["reordered"]) == (1, 3)
    assert log_order(one_by_one(faults, idempotence=True, kafka=kafka)) == list(range(11))


def lonely_leader(*, unclean: bool, min_isr: int, kafka: str) -> Run:
    """S5: the ISR shrinks to the leader, 49 more records are acknowledged by it alone, then it dies for 16 s."""
    return run(f"""
kafka = "{kafka}"
[cluster]
config.replica.lag.time.max.ms = 3000
[topics.t]
config.min.insync.replicas = {min_isr}
config.unclean.leader.election.enable = {str(unclean).lower()}
[producers.p1]
{WARM_UP}
[[workload]]
topic = "t"
records = 1
every = "0ms"
start = "2s"
[[workload]]
topic = "t"
records = 49
every = "5ms"
start = "8s"
[[fault]]
do = "pause"
who = ["broker-2", "broker-3"]
at = "1900ms"
for = "8s"
[[fault]]
do = "crash"
who = "broker-1"
at = "9s"
for = "16s"
""")


@pytest.mark.parametrize("kafka", ["4.3", "3.9"])
def test_s5a_without_unclean_election_nothing_is_lost(kafka: str) -> None:
    found = lonely_leader(unclean=False, min_isr=1, kafka=kafka)

    assert found.verdict.records["ok"] == 51
    assert 2_800 <= found.metrics.latency_ms["max"] <= 4_600, "the parked record is acknowledged when the ISR has shrunk to the leader"


@pytest.mark.parametrize("kafka", ["4.3", "3.9"])
def test_s5b_unclean_election_loses_every_record_that_acks_all_acknowledged_alone(kafka: str) -> None:
    assert lonely_leader(unclean=True, min_isr=1, kafka=kafka).verdict.records["lost"] in (49, 50)


def test_s5_with_min_isr_2_a_leader_comes_out_of_the_elr_on_4_3_and_only_the_old_leader_on_3_9() -> None:
    new, old = (lonely_leader(unclean=False, min_isr=2, kafka=kafka) for kafka in ("4.3", "3.9"))

    assert (new.verdict.records["ok"], old.verdict.records["ok"]) == (51, 51)
    assert new.metrics.latency_ms["p50"] < 12_000 < 16_000 < old.metrics.latency_ms["p50"]


def followers_away(*, idempotence: bool, delivery_ms: int, kafka: str) -> Run:
    """S6: one batch of three parks while both followers are frozen for 14 s; request.timeout.ms = 6000."""
    return run(f"""
kafka = "{kafka}"
[cluster]
config.replica.lag.time.max.ms = 3000
[topics.t]
config.min.insync.replicas = 2
[producers.p1]
config.enable.idempotence = {str(idempotence).lower()}
config.linger.ms = 5
config.request.timeout.ms = 6000
config.delivery.timeout.ms = {delivery_ms}
{WARM_UP}
[[workload]]
topic = "t"
records = 3
every = "0ms"
start = "2s"
[[fault]]
do = "pause"
who = ["broker-2", "broker-3"]
at = "1900ms"
for = "14s"
""")


@pytest.mark.parametrize("kafka", ["4.3", "3.9"])
def test_s6_a_parked_batch_times_out_at_the_broker_and_its_retry_is_a_duplicate_unless_idempotent(kafka: str) -> None:
    plain, idempotent = (followers_away(idempotence=idempotence, delivery_ms=40_000, kafka=kafka) for idempotence in (False, True))

    assert plain.verdict.records["duplicated"] == 3
    assert idempotent.verdict.records["ok"] == 4
    assert 14_400 <= idempotent.metrics.latency_ms["max"] <= 15_600
    timed_out = [at for at, _ in plain.history.of(TimedOut)]
    assert [round(at / 1000) for at in timed_out] == [8_006], "6 s after it arrived, not when the ISR shrank"
    assert {fact.error for _, fact in plain.history.of(Rejected)} == {"NOT_ENOUGH_REPLICAS"}


@pytest.mark.parametrize("idempotence", [False, True])
def test_s6_with_a_short_delivery_time_out_the_records_are_reported_failed_and_stand_in_the_log(idempotence: bool) -> None:
    found = followers_away(idempotence=idempotence, delivery_ms=8_000, kafka="4.3")

    assert found.verdict.records["ghost"] == 3
    assert found.metrics.errors == {"TimeoutException": 3}
