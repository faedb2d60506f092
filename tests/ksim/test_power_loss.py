"""power-loss and delete-records: who is told, what is gone, what comes back."""

from __future__ import annotations

import pytest

from ksim.exposure import expose
from ksim.live.world import NOT_HERE
from ksim.report import report_on
from ksim.runs import Run
from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim.transcript import story
from ksim_models.facts import CacheLost, Connected, Disconnected, Fault, FinalLog, LogStartMoved, Retried
from ksim_models.units import ms, s

HEAD = 'title = "a test"\nkafka = "4.3"\nseed = 7\n'
TOPIC = "[topics.t]\nconfig.min.insync.replicas = 2\n"
WORKLOAD = '[producers.p1]\nconfig.linger.ms = 0\n[[workload]]\ntopic = "t"\nrecords = 600\nevery = "10ms"\n'


def run(faults: str, *, topic: str = TOPIC, workload: str = WORKLOAD, more: str = "") -> Run:
    return simulate(Scenario.loads(HEAD + topic + workload + faults + more))


def fault(do: str, who: str, at: str, lasts: str = "") -> str:
    return f'[[fault]]\nname = "{do}"\ndo = "{do}"\nwho = "{who}"\nat = "{at}"\n' + (f'for = "{lasts}"\n' if lasts else "")


def test_a_crash_is_learnt_at_once_and_a_power_loss_by_time_outs() -> None:
    """The system of a killed process closes its sockets; nobody speaks for a machine without power."""
    crash, dark = run(fault("crash", "leader(t-0)", "2s", "40s")), run(fault("power-loss", "leader(t-0)", "2s", "40s"))
    lost = {found: next(at for at, fact in found.history.of(Disconnected) if fact.connection and at > s(2)) for found in (crash, dark)}

    assert lost[crash] < s(2) + ms(10)
    assert lost[dark] >= s(30), "request.timeout.ms"


def test_a_machine_that_is_back_resets_what_is_still_sent_to_it() -> None:
    """Requests that were under way when the power went are repeated by TCP, and meet a system that knows nothing of their connection."""
    found = run(fault("power-loss", "leader(t-0)", "2s", "4s"))
    gone = next(at for at, fact in found.history.of(Disconnected) if at > s(2))

    assert s(6) <= gone < s(6) + ms(10)


def test_a_connection_attempt_into_the_dark_is_not_refused() -> None:
    """It ends by socket.connection.setup.timeout.ms, or is refused when the machine is back and nobody listens yet."""
    found = run(fault("power-loss", "brokers", "0s", "3s"))

    assert all(at >= s(3) for at, _ in found.history.of(Connected))
    assert all(at >= s(3) for at, fact in found.history.of(Disconnected))
    assert found.verdict.records["ok"] == 600


@pytest.mark.parametrize(("topic", "left"), [(TOPIC, 0), (TOPIC + "config.flush.messages = 1\n", 200), (TOPIC + "config.flush.messages = 64\n", 192)])
def test_what_was_not_flushed_is_gone_with_the_power(topic: str, left: int) -> None:
    """LR-1, LR-4."""
    found = run(fault("power-loss", "broker-2", "2s", "3s"), topic=topic)
    lost = [fact for _, fact in found.history.of(CacheLost)]

    assert [(fact.broker, fact.to_offset) for fact in lost] == ([] if left == 200 else [("broker-2", left)])
    assert found.verdict.records["ok"] == 600


def test_flush_ms_saves_nothing_unless_somebody_looks() -> None:
    """log.flush.scheduler.interval.ms is never, by default; a broker that has been up for long has looked the last time."""
    nobody = run(fault("power-loss", "broker-2", "2s", "3s"), topic=TOPIC + "config.flush.ms = 100\n")
    every = run(
        fault("power-loss", "broker-2", "2s", "3s"), topic="[cluster]\nconfig.log.flush.scheduler.interval.ms = 100\n" + TOPIC + "config.flush.ms = 100\n"
    )

    assert [fact.to_offset for _, fact in nobody.history.of(CacheLost)] == [0]
    assert [fact.to_offset > 150 for _, fact in every.history.of(CacheLost)] == [True]


@pytest.mark.parametrize(("model", "left"), [("", 0), ('[model]\nwriteback = "1s"\nwriteback_scan = "100ms"\n', 100)])
def test_the_model_says_when_the_system_saves_by_itself(model: str, left: int) -> None:
    found = run(fault("power-loss", "broker-2", "2s", "3s"), more=model)
    (lost,) = (fact for _, fact in found.history.of(CacheLost))

    assert left <= lost.to_offset <= left + 20


