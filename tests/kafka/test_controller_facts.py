"""What Kafka's own tests of the controller say beyond the vectors of section G: one row, one fact.

Kafka: PartitionChangeBuilderTest, ReplicationControlManagerTest, PartitionReassignmentReplicasTest, QuorumControllerTest, ClusterControlManagerTest.
"""

from __future__ import annotations

import pytest

from ksim_models.config import BrokerConfig
from ksim_models.elections import Assignment, Election, PartitionChangeBuilder, PartitionState
from ksim_models.errors import ErrorCode as E
from ksim_models.facts import PartitionChanged
from ksim_models.image import Image
from ksim_models.messages import ClearElrRecord, CreateTopicRequest, DeleteTopicRequest, PartitionRecord, TopicRecord
from ksim_models.profiles import broker_profile
from lone_controller import LoneController


def cluster(version: str, *assignment: str, min_isr: int = 1, brokers: str = "12345", unclean: bool = False) -> LoneController:
    config = BrokerConfig(unclean_leader_election_enable=unclean)
    given = (("min.insync.replicas", str(min_isr)),)
    return LoneController(version, brokers=tuple(brokers), assignment=[tuple(replicas) for replicas in assignment], given=given, config=config)


def changed(
    version: str,
    replicas: str,
    isr: str,
    leader: str,
    *,
    elr: str = "",
    last_known: str = "",
    adding: str = "",
    removing: str = "",
    alive: str = "1234",
    target_isr: str | None = None,
    election: Election = Election.ANY,
    min_isr: int = 3,
    lost: str = "",
    recovering: bool = False,
    recovers: bool | None = None,
    assignment: Assignment | None = None,
) -> PartitionState | None:
    """The next state, None where there is none. It stood at leader epoch 100 and partition epoch 200."""
    was = PartitionState("foo-0", tuple(replicas), tuple(isr), tuple(elr), tuple(last_known), leader, 100, 200, recovering, tuple(adding), tuple(removing))
    change = PartitionChangeBuilder(
        partition=was,
        profile=broker_profile(version),
        is_acceptable=lambda replica: replica in alive,
        min_insync_replicas=min_isr,
        election=election,
        target_isr=None if target_isr is None else tuple(target_isr),
        unclean_shutdown=tuple(lost),
        recovering=recovers,
        assignment=assignment,
    ).build()
    return None if change is None else change.state


def shape(state: PartitionState | None) -> tuple[str, ...] | None:
    """Leader, ISR, ELR, last known ELR."""
    return None if state is None else (state.leader, *("".join(names) for names in (state.isr, state.elr, state.last_known_elr)))


