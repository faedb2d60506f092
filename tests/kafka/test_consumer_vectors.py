"""What an answer means to a consumer, by release: ConsumerCoordinatorTest, AbstractCoordinatorTest, FetcherTest, FetchCollectorTest, OffsetFetcherTest."""

from __future__ import annotations

from itertools import pairwise

import pytest

from group_stage import GROUP, LOAD, RECORDS, SYNC, commits, member, reads, times_read
from ksim import Run, Scenario, simulate
from ksim_models.client_metadata import ClientMetadata
from ksim_models.client_network import ClientNetwork
from ksim_models.consumer_config import ConsumerConfig
from ksim_models.consumer_facts import PollFailed
from ksim_models.consumer_fetching import Fetching, Thrown
from ksim_models.consumer_keys import COOPERATIVE_ASSIGNOR
from ksim_models.consumer_positions import Positions
from ksim_models.errors import ErrorCode
from ksim_models.profiles import client_profile
from ksim_models.transaction_messages import (
    ConsumerFetchedPartition,
    ConsumerFetchPartition,
    ConsumerFetchRequest,
    ConsumerFetchResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
)
from scripted import Half

ANSWER = '[[fault]]\nwhen = {{ request = "{api}", from = "r1", nth = {nth} }}\ndo = "answer"\nerror = "{error}"\n'
E = ErrorCode


def play(*members: str, clients: str = "4.3", fault: str = "", records: int = 150) -> Run:
    group = GROUP.replace('kafka = "4.3"', f'kafka = {{ brokers = "4.3", clients = "{clients}" }}')
    return simulate(Scenario.loads(group + "".join(members) + LOAD.format(records=records) + fault))


def thrown(run: Run) -> list[str]:
    return [fact.error for _, fact in run.history.of(PollFailed)]


class Reader:
    """A consumer that stands at offset 10 of t-0, whose answers are made by hand."""

    def __init__(self) -> None:
        config, profile, dice = ConsumerConfig(auto_offset_reset="earliest"), client_profile("4.3"), Half()
        self.positions = Positions()
        self.metadata = ClientMetadata("c", ["b1"], config, profile, dice)
        self.fetching = Fetching(config, self.positions, ClientNetwork("c", config, profile, dice), self.metadata)
        self.positions.assign(["t-0"])
        self.position = self.positions.by_partition["t-0"]
        self.position.seek(10, 0, ("b1", 0))

    def poll(self) -> str:
        try:
            self.fetching.update_positions(0, [])
            self.fetching.collect()
        except Thrown as failure:
            return failure.error
        return ""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (E.NOT_LEADER_OR_FOLLOWER, ""),
        (E.REPLICA_NOT_AVAILABLE, ""),
        (E.KAFKA_STORAGE_ERROR, ""),
        (E.FENCED_LEADER_EPOCH, ""),
        (E.OFFSET_NOT_AVAILABLE, ""),
        (E.UNKNOWN_TOPIC_OR_PARTITION, ""),
        (E.UNKNOWN_TOPIC_ID, ""),
        (E.INCONSISTENT_TOPIC_ID, ""),
        (E.UNKNOWN_LEADER_EPOCH, ""),
        (E.UNKNOWN_SERVER_ERROR, ""),
        (E.TOPIC_AUTHORIZATION_FAILED, "TopicAuthorizationException"),
        (E.CORRUPT_MESSAGE, "KafkaException"),
        (E.NOT_ENOUGH_REPLICAS, "IllegalStateException"),
    ],
)
def test_what_poll_makes_of_the_error_of_a_fetch(error: ErrorCode, expected: str) -> None:
    """FetchCollectorTest.testFetchWithMetadataRefreshErrors, ...TopicAuthorizationFailed, ...UnknownServerError, ...CorruptMessage, ...OtherErrors."""
    reader = Reader()
    request = ConsumerFetchRequest((ConsumerFetchPartition("t-0", 10, 0),), False, 500, 1, 1 << 20, 1 << 20)
    reader.fetching.fetched("b1", request, ConsumerFetchResponse((ConsumerFetchedPartition("t-0", error, 99, 99, 0, (), ()),)), 0, [])

    assert (reader.poll(), reader.poll()) == (expected, "")
    assert reader.position.offset == 10