def test_the_model_may_draw_what_a_power_loss_leaves() -> None:
    drawn = [
        run(fault("power-loss", "brokers", "2s", "3s"), more='[model]\npower_loss_keeps = "drawn"\n').history.of(CacheLost),
        run(fault("power-loss", "brokers", "2s", "3s"), more='[model]\npower_loss_keeps = "drawn"\n').history.of(CacheLost),
    ]
    ends = [[fact.to_offset for _, fact in facts] for facts in drawn]

    assert ends[0] == ends[1]
    assert len(set(ends[0])) == 3
    assert all(0 < end < 200 for end in ends[0])


def test_the_last_acknowledged_records_are_lost_if_all_machines_lose_power_and_the_verdict_says_why_that_may_be() -> None:
    """LR-2; H-094."""
    found = simulate(Scenario.load("power-cut"))
    (lost,) = (anomaly for anomaly in found.verdict.anomalies if anomaly.name == "lost")

    assert (lost.allowed, "power loss" in lost.because) == (True, True)
    (flushed,) = [simulate(Scenario.load("power-cut-flushed"))]
    assert flushed.verdict.anomalies == ()


@pytest.mark.parametrize("name", ["power-cut", "power-cut-flushed", "kill-all", "last-replica-standing", "last-replica-standing-elr"])
def test_the_built_in_scenarios_of_power_and_disks_come_as_their_authors_predict(name: str) -> None:
    """H-093, H-094, H-095."""
    assert report_on(simulate(Scenario.load(name))).exit_code == 0


def test_a_power_loss_touches_what_it_took_from_the_log_too() -> None:
    found = run(fault("power-loss", "broker-2", "2s", "3s"))
    touched = expose(found.history, found.plan)[0]

    assert touched >= 190, "all that stood in the page cache, though every one of them had been acknowledged long before"


def test_a_producers_machine_without_power_tells_nobody_either() -> None:
    found = run(fault("power-loss", "p1", "2s"))

    assert found.verdict.records["ok"] > 150
    assert found.verdict.records["lost"] == 0


def test_a_controller_without_power_is_heard_again_when_it_is_back() -> None:
    found = run(fault("power-loss", "controller-1", "1s", "3s") + fault("crash", "leader(t-0)", "5s", "12s"))

    assert found.verdict.records["ok"] == 600


# delete-records


def deletion(before: int, at: str = "3s") -> str:
    return f'[[fault]]\nname = "deleted"\ndo = "delete-records"\npartition = "t-0"\nbefore = {before}\nat = "{at}"\n'


def test_deleted_records_are_removed_and_no_anomaly_of_kafkas() -> None:
    """scenario.md section 3: removed; the followers go along with the leader."""
    found = run(deletion(100))
    logs = [log for _, log in found.history.of(FinalLog)]

    assert (found.verdict.records["removed"], found.verdict.records["lost"], found.verdict.records["ok"]) == (100, 0, 500)
    assert [(log.log_start_offset, log.batches[0].base_offset) for log in logs] == [(100, 100)] * 3
    assert sorted((fact.broker, fact.why) for _, fact in found.history.of(LogStartMoved)) == [
        ("broker-1", "delete-records"),
        ("broker-2", "leader"),
        ("broker-3", "leader"),
    ]
    assert expose(found.history, found.plan)[0] == 100


def test_minus_one_deletes_all_that_is_committed() -> None:
    found = run(deletion(-1))
    (moved,) = (fact for _, fact in found.history.of(LogStartMoved) if fact.broker == "broker-1")

    assert 290 <= moved.offset <= 300
    assert found.verdict.records["removed"] == moved.offset


@pytest.mark.parametrize(
    ("faults", "why"),
    [
        (deletion(5000), "OFFSET_OUT_OF_RANGE: before = 5000 is above the high watermark"),
        (deletion(0), "the log starts at 0 already"),
        (fault("crash", "leader(t-0)", "2s", "20s") + deletion(10), "nobody leads t-0 at that moment"),
    ],
)
def test_what_cannot_be_deleted_is_not_injected_and_said(faults: str, why: str) -> None:
    found = run(faults)
    (told,) = (fact.why for _, fact in found.history.of(Fault) if fact.phase == "not-injected")

    assert told.startswith(why)
    assert found.verdict.records["removed"] == 0