@pytest.mark.parametrize(
    ("change", "after"),
    [
        pytest.param(
            {"isr": "12", "leader": "1", "elr": "34", "target_isr": "123"}, ("1", "123", "", ""), id="testEligibleLeaderReplicas_IsrExpandAboveMinISR"
        ),
        pytest.param({"isr": "1", "leader": "1", "elr": "34", "target_isr": "14"}, ("1", "14", "3", ""), id="..._IsrAddNewMemberNotInELR, but in it"),
        pytest.param({"isr": "", "leader": "", "elr": "123", "last_known": "4", "alive": "3"}, ("3", "3", "12", ""), id="..._ElrCanBeElected"),
        pytest.param({"isr": "1", "leader": "1", "target_isr": "", "alive": ""}, ("", "", "1", "1"), id="..._lastKnownElrShouldBePopulatedWhenNoLeader"),
        pytest.param({"isr": "", "leader": "", "last_known": "1", "alive": "234"}, None, id="..._ElectLastKnownLeaderShouldFail: it is away"),
        pytest.param(
            {"isr": "", "leader": "", "elr": "2", "last_known": "1", "alive": "134"}, None, id="..._ElectLastKnownLeaderShouldFail: the ELR is not empty"
        ),
        pytest.param({"isr": "", "leader": "", "last_known": "12"}, None, id="..._ElectLastKnownLeaderShouldFail: two are known"),
        pytest.param({"isr": "", "leader": "", "last_known": ""}, None, id="..._NotEligibleLastKnownLeader: none is known"),
        pytest.param(
            {"isr": "", "leader": "", "elr": "1", "last_known": "1", "lost": "1", "alive": "234"},
            ("", "", "", "1"),
            id="the last of the ELR restarts uncleanly",
        ),
        pytest.param(
            {"isr": "", "leader": "", "last_known": "1", "alive": "234", "election": Election.UNCLEAN},
            ("2", "2", "", ""),
            id="testUncleanLeaderElection: whoever lives, where the last known leader does not",
        ),
    ],
)
def test_what_a_change_makes_of_the_elr(change: dict[str, object], after: tuple[str, ...] | None) -> None:
    """PartitionChangeBuilderTest: KC-50, KC-53, KC-55 with replicas 1234 and a minimum of 3."""
    assert shape(changed("4.3", "1234", **change)) == after  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("version", "change", "epoch"),
    [
        pytest.param("4.3", {"target_isr": "21"}, 100, id="testNoLeaderEpochBumpOnIsrShrink"),
        pytest.param("3.6", {"target_isr": "21"}, 100, id="testNoLeaderEpochBumpOnIsrShrink, 3.6"),
        pytest.param("3.3", {"target_isr": "21"}, 101, id="testLeaderEpochBumpOnIsrShrink, 3.3"),
        pytest.param("3.5", {"isr": "21", "target_isr": "213"}, 100, id="testNoLeaderEpochBumpOnIsrExpansion, 3.5"),
        pytest.param("4.3", {"assignment": Assignment(tuple("2134"), ("4",))}, 100, id="testLeaderEpochBumpOnNewReplicaSetDisjoint: only more"),
        pytest.param("4.3", {"assignment": Assignment(tuple("312"))}, 100, id="testReassignmentRearrangesReplicas"),
        pytest.param("4.3", {"assignment": Assignment(tuple("214"))}, 101, id="testLeaderEpochBumpOnNewReplicaSetDisjoint"),
        pytest.param(
            "3.5", {"isr": "3", "leader": "", "target_isr": ""}, 101, id="KAFKA-16624, 3.5: the last of the ISR leaves a partition without a leader again"
        ),
        pytest.param("3.6", {"isr": "3", "leader": "", "target_isr": ""}, None, id="testNoLeaderEpochBumpOnEmptyTargetIsr, 3.6"),
    ],
)
def test_when_the_leader_epoch_rises(version: str, change: dict[str, object], epoch: int | None) -> None:
    """PartitionChangeBuilderTest: KC-47, with replicas 213, led by 1. None: nothing changes at all."""
    state = changed(version, "213", **{"isr": "213", "leader": "1", "alive": "12", **change})  # type: ignore[arg-type]

    assert (None if state is None else state.leader_epoch) == epoch


@pytest.mark.parametrize(
    ("recovering", "change", "after"),
    [
        pytest.param(True, {"alive": "2", "target_isr": "2"}, True, id="testChangeInLeadershipDoesNotChangeRecoveryState: RECOVERING stays"),
        pytest.param(False, {"alive": "2", "target_isr": "2"}, False, id="testChangeInLeadershipDoesNotChangeRecoveryState: RECOVERED stays"),
        pytest.param(False, {"alive": "3", "target_isr": "12", "election": Election.UNCLEAN}, True, id="testUncleanSetsLeaderRecoveringState"),
        pytest.param(True, {"alive": "3", "target_isr": "12", "election": Election.UNCLEAN}, True, id="testUncleanSetsLeaderRecoveringState again"),
        pytest.param(True, {"target_isr": "12", "recovers": False}, False, id="its leader says that it has recovered"),
    ],
)
def test_whether_a_partition_is_recovering(recovering: bool, change: dict[str, object], after: bool) -> None:
    """PartitionChangeBuilderTest: KC-43."""
    state = changed("3.9", "123", "12", "1", recovering=recovering, **change)  # type: ignore[arg-type]

    assert state is not None
    assert state.recovering is after