@pytest.mark.parametrize("api", ["ListOffsets", "OffsetForLeaderEpoch"])
@pytest.mark.parametrize(("error", "expected"), [(E.TOPIC_AUTHORIZATION_FAILED, "TopicAuthorizationException"), (E.UNKNOWN_SERVER_ERROR, "")])
def test_only_a_missing_permission_is_told_of_questions_about_positions(api: str, error: ErrorCode, expected: str) -> None:
    """OffsetFetcherTest.testResetOffsetsAuthorizationFailure, testFetchOffsetErrors: the next poll() throws it, the one behind it asks again."""
    reader = Reader()
    if api == "ListOffsets":
        reader.position.request_reset("earliest")
        reader.fetching.offsets_listed(ListOffsetsRequest((("t-0", 0),), "earliest", False), ListOffsetsResponse((("t-0", error, -1, -1),)), 0)
    else:
        reader.position.meet_leader(("b2", 1))
        reader.fetching.epochs_came(OffsetForLeaderEpochRequest((("t-0", 1, 0),)), OffsetForLeaderEpochResponse((("t-0", error, -1, -1),)), 0)

    assert (reader.poll(), reader.poll()) == (expected, "")


@pytest.mark.parametrize(
    ("api", "error", "expected"),
    [
        ("JoinGroup", "COORDINATOR_LOAD_IN_PROGRESS", []),
        ("JoinGroup", "REBALANCE_IN_PROGRESS", []),
        ("JoinGroup", "UNKNOWN_MEMBER_ID", []),
        ("JoinGroup", "NOT_COORDINATOR", []),
        ("JoinGroup", "GROUP_MAX_SIZE_REACHED", ["GroupMaxSizeReachedException"]),
        ("JoinGroup", "INCONSISTENT_GROUP_PROTOCOL", ["InconsistentGroupProtocolException"]),
        ("JoinGroup", "FENCED_INSTANCE_ID", ["FencedInstanceIdException"]),
        ("JoinGroup", "GROUP_AUTHORIZATION_FAILED", ["GroupAuthorizationException"]),
        ("JoinGroup", "REQUEST_TIMED_OUT", ["KafkaException"]),
        ("JoinGroup", "UNKNOWN_SERVER_ERROR", ["KafkaException"]),
        ("SyncGroup", "REBALANCE_IN_PROGRESS", []),
        ("SyncGroup", "ILLEGAL_GENERATION", []),
        ("SyncGroup", "UNKNOWN_MEMBER_ID", []),
        ("SyncGroup", "NOT_COORDINATOR", []),
        ("SyncGroup", "FENCED_INSTANCE_ID", ["FencedInstanceIdException"]),
        ("SyncGroup", "GROUP_AUTHORIZATION_FAILED", ["GroupAuthorizationException"]),
        ("SyncGroup", "COORDINATOR_LOAD_IN_PROGRESS", ["KafkaException"]),
        ("Heartbeat", "GROUP_AUTHORIZATION_FAILED", []),
        ("Heartbeat", "ILLEGAL_GENERATION", []),
        ("Heartbeat", "FENCED_INSTANCE_ID", ["FencedInstanceIdException"]),
    ],
)
def test_what_a_member_makes_of_the_error_of_its_group(api: str, error: str, expected: list[str]) -> None:
    """AbstractCoordinatorTest.testJoinGroupRequestWithFencedInstanceIdException, testJoinGroupRequestWithRebalanceInProgress, testHeartbeatRequestWith...;
    ConsumerCoordinatorTest.testJoinGroupInvalidGroupId, testUnexpectedErrorOnSyncGroup: what is not expected is a KafkaException, retriable or not.
    """
    run = play(member("r1", SYNC), fault=ANSWER.format(api=api, error=error, nth=2 if api == "JoinGroup" else 1))

    assert thrown(run) == expected
    if not expected:
        assert times_read(run) == dict.fromkeys(range(150), 1)


