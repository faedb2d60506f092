"""What an operator does to brokers and topics, as a simulation carries it out."""

from __future__ import annotations

import pytest

from ksim.runs import Run
from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim_models.facts import BrokerChanged, Fault, FinalLog, PartitionChanged, ReplicasChanged

HEADER = 'title = "t"\nkafka = "{kafka}"\nseed = 1\n'
PRODUCER = '[producers.p1]\nconfig.acks = "{acks}"\nconfig.enable.idempotence = {idempotence}\n'
WORKLOAD = '[[workload]]\ntopic = "t"\nfor = "{length}"\nevery = "{every}"\n'


def run(faults: str, *, kafka: str = "4.3", acks: str = "all", topic: str = "", length: str = "10s", every: str = "5ms", cluster: str = "") -> Run:
    idempotence = "true" if acks == "all" else "false"
    text = HEADER.format(kafka=kafka) + f"[cluster]\n{cluster}[topics.t]\n{topic}" + PRODUCER.format(acks=acks, idempotence=idempotence)
    return simulate(Scenario.loads(text + WORKLOAD.format(length=length, every=every) + faults))


def phases(run: Run, name: str) -> list[tuple[float, str, tuple[str, ...]]]:
    return [(at / 1000, fact.phase, fact.resolved) for at, fact in run.history.of(Fault) if fact.name == name]


def states(run: Run, broker: str) -> list[tuple[float, str]]:
    return [(at / 1000, fact.state) for at, fact in run.history.of(BrokerChanged) if fact.broker == broker]


def leaders(run: Run, partition: str = "t-0") -> list[str]:
    found: list[str] = []
    for _, fact in run.history.of(PartitionChanged):
        if fact.partition == partition and found[-1:] != [fact.leader]:
            found.append(fact.leader)
    return found


def touched(run: Run, name: str) -> int:
    return max(fact.touched for _, fact in run.history.of(Fault) if fact.name == name)


# An orderly shutdown.

SHUTDOWN = '[[fault]]\nat = "2s"\ndo = "shutdown"\nwho = "leader(t-0)"\nfor = "5s"\n'


@pytest.mark.parametrize("kafka", ["3.3", "3.9", "4.3"])
def test_an_orderly_shutdown_with_acks_all_loses_nothing_and_interrupts_for_less_than_a_second(kafka: str) -> None:
    """KC-23: the leader moves at once, so nobody waits for a session to end."""
    found = run(SHUTDOWN, kafka=kafka)

    assert found.verdict.verdict == "held"
    assert found.metrics.unavailable_ms < 1_000
    (leaving, going, *_, back) = states(found, "broker-1")
    assert (leaving[1], going[1], back[1]) == ("shutting-down", "shut-down", "unfenced")
    assert going[0] - leaving[0] > 50, "the others' next heartbeats say that they have applied the moves (KC-18)"
    assert touched(found, "shutdown") > 0


def test_h_049_a_broker_that_is_not_demoted_takes_records_that_nobody_will_have() -> None:
    """KAFKA-14296: 3.3.0 and 3.3.1; with acks=1 what it acknowledged to the end of its life is lost."""
    assert run(SHUTDOWN, kafka="3.3.1", acks="1").verdict.records["lost"] > 100
    assert run(SHUTDOWN, kafka="3.3.2", acks="1").verdict.records["lost"] == 0


def test_a_restart_that_comes_while_a_broker_shuts_down_waits_for_its_end() -> None:
    found = run('[[fault]]\nat = "2s"\ndo = "shutdown"\nwho = "broker-1"\nfor = "100ms"\n')

    assert [state for _, state in states(found, "broker-1")] == ["shutting-down", "shut-down", "registered", "unfenced"]
    assert found.verdict.verdict == "held"


def test_kc_13_a_restart_after_a_shutdown_waits_for_the_old_session_in_4_x_only() -> None:
    def away_ms(kafka: str) -> float:
        known = {state: at for at, state in states(run(SHUTDOWN, kafka=kafka), "broker-1")}
        return known["registered"] - known["shut-down"]

    assert away_ms("3.9") < 6_000
    assert away_ms("4.3") > 8_900


def test_a_whole_cluster_can_be_shut_down_one_after_another() -> None:
    """A rolling restart under load: nothing is lost with acks=all."""
    faults = "".join(f'[[fault]]\nname = "{n}"\nat = "{1 + 15 * n}s"\ndo = "shutdown"\nwho = "broker-{n + 1}"\nfor = "3s"\n' for n in range(3))
    found = run(faults, length="50s", topic="config.min.insync.replicas = 2\n")

    assert found.verdict.verdict == "held"
    assert all(phases(found, str(n))[0][2] == (f"broker-{n + 1}",) for n in range(3))