@pytest.mark.parametrize("version", ["3.3", "3.9", "4.3"])
def test_a_leader_that_a_reassignment_removes_goes_though_nobody_can_follow_it(version: str) -> None:
    """PartitionChangeBuilderTest.testStoppedLeaderIsDemotedAfterReassignmentCompletesEvenIfNoNewEligibleLeaders."""
    state = changed(version, "1234", "1234", "1", removing="1", alive="1", min_isr=1, target_isr="1234")

    assert state is not None
    assert (state.leader, state.leader_epoch, state.replicas, state.isr) == ("", 101, tuple("234"), tuple("234"))


@pytest.mark.parametrize(
    ("version", "replicas", "adding", "removing", "isr", "complete"),
    [
        pytest.param("4.3", "3451", "345", "1", "3451", True, id="testCanCompleteReassignmentAllNewReplicas"),
        pytest.param(
            "4.3", "340120", "34", "012", "340", True, id="testCanCompleteReassignmentSomeNewReplicas, as many as go or fewer: all of the target are there"
        ),
        pytest.param("4.3", "01", "", "", "01", False, id="testDoesNotCompleteReassignmentIfNoneOngoing"),
        pytest.param("4.3", "3401", "34", "01", "301", False, id="testDoesNotCompleteReassignment"),
        pytest.param("3.3", "0134", "34", "1", "34", True, id="testCanCompleteReassignmentIfIsrDoesNotHaveAnExistingTargetReplica, 3.3"),
        pytest.param("3.9", "0134", "34", "1", "34", False, id="testDoesNotCompleteReassignmentIfIsrDoesNotHaveAllTargetReplicas, 3.9"),
        pytest.param("4.3", "0134", "34", "1", "34", True, id="testCanCompleteReassignmentIfIsrDoesNotHaveAnExistingTargetReplica, 4.3"),
        pytest.param("4.3", "0134", "34", "1", "04", False, id="testDoesNotCompleteReassignmentIfIsrDoesNotHaveAnAddingTargetReplica"),
        pytest.param("4.3", "23501", "5", "01", "5", False, id="testDoesNotCompleteReassignmentWhenReplicationFactorDecreases..., 4.3"),
        pytest.param("3.7", "23501", "5", "01", "5", True, id="the same, 3.7"),
    ],
)
def test_when_a_reassignment_is_complete(version: str, replicas: str, adding: str, removing: str, isr: str, complete: bool) -> None:
    """PartitionReassignmentReplicasTest: KC-48."""
    before = Assignment(tuple(replicas), tuple(adding), tuple(removing))
    after, _ = before.completed(tuple(isr), broker_profile(version).reassignment_needs)

    assert (after is not before) is complete


# The minimum of the ISR, and what it makes of the ELR.


def test_another_minimum_forgets_the_last_known_leader_too() -> None:
    """ReplicationControlManagerTest.testElrsRemovedOnMinIsrUpdate: KC-59. Nobody is left whom the controller would elect by itself, until an operator does."""
    known, forgotten = cluster("4.3", "123", min_isr=2), cluster("4.3", "123", min_isr=2)
    for them in (known, forgotten):
        them.fence("2", "3", "1")
        for broker in "231":
            them.silence(broker)
            assert them.register(broker) is E.NONE
        assert (them.shape(), them.elr()) == (("", ""), ("", "1"))
    epoch = forgotten.controller.state_of("t-0").partition_epoch
    assert forgotten.configure("topic", "t", min_insync_replicas="1") is E.NONE
    assert (forgotten.elr(), forgotten.controller.state_of("t-0").partition_epoch) == (("", ""), epoch + 1)

    for them in (known, forgotten):
        them.unfence("1", "2", "3")

    assert (known.shape(), forgotten.shape()) == (("1", "1"), ("", ""))
    assert forgotten.elect("unclean") is E.NONE
    assert forgotten.shape() == ("1", "1")


