"""A member of a group, of either protocol, with answers made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.client_metadata import ClientMetadata
from ksim_models.client_network import ClientNetwork
from ksim_models.consumer_config import ConsumerConfig
from ksim_models.consumer_coordinator import MemberState
from ksim_models.consumer_group import GroupMember
from ksim_models.consumer_protocol_member import ConsumerProtocolMember, Phase
from ksim_models.errors import ErrorCode as E
from ksim_models.profiles import client_profile
from ksim_models.transaction_messages import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    OffsetCommitRequest,
)
from ksim_models.units import ms
from scripted import Half

NOW = ms(10_000)


def member(state: MemberState = MemberState.STABLE, *, kafka: str = "4.3", **settings: Any) -> GroupMember:
    """m, of generation 5."""
    config, profile, dice = ConsumerConfig(group_id="g", session_timeout_ms=45_000, **settings), client_profile(kafka), Half()
    network, metadata = ClientNetwork("c", config, profile, dice), ClientMetadata("c", ["b1"], config, profile, dice)
    made = GroupMember("c", ["t"], config, network, metadata, dice, profile)
    made.state, made.member, made.generation, made.coordinator = state, "m", 5, "coordinator-b1"
    made.rejoin_needed = False
    made._begin_to_beat(ms(8_000))
    return made


def beaten(one: GroupMember, error: E = E.NONE, *, generation: int = 5, at: int = NOW) -> None:
    one.answered(HeartbeatRequest("g", "m", generation), HeartbeatResponse(error), at, [])


def test_a_heartbeat_in_vain_is_made_up_for_later_each_time() -> None:
    """Heartbeat.failHeartbeat, KIP-580; whatever lets the next one wait for its turn, a success begins anew."""
    one = member()
    waits = []
    for _ in range(5):
        beaten(one, E.COORDINATOR_NOT_AVAILABLE)
        waits.append((one.beat_at - NOW) // 1_000)
    one.lost("coordinator-b1", [HeartbeatRequest("g", "m", 5)], NOW)
    waits.append((one.beat_at - NOW) // 1_000)
    beaten(one)
    beaten(one, E.COORDINATOR_NOT_AVAILABLE)

    assert waits == [100, 200, 400, 800, 1_000, 1_000]
    assert one.beat_at - NOW == ms(100)


def test_before_3_7_it_is_made_up_for_after_retry_backoff_ms() -> None:
    one = member(kafka="3.6", retry_backoff_max_ms=100)
    for _ in range(3):
        beaten(one, E.COORDINATOR_NOT_AVAILABLE)
        assert one.beat_at - NOW == ms(100)


STABLE, JOINING, GONE = MemberState.STABLE, MemberState.COMPLETING_REBALANCE, MemberState.UNJOINED


@pytest.mark.parametrize(
    ("state", "error", "generation", "then", "member_id", "heard", "rejoins", "thrown"),
    [
        (STABLE, E.NONE, 5, STABLE, "m", True, False, ""),
        (STABLE, E.REBALANCE_IN_PROGRESS, 5, STABLE, "m", True, True, ""),
        (JOINING, E.REBALANCE_IN_PROGRESS, 5, JOINING, "m", True, False, ""),
        (STABLE, E.NOT_COORDINATOR, 5, STABLE, "m", False, False, ""),
        (STABLE, E.GROUP_AUTHORIZATION_FAILED, 5, STABLE, "m", False, False, ""),
        (STABLE, E.COORDINATOR_LOAD_IN_PROGRESS, 5, STABLE, "m", False, False, ""),
        (STABLE, E.UNKNOWN_MEMBER_ID, 5, GONE, "", False, True, ""),
        (STABLE, E.ILLEGAL_GENERATION, 5, GONE, "m", False, True, ""),
        (STABLE, E.FENCED_INSTANCE_ID, 5, GONE, "", False, True, "FencedInstanceIdException"),
        (STABLE, E.UNKNOWN_MEMBER_ID, 4, STABLE, "m", True, False, ""),
        (STABLE, E.ILLEGAL_GENERATION, 4, STABLE, "m", True, False, ""),
        (STABLE, E.FENCED_INSTANCE_ID, 4, STABLE, "m", True, False, ""),
    ],
)
def test_what_an_answer_to_a_heartbeat_means(
    state: MemberState, error: E, generation: int, then: MemberState, member_id: str, heard: bool, rejoins: bool, thrown: str
) -> None:
    """HeartbeatResponseHandler. heard: the session begins anew; an error about a generation of before counts as an answer too."""
    one = member(state)
    beaten(one, error, generation=generation)

    assert (one.state, one.member, one.rejoin_needed) == (then, member_id, rejoins)
    assert (one.generation == 5) is (then is not GONE)
    assert (one.session_until == NOW + ms(45_000)) is heard
    assert (one.thrown.error if one.thrown is not None else "") == thrown
    assert (one.coordinator == "") is (error is E.NOT_COORDINATOR)


PREPARING = MemberState.PREPARING_REBALANCE
REBALANCING, FAILED = "RebalanceInProgressException", "CommitFailedException"


@pytest.mark.parametrize(
    ("state", "error", "generation", "failure", "retriable", "then"),
    [
        (STABLE, E.REBALANCE_IN_PROGRESS, 5, REBALANCING, False, STABLE),
        (STABLE, E.UNKNOWN_MEMBER_ID, 5, FAILED, False, GONE),
        (STABLE, E.ILLEGAL_GENERATION, 4, FAILED, False, GONE),
        (PREPARING, E.ILLEGAL_GENERATION, 5, FAILED, False, GONE),
        (PREPARING, E.ILLEGAL_GENERATION, 4, REBALANCING, False, PREPARING),
        (STABLE, E.FENCED_INSTANCE_ID, 5, "FencedInstanceIdException", False, STABLE),
        (STABLE, E.FENCED_INSTANCE_ID, 4, FAILED, False, STABLE),
        (PREPARING, E.FENCED_INSTANCE_ID, 4, REBALANCING, False, PREPARING),
        (STABLE, E.COORDINATOR_LOAD_IN_PROGRESS, 5, "CoordinatorLoadInProgressException", True, STABLE),
        (STABLE, E.UNKNOWN_TOPIC_OR_PARTITION, 5, "UnknownTopicOrPartitionException", True, STABLE),
        (STABLE, E.GROUP_AUTHORIZATION_FAILED, 5, "GroupAuthorizationException", False, STABLE),
        (STABLE, E.TOPIC_AUTHORIZATION_FAILED, 5, "TopicAuthorizationException", False, STABLE),
        (STABLE, E.OFFSET_METADATA_TOO_LARGE, 5, "OffsetMetadataTooLarge", False, STABLE),
        (STABLE, E.UNKNOWN_SERVER_ERROR, 5, "KafkaException", False, STABLE),
    ],
)
def test_what_an_error_of_a_commit_means(state: MemberState, error: E, generation: int, failure: str, retriable: bool, then: MemberState) -> None:
    """OffsetCommitResponseHandler."""
    one = member(state)

    assert one.commit_failure(OffsetCommitRequest("g", (("t-0", 1),), "m", generation), error) == (failure, retriable)
    assert (one.state, one.rejoin_needed) == (then, error is E.REBALANCE_IN_PROGRESS or then is GONE)


@pytest.mark.parametrize(("state", "refusal"), [(STABLE, ""), (GONE, FAILED), (PREPARING, REBALANCING), (JOINING, REBALANCING)])
def test_what_a_commit_fails_with_before_it_is_sent(state: MemberState, refusal: str) -> None:
    """sendOffsetCommitRequest: generationIfStable."""
    assert member(state).commit_refusal == refusal


# A member of the consumer protocol (KIP-848).


def new_member(phase: Phase = Phase.STABLE) -> ConsumerProtocolMember:
    """Of epoch 5, with t-0; its beat was sent 20 ms ago, and the next one is due in five seconds."""
    config, profile, dice = ConsumerConfig(group_id="g", group_protocol="consumer"), client_profile("4.3"), Half()
    network, metadata = ClientNetwork("c", config, profile, dice), ClientMetadata("c", ["b1"], config, profile, dice)
    made = ConsumerProtocolMember("c", ["t"], config, network, metadata, dice)
    made.phase, made.epoch, made.coordinator, made.owned = phase, 5, "coordinator-b1", ("t-0",)
    made.current = made.target = made.told_owned = (0, ("t-0",))
    made.interval = ms(5_000)
    made.beat_at = NOW - ms(20) + made.interval
    made.under_way = ConsumerGroupHeartbeatRequest("g", "m", 5)
    return made


def told(one: ConsumerProtocolMember, error: E, at: int = NOW) -> None:
    one.under_way = ConsumerGroupHeartbeatRequest("g", "m", 5)
    one.answered(one.under_way, ConsumerGroupHeartbeatResponse(error), at, [])


def beats_from(one: ConsumerProtocolMember) -> int | None:
    """How many ms later it beats again; None: not at all."""
    return next((wait for wait in range(6_000) if one._wants_to_beat(NOW + ms(wait))), None)


@pytest.mark.parametrize(
    ("error", "phase", "beats", "knows", "thrown"),
    [
        (E.COORDINATOR_LOAD_IN_PROGRESS, Phase.STABLE, 100, True, ""),
        (E.NOT_COORDINATOR, Phase.STABLE, 0, False, ""),
        (E.COORDINATOR_NOT_AVAILABLE, Phase.STABLE, 0, False, ""),
        (E.FENCED_MEMBER_EPOCH, Phase.FENCED, None, True, ""),
        (E.UNKNOWN_MEMBER_ID, Phase.FENCED, None, True, ""),
        (E.TOPIC_AUTHORIZATION_FAILED, Phase.STABLE, 100, True, "TopicAuthorizationException"),
        (E.GROUP_AUTHORIZATION_FAILED, Phase.STABLE, None, True, "GroupAuthorizationException"),
        (E.UNRELEASED_INSTANCE_ID, Phase.STABLE, None, True, "UnreleasedInstanceIdException"),
        (E.INVALID_REQUEST, Phase.STABLE, None, True, "InvalidRequestException"),
    ],
)
def test_what_an_error_of_a_consumer_group_heartbeat_means(error: E, phase: Phase, beats: int | None, knows: bool, thrown: str) -> None:
    """AbstractHeartbeatRequestManager.onErrorResponse; HeartbeatRequestState.onFailedAttempt: no beat that failed waits for its interval."""
    one = new_member()
    told(one, error)

    assert (one.phase, beats_from(one), one.coordinator != "") == (phase, beats, knows)
    assert (one.thrown.error if one.thrown is not None else "") == thrown
    assert one.told_owned is None, "the next one says everything"


def test_a_beat_that_fails_again_waits_longer_and_one_that_need_not_wait_begins_anew() -> None:
    one = new_member()
    waits = []
    for _ in range(3):
        told(one, E.COORDINATOR_LOAD_IN_PROGRESS)
        waits.append(beats_from(one))
    one.under_way = ConsumerGroupHeartbeatRequest("g", "m", 5)
    one.lost("b1", [one.under_way], NOW)
    waits.append(beats_from(one))
    told(one, E.NOT_COORDINATOR)
    one.coordinator = "coordinator-b2"
    waits.append(beats_from(one))
    told(one, E.COORDINATOR_LOAD_IN_PROGRESS)

    assert [*waits, beats_from(one)] == [100, 200, 400, 800, 0, 100]


@pytest.mark.parametrize(("error", "leaves"), [(None, True), (E.TOPIC_AUTHORIZATION_FAILED, True), (E.GROUP_AUTHORIZATION_FAILED, False)])
def test_who_has_failed_for_good_does_not_say_that_it_leaves(error: E | None, leaves: bool) -> None:
    """AbstractMembershipManager.leaveGroup: isNotInGroup; its group waits for its session to end."""
    one = new_member()
    said: list[int] = []
    one._say_that_it_leaves = lambda now, out: said.append(now)  # type: ignore[method-assign]
    if error is not None:
        told(one, error)
    one.leave(NOW, [])

    assert (said == [NOW]) is leaves
    assert one.phase is Phase.LEFT


@pytest.mark.parametrize(
    ("error", "failure", "retriable"),
    [
        (E.UNKNOWN_MEMBER_ID, FAILED, False),
        (E.STALE_MEMBER_EPOCH, "StaleMemberEpochException", False),
        (E.COORDINATOR_LOAD_IN_PROGRESS, "CoordinatorLoadInProgressException", True),
        (E.UNKNOWN_TOPIC_OR_PARTITION, "UnknownTopicOrPartitionException", True),
        (E.REQUEST_TIMED_OUT, "TimeoutException", True),
        (E.GROUP_AUTHORIZATION_FAILED, "GroupAuthorizationException", False),
        (E.TOPIC_AUTHORIZATION_FAILED, "TopicAuthorizationException", False),
        (E.OFFSET_METADATA_TOO_LARGE, "OffsetMetadataTooLarge", False),
        (E.INVALID_COMMIT_OFFSET_SIZE, "InvalidCommitOffsetSizeException", False),
        (E.REBALANCE_IN_PROGRESS, "KafkaException", False),
    ],
)
def test_what_an_error_of_a_commit_means_by_the_consumer_protocol(error: E, failure: str, retriable: bool) -> None:
    """CommitRequestManager.OffsetCommitRequestState.onResponse."""
    assert new_member().commit_failure(OffsetCommitRequest("g", (("t-0", 1),), "m", 5), error) == (failure, retriable)
