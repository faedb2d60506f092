"""The controller: registrations, sessions, commits, and what a crash forgets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ksim_models.errors import ErrorCode
from ksim_models.facts import BrokerChanged, PartitionChanged, TopicChanged
from ksim_models.machine import Closed, Crashed, Exit, Restarted, Terminated
from ksim_models.messages import (
    AlterPartitionItem,
    AlterPartitionRequest,
    BrokerRecord,
    BrokerRegistrationRequest,
    CreateTopicsRequest,
    CreateTopicsResponse,
    MetadataFetchResponse,
    PartitionRecord,
    TopicRecord,
)
from ksim_models.profiles import broker_profile
from ksim_models.units import ms, s
from lone_controller import LoneController, heartbeat_of

BOTH = pytest.mark.parametrize("version", ["3.9", "4.3"])
PARTITION = PartitionRecord("t-0", ("1", "2", "3"), ("1", "2", "3"), (), (), "1", 0, 0, recovering=False)
FORMED = (BrokerRecord("1", 1, fenced=False), BrokerRecord("2", 2, fenced=False), BrokerRecord("3", 3, fenced=False), TopicRecord("t", 1, ()), PARTITION)


# The metadata log.


def test_the_formed_cluster_stands_in_the_metadata_log_and_is_no_news() -> None:
    """KC-80."""
    cluster = LoneController()

    cluster.fetch("1", 0)

    assert cluster.last_sent("1 -> controller") == MetadataFetchResponse(5, FORMED)
    assert cluster.facts == []


def test_changes_within_the_linger_are_committed_together() -> None:
    """KC-1, KC-80: 25 ms after the first of them."""
    cluster = LoneController(given=(("min.insync.replicas", "2"),))

    cluster.tell(heartbeat_of(cluster, "1", want_fence=True))
    cluster.until(ms(10))
    cluster.tell(heartbeat_of(cluster, "2", want_fence=True))
    assert (cluster.facts, cluster.sent, cluster.controller.settled) == ([], [], False)
    cluster.until(s(1))

    assert cluster.facts == [
        (ms(25), PartitionChanged("t-0", "2", 1, ("2", "3"), (), 1, unclean=False, why="fenced 1")),
        (ms(25), BrokerChanged("1", 1, "fenced")),
        (ms(25), PartitionChanged("t-0", "3", 2, ("3",), ("2",), 2, unclean=False, why="fenced 2")),
        (ms(25), BrokerChanged("2", 2, "fenced")),
    ]
    assert [(at, to) for at, to, _ in cluster.sent] == [(ms(25), "1 -> controller"), (ms(25), "2 -> controller")]
    assert cluster.controller.settled


def test_what_is_not_yet_committed_counts_already_for_the_next_decision() -> None:
    """KC-80."""
    cluster = LoneController()

    cluster.tell(heartbeat_of(cluster, "1", want_fence=True))

    assert cluster.controller.leader_of("t-0") == "2"
    assert cluster.controller.is_fenced("1")


def test_a_heartbeat_that_changes_nothing_is_answered_at_once() -> None:
    """KC-17."""
    cluster = LoneController()

    cluster.tell(heartbeat_of(cluster, "1"))

    assert [at for at, _, _ in cluster.sent] == [0]
    assert cluster.controller.settled


def test_an_answer_that_may_rest_on_uncommitted_records_waits_for_them() -> None:
    """KC-80: otherwise a crash of the controller could take back what a broker was told."""
    cluster = LoneController()
    cluster.tell(heartbeat_of(cluster, "1", want_fence=True))

    cluster.tell(heartbeat_of(cluster, "2"))

    assert cluster.sent == []
    cluster.until(ms(25))
    assert [to for _, to, _ in cluster.sent] == ["1 -> controller", "2 -> controller"]


@pytest.mark.parametrize(("version", "told_at"), [("4.0", ms(25 + 250)), ("4.1", ms(25))])
def test_a_parked_metadata_fetch_learns_of_the_commit_up_to_500_ms_later_before_4_1(version: str, told_at: int) -> None:
    """KC-80, KIP-1166. The dice always show one half."""
    cluster = LoneController(version)
    cluster.fetch("3", 5)
    cluster.tell(heartbeat_of(cluster, "1", want_fence=True))

    cluster.until(s(1))

    at, to, answer = cluster.sent[-1]
    assert (at, to) == (told_at, "3 -> controller")
    assert isinstance(answer, MetadataFetchResponse)
    assert (answer.offset, len(answer.records)) == (7, 2)
    assert cluster.controller.settled


def test_a_fetch_below_the_end_of_the_log_is_answered_at_once_in_every_version() -> None:
    """KC-80."""
    cluster = LoneController("3.9")
    cluster.fence("1")

    cluster.fetch("2", 5)

    assert cluster.sent[-1] == (cluster.now, "2 -> controller", MetadataFetchResponse(7, tuple(cluster.controller._log.committed[5:])))


def test_nothing_is_sent_on_a_connection_that_is_gone() -> None:
    cluster = LoneController()
    cluster.fetch("3", 5)
    cluster.tell(heartbeat_of(cluster, "1", want_fence=True))

    cluster.tell(Closed("3 -> controller"))
    cluster.tell(Closed("1 -> controller"))
    cluster.until(s(1))

    assert cluster.sent == []
    assert len(cluster.facts) == 2


def test_a_crash_forgets_what_was_not_committed() -> None:
    """KC-80, KC-84: the metadata log is the state."""
    cluster = LoneController()
    cluster.fence("3")
    cluster.fetch("2", 7)
    cluster.tell(heartbeat_of(cluster, "1", want_fence=True))
    assert cluster.controller.leader_of("t-0") == "2"

    cluster.tell(Crashed())
    assert cluster.controller.wake_at is None
    cluster.tell(heartbeat_of(cluster, "1", want_fence=True))
    cluster.tell(Restarted())
    cluster.until(s(5))

    cluster.fence("2")  # The fetch and the heartbeats of before the crash have no answer.
    assert [to for _, to, _ in cluster.sent] == ["3 -> controller", "2 -> controller"]


def test_a_restarted_controller_stands_where_its_log_ends() -> None:
    """KC-80."""
    cluster = LoneController()
    cluster.fence("3")
    committed = cluster.controller.state_of("t-0")
    cluster.tell(heartbeat_of(cluster, "1", want_fence=True))

    cluster.tell(Crashed())
    cluster.tell(Restarted())
    cluster.until(s(5))

    assert cluster.controller.state_of("t-0") == committed
    assert cluster.controller.isr_of("t-0") == ("1", "2")
    assert (cluster.controller.is_fenced("1"), cluster.controller.is_fenced("3")) == (False, True)
    assert len(cluster.facts) == 2
    assert cluster.controller.settled


def test_a_controller_that_is_shut_down_is_gone_at_once() -> None:
    """It hands over to nobody: what was not committed is forgotten."""
    cluster = LoneController()
    cluster.tell(heartbeat_of(cluster, "1", want_fence=True))
    effects = cluster.controller.handle(Terminated(), cluster.now)

    assert (effects, cluster.controller.wake_at) == ([Exit()], None)
    cluster.tell(Restarted())
    cluster.until(s(1))
    assert (cluster.facts, cluster.sent) == ([], [])


@pytest.mark.parametrize(
    ("topics", "partitions", "replication", "made"),
    [
        pytest.param(("u",), 2, 2, {"u-0": ("3", "1"), "u-1": ("1", "3")}, id="replicas go round the living from one that is drawn"),
        pytest.param(("t", "u"), 1, 1, {"u-0": ("3",)}, id="one of them is there already"),
        pytest.param(("u",), 1, 3, {}, id="InvalidReplicationFactorException: 2 is fenced"),
        pytest.param(("__consumer_offsets",), 1, 2, {"__consumer_offsets-0": ("3", "1")}, id="a coordinator's own: nobody is told of its partitions"),
    ],
)
def test_topics_that_brokers_ask_for(topics: tuple[str, ...], partitions: int, replication: int, made: dict[str, tuple[str, ...]]) -> None:
    """KC-83; the answer comes when they are committed, and asking again changes nothing."""
    cluster = LoneController()
    cluster.fence("2")
    cluster.facts.clear()
    answers = [cluster.ask("1", CreateTopicsRequest(topics, partitions, replication)) for _ in range(2)]
    created = {name: cluster.controller.state_of(name) for name in made}

    assert answers == [CreateTopicsResponse(topics)] * 2
    assert {name: (state.replicas, state.isr, state.leader) for name, state in created.items()} == {
        name: (replicas, replicas, replicas[0]) for name, replicas in made.items()
    }
    told = [fact for _, fact in cluster.facts]
    if topics == ("__consumer_offsets",):
        assert told == [TopicChanged("__consumer_offsets", 0, "created")]
    else:
        assert told == [PartitionChanged(name, replicas[0], 0, replicas, (), 0, False, "created on demand") for name, replicas in made.items()]


# Registration.


@BOTH
def test_a_fast_restart_waits_for_its_own_old_session(version: str) -> None:
    """KC-13."""
    cluster = LoneController(version)
    cluster.until(s(5))
    assert cluster.register("1") is ErrorCode.DUPLICATE_BROKER_REGISTRATION

    cluster.silence("1", ms(5_200))
    cluster.until(cluster.now)
    cluster.commit()

    assert cluster.register("1") is ErrorCode.NONE
    assert cluster.controller.is_fenced("1")


@pytest.mark.parametrize(("version", "answer"), [("3.9", ErrorCode.NONE), ("4.0", ErrorCode.DUPLICATE_BROKER_REGISTRATION)])
def test_from_4_0_a_fenced_broker_too_waits_for_its_old_session(version: str, answer: ErrorCode) -> None:
    """KC-13."""
    cluster = LoneController(version)
    cluster.fence("1")

    assert cluster.register("1") is answer


def test_a_session_begins_with_the_registration() -> None:
    """KC-2, KC-13: so a second restart soon after the first waits again."""
    cluster = LoneController("4.3")
    cluster.silence("1")
    assert cluster.register("1") is ErrorCode.NONE

    assert cluster.register("1") is ErrorCode.DUPLICATE_BROKER_REGISTRATION


def test_a_session_is_valid_at_the_very_moment_it_ends() -> None:
    """KC-2: stale strictly after the time-out."""
    cluster = LoneController("4.3")
    cluster.silence("1", s(9))
    assert cluster.register("1") is ErrorCode.DUPLICATE_BROKER_REGISTRATION
    cluster.silence("1", 1)

    assert cluster.register("1") is ErrorCode.NONE


def test_a_new_incarnation_gets_a_higher_epoch_and_starts_fenced() -> None:
    """KC-10, KC-12: unfenced only once it has read its own registration."""
    cluster = LoneController("3.9")
    cluster.fence("1")

    assert cluster.register("1") is ErrorCode.NONE

    registered = BrokerChanged("1", 8, "registered")
    assert cluster.facts[-1] == (cluster.now, registered)
    behind = cluster.heartbeat("1", offset=6)
    assert (behind.is_caught_up, behind.is_fenced) == (False, True)
    there = cluster.heartbeat("1", offset=7)
    assert (there.is_caught_up, there.is_fenced) == (True, False)
    assert cluster.facts[-1] == (cluster.now, BrokerChanged("1", 8, "unfenced"))


def test_a_repeated_registration_of_the_same_incarnation_is_told_what_it_has() -> None:
    """KC-10: its answer may have been lost, and its session is the one it just opened."""
    cluster = LoneController("4.3")
    cluster.until(ms(1))
    cluster.silence("1")
    cluster.register("1")
    before = list(cluster.facts)

    again = cluster.ask("1", BrokerRegistrationRequest("1", 1, -1))

    assert getattr(again, "broker_epoch", None) == cluster.epochs["1"]
    assert cluster.facts == before


def test_an_old_broker_epoch_is_stale() -> None:
    """KC-14, KC-60: also that of a broker nobody knows."""
    cluster = LoneController("3.9")
    cluster.fence("1")
    cluster.register("1")

    assert cluster.heartbeat("1", epoch=1).error is ErrorCode.STALE_BROKER_EPOCH
    assert cluster.heartbeat("9", epoch=1).error is ErrorCode.STALE_BROKER_EPOCH
    assert cluster.alter(["2", "3"], broker_epoch=1).error is ErrorCode.STALE_BROKER_EPOCH


@pytest.mark.parametrize(
    ("version", "clean", "isr"),
    [
        pytest.param("3.7", False, "123", id="3.7"),
        pytest.param("3.8", False, "13", id="3.8 unclean"),
        pytest.param("3.8", True, "123", id="3.8 clean"),
        pytest.param("3.9", True, "13", id="3.9 clean"),
        pytest.param("4.3", False, "13", id="4.3 unclean"),
        pytest.param("4.3", True, "13", id="4.3 clean"),
    ],
)
def test_a_new_incarnation_leaves_the_isr(version: str, clean: bool, isr: str) -> None:
    """KC-57, KC-58: a broker whose session has run out, but which was not yet found."""
    cluster = LoneController(version)
    cluster.silence("2")

    assert cluster.register("2", previous=2 if clean else -1) is ErrorCode.NONE

    assert cluster.shape() == ("1", isr)


@pytest.mark.parametrize(("clean", "elr"), [(True, "2"), (False, "")])
def test_only_an_unclean_restart_leaves_the_elr(clean: bool, elr: str) -> None:
    """KC-54, KC-57."""
    cluster = LoneController("4.3", given=(("min.insync.replicas", "3"),))
    cluster.silence("2")

    cluster.register("2", previous=2 if clean else -1)

    assert cluster.elr() == (elr, "")


def test_with_elr_a_sole_leader_that_was_killed_returns_by_an_unclean_election() -> None:
    """KC-55 and the live measurement S5 (a), 4.3.0, min ISR 1: leader epoch 0 -> 1 -> 2, isr [] -> [1], RECOVERED -> RECOVERING."""
    cluster = LoneController("4.3")
    cluster.alter(["1"])
    cluster.silence("1")
    cluster.until(cluster.now + s(2))
    assert (cluster.shape(), cluster.elr()) == (("", ""), ("1", "1"))

    cluster.register("1")
    assert (cluster.shape(), cluster.elr()) == (("", ""), ("", "1"))
    cluster.unfence("1")

    state = cluster.controller.state_of("t-0")
    assert (cluster.shape(), cluster.elr(), state.leader_epoch, state.recovering) == (("1", "1"), ("", ""), 2, True)
    fact = cluster.facts[-1][1]
    assert isinstance(fact, PartitionChanged)
    assert (fact.unclean, fact.why) == (True, "unfenced 1")


def test_without_elr_a_sole_leader_that_was_killed_returns_by_a_clean_election() -> None:
    """KC-56 and S5 (a), 3.9.1: leader none, ISR [1] all the time."""
    cluster = LoneController("3.9")
    cluster.alter(["1"])
    cluster.silence("1")
    cluster.until(cluster.now + s(1))
    assert cluster.shape() == ("", "1")

    cluster.register("1")
    cluster.unfence("1")

    state = cluster.controller.state_of("t-0")
    assert (cluster.shape(), state.leader_epoch, state.recovering) == (("1", "1"), 2, False)


@BOTH
def test_with_unclean_election_enabled_a_follower_outside_the_isr_takes_over(version: str) -> None:
    """KC-44, S5 (b). With ELR too: min ISR 1 keeps the ELR empty while the leader lives."""
    cluster = LoneController(version, given=(("unclean.leader.election.enable", "true"),))
    cluster.alter(["1"])

    cluster.fence("1")

    assert cluster.shape() == ("2", "2")
    assert cluster.controller.state_of("t-0").recovering


def test_in_4_0_with_elr_a_fenced_last_known_leader_could_be_elected() -> None:
    """KC-55, KAFKA-19522: by the very registration that made its ELR empty."""
    cluster = LoneController(replace(broker_profile("4.3"), last_known_leader_needs_acceptable=False))
    cluster.alter(["1"])
    cluster.silence("1")
    cluster.until(cluster.now + s(2))

    cluster.register("1")

    assert cluster.controller.is_fenced("1")
    assert cluster.shape() == ("1", "1")


# AlterPartition.


def test_an_accepted_alter_partition_tells_the_new_state_when_it_is_committed() -> None:
    """KC-66; why a partition changed is in the fact."""
    cluster = LoneController()
    cluster.until(s(1))

    result = cluster.alter(["1", "3"])

    assert (result.error, result.leader, result.leader_epoch, result.isr, result.partition_epoch) == (ErrorCode.NONE, "1", 0, ("1", "3"), 1)
    assert cluster.sent[-1][0] == ms(1_025)
    assert cluster.facts == [(ms(1_025), PartitionChanged("t-0", "1", 0, ("1", "3"), (), 1, unclean=False, why="AlterPartition by 1"))]


@pytest.mark.parametrize(
    ("sender", "leader_epoch", "partition_epoch", "error"),
    [
        pytest.param("3", 9, 0, ErrorCode.NOT_CONTROLLER, id="a higher leader epoch before everything else (KC-61)"),
        pytest.param("3", 0, 9, ErrorCode.NOT_CONTROLLER, id="a higher partition epoch before a lower leader epoch (KC-61)"),
        pytest.param("3", 0, 0, ErrorCode.FENCED_LEADER_EPOCH, id="a lower leader epoch before the sender (KC-62)"),
        pytest.param("3", 1, 0, ErrorCode.INVALID_REQUEST, id="the sender before a lower partition epoch (KC-62)"),
        pytest.param("2", 1, 0, ErrorCode.INVALID_UPDATE_VERSION, id="a lower partition epoch before the ISR (KC-62)"),
        pytest.param("2", 1, 1, ErrorCode.INVALID_REQUEST, id="the ISR itself (KC-63)"),
    ],
)
def test_the_errors_of_alter_partition_are_tested_in_order(sender: str, leader_epoch: int, partition_epoch: int, error: ErrorCode) -> None:
    cluster = LoneController()
    cluster.fence("1")

    result = cluster.alter(["3"], by=sender, leader_epoch=leader_epoch, partition_epoch=partition_epoch)

    assert result.error is error


@pytest.mark.parametrize(("epoch", "error"), [(3, ErrorCode.NONE), (-1, ErrorCode.NONE), (2, ErrorCode.INELIGIBLE_REPLICA)])
def test_a_member_must_be_the_incarnation_that_is_registered(epoch: int, error: ErrorCode) -> None:
    """KC-64, KIP-903: -1 comes from a follower whose fetches do not tell it."""
    cluster = LoneController()
    cluster.alter(["1", "2"])

    assert cluster.alter(["1", "2", "3"], member_epochs={"3": epoch}).error is error


def test_a_recovered_partition_cannot_be_called_recovering_by_its_leader() -> None:
    """KC-63."""
    cluster = LoneController()
    cluster.alter(["1"])

    assert cluster.alter(["1"], recovering=True).error is ErrorCode.INVALID_REQUEST


def test_a_recovering_partition_recovers_with_its_isr_or_alone() -> None:
    """KC-63: RECOVERING with more than one member is refused."""
    cluster = LoneController("3.9", given=(("unclean.leader.election.enable", "true"),))
    cluster.alter(["1"])
    cluster.fence("1")
    assert cluster.controller.state_of("t-0").recovering

    assert cluster.alter(["2", "3"], recovering=True).error is ErrorCode.INVALID_REQUEST
    assert cluster.alter(["2"], recovering=True).error is ErrorCode.NONE
    assert cluster.alter(["2", "3"]).error is ErrorCode.NONE
    assert not cluster.controller.state_of("t-0").recovering


def test_an_unknown_partition_is_an_error_of_its_own_item() -> None:
    """KC-60."""
    cluster = LoneController()
    unknown = [AlterPartitionItem(partition, 0, 0, (("1", 1),), recovering=False) for partition in ("t-9", "nowhere-0")]

    response = cluster.ask("1", AlterPartitionRequest("1", 1, tuple(unknown)))

    assert [result.error for result in getattr(response, "results", ())] == [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.UNKNOWN_TOPIC_ID]


# Fencing.


def test_fencing_changes_the_partitions_first_and_unfencing_the_broker_first() -> None:
    """KC-20: whoever reads the metadata log never sees a fenced leader."""
    cluster = LoneController("3.9")
    cluster.fence("1")
    cluster.fence("2", "3")
    cluster.facts.clear()
    cluster.unfence("3")

    assert [type(fact) for _, fact in cluster.facts] == [BrokerChanged, PartitionChanged]
    fenced = LoneController("3.9")
    fenced.fence("1")
    assert [type(fact) for _, fact in fenced.facts] == [PartitionChanged, BrokerChanged]


def test_unfencing_elects_where_nobody_leads_and_puts_nobody_back_into_an_isr() -> None:
    """KC-22: that is for the leaders to ask."""
    cluster = LoneController("3.9", assignment=(("1", "2", "3"), ("1",)))
    cluster.fence("1")
    assert (cluster.shape(0), cluster.shape(1)) == (("2", "23"), ("", "1"))
    cluster.unfence("1")

    assert (cluster.shape(0), cluster.shape(1)) == (("2", "23"), ("1", "1"))


def test_an_accepted_isr_change_never_moves_the_leader() -> None:
    """KC-65: without a reassignment it cannot."""
    cluster = LoneController()
    for isr in (["1"], ["1", "2"], ["1", "2", "3"], ["1", "3"]):
        result = cluster.alter(isr)

        assert (result.error, result.leader, result.isr) == (ErrorCode.NONE, "1", tuple(isr))


def test_members_of_the_elr_are_elected_cleanly_for_they_have_what_was_committed() -> None:
    """KC-51: they left while the high watermark stood still."""
    cluster = LoneController("4.3", given=(("min.insync.replicas", "2"),))
    cluster.fence("1", "2", "3")
    assert (cluster.shape(), cluster.elr()[0]) == (("", ""), "23")
    cluster.unfence("2")
    state = cluster.controller.state_of("t-0")

    assert (cluster.shape(), state.recovering) == (("2", "2"), False)
