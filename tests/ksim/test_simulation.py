"""One run: who takes part, what strikes when, how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ksim.plan import Plan
from ksim.report import report_on
from ksim.runs import Run
from ksim.scenario import Scenario, names
from ksim.simulation import simulate
from ksim_models.facts import (
    Acked,
    Blocked,
    Connected,
    Deduplicated,
    Disconnected,
    Ended,
    Fault,
    FinalLog,
    Learned,
    Offered,
    PartitionChanged,
    Refused,
    Rejected,
    Retried,
    Sent,
)
from ksim_models.units import ms

HEADER = 'format = 1\ntitle = "a test"\nkafka = "4.3"\nseed = 7\n'
PLAIN = HEADER + '[topics.t]\nconfig.min.insync.replicas = 2\n[producers.p1]\n[[workload]]\ntopic = "t"\nrecords = 200\nevery = "5ms"\n'


def run(faults: str = "", base: str = PLAIN) -> Run:
    return simulate(Scenario.loads(base + faults))


def phases(run: Run, name: str) -> list[tuple[float, str, tuple[str, ...]]]:
    return [(at / 1000, fact.phase, fact.resolved) for at, fact in run.history.of(Fault) if fact.name == name]


def test_without_faults_every_record_is_ok_and_the_run_ends_with_the_last_acknowledgement() -> None:
    found = run()

    assert found.verdict.verdict == "held"
    assert found.verdict.records["ok"] == 200
    assert found.simulated_us < ms(1010)


def test_the_heal_comes_when_all_was_offered_and_every_at_and_for_has_passed() -> None:
    found = run(
        '[[fault]]\nname = "early"\nat = "100ms"\ndo = "crash"\nwho = "broker-3"\n'
        '[[fault]]\nname = "late"\nat = "3s"\ndo = "cut"\nbetween = ["broker-1", "broker-2"]\nfor = "500ms"\n'
    )

    assert phases(found, "early")[:2] == [(100.0, "begin", ("broker-3",)), (3500.0, "end", ("broker-3",))]
    assert phases(found, "late")[:2] == [(3000.0, "begin", ("broker-1 <-> broker-2",)), (3500.0, "end", ("broker-1 <-> broker-2",))]


def test_a_set_that_holds_the_other_end_of_a_cut_leaves_it_out() -> None:
    found = run('[[fault]]\nname = "island"\nat = "100ms"\ndo = "cut"\nbetween = ["broker-1", "brokers"]\nfor = "1s"\n')

    assert phases(found, "island")[0][2] == ("broker-1 <-> broker-2", "broker-1 <-> broker-3")


def test_a_fault_that_finds_nobody_is_not_injected_and_the_verdict_inconclusive() -> None:
    found = run(
        '[[fault]]\nname = "first"\nat = "1s"\ndo = "crash"\nwho = "broker-3"\nfor = "2s"\n'
        '[[fault]]\nname = "again"\nat = "2s"\ndo = "crash"\nwho = "broker-3"\n'
    )

    assert phases(found, "again")[0][1] == "not-injected"
    assert found.verdict.verdict == "inconclusive"


def test_a_count_of_acknowledged_records_fires_a_fault_at_that_instant() -> None:
    found = run('[[fault]]\nname = "enough"\nwhen = { acked = 50 }\ndo = "crash"\nwho = "leader(t-0)"\nfor = "12s"\n')
    struck_at = phases(found, "enough")[0][0]

    assert (
        sum(len(fact.records) for at, fact in found.history.of(Acked) if at / 1000 < struck_at)
        < 50
        <= sum(len(fact.records) for at, fact in found.history.of(Acked) if at / 1000 <= struck_at)
    )


def test_an_isr_that_has_shrunk_fires_a_fault() -> None:
    found = run(
        '[[fault]]\nat = "0ms"\ndo = "crash"\nwho = "broker-2"\nfor = "12s"\n'
        '[[fault]]\nname = "then"\nwhen = { isr = 2, partition = "t-0" }\ndo = "crash"\nwho = "broker-3"\nfor = "5s"\n'
    )
    shrunk_at = next(at for at, fact in found.history.of(PartitionChanged) if len(fact.isr) == 2)

    assert phases(found, "then")[0][0] == shrunk_at / 1000


def test_a_trigger_that_fires_after_the_heal_is_mended_at_once() -> None:
    found = run('[[fault]]\nname = "late"\nwhen = { acked = 200 }\ndo = "crash"\nwho = "broker-3"\n')
    begin, end = phases(found, "late")[:2]

    assert (begin[1], end[1], begin[0]) == ("begin", "end", end[0])
    assert [fact.quiet for _, fact in found.history.of(Ended)] == [True]


@pytest.mark.parametrize("do", ["lose-request", "lose-response"])
def test_a_frame_fault_hits_the_frame_it_names_and_no_other(do: str) -> None:
    found = run(f'[[fault]]\nname = "it"\nwhen = {{ request = "Produce", nth = 3, times = 2 }}\ndo = "{do}"\n')

    assert [phase for _, phase, _ in phases(found, "it")] == ["hit", "hit", "summary"]
    assert phases(found, "it")[0][2] == (("broker-1 -> p1",) if do == "lose-response" else ("p1 -> broker-1",))
    assert found.verdict.records["ok"] == 200, "idempotence is on"


@pytest.mark.parametrize("side", ["request", "response"])
@pytest.mark.parametrize(
    ("do", "resolved"),
    [
        ('do = "crash"\nwho = "leader(t-0)"', "broker-1"),
        ('do = "pause"\nwho = "leader(t-0)"\nfor = "1s"', "broker-1"),
        ('do = "cut"\nbetween = ["p1", "leader(t-0)"]\nfor = "1s"', "p1 <-> broker-1"),
        ('do = "reset"\nbetween = ["p1", "leader(t-0)"]', "p1 <-> broker-1"),
        ('do = "slow"\nbetween = ["p1", "leader(t-0)"]\nlatency = "30ms"\nfor = "1s"', "p1 <-> broker-1"),
    ],
    ids=["crash", "pause", "cut", "reset", "slow"],
)
def test_a_fault_of_machines_strikes_in_the_moment_in_which_the_exchange_it_waits_for_passes(do: str, resolved: str, side: str) -> None:
    found = run(f'[[fault]]\nname = "it"\nwhen = {{ {side} = "Produce", nth = 3 }}\n{do}\n')
    sent = [(at, fact) for at, fact in found.history.of(Sent)][2]
    acknowledged = next(at for at, fact in found.history.of(Acked) if fact.records == sent[1].records)
    struck, phase, whom = phases(found, "it")[0]

    assert (phase, whom) == ("begin", (resolved,))
    assert struck * 1000 == sent[0] if side == "request" else sent[0] < struck * 1000 < sent[0] + ms(5)
    assert (acknowledged < sent[0] + ms(5)) == (side == "response"), "what is on its way arrives, its answer does not or comes late"
    assert found.verdict.verdict == "held"


def test_a_fault_of_machines_with_an_end_may_strike_again_and_again() -> None:
    found = run('[[fault]]\nname = "it"\nwhen = { request = "Produce", every = 20, times = 3 }\ndo = "pause"\nwho = "leader(t-0)"\nfor = "50ms"\n')

    assert [phase for _, phase, _ in phases(found, "it")] == ["begin", "end"] * 3 + ["summary"]


def test_faults_on_the_same_exchange_each_count_it() -> None:
    found = run(
        '[[fault]]\nname = "slow"\nwhen = { request = "Produce", nth = 2 }\ndo = "delay"\nby = "50ms"\n'
        '[[fault]]\nname = "third"\nwhen = { request = "Produce", nth = 3 }\ndo = "lose-response"\n'
    )
    first, second, third, *_ = (fact.records for _, fact in found.history.of(Sent))

    assert next(fact.records for _, fact in found.history.of(Sent) if fact.attempt == 2) == third
    assert first != second


def test_an_answer_that_no_broker_gave_takes_its_turn_behind_those_it_did() -> None:
    found = run('[[fault]]\nwhen = { request = "Produce", nth = 4 }\ndo = "answer"\nerror = "NOT_ENOUGH_REPLICAS"\n')

    assert found.verdict.records["ok"] == 200
    assert not list(found.history.of(Rejected)), "the broker never saw the request"


def test_an_answer_after_the_work_was_done_makes_the_client_send_again_what_is_in_the_log() -> None:
    found = run('[[fault]]\nwhen = { request = "Produce", nth = 4 }\ndo = "answer"\nerror = "NOT_ENOUGH_REPLICAS_AFTER_APPEND"\nprocessed = true\n')

    assert len(list(found.history.of(Deduplicated))) == 1


THREE = PLAIN.replace("[topics.t]\n", "[topics.t]\nassignment = [[1, 2, 3], [1, 2, 3], [1, 2, 3]]\n").replace("every =", "key = { distinct = 50 }\nevery =")
"""Partitions with one leader, so that one request carries batches of several."""
REFUSE_ONE = '[[fault]]\nname = "it"\nwhen = { request = "Produce", nth = 2 }\ndo = "answer"\nerror = "NOT_ENOUGH_REPLICAS"\npartition = "t-1"\n'


@pytest.mark.parametrize("processed", ["", "processed = true\n"])
def test_an_answer_for_one_partition_leaves_the_others_of_its_request_to_the_broker(processed: str) -> None:
    found = run(REFUSE_ONE + processed, THREE)
    (retried,) = (fact for _, fact in found.history.of(Retried))
    first = next(at for at, fact in found.history.of(Sent) if fact.records == retried.records)

    assert (retried.partition, retried.error) == ("t-1", "NOT_ENOUGH_REPLICAS")
    assert len({fact.partition for at, fact in found.history.of(Sent) if at == first}) > 1
    assert found.verdict.records["ok"] == 200


def test_requests_without_the_partition_that_an_answer_names_are_not_counted() -> None:
    found = run(REFUSE_ONE, THREE.replace("key = { distinct = 50 }", "partition = 0"))

    assert [phase for _, phase, _ in phases(found, "it")] == ["summary"]
    assert found.verdict.records["ok"] == 200


def test_an_answer_that_no_broker_gave_follows_the_late_one_before_it() -> None:
    found = run(
        '[[fault]]\nwhen = { response = "Produce", nth = 3 }\ndo = "delay"\nby = "20ms"\n'
        '[[fault]]\nwhen = { request = "Produce", nth = 4 }\ndo = "answer"\nerror = "NOT_ENOUGH_REPLICAS"\n',
        PLAIN.replace("[producers.p1]\n", "[producers.p1]\nconfig.linger.ms = 0\n").replace('"5ms"', '"1ms"').replace("records = 200", "records = 9"),
    )
    (retried,) = (at for at, _ in found.history.of(Retried))

    assert retried < ms(100), "not only when something else is answered, or when its request times out"


def test_acks_0_has_no_answer_so_a_lost_answer_touches_nothing() -> None:
    base = PLAIN.replace("[producers.p1]\n", "[producers.p1]\nconfig.acks = 0\nconfig.enable.idempotence = false\n")

    assert run('[[fault]]\nwhen = { request = "Produce", nth = 4 }\ndo = "lose-response"\n', base).verdict.verdict == "inconclusive"


def test_a_refusal_with_acks_0_shows_only_as_a_closed_connection() -> None:
    """BP-13."""
    base = PLAIN.replace("[producers.p1]\n", "[producers.p1]\nconfig.acks = 0\nconfig.enable.idempotence = false\n")
    found = run('[[fault]]\nwhen = { request = "Produce", nth = 4 }\ndo = "answer"\nerror = "NOT_LEADER_OR_FOLLOWER"\n', base)

    assert [fact.broker for _, fact in found.history.of(Disconnected)] == ["broker-1"]
    assert found.verdict.records["lost"] == len([fact.records for _, fact in found.history.of(Sent)][3])


def test_a_cut_tells_nobody_and_only_the_request_time_out_ends_an_attempt() -> None:
    base = PLAIN.replace("[producers.p1]\n", "[producers.p1]\nconfig.request.timeout.ms = 2000\n")
    found = run('[[fault]]\nat = "500ms"\ndo = "cut"\nbetween = ["p1", "leader(t-0)"]\nfor = "3s"\n', base)
    losses = [(at / 1000, fact.why) for at, fact in found.history.of(Disconnected)]

    assert losses[0] == (2551.0, "request timed out"), "sent at 500 ms (N4); the I/O thread last looked at 550 ms, when the batch behind had lingered (N14)"
    assert found.verdict.records["ok"] == 200


def test_what_was_sent_into_a_cut_arrives_when_it_is_mended_although_the_client_gave_its_connection_up() -> None:
    """TCP goes on repeating what a closed socket had sent, so a request that timed out is appended beside its retry."""
    base = PLAIN.replace(
        "[producers.p1]\n",
        "[producers.p1]\nconfig.request.timeout.ms = 1000\nconfig.socket.connection.setup.timeout.ms = 1000\nconfig.enable.idempotence = {}\n",
    )
    fault = '[[fault]]\nat = "500ms"\ndo = "cut"\nbetween = ["p1", "leader(t-0)"]\nfor = "3s"\n'

    plain, idempotent = (run(fault, base.format(idempotence)).verdict.records for idempotence in ("false", "true"))

    assert plain["duplicated"] >= 1
    assert idempotent["duplicated"] == 0


def test_a_cut_shorter_than_the_time_out_only_delays() -> None:
    found = run('[[fault]]\nat = "500ms"\ndo = "cut"\nbetween = ["p1", "leader(t-0)"]\nfor = "700ms"\n')

    assert not list(found.history.of(Disconnected))
    assert found.verdict.records["ok"] == 200


def test_slow_adds_latency_for_a_while() -> None:
    found = run('[[fault]]\nat = "300ms"\ndo = "slow"\nbetween = ["p1", "brokers"]\nlatency = "40ms"\nfor = "200ms"\n')

    assert found.metrics.latency_ms["max"] > 80
    assert found.verdict.verdict == "held"


def test_slow_by_bandwidth_makes_what_is_sent_wait_for_what_was_sent_before() -> None:
    """Records of about 160 bytes every 5 ms want 256 kbit/s, besides what every request takes."""
    fault = '[[fault]]\nat = "300ms"\ndo = "slow"\nbetween = ["p1", "brokers"]\nbandwidth = "{}"\nfor = "400ms"\n'
    narrow, wide = (run(fault.format(bandwidth)) for bandwidth in ("128kbit/s", "1Gbit/s"))

    assert narrow.metrics.latency_ms["max"] > 100
    assert wide.metrics.latency_ms["max"] < 20
    assert narrow.verdict.verdict == wide.verdict.verdict == "held"
    assert (narrow.verdict.records["ok"], wide.verdict.records["ok"]) == (200, 200)


def test_a_request_that_takes_longer_than_its_time_out_on_a_narrow_path_is_sent_again() -> None:
    base = PLAIN.replace("[producers.p1]\n", "[producers.p1]\nconfig.request.timeout.ms = 500\nconfig.enable.idempotence = {}\n")
    fault = '[[fault]]\nat = "300ms"\ndo = "slow"\nbetween = ["leader(t-0)", "p1"]\none_way = true\nbandwidth = "1kbit/s"\nfor = "2s"\n'

    plain, idempotent = (run(fault, base.format(idempotence)).verdict.records for idempotence in ("false", "true"))

    assert (plain["lost"], plain["duplicated"] > 0) == (0, True)
    assert (idempotent["lost"], idempotent["duplicated"]) == (0, 0)


def test_a_paused_client_sends_what_fell_due_when_it_goes_on() -> None:
    found = run('[[fault]]\nat = "500ms"\ndo = "pause"\nwho = "p1"\nfor = "300ms"\n')
    late = [fact for _, fact in found.history.of(Offered) if fact.first_at == 800_000]

    assert late, "their send() was called when the process went on"
    assert found.verdict.records["ok"] == 200


def test_a_crashed_client_leaves_records_without_an_outcome_and_stays_dead() -> None:
    found = run('[[fault]]\nat = "501ms"\ndo = "crash"\nwho = "p1"\n')
    records = found.verdict.records

    assert (records["offered"], records["acked"] + records["unknown"]) == (101, 101)
    assert records["unknown"] > 0
    assert [fact.living_producers for _, fact in found.history.of(Ended)] == [()]


def test_a_crashed_controller_elects_nobody_until_it_is_back() -> None:
    found = run(
        '[[fault]]\nat = "400ms"\ndo = "crash"\nwho = "controller-1"\nfor = "20s"\n[[fault]]\nat = "500ms"\ndo = "crash"\nwho = "leader(t-0)"\nfor = "40s"\n'
    )

    assert min(at for at, fact in found.history.of(PartitionChanged) if fact.leader == "broker-2") > ms(20_000)
    assert found.verdict.records["lost"] == 0


@pytest.mark.parametrize(("mended", "heard"), [("1500ms", 2_000), ("4900ms", 5_000), ("5100ms", 7_000), ("7100ms", 11_000)])
def test_who_connects_into_a_cut_is_heard_when_its_system_calls_again(mended: str, heard: int) -> None:
    """Linux since 6.5: the first five calls are a second apart, then each pause is twice the one before (measured)."""
    base = PLAIN.replace("[producers.p1]\n", "[producers.p1]\nconfig.socket.connection.setup.timeout.ms = 30000\n")
    found = run(f'[[fault]]\nat = "0ms"\ndo = "cut"\nbetween = ["p1", "brokers"]\nfor = "{mended}"\n', base)

    assert heard <= next(at / 1000 for at, _ in found.history.of(Connected)) < heard + 10


def test_what_is_sent_again_while_a_client_waits_for_its_systems_next_call_is_as_much_as_on_a_cluster() -> None:
    """Measured on 4.3.0: 459 sends for 200 records. Heard at once when the cut is mended, the client would have sent 311 times."""
    settings = "config.linger.ms = 0\nconfig.delivery.timeout.ms = 2000\nconfig.request.timeout.ms = 1000\n"
    base = PLAIN.replace("[producers.p1]\n", "[producers.p1]\n" + settings).replace('every = "5ms"\n', 'every = "20ms"\non_failure = "resend"\n')
    found = run(
        '[[fault]]\nat = "1s"\ndo = "cut"\nbetween = ["brokers", "p1"]\none_way = true\nfor = "4s"\n', base.replace("config.min.insync.replicas = 2\n", "")
    )

    assert found.verdict.records["sends"] == 459


@pytest.mark.parametrize(("strategy", "waits"), [("rebootstrap", True), ("none", False)])
def test_a_client_that_can_reach_nobody_begins_again_and_its_sends_wait(strategy: str, waits: bool) -> None:
    """M6 i, N6: within seconds on a cluster, in two of two runs; which of its draws leave it without a broker to ask is a race."""
    settings = f'config.metadata.recovery.strategy = "{strategy}"\nconfig.delivery.timeout.ms = 3000\nconfig.request.timeout.ms = 1000\n'
    base = PLAIN.replace("[producers.p1]\n", "[producers.p1]\n" + settings).replace("records = 200", "records = 2000")
    dead = '[[fault]]\nat = "500ms"\ndo = "crash"\nwho = "brokers"\nfor = "20s"\n'
    found = [simulate(Scenario.loads(base + dead), seed=seed) for seed in range(6)]

    began_again = [any(fact.why == "metadata" for at, fact in run.history.of(Blocked) if at > ms(500)) for run in found]
    assert sum(began_again) >= 4 if waits else not any(began_again)


def test_a_partition_that_does_not_exist_is_refused_after_max_block_ms() -> None:
    """A3."""
    base = PLAIN.replace("[producers.p1]\n", "[producers.p1]\nconfig.max.block.ms = 2000\n").replace("records = 200", "records = 2")
    found = run('[[fault]]\nat = "0ms"\ndo = "cut"\nbetween = ["p1", "brokers"]\nfor = "10s"\n', base)

    assert [fact.error for _, fact in found.history.of(Refused)] == ["TimeoutException", "TimeoutException"]
    assert [at / 1000 for at, _ in found.history.of(Refused)] == [2000.0, 4000.0], "one after the other: the thread was blocked"
    assert [fact.why for _, fact in found.history.of(Blocked)] == ["metadata", "metadata"]


def test_a_full_buffer_blocks_and_then_refuses() -> None:
    """A20, A22."""
    base = (
        PLAIN.replace("[producers.p1]\n", "[producers.p1]\nconfig.buffer.memory = 32768\nconfig.max.block.ms = 500\n")
        .replace("size", "")
        .replace('every = "5ms"\n', 'every = "1ms"\nsize = 1000\n')
    )
    found = run('[[fault]]\nat = "50ms"\ndo = "cut"\nbetween = ["p1", "brokers"]\nfor = "3s"\n', base)

    assert {fact.error for _, fact in found.history.of(Refused)} == {"BufferExhaustedException"}
    records = found.verdict.records
    assert records["offered"] == 200 == records["refused"] + records["acked"] + records["failed"]


def test_wait_each_keeps_one_record_unacknowledged() -> None:
    found = run(base=PLAIN + 'wait = "each"\n')

    assert [len(fact.records) for _, fact in found.history.of(Acked)] == [1] * 200


def test_records_spread_over_partitions_and_each_partition_keeps_its_order() -> None:
    base = PLAIN.replace("[topics.t]\n", "[topics.t]\npartitions = 4\n") + "key = { distinct = 40, skew = 1.0 }\n"
    found = run('[[fault]]\nat = "500ms"\ndo = "crash"\nwho = "leader(t-0)"\nfor = "12s"\n', base)
    used = {log.partition for _, log in found.history.of(FinalLog) if log.leader and log.batches}

    assert used == {"t-0", "t-1", "t-2", "t-3"}
    assert (found.verdict.verdict, found.verdict.records["ok"]) == ("held", 200)


def test_a_client_of_3_9_has_the_new_leader_in_the_answer_of_the_old_one() -> None:
    """M5, KIP-951: the broker that lost its leadership while frozen names its successor."""
    found = run('[[fault]]\nat = "500ms"\ndo = "pause"\nwho = "leader(t-0)"\nfor = "12s"\n')

    assert [fact.leader for _, fact in found.history.of(Learned)][-1] in ("broker-2", "broker-3")
    assert found.verdict.records["ok"] == 200


def test_without_a_heal_too_the_run_waits_for_what_comes_back_by_itself() -> None:
    """Restarted brokers learn the high watermark anew; a run that ended before would call all records hidden."""
    found = run('[tail]\nheal = false\n[[fault]]\nat = "3s"\ndo = "crash"\nwho = "brokers"\nfor = "50ms"\n')

    assert found.verdict.records["ok"] == 200
    assert found.verdict.verdict == "inconclusive", "it touched nothing"


def test_a_run_is_a_function_of_plan_and_seed() -> None:
    scenario = Scenario.load("leader-crash")
    plan: Plan = scenario.plan(11)

    assert simulate(plan).history.digest == simulate(scenario, seed=11).history.digest != simulate(scenario, seed=12).history.digest


def test_the_digest_is_the_same_in_every_process_whatever_its_hash_seed() -> None:
    code = (
        "from ksim.scenario import Scenario; from ksim.simulation import simulate; "
        'print(*(simulate(Scenario.load(n)).history.digest for n in ("lost-ack", "leader-crash", "reorder")))'
    )
    root = Path(__file__).resolve().parents[2]
    paths = os.pathsep.join([str(root), str(root / "models")])

    found = {
        subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": paths, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout
        for seed in ("0", "1", "4711")
    }

    assert len(found) == 1


def test_a_warm_client_sends_its_first_record_at_once_and_the_warm_up_counts_nowhere() -> None:
    cold, warm = run(), run("[tail]\nwarm = true\n")

    assert next(at for at, _ in warm.history.of(Sent)) < next(at for at, _ in cold.history.of(Sent))
    assert warm.verdict.records["offered"] == warm.verdict.records["ok"] == 200
    assert not list(warm.history.of(Blocked))


def test_a_refusal_that_only_the_first_batch_met_can_break_idempotence() -> None:
    """H-111: a partition accepts any first sequence of a producer it does not know, so the second batch overtakes; the epoch bump that follows repeats it."""
    base = HEADER.replace("4.3", "3.3") + (
        "[topics.t]\nconfig.min.insync.replicas = 2\n[producers.p1]\nconfig.linger.ms = 0\nconfig.batch.size = 1\nconfig.request.timeout.ms = 1000\n"
        'config.max.in.flight.requests.per.connection = 2\n[[workload]]\ntopic = "t"\nrecords = 2\nevery = "0ms"\n'
    )
    found = run(
        '[[fault]]\nat = "0ms"\ndo = "crash"\nwho = "broker-2"\nfor = "1ms"\n'
        '[[fault]]\nwhen = { request = "Produce", nth = 1 }\ndo = "answer"\nerror = "NOT_ENOUGH_REPLICAS"\n',
        base,
    )

    assert found.verdict.records["duplicated"] == 1
    assert found.verdict.anomalies[0].allowed, "the answer that nobody gave tore a hole into the sequences"


def test_a_partition_that_waited_out_an_error_is_fetched_from_where_the_follower_stands() -> None:
    """Found by drawn scenarios: the leader went on from a position that the follower had left behind."""
    found = simulate(
        Scenario(
            title="drawn",
            kafka="3.6",
            seed=4397,
            topics={"t": {"partitions": 2, "config": {"min.insync.replicas": 2}}},
            producers={
                "p1": {
                    "config": {
                        "linger.ms": 0,
                        "batch.size": 1,
                        "max.in.flight.requests.per.connection": 1,
                        "request.timeout.ms": 1000,
                        "delivery.timeout.ms": 31000,
                    }
                }
            },
            workload=[{"topic": "t", "records": 2, "every": "0ms", "size": 10}],
            fault=[{"do": "crash", "who": "broker-1", "at": "0ms", "for": "1670ms"}],
        )
    )

    assert found.verdict.records["ok"] == 2


@pytest.mark.parametrize("name", [name for name, _ in names()])
def test_every_built_in_scenario_ends_as_its_author_predicts(name: str) -> None:
    found = report_on(simulate(Scenario.load(name)))

    assert found.met, found.data["expect"]
    assert found.exit_code == 0