@pytest.mark.parametrize(
    ("clients", "error", "expected"),
    [
        ("2.8", "COORDINATOR_LOAD_IN_PROGRESS", []),
        ("2.8", "NOT_COORDINATOR", []),
        ("3.8", "COORDINATOR_NOT_AVAILABLE", ["KafkaException"]),
        ("3.9", "COORDINATOR_NOT_AVAILABLE", []),
        ("3.8", "REQUEST_TIMED_OUT", ["KafkaException"]),
        ("3.9", "REQUEST_TIMED_OUT", []),
        ("4.3", "GROUP_AUTHORIZATION_FAILED", ["GroupAuthorizationException"]),
        ("4.3", "UNKNOWN_SERVER_ERROR", ["KafkaException"]),
    ],
)
def test_which_errors_a_question_for_committed_offsets_survives(clients: str, error: str, expected: list[str]) -> None:
    """ConsumerCoordinatorTest.testRefreshOffsetRetriableErrorCoordinatorLookup, testRefreshOffsetsGroupNotAuthorized (KAFKA-17279)."""
    assert thrown(play(member("r1", SYNC), clients=clients, fault=ANSWER.format(api="OffsetFetch", error=error, nth=1))) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("COORDINATOR_LOAD_IN_PROGRESS", "CoordinatorLoadInProgressException"),
        ("UNKNOWN_TOPIC_OR_PARTITION", "UnknownTopicOrPartitionException"),
        ("REQUEST_TIMED_OUT", "TimeoutException"),
        ("ILLEGAL_GENERATION", "CommitFailedException"),
        ("UNKNOWN_MEMBER_ID", "CommitFailedException"),
        ("REBALANCE_IN_PROGRESS", "RebalanceInProgressException"),
        ("FENCED_INSTANCE_ID", "FencedInstanceIdException"),
        ("OFFSET_METADATA_TOO_LARGE", "OffsetMetadataTooLarge"),
        ("GROUP_AUTHORIZATION_FAILED", "GroupAuthorizationException"),
        ("NOT_ENOUGH_REPLICAS", "KafkaException"),
    ],
)
def test_what_a_commit_fails_with(error: str, expected: str) -> None:
    """ConsumerCoordinatorTest.testCommitOffsetMetadataTooLarge, testCommitOffsetIllegalGeneration, ...UnknownMemberId, ...RebalanceInProgress,
    testRetryCommitUnknownTopicOrPartition. Only the first three are tried again by commitSync().
    """
    run = play(member("r1", SYNC), fault=ANSWER.format(api="OffsetCommit", error=error, nth=2))
    outcomes = [(fact.error, fact.offsets) for _, fact in commits(run, "r1")]
    place = next(place for place, (failure, _) in enumerate(outcomes) if failure)
    again = place + 1 < len(outcomes) and outcomes[place + 1] == ("", outcomes[place][1])

    assert outcomes[place][0] == expected
    assert again is (expected in ("CoordinatorLoadInProgressException", "UnknownTopicOrPartitionException", "TimeoutException"))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("STALE_MEMBER_EPOCH", "CommitFailedException"),
        ("UNKNOWN_MEMBER_ID", "CommitFailedException"),
        ("OFFSET_METADATA_TOO_LARGE", "OffsetMetadataTooLarge"),
        ("GROUP_AUTHORIZATION_FAILED", "GroupAuthorizationException"),
        ("TOPIC_AUTHORIZATION_FAILED", "TopicAuthorizationException"),
        ("NOT_ENOUGH_REPLICAS", "KafkaException"),
    ],
)
def test_what_a_commit_of_the_consumer_protocol_fails_with(error: str, expected: str) -> None:
    """CommitRequestManagerTest.testCommitSyncFailsWithExpectedException."""
    new = '[consumers.r1]\ntopics = ["payments"]\nconfig.group.id = "g"\nconfig.group.protocol = "consumer"\nconfig.auto.offset.reset = "earliest"\n'
    run = play(new + SYNC, fault=ANSWER.format(api="OffsetCommit", error=error, nth=2))

    assert [fact.error for _, fact in commits(run, "r1") if fact.error] == [expected]


def pause_of(run: Run, consumer: str) -> float:
    """The longest time in seconds between two polls that returned something."""
    moments = [at for at, _ in reads(run, consumer)]
    return max(after - before for before, after in pairwise(moments)) / 1e6


@pytest.mark.parametrize(("clients", "waits"), [("3.1", True), ("3.2", False), ("4.3", False)])
def test_before_3_2_a_member_of_an_illegal_generation_came_back_as_another(clients: str, waits: bool) -> None:
    """ConsumerCoordinatorTest.testCommitOffsetIllegalGenerationShouldResetGenerationId (KAFKA-13419)."""
    fault = '[[fault]]\nat = "4s"\nwhen = { request = "Heartbeat", from = "r1" }\ndo = "answer"\nerror = "ILLEGAL_GENERATION"\n'
    run = play(member("r1", SYNC), member("r2", SYNC), clients=clients, fault=fault, records=RECORDS)

    assert (pause_of(run, "r1") > 4) is waits
    assert times_read(run) == dict.fromkeys(range(RECORDS), 1)


