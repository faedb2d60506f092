"""The invariants hold in storms, and each of them turns red where somebody plants the bug that it is there for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import ksim.simulation
from ksim.invariants import InvariantBroken
from ksim.invariants_rules import RULES
from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim_models.errors import ErrorCode
from loading import load
from mutations import PLANTED
from storms import DEEDS, storm

HEAD = 'title = "planted"\nkafka = "4.3"\nseed = 7\n[network]\nlatency = "20ms"\n[cluster]\nconfig.replica.fetch.max.bytes = 500\n'
TOPIC = "[topics.t]\nconfig.min.insync.replicas = 2\n[producers.p1]\nconfig.linger.ms = 0\n"
WORKLOAD = '[[workload]]\ntopic = "t"\nrecords = 2000\nevery = "5ms"\n'


def fault(name: str, do: str, who: str, at: str, lasts: str) -> str:
    return f'[[fault]]\nname = "{name}"\ndo = "{do}"\nwho = "{who}"\nat = "{at}"\nfor = "{lasts}"\n'


LEADER_DIES = fault("dies", "crash", "leader(t-0)", "3s", "12s")
SLOW_TO_RETURN = Scenario.loads(HEAD + TOPIC + WORKLOAD + LEADER_DIES + fault("hangs", "pause", "broker-3", "1s", "13s"))
"""Small fetches: who comes back is behind for a while."""
UNCUT_TAIL = Scenario.loads(HEAD.partition("[cluster]")[0] + TOPIC + "config.acks = 1\nconfig.enable.idempotence = false\n" + WORKLOAD + LEADER_DIES)
LAGGING = Scenario.loads(HEAD + TOPIC + WORKLOAD + fault("hangs", "pause", "broker-3", "1s", "13s") + fault("dies", "crash", "broker-2", "14500ms", "12s"))
TWO_PARTITIONS = Scenario.loads(
    HEAD
    + "[topics.t]\nassignment = [[1, 2, 3], [1, 2, 3]]\n[producers.p1]\nconfig.linger.ms = 20\n"
    + WORKLOAD.replace("2000", "200")
    + "key = { distinct = 20 }\n"
)
STALE_LEADER = Scenario.loads(
    HEAD.replace("4.3", "4.0")
    + "config.replica.high.watermark.checkpoint.interval.ms = 3_600_000\n"
    + TOPIC
    + WORKLOAD
    + fault("hangs", "pause", "broker-3", "1s", "40s")
    + fault("dies", "crash", "broker-2", "14s", "60s")
    + fault("dies too", "crash", "broker-1", "14s", "20s")
)
"""KAFKA-7128: broker-1 comes back as the leader with a high watermark of 0, and broker-3 stands between that and the start of the epoch."""
KILL_ALL, POWER_CUT = Scenario.load("kill-all"), Scenario.load("power-cut")

QUORUM = 'kafka = "4.1"\nseed = 7\ncluster.controllers = 3\n[topics.t]\n[[workload]]\ntopic = "t"\nrecords = 250\nevery = "100ms"\n'


def parted(one: str, others: str, lasts: str) -> str:
    return f'[[fault]]\ndo = "cut"\nbetween = ["{one}", {others}]\nat = "2s"\nfor = "{lasts}"\n'


CONTROLLER_DIES = Scenario.loads(QUORUM.replace("4.1", "3.9") + fault("dies", "crash", "controller-1", "2s", "10s"))
"""Without pre-votes the two others stand at the same time."""
BEHIND = Scenario.loads(QUORUM.replace("4.1", "3.9") + parted("controller-3", '"controller-1"', "20s") + fault("dies", "crash", "controller-1", "6s", "10s"))
"""controller-3 does not hear its leader, and without pre-votes it stands again and again, each time with less of the log."""
CUT_OFF = Scenario.loads(QUORUM + parted("controller-1", '["controller-2", "controller-3"]', "12s"))

HALF_CUT = Scenario.loads(
    HEAD.partition("[network]")[0]
    + """[topics.t]