def test_a_broker_that_is_shutting_down_is_not_struck_again() -> None:
    found = run(SHUTDOWN + '[[fault]]\nname = "late"\nat = "2001ms"\ndo = "crash"\nwho = "broker-1"\n')

    assert phases(found, "late")[0][1] == "not-injected"


def test_a_controller_that_is_shut_down_elects_nobody_until_it_is_back() -> None:
    found = run(
        '[[fault]]\nat = "1s"\ndo = "shutdown"\nwho = "controller"\nfor = "3s"\n[[fault]]\nat = "1500ms"\ndo = "crash"\nwho = "broker-1"\nfor = "20s"\n'
    )

    assert all(at > 4_000 for at, _ in states(found, "broker-1"))


# Elections.


def test_a_preferred_election_gives_leadership_back_at_once() -> None:
    """KC-45."""
    crash = '[[fault]]\nat = "1s"\ndo = "crash"\nwho = "broker-1"\nfor = "1s"\n'
    found = run(crash + '[[fault]]\nat = "25s"\ndo = "elect"\npartition = "t-0"\n', length="30s")

    assert leaders(found) == ["broker-2", "broker-1"]
    assert phases(found, "elect")[0] == (25_000.0, "begin", ("t-0",))
    assert touched(found, "elect") == 1
    assert found.verdict.verdict == "held"


@pytest.mark.parametrize(
    ("kind", "words"),
    [("preferred", "ElectionNotNeededException"), ("unclean", "ElectionNotNeededException")],
)
def test_an_election_that_is_not_needed_is_not_injected(kind: str, words: str) -> None:
    found = run(f'[[fault]]\nat = "1s"\ndo = "elect"\npartition = "t-0"\nkind = "{kind}"\n')
    (why,) = [fact.why for _, fact in found.history.of(Fault) if fact.phase == "not-injected"]

    assert words in why
    assert found.verdict.verdict == "inconclusive"


LAGGING = (
    '[[fault]]\nname = "lag"\nat = "1s"\ndo = "pause"\nwho = ["broker-2", "broker-3"]\nfor = "11s"\n'
    '[[fault]]\nname = "leader dies"\nat = "11500ms"\ndo = "crash"\nwho = "broker-1"\nfor = "40s"\n'
)
"""The followers fall out of the ISR, and the leader dies before they are back in it."""


def test_an_unclean_election_by_hand_loses_what_only_the_old_leader_had() -> None:
    """H-081, KC-43, KC-45: nobody leads, the operator does not want to wait."""
    found = run(
        LAGGING + '[[fault]]\nat = "28s"\ndo = "elect"\npartition = "t-0"\nkind = "unclean"\n',
        cluster="config.replica.lag.time.max.ms = 3000\n",
        length="13s",
    )

    assert leaders(found)[:3] == ["broker-1", "", "broker-2"]
    assert found.verdict.records["lost"] > 100
    assert touched(found, "elect") == 1


def test_an_election_is_refused_where_nobody_answers() -> None:
    crash = '[[fault]]\nat = "1s"\ndo = "crash"\nwho = "controller"\nfor = "3s"\n'
    found = run(crash + '[[fault]]\nat = "2s"\ndo = "elect"\npartition = "t-0"\n')

    assert "controller-1 does not answer: it is down" in [fact.why for _, fact in found.history.of(Fault)]


# Leaders go back by themselves.


@pytest.mark.parametrize(("kafka", "at_s"), [("3.9", 310), ("4.3", 296)])
def test_leaders_go_back_to_the_preferred_replica_after_a_while(kafka: str, at_s: float) -> None:
    """KC-46: every 300 s from 4.0; before, 300 s after there was something to do."""
    crash = '[[fault]]\nat = "3s"\ndo = "crash"\nwho = "broker-1"\nfor = "12s"\n'
    found = run(crash, kafka=kafka, length="320s", every="1s", topic="config.min.insync.replicas = 2\n")
    (back,) = [at / 1_000_000 for at, fact in found.history.of(PartitionChanged) if fact.why == "auto.leader.rebalance"]

    assert leaders(found) == ["broker-2", "broker-1"]
    assert at_s <= back < at_s + 3
    assert found.verdict.records["lost"] == 0


def test_leaders_stay_where_they_are_without_auto_leader_rebalance() -> None:
    crash = '[[fault]]\nat = "3s"\ndo = "crash"\nwho = "broker-1"\nfor = "12s"\n'
    found = run(crash, length="320s", every="1s", cluster="config.auto.leader.rebalance.enable = false\n")

    assert leaders(found) == ["broker-2"]


# Settings that change while the cluster runs.