def test_another_minimum_is_no_change_where_there_is_nothing_to_forget() -> None:
    """ReplicationControlManagerTest.testElrsRemovedShouldNotBumpPartitionEpochIfNoChange."""
    them = cluster("4.3", "123", "145", min_isr=3)
    them.fence("2")
    before = [them.controller.state_of(f"t-{number}").partition_epoch for number in (0, 1)]
    them.configure("broker", "", min_insync_replicas="2")
    after = [them.controller.state_of(f"t-{number}").partition_epoch for number in (0, 1)]

    assert (after, them.elr()) == ([before[0] + 1, before[1]], ("", ""))
    assert [fact.partition for _, fact in them.facts if isinstance(fact, PartitionChanged) and fact.why == "min.insync.replicas"] == ["t-0"]


def test_a_broker_sees_the_same_partition_epoch_as_the_controller() -> None:
    """TopicDelta.replay(ClearElrRecord)."""
    image = Image()
    image.apply(TopicRecord(name, 1, ()) for name in ("t", "u"))
    image.apply(PartitionRecord(f"{name}-0", ("b1", "b2"), ("b1",), ("b2",), (), "b1", 0, 4, False) for name in ("t", "u"))

    delta = image.apply([ClearElrRecord("t")])

    assert {name: (record.elr, record.partition_epoch) for name, record in delta.partitions.items()} == {"t-0": ((), 5)}
    assert image.partitions["u-0"].elr == ("b2",)
    assert set(image.apply([ClearElrRecord("")]).partitions) == {"u-0"}


@pytest.mark.parametrize(
    ("assignment", "min_isr", "elr"),
    [
        pytest.param(("123",), 5, "3", id="testEligibleLeaderReplicas_EffectiveMinIsr: 5 counts as 3"),
        pytest.param(("12", "345"), 3, "", id="getTopicEffectiveMinIsr: the first partition's number of replicas is that of the topic"),
    ],
)
def test_the_minimum_counts_as_at_most_the_replicas_of_the_first_partition(assignment: tuple[str, ...], min_isr: int, elr: str) -> None:
    them = cluster("4.3", *assignment, min_isr=min_isr)
    last = len(assignment) - 1

    them.fence("3" if last == 0 else "5")

    assert them.elr(last)[0] == elr


def test_replicas_that_a_reassignment_takes_away_may_stay_in_the_elr_and_in_the_way() -> None:
    """PartitionChangeBuilder.maybePopulateTargetElr asks nobody whether they still are replicas: the last known leader is not elected because of them."""
    them = cluster("4.3", "123", min_isr=2)
    assert them.reassign("1") is E.NONE
    state = them.controller.state_of("t-0")
    assert (state.replicas, state.isr, state.elr) == (("1",), ("1",), tuple("23"))
    them.silence("1")
    assert them.register("1") is E.NONE
    assert (them.shape(), them.elr()) == (("", ""), ("23", "1"))

    them.unfence("1")

    assert them.shape() == ("", "")


def test_a_deleted_topic_leaves_no_elr_behind() -> None:
    """ReplicationControlManagerTest.testEligibleLeaderReplicas_DeleteTopic."""
    them = cluster("4.3", "123", min_isr=3)
    them.fence("3", "2")
    assert them.elr()[0] == "23"

    assert them.administer(DeleteTopicRequest("t")) is E.NONE
    assert them.administer(CreateTopicRequest("t", (("1", "2", "3"),), ())) is E.NONE

    assert (them.shape(), them.elr()) == (("1", "1"), ("", ""))