partitions = 2
assignment = [[1, 2, 3], [2, 3, 1]]
[producers.p1]
config.transactional.id = "t1"
[consumers.c1]
topics = ["t"]
config.isolation.level = "read_committed"
config.auto.offset.reset = "earliest"
[[workload]]
topic = "t"
records = 200
every = "5ms"
key = { distinct = 20 }
transaction = { records = 20, abort_every = 3, think = "50ms" }
[[fault]]
do = "pause"
who = "leader(t-1)"
at = "400ms"
for = "5s"
"""
)
"""Two partitions of every transaction, and the leader of one of them stands still for a while."""

RED: list[tuple[str, str, str, Scenario]] = [
    ("INV-1", "INV-1", "a high watermark beyond the end", KILL_ALL),
    ("INV-2", "INV-2", "a high watermark that steps back", storm(0)),
    ("INV-3", "INV-3", "commits what nobody else has", storm(0)),
    ("INV-3", "INV-3", "H-080 reset of follower state", storm(7)),
    ("INV-4", "INV-4, INV-9", "the same offset, another batch", SLOW_TO_RETURN),
    ("INV-5", "INV-5", "an election without a new epoch", storm(0)),
    ("INV-6", "", "a change without a new partition epoch", storm(0)),
    ("INV-7", "INV-7", "a leader outside the ISR", storm(0)),
    ("INV-9", "INV-4, INV-9", "no sequence is judged", Scenario.load("lost-ack-idempotent")),
    ("INV-9", "INV-4, INV-9", "H-080 fetch offset", storm(0)),
    ("INV-13", "", "acknowledged before it is committed", storm(0)),
    ("INV-14", "", "answers in the wrong order", TWO_PARTITIONS),
    ("LeaderCompleteness", "LeaderCompleteness, INV-8", "anybody is elected", LAGGING),
    ("LeaderCandidateCompleteness", "LeaderCandidateCompleteness", "anybody is elected", LAGGING),
    ("LeaderCandidateCompleteness", "LeaderCandidateCompleteness", "H-080 at the high watermark", SLOW_TO_RETURN),
    ("LeaderCandidateCompleteness", "LeaderCandidateCompleteness", "H-080 follower's end is known", SLOW_TO_RETURN),
    ("LeaderCandidateCompleteness", "LeaderCandidateCompleteness", "H-080 at the epoch's start", STALE_LEADER),
    ("ReplicationQuorumSuperset", "ReplicationQuorumSuperset", "proposed and not waited for", storm(0)),
    ("LogMatching", "LogMatching, ConsistentRead", "a follower that does not cut", UNCUT_TAIL),
    ("ConsistentRead", "LogMatching, ConsistentRead", "a new leader that rewrites its log", SLOW_TO_RETURN),
    ("MetadataLogMatching", "MetadataLogMatching", "a broker deaf to every other record", storm(0)),
    ("MetadataLogMatching", "MetadataLogMatching, of controllers", "a controller that keeps what its leader does not have", CUT_OFF),
    ("LeaderCompleteness", "LeaderCompleteness, of controllers", "a controller that votes for whoever asks", BEHIND),
    ("LeaderCompleteness", "LeaderCompleteness, of controllers", "a controller that counts no majority", CUT_OFF),
    ("NeverTwoLeadersInSameEpoch", "NeverTwoLeadersInSameEpoch", "a controller that votes as often as it is asked", CONTROLLER_DIES),
    ("INV-10", "INV-10", "a marker that ends nothing", HALF_CUT),
    ("INV-11", "", "complete at the first marker", HALF_CUT),
    ("INV-11", "", "a marker that says the opposite", HALF_CUT),
    ("INV-12", "", "nobody is told of what was aborted", HALF_CUT),
    ("INV-12", "", "readers go as far as the high watermark", HALF_CUT),
    ("MinIsrRecoveryQuorum", "MinIsrRecoveryQuorum", "nobody is remembered", POWER_CUT),
    ("NoCommittedRecordLostGlobally", "NoCommittedRecordLostGlobally", "a crash that empties the disk", KILL_ALL),
]
"""The invariant, the rule that looks at it ("": what happens is followed), the planted bug, and where it shows. Only that rule looks."""

NOT_BEFORE_9_S = "a broker that lost its power is not registered before its old session is over (KC-13), and a leader that waits so long is fenced"
SEEN_ELSEWHERE: dict[str, tuple[str, str, str, tuple[object, ...]]] = {
    "H-080 broker incarnation": (NOT_BEFORE_9_S, "kafka/test_isr_vectors.py", "test_rp_12_a_fetch_of_an_older_incarnation_counts_for_nothing", ()),
    "H-080 broker epoch in AlterPartition": (
        NOT_BEFORE_9_S,
        "models/test_controller.py",
        "test_a_member_must_be_the_incarnation_that_is_registered",
        (2, ErrorCode.INELIGIBLE_REPLICA),
    ),
    "H-080 partition epoch in AlterPartition": (
        "whom an old proposal names and the controller has fenced meanwhile is refused first (KC-64)",
        "models/test_controller.py",
        "test_the_errors_of_alter_partition_are_tested_in_order",
        ("2", 1, 0, ErrorCode.INVALID_UPDATE_VERSION),
    ),
    "H-080 epoch of a fetch response": (
        "it needs an answer about a divergence to be on its way when the same leader gets a higher epoch",
        "models/test_following.py",
        "test_an_answer_to_a_fetch_of_an_older_epoch_is_ignored_from_3_9_1_on",
        ("3.9.1", 0),
    ),
    "H-080 added again without a higher epoch": (
        "answers to what was asked before are ignored, so the partition only starts anew",
        "models/test_following.py",
        "test_an_isr_change_alone_does_not_interrupt_the_fetching",
        (),
    ),
}
"""Of H-080: what shows in no schedule that a simulation can reach, why, and the test of the rule that sees the check taken away."""


@pytest.mark.parametrize("bug", SEEN_ELSEWHERE)
def test_a_check_that_no_schedule_needs_is_seen_missing_by_the_test_of_its_rule(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, file, name, arguments = SEEN_ELSEWHERE[bug]
    test_of_the_rule = found_in(file, name)
    test_of_the_rule(*arguments)
    PLANTED[bug](monkeypatch)

    with pytest.raises((AssertionError, ValueError)):
        test_of_the_rule(*arguments)


def found_in(file: str, name: str) -> Callable[..., None]:
    """A test of another file; imported by its path, so that it is not collected here."""
    found: Callable[..., None] = getattr(load(Path(__file__).parents[1] / file), name)
    return found


@pytest.mark.parametrize(("invariant", "rule", "bug", "scenario"), RED, ids=[f"{row[0]}: {row[2]}" for row in RED])
def test_a_planted_bug_turns_the_invariant_red(invariant: str, rule: str, bug: str, scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ksim.simulation, "RULES", {name: look for name, look in RULES.items() if name == rule})
    simulate(scenario, check_every=1)
    PLANTED[bug](monkeypatch)

    with pytest.raises(InvariantBroken) as broken:
        simulate(scenario, check_every=1)
    assert broken.value.name == invariant


def test_every_rule_and_every_planted_bug_is_in_the_list() -> None:
    assert {row[1] for row in RED} - {""} == set(RULES)
    assert {row[2] for row in RED} | set(SEEN_ELSEWHERE) == set(PLANTED)


@pytest.mark.parametrize("kafka", ["4.3", "4.0", "3.9", "3.6", "3.4"])
@pytest.mark.parametrize("number", [17, 56, 3, 8])
def test_every_invariant_holds_in_a_storm(kafka: str, number: int) -> None:
    """17: the last replica standing had lost its power (KC-56); 56: a repeated record takes back a proposal (RP-58): both are Kafka's own, without ELR."""
    found = simulate(storm(number, kafka=kafka), check_every=1)

    assert found.verdict.records["lost"] == 0 or any(anomaly.name == "lost" and anomaly.allowed for anomaly in found.verdict.anomalies)


@pytest.mark.parametrize("number", [53, 172, 1, 4])
def test_every_invariant_holds_while_records_are_deleted_and_segments_are_small(number: int) -> None:
    """53: the leader has just started again and hosts nothing yet; 172: a new leader's high watermark lies below a follower's log start."""
    small = "config.internal.segment.bytes = 3000\n" + ("config.retention.bytes = 40000\n" if number % 2 else "config.flush.messages = 7\n")
    kafka = ("4.3", "4.1", "4.3")[number % 3]

    found = simulate(storm(number, kafka=kafka, deeds=(*DEEDS, "delete-records", "delete-records"), settings=small, faults=8), check_every=1)

    assert all(anomaly.allowed for anomaly in found.verdict.anomalies)


def test_looking_changes_nothing() -> None:
    assert simulate(storm(3), check_every=1).history.digest == simulate(storm(3), check_every=0).history.digest


def test_a_broken_invariant_says_which_when_and_where() -> None:
    broken = InvariantBroken("INV-1", 1_500_000, "t-0 on broker-1")

    assert str(broken) == "INV-1 does not hold at 1_500 ms: t-0 on broker-1"