def test_min_insync_replicas_may_be_lowered_to_let_writes_go_on() -> None:
    """What an operator does when two of three brokers are gone."""
    gone = '[[fault]]\nat = "1s"\ndo = "crash"\nwho = ["broker-2", "broker-3"]\nfor = "40s"\n'
    alter = '[[fault]]\nat = "25s"\ndo = "alter"\ntarget = "t"\nconfig.min.insync.replicas = 1\n'
    found = run(gone + alter, topic="config.min.insync.replicas = 2\n", length="20s")

    assert found.verdict.records["acked"] == 4_000
    assert found.metrics.unavailable_ms > 20_000
    assert touched(found, "alter") == 1


def test_max_message_bytes_may_be_lowered_for_a_topic_and_for_all_brokers() -> None:
    for target, setting in (("t", "max.message.bytes"), ("brokers", "message.max.bytes"), ("broker-1", "message.max.bytes")):
        found = run(f'[[fault]]\nat = "1s"\ndo = "alter"\ntarget = "{target}"\nconfig.{setting} = 50\n', length="2s")

        assert found.verdict.records["acked"] > 150
        assert found.metrics.errors == {"RecordTooLargeException": found.verdict.records["failed"]}, target
        assert found.verdict.records["failed"] > 150


@pytest.mark.parametrize(("kafka", "led_by"), [("3.7", "broker-1"), ("3.9", "broker-2"), ("4.3", "broker-2")])
def test_unclean_election_enabled_while_nobody_leads_is_held_with_the_next_sweep(kafka: str, led_by: str) -> None:
    """BV-226, KC-44: from 3.9 on; before, something must happen to the partition first."""
    alter = '[[fault]]\nat = "30s"\ndo = "alter"\ntarget = "t"\nconfig.unclean.leader.election.enable = true\n'
    interval = "config.unclean.leader.election.interval.ms = 10000\n" if kafka != "3.7" else ""
    found = run(LAGGING + alter, kafka=kafka, cluster="config.replica.lag.time.max.ms = 3000\n" + interval, length="13s")

    assert leaders(found)[:3] == ["broker-1", "", led_by]


# Reassignment.


@pytest.mark.parametrize("kafka", ["3.3", "3.9", "4.3"])
def test_a_partition_moves_to_other_brokers_under_load_without_a_loss(kafka: str) -> None:
    """KC-48: the new replicas copy, join the ISR, and the old ones are dropped."""
    found = run('[[fault]]\nat = "2s"\ndo = "reassign"\npartition = "t-0"\nto = [4, 5, 3]\n', kafka=kafka, cluster="brokers = 5\n")
    *_, (_, last) = found.history.of(ReplicasChanged)

    assert (last.replicas, last.adding, last.removing) == (("broker-4", "broker-5", "broker-3"), (), ())
    assert leaders(found)[-1] == "broker-4"
    assert found.verdict.records["lost"] == 0
    assert {fact.replica for _, fact in found.history.of(FinalLog)} == {"broker-3", "broker-4", "broker-5"}
    assert touched(found, "reassign") == 1


def test_a_partition_may_get_more_and_fewer_replicas() -> None:
    more = run('[[fault]]\nat = "2s"\ndo = "reassign"\npartition = "t-0"\nto = [1, 2, 3]\n', topic="replication = 2\n")
    fewer = run('[[fault]]\nat = "2s"\ndo = "reassign"\npartition = "t-0"\nto = [2]\n')

    assert {fact.replica for _, fact in more.history.of(FinalLog)} == {"broker-1", "broker-2", "broker-3"}
    assert {fact.replica for _, fact in fewer.history.of(FinalLog)} == {"broker-2"}
    assert (more.verdict.records["lost"], fewer.verdict.records["lost"]) == (0, 0)


def test_another_order_of_the_same_replicas_changes_who_is_preferred() -> None:
    order = '[[fault]]\nat = "1s"\ndo = "reassign"\npartition = "t-0"\nto = [3, 1, 2]\n'
    found = run(order + '[[fault]]\nat = "2s"\ndo = "elect"\npartition = "t-0"\n')

    assert leaders(found) == ["broker-1", "broker-3"]


# A topic deleted and created again.


def test_a_topic_that_is_created_again_is_empty_and_what_it_held_is_removed_not_lost() -> None:
    found = run('[[fault]]\nat = "2s"\ndo = "recreate-topic"\ntopic = "t"\n')

    assert found.verdict.records["lost"] == 0
    assert found.verdict.records["removed"] > 350
    assert found.verdict.records["ok"] > 1_500
    assert [phase for _, phase, _ in phases(found, "recreate-topic")][:2] == ["begin", "end"]
    assert touched(found, "recreate-topic") > 100