def test_a_deletion_in_the_middle_of_a_batch_leaves_the_rest_of_it() -> None:
    found = run(deletion(150), workload=WORKLOAD.replace("linger.ms = 0", "linger.ms = 100"))
    (log,) = (log for _, log in found.history.of(FinalLog) if log.leader)

    assert (log.batches[0].base_offset, log.batches[0].records[0], log.batches[0].base_sequence) == (150, 150, 150)
    assert (found.verdict.records["removed"], found.verdict.records["ok"]) == (150, 450)


def test_a_follower_that_was_away_while_its_end_was_deleted_starts_anew_at_the_leaders_log_start() -> None:
    """RP-36."""
    found = run(fault("crash", "broker-3", "1s", "20s") + deletion(400, "15s"))
    moved = [fact for _, fact in found.history.of(LogStartMoved) if fact.broker == "broker-3"]

    assert [(fact.offset, fact.why) for fact in moved] == [(400, "leader")]
    assert len({log.batches for _, log in found.history.of(FinalLog)}) == 1


def test_an_idempotent_producer_goes_on_after_its_records_were_deleted() -> None:
    """H-112, PS-51: from 2.5 on a broker never answers UNKNOWN_PRODUCER_ID: the state in memory stays, and who is unknown may start anywhere."""
    found = run(deletion(-1) + fault("crash", "leader(t-0)", "3500ms", "15s"))

    assert not any(fact.error == "UNKNOWN_PRODUCER_ID" for _, fact in found.history.of(Retried))
    assert found.verdict.records["ok"] + found.verdict.records["removed"] == 600


# retention

SMALL = "config.internal.segment.bytes = 2000\n"


@pytest.mark.parametrize(("setting", "why"), [("retention.ms = 1000", "retention.ms"), ("retention.bytes = 4000", "retention.bytes")])
def test_old_segments_are_removed_on_every_replica_when_somebody_looks(setting: str, why: str) -> None:
    found = run("", topic=f"[cluster]\nconfig.log.retention.check.interval.ms = 500\n{TOPIC}{SMALL}config.{setting}\n")
    moved = [fact for _, fact in found.history.of(LogStartMoved)]

    assert {fact.broker for fact in moved} == {"broker-1", "broker-2", "broker-3"}
    assert {fact.why for fact in moved} <= {why, "leader"}
    assert found.verdict.records["removed"] > 300
    assert (found.verdict.records["lost"], found.verdict.records["ok"] + found.verdict.records["removed"]) == (0, 600)
    (removed,) = found.verdict.anomalies
    assert (removed.name, removed.allowed) == ("removed", True)


def test_a_broker_that_was_frozen_goes_on_with_its_rounds() -> None:
    """What it has missed is not made up for one by one."""
    topic = f"[cluster]\nconfig.log.retention.check.interval.ms = 500\n{TOPIC}{SMALL}config.retention.ms = 1000\n"
    found = run(fault("pause", "broker-1", "1s", "5s"), topic=topic, workload=WORKLOAD.replace("600", "1200"))

    assert {fact.broker for at, fact in found.history.of(LogStartMoved) if at > s(6)} == {"broker-1", "broker-2", "broker-3"}


def test_a_producer_that_was_silent_is_forgotten_and_its_next_batch_may_start_anywhere() -> None:
    """PS-50, PS-13c: no error, though the leader knows nothing of the sequences before."""
    settings = "[cluster]\nconfig.producer.id.expiration.ms = 1000\nconfig.producer.id.expiration.check.interval.ms = 500\n"
    two = WORKLOAD.replace("records = 600", "records = 5") + '[[workload]]\ntopic = "t"\nrecords = 5\nevery = "10ms"\nstart = "5s"\n'
    found = run("", topic=settings + TOPIC, workload=two)

    assert found.verdict.records["ok"] == 10


# Reading, telling, live.


def test_a_story_tells_of_the_power_and_of_what_was_deleted() -> None:
    told = story(run(fault("power-loss", "broker-2", "2s", "3s") + deletion(100)).history)

    assert "broker-2 loses power: what is not on the disk is gone, and nobody is told" in told
    assert "were in the page cache only, and are gone" in told
    assert "starts at offset 100 from now on (delete-records)" in told


def test_what_a_replay_cannot_do_it_says_why() -> None:
    assert set(NOT_HERE) == {"power-loss", "slow-disk", "slow-cpu"}
    assert all(len(why) > 20 for why in NOT_HERE.values())