def read_again(clients: str, *, overtaken: bool) -> int:
    """r1 joins again when r3 comes, reads on until r2 has done with its record and joins too, and then its SyncGroup may be refused."""
    lazy = f'config.partition.assignment.strategy = "{COOPERATIVE_ASSIGNOR}"\n'
    late = '[[fault]]\nat = "10ms"\ndo = "crash"\nwho = "r3"\nfor = "6500ms"\n[tail]\nlimit = "40s"\n'
    fault = '[[fault]]\nat = "6600ms"\nwhen = { request = "SyncGroup", from = "r1" }\ndo = "answer"\nerror = "REBALANCE_IN_PROGRESS"\n'
    slow = 'config.max.poll.records = 1\nwork = "5s"'
    members = member("r1", lazy), member("r2", lazy + slow), member("r3", lazy)
    run = play(*members, clients=clients, fault=(fault if overtaken else "") + late, records=1500)
    assert thrown(run) == []
    return sum(times > 1 for times in times_read(run).values())


def test_in_3_3_0_a_sync_that_was_overtaken_cost_a_cooperative_member_its_partitions() -> None:
    """ConsumerCoordinatorTest.testRejoinGroup, KAFKA-13891 (taken back with 3.3.2): without a generation it has lost all that it had, what it read since it
    committed is read again.
    """
    assert read_again("3.3.1", overtaken=False) == read_again("3.3.2", overtaken=False)
    assert read_again("3.3.1", overtaken=True) > read_again("3.3.2", overtaken=True)


@pytest.mark.parametrize(("clients", "again"), [("3.1", False), ("3.2.0", False), ("3.2.1", True), ("3.2.2", True), ("3.2.3", False)])
def test_in_3_2_1_an_eager_member_read_on_while_it_committed_before_it_joined_again(clients: str, again: bool) -> None:
    """ConsumerCoordinatorTest.testOnJoinPrepareWithOffsetCommitShouldSuccessAfterRetry, KAFKA-14196: an answer takes 80 ms, and r2 comes after 3 s."""
    fault = '[[fault]]\nat = "10ms"\ndo = "crash"\nwho = "r2"\nfor = "3s"\n[network]\nlatency = "40ms"\n'
    run = play(member("r1"), member("r2"), clients=clients, fault=fault, records=600)

    assert (max(times_read(run).values()) > 1) is again


def joined_at_once(clients: str) -> Run:
    """r1, cooperative, has read for 3 s when r2 comes; an answer takes 80 ms. Within 20 s the group would put nobody out."""
    fault = '[[fault]]\nat = "10ms"\ndo = "crash"\nwho = "r2"\nfor = "3s"\n[network]\nlatency = "40ms"\n[tail]\nlimit = "20s"\n'
    lazy = f'config.partition.assignment.strategy = "{COOPERATIVE_ASSIGNOR}"\n'
    return play(member("r1", lazy), member("r2", lazy), clients=clients, fault=fault, records=600)


@pytest.mark.parametrize(("clients", "meanwhile"), [("3.1", False), ("3.2.1", True), ("4.3", True)])
def test_up_to_3_1_a_cooperative_member_read_nothing_while_it_committed_before_it_joined_again(clients: str, meanwhile: bool) -> None:
    """KAFKA-13310: poll() waits for the answer, which takes 80 ms."""
    run = joined_at_once(clients)
    answered = commits(run, "r1")[0][0]

    assert any(answered - 80_000 < at < answered for at, _ in reads(run, "r1")) is meanwhile


def test_in_3_2_0_a_cooperative_member_that_commits_by_itself_never_joins_again() -> None:
    """ConsumerCoordinatorTest.testOnJoinPrepareWithOffsetCommitShouldKeepJoinAfterNonRetryableException, KAFKA-14024: it commits with every poll()."""
    stuck, mended = joined_at_once("3.2.0"), joined_at_once("3.2.1")
    readers = [{fact.consumer for _, fact in reads(run)} for run in (stuck, mended)]

    assert readers == [{"r1"}, {"r1", "r2"}]
    assert len(commits(stuck)) > 2 * len(commits(mended))