def test_a_client_may_be_quicker_to_create_a_topic_again_and_then_it_has_the_brokers_defaults() -> None:
    """auto.create.topics.enable: brokers before 4.1 tell of the deletion when it pleases them, so a producer asks for the topic before the operator."""
    found = run('[[fault]]\nat = "2s"\ndo = "recreate-topic"\ntopic = "t"\n', kafka="3.9")

    created = [fact for _, fact in found.history.of(PartitionChanged) if fact.why == "created on demand"]
    assert [len(fact.isr) for fact in created] == [1]
    assert [phase for _, phase, _ in phases(found, "recreate-topic")][:2] == ["begin", "end"]
    assert found.verdict.records["lost"] == 0
    assert found.verdict.records["removed"] > 350


def test_a_topic_that_a_client_had_created_again_is_another_one_whose_log_outlives_a_crash() -> None:
    """KIP-516: a broker that starts deletes what was of the old topic's id."""
    deeds = '[[fault]]\nat = "2s"\ndo = "recreate-topic"\ntopic = "t"\n[[fault]]\nat = "6s"\ndo = "crash"\nwho = "leader(t-0)"\nfor = "5s"\n'

    assert run(deeds, kafka="3.9").verdict.records["lost"] == 0


# Disks.

TWO_DIRECTORIES = 'config.log.dirs = "/d1,/d2"\n'


@pytest.mark.parametrize("do", ["disk-full", "disk-error"])
def test_a_broker_whose_only_directory_fails_halts_with_the_next_write(do: str) -> None:
    """Exit.halt: no hand-over, so its session must end first."""
    found = run(f'[[fault]]\nat = "2s"\ndo = "{do}"\nwho = "leader(t-0)"\nfor = "20s"\n', length="30s")

    assert [state for _, state in states(found, "broker-1")] == ["fenced", "registered", "unfenced"]
    assert found.metrics.unavailable_ms > 6_000
    assert found.verdict.verdict == "held"
    assert touched(found, do) > 0


@pytest.mark.parametrize(("interval", "noticed_by"), [("500", 16_600), ("0", 20_000)])
def test_an_idle_broker_notices_with_the_next_record_of_the_metadata_log_or_the_next_checkpoint(interval: str, noticed_by: int) -> None:
    """metadata.max.idle.interval.ms, replica.high.watermark.checkpoint.interval.ms."""
    idle = f"config.metadata.max.idle.interval.ms = {interval}\n"
    found = run('[[fault]]\nat = "16100ms"\ndo = "disk-full"\nwho = "broker-3"\nfor = "14s"\n', length="10s", topic="replication = 1\n", cluster=idle)

    assert [state for _, state in states(found, "broker-3")][:1] == ["fenced"]
    assert noticed_by + 6_500 < states(found, "broker-3")[0][0] <= noticed_by + 9_500


def test_a_broker_with_a_full_disk_cannot_start() -> None:
    full = '[[fault]]\nat = "2s"\ndo = "disk-full"\nwho = "broker-1"\nfor = "20s"\n[[fault]]\nat = "10s"\ndo = "restart"\nwho = "broker-1"\n'
    found = run(full, length="30s")

    assert next(at for at, state in states(found, "broker-1") if state == "registered") > 22_000


@pytest.mark.parametrize("kafka", ["3.7", "4.3"])
def test_a_broker_outlives_the_failure_of_one_directory_of_two(kafka: str) -> None:
    """H-098, KIP-858: the controller moves what stood there, at once."""
    error = '[[fault]]\nat = "2s"\ndo = "disk-error"\nwho = "leader(t-1)"\npartition = "t-1"\nfor = "20s"\n'
    found = run(error, kafka=kafka, cluster=TWO_DIRECTORIES, topic="partitions = 2\nassignment = [[1, 2, 3], [1, 2, 3]]\n", length="30s")

    assert leaders(found, "t-1")[0] == "broker-2"
    assert [at for at, fact in found.history.of(PartitionChanged) if fact.partition == "t-0" and at < 22_000_000] == [], "it stands in the other one"
    assert found.metrics.unavailable_ms < 2_000
    assert found.verdict.records["lost"] == 0
    away = [state for at, state in states(found, "broker-1") if at < 22_000]
    assert away == []


def test_before_3_7_a_failed_directory_stays_a_secret_and_its_leader_in_office() -> None:
    """KIP-858 came with 3.7: clients are told KAFKA_STORAGE_ERROR until the broker starts again."""
    error = '[[fault]]\nat = "2s"\ndo = "disk-error"\nwho = "leader(t-1)"\npartition = "t-1"\nfor = "20s"\n'
    found = run(error, kafka="3.6", cluster=TWO_DIRECTORIES, topic="partitions = 2\nassignment = [[1, 2, 3], [1, 2, 3]]\n", length="30s")

    assert [at for at, fact in found.history.of(PartitionChanged) if fact.partition == "t-1" and at < 22_000_000] == []
    assert found.metrics.latency_ms["max"] > 15_000
