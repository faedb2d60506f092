"""Section G of the behavioural vectors: elections, ELR, fencing, AlterPartition, sessions. One row, one id.

BV-230 with AlterPartition v <= 1 is not here: it is older than the oldest supported release.
BV-236 to BV-239 are in test_shutdown_vectors.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from ksim_models.config import BrokerConfig
from ksim_models.elections import Election, PartitionChangeBuilder, PartitionState
from ksim_models.errors import ErrorCode
from ksim_models.messages import CreateTopicRequest, ElectLeadersRequest
from ksim_models.profiles import BrokerProfile, broker_profile
from ksim_models.units import ms
from lone_controller import LoneController

ANY, PREFERRED, UNCLEAN = Election.ANY, Election.PREFERRED, Election.UNCLEAN
ELR, NO_ELR = broker_profile("4.3"), broker_profile("3.9")
EITHER = (ELR, NO_ELR)
EPOCH_BUMP_ON_SHRINK = broker_profile("3.5")
FENCED_LAST_KNOWN_LEADER = replace(ELR, last_known_leader_needs_acceptable=False)


def partition(replicas: str, isr: str, leader: str, *, elr: str = "", last_known_elr: str = "") -> PartitionState:
    return PartitionState("foo-0", tuple(replicas), tuple(isr), tuple(elr), tuple(last_known_elr), leader, 100, 200, recovering=False)


@dataclass(frozen=True)
class Row:
    id: str
    state: PartitionState
    leader: str
    isr: str
    """After the change; where nothing changes, as before."""
    alive: str = "1234"
    target_isr: str | None = None
    elections: tuple[Election, ...] = (ANY,)
    profiles: tuple[BrokerProfile, ...] = EITHER
    min_isr: int = 2
    lost_records: str = ""
    elr: str | None = None
    last_known_elr: str | None = None
    unclean: bool = False
    no_record: bool = False
    leader_epoch: int | None = None


FOO = partition("213", "213", "1")
BAZ = partition("213", "13", "3")
OFFLINE = partition("213", "3", "")
OFFLINE_ELR = partition("213", "", "", elr="3", last_known_elr="2")
EVERY_TYPE = (ANY, PREFERRED, UNCLEAN)

ROWS = (
    Row("BV-190", FOO, "2", "213", alive="124", elections=(PREFERRED,)),
    Row("BV-191", FOO, "1", "213", alive="124", elections=(ANY, UNCLEAN), no_record=True),
    Row("BV-192", FOO, "1", "13", alive="124", target_isr="13", elections=(ANY, UNCLEAN)),
    Row("BV-193", FOO, "", "3", alive="124", target_isr="3", leader_epoch=101),
    Row("BV-194", FOO, "2", "2", alive="124", target_isr="3", elections=(UNCLEAN,), unclean=True),
    Row("BV-195", partition("2134", "213", "1"), "4", "4", alive="124", target_isr="4", elections=(UNCLEAN,)),
    Row("BV-196", BAZ, "3", "13", elections=EVERY_TYPE, profiles=(NO_ELR,), no_record=True),
    Row("BV-196 with ELR", BAZ, "3", "13", elections=EVERY_TYPE, profiles=(ELR,), no_record=True),
    Row("BV-197", FOO, "1", "213", alive="124", target_isr="213", elections=(ANY, UNCLEAN), no_record=True),
    Row("BV-199", FOO, "1", "21", alive="124", target_isr="21", profiles=(EPOCH_BUMP_ON_SHRINK,), leader_epoch=101),
    Row("BV-199, 3.6 and later", FOO, "1", "21", alive="124", target_isr="21", leader_epoch=100),
    Row("BV-200", partition("213", "21", "1"), "1", "213", target_isr="213", profiles=(EPOCH_BUMP_ON_SHRINK, *EITHER), leader_epoch=100),
    Row("BV-202", FOO, "2", "23", alive="124", target_isr="23", leader_epoch=101),
    Row("BV-203", FOO, "2", "2", alive="124", target_isr="3", elections=(UNCLEAN,), unclean=True, leader_epoch=101),
    Row("BV-204", OFFLINE, "1", "1", alive="1", elections=(UNCLEAN,), profiles=(NO_ELR,), unclean=True),
    Row("BV-204 with ELR", OFFLINE_ELR, "1", "1", alive="1", elections=(UNCLEAN,), profiles=(ELR,), unclean=True, elr="", last_known_elr=""),
    Row("BV-206", partition("1234", "1234", "1"), "1", "12", target_isr="12", profiles=(ELR,), min_isr=3, elr="34", last_known_elr=""),
    Row("BV-208", partition("1234", "1", "1", elr="3"), "1", "14", target_isr="14", profiles=(ELR,), min_isr=3, elr="3", last_known_elr=""),
    Row("BV-209", partition("1234", "1", "1", elr="23"), "1", "1", lost_records="3", profiles=(ELR,), min_isr=3, elr="2", last_known_elr=""),
    Row("BV-211", partition("1234", "1234", "1"), "", "", alive="", target_isr="", profiles=(ELR,), min_isr=3, elr="1234", last_known_elr="1"),
    Row(
        "BV-211, a later change while leaderless",
        partition("1234", "", "", elr="1234", last_known_elr="1"),
        "",
        "",
        alive="",
        lost_records="4",
        profiles=(ELR,),
        min_isr=3,
        elr="123",
        last_known_elr="1",
    ),
    Row("BV-212", partition("1234", "", "", last_known_elr="1"), "1", "1", elections=EVERY_TYPE, profiles=(ELR,), last_known_elr="", unclean=True),
    Row(
        "BV-212, 4.0: fenced",
        partition("1234", "", "", last_known_elr="1"),
        "1",
        "1",
        alive="",
        elections=EVERY_TYPE,
        profiles=(FENCED_LAST_KNOWN_LEADER,),
        last_known_elr="",
        unclean=True,
    ),
    Row("BV-212, 4.1: fenced", partition("1234", "", "", last_known_elr="1"), "", "", alive="", profiles=(ELR,), no_record=True),
    Row("BV-222 p0, its election", partition("123", "1", ""), "2", "2", alive="024", elections=(UNCLEAN,), profiles=(NO_ELR,), unclean=True),
    Row("BV-222 p1, its election", partition("234", "24", "4"), "4", "24", alive="024", elections=(UNCLEAN,), profiles=(NO_ELR,), no_record=True),
    Row("BV-223, its election", partition("123", "1", ""), "", "1", alive="2", elections=(PREFERRED,), profiles=(NO_ELR,), no_record=True),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_change_of_a_partition_is_the_one_that_kafka_makes(row: Row) -> None:
    for profile in row.profiles:
        for election in row.elections:
            change = PartitionChangeBuilder(
                partition=row.state,
                profile=profile,
                is_acceptable=lambda replica: replica in row.alive,
                min_insync_replicas=row.min_isr,
                election=election,
                target_isr=None if row.target_isr is None else tuple(row.target_isr),
                unclean_shutdown=tuple(row.lost_records),
            ).build()

            assert (change is None) is row.no_record
            if change is None:
                assert (row.state.leader, row.state.isr) == (row.leader, tuple(row.isr))
                continue
            assert (change.state.leader, change.state.isr) == (row.leader, tuple(row.isr))
            assert (change.unclean, change.state.recovering) == (row.unclean, row.unclean)
            assert change.state.partition_epoch == 201
            if row.leader_epoch is not None:
                assert change.state.leader_epoch == row.leader_epoch
            if row.elr is not None:
                assert change.state.elr == tuple(row.elr)
            if row.last_known_elr is not None:
                assert change.state.last_known_elr == tuple(row.last_known_elr)


def topic(version: str, *assignment: str, brokers: str = "01234", min_isr: int = 1, unclean: bool = False) -> LoneController:
    config = BrokerConfig(unclean_leader_election_enable=unclean)
    given = (("min.insync.replicas", str(min_isr)),)
    return LoneController(version, brokers=tuple(brokers), assignment=[tuple(replicas) for replicas in assignment], given=given, config=config)


def test_the_elr_holds_who_left_a_small_isr_and_empties_when_the_isr_is_large_enough() -> None:
    """BV-214."""
    cluster = topic("4.3", "012", min_isr=2)

    cluster.alter(["0"])
    assert cluster.elr() == ("12", "")
    cluster.alter(["0", "1"])
    assert cluster.elr() == ("", "")


def test_a_fenced_broker_joins_the_elr_and_unfencing_alone_changes_nothing() -> None:
    """BV-215."""
    cluster = topic("4.3", "0123", min_isr=3)

    cluster.fence("2", "3")
    assert cluster.elr() == ("3", "")
    cluster.fence("1")
    assert cluster.elr() == ("13", "")
    cluster.unfence("1", "2", "3")
    assert (cluster.elr(), cluster.shape()) == (("13", ""), ("0", "0"))


def test_the_last_member_of_the_isr_is_followed_by_a_member_of_the_elr() -> None:
    """BV-217."""
    cluster = topic("4.3", "0123", min_isr=3)

    cluster.fence("1", "2", "3")
    assert (cluster.elr(), cluster.shape()) == (("23", ""), ("0", "0"))
    cluster.unfence("2")
    cluster.fence("0")
    assert (cluster.elr(), cluster.shape()) == (("03", ""), ("2", "2"))


def test_an_unclean_restart_leaves_the_isr_and_the_elr() -> None:
    """BV-218, and BV-209 as a controller meets it."""
    cluster = topic("4.3", "0123", min_isr=3)
    cluster.fence("1", "2", "3")

    cluster.silence("3")
    assert cluster.register("3") is ErrorCode.NONE
    assert (cluster.elr(), cluster.shape()) == (("2", ""), ("0", "0"))
    cluster.silence("0")
    assert cluster.register("0") is ErrorCode.NONE
    assert (cluster.elr(), cluster.shape()) == (("2", "0"), ("", ""))


THREE_TOPICS = ("123", "234", "021")
FENCED_IN_ORDER = ("124", "134", "024")


def test_fencing_takes_brokers_out_of_the_isr_but_never_the_last() -> None:
    """BV-219, BV-220."""
    cluster = topic("3.9", *THREE_TOPICS)

    cluster.fence("2", "3")
    assert [cluster.shape(number) for number in range(3)] == [("1", "1"), ("4", "4"), ("0", "01")]
    cluster.fence("1")
    assert [cluster.shape(number) for number in range(3)] == [("", "1"), ("4", "4"), ("0", "0")]


@pytest.mark.parametrize(
    ("unclean", "after"),
    [
        pytest.param(True, [("2", "2"), ("", "4"), ("2", "2")], id="BV-225"),
        pytest.param(False, [("", "4"), ("", "4"), ("", "4")], id="BV-226 first half"),
    ],
)
def test_an_unfenced_broker_outside_the_isr_leads_only_where_unclean_election_is_enabled(unclean: bool, after: list[tuple[str, str]]) -> None:
    """BV-224, and what follows."""
    cluster = topic("3.9", *FENCED_IN_ORDER, unclean=unclean)
    cluster.fence("0", "1", "2", "3", "4")
    assert [cluster.shape(number) for number in range(3)] == [("", "4")] * 3

    cluster.unfence("2")

    assert [cluster.shape(number) for number in range(3)] == after


@pytest.mark.parametrize("version", ["3.3", "3.9", "4.3"])
def test_a_growing_isr_completes_a_reassignment(version: str) -> None:
    """BV-205, KC-65: the leader that proposed it is among those that go."""
    cluster = topic(version, "123")
    assert cluster.reassign("234") is ErrorCode.NONE
    state = cluster.controller.state_of("t-0")
    assert (state.replicas, state.adding, state.removing) == (tuple("2341"), ("4",), ("1",))
    assert (state.leader, state.leader_epoch, state.isr) == ("1", 0, tuple("123"))

    assert cluster.alter("2341").error is ErrorCode.NEW_LEADER_ELECTED
    state = cluster.controller.state_of("t-0")
    assert (state.replicas, state.adding, state.removing) == (tuple("234"), (), ())
    assert (state.leader, state.leader_epoch, state.isr) == ("2", 1, tuple("234"))


def elections(cluster: LoneController, kind: str, partitions: int) -> list[ErrorCode]:
    return [cluster.elect(kind, number) for number in range(partitions)]


NOT_NEEDED = ErrorCode.ELECTION_NOT_NEEDED


def test_unclean_elections_by_hand() -> None:
    """BV-221, BV-222: only where nobody leads, and somebody lives."""
    cluster = topic("3.9", *THREE_TOPICS)
    cluster.fence("2", "3", "1")

    assert elections(cluster, "unclean", 3) == [ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE, NOT_NEEDED, NOT_NEEDED]
    cluster.unfence("2")
    assert cluster.alter("24", partition="t-1").error is ErrorCode.NONE
    assert elections(cluster, "unclean", 3) == [ErrorCode.NONE, NOT_NEEDED, NOT_NEEDED]
    assert [cluster.shape(number) for number in range(3)] == [("2", "2"), ("4", "24"), ("0", "0")]


def test_a_preferred_election_is_never_an_unclean_one() -> None:
    """BV-223. Kafka's test sets the topic's unclean election only when 2 is alive again; here 2 comes back before it is enabled."""
    cluster = topic("3.9", "123")
    cluster.fence("2", "3", "1")
    cluster.unfence("2")
    assert cluster.configure("topic", "t", unclean_leader_election_enable="true") is ErrorCode.NONE

    assert cluster.elect("preferred") is ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE
    assert cluster.shape() == ("", "1")


@pytest.mark.parametrize("where", ["cluster", "topic"])
@pytest.mark.parametrize(("version", "at_s"), [("3.8", None), ("3.9", 300), ("4.3", 300)])
def test_unclean_election_enabled_while_nobody_leads_waits_for_the_periodic_task(where: str, version: str, at_s: int | None) -> None:
    """BV-226, second half: on a node alone it means nothing to another controller."""
    cluster = topic(version, *FENCED_IN_ORDER)
    cluster.fence("0", "1", "2", "3", "4")
    cluster.unfence("2")
    kind, name = ("topic", "t") if where == "topic" else ("broker", "")

    assert cluster.configure(kind, name, unclean_leader_election_enable="true") is ErrorCode.NONE
    elr = version == "4.3"
    before = [("", "" if elr else "4")] * 3
    assert [cluster.shape(number) for number in range(3)] == before
    for second in range(0, 400, 5):
        cluster.until(ms(1000 * second))
        cluster.heartbeat("2")
    after = [("2", "2"), before[1], ("2", "2")] if at_s is not None else before
    assert [cluster.shape(number) for number in range(3)] == after
    assert {at // ms(1000) for at, fact in cluster.facts if getattr(fact, "why", "") == "unclean.leader.election.enable"} <= {at_s}


def test_preferred_elections_by_hand() -> None:
    """BV-227: 0 is fenced and 1 is leaving when the topic is created, so 2 leads all of it (KC-24)."""
    cluster = LoneController("4.3", brokers=tuple("01234"), assignment=[("2",), *[("1",)]])
    cluster.fence("0")
    for broker in "234":
        cluster.heartbeat(broker, offset=0)
    assert not cluster.heartbeat("1", want_shut_down=True).should_shut_down
    wanted = ("123", "234", "021")
    assert cluster.administer(CreateTopicRequest("foo", tuple(map(tuple, wanted)), ())) is ErrorCode.NONE
    states = [cluster.controller.state_of(f"foo-{number}") for number in range(3)]
    assert [(state.leader, state.isr) for state in states] == [("2", tuple("23")), ("2", tuple("234")), ("2", ("2",))]

    answers = [cluster.administer(ElectLeadersRequest(partition, "preferred")) for partition in ("foo-0", "foo-1", "foo-2", "bar-0")]
    missing = ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE
    assert answers == [missing, NOT_NEEDED, missing, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        pytest.param({"isr": "012", "by": "1"}, ErrorCode.INVALID_REQUEST, id="by 1"),
        pytest.param({"isr": "012", "broker_epoch": 99}, ErrorCode.STALE_BROKER_EPOCH, id="stale broker epoch"),
        pytest.param({"isr": "012", "leader_epoch": 500}, ErrorCode.NOT_CONTROLLER, id="leader epoch 500"),
        pytest.param({"isr": "012", "partition_epoch": 500}, ErrorCode.NOT_CONTROLLER, id="partition epoch 500"),
        pytest.param({"isr": "0123"}, ErrorCode.INVALID_REQUEST, id="ISR with 3"),
        pytest.param({"isr": "12"}, ErrorCode.INVALID_REQUEST, id="ISR without 0"),
        pytest.param({"isr": "01", "recovering": True}, ErrorCode.INVALID_REQUEST, id="RECOVERING with 2 members"),
    ],
)
def test_an_invalid_alter_partition_is_refused(change: dict[str, object], error: ErrorCode) -> None:
    """BV-229."""
    cluster = topic("4.3", "012")

    assert cluster.alter(**change).error is error  # type: ignore[arg-type]
    assert cluster.shape() == ("0", "012")


@pytest.mark.parametrize("version", ["3.3", "3.9", "4.3"])
def test_a_fenced_broker_is_not_added_to_an_isr(version: str) -> None:
    """BV-230."""
    cluster = topic(version, "1234")
    cluster.fence("3")
    assert cluster.shape() == ("1", "124")

    assert cluster.alter("1234").error is ErrorCode.INELIGIBLE_REPLICA
    cluster.unfence("3")
    assert cluster.alter("1234").error is ErrorCode.NONE


@pytest.mark.parametrize("version", ["3.9", "4.3"])
def test_a_session_is_valid_until_its_time_out_has_passed(version: str) -> None:
    """BV-232, seen from outside: a valid session refuses a new incarnation (KC-13)."""
    config = BrokerConfig(broker_session_timeout_ms=10, controller_quorum_append_linger_ms=0)
    contact = {"0": 0, "1": ms(5), "2": ms(5)}

    def answers_at(moment: int) -> list[ErrorCode]:
        cluster = LoneController(version, brokers=("0", "1", "2"), assignment=[("0", "1", "2")], config=config, first_contact=contact)
        cluster.now = moment
        return [cluster.register(broker) for broker in ("0", "1", "2", "9")]

    assert answers_at(ms(5)) == [ErrorCode.DUPLICATE_BROKER_REGISTRATION] * 3 + [ErrorCode.NONE]
    assert answers_at(ms(11)) == [ErrorCode.NONE, *[ErrorCode.DUPLICATE_BROKER_REGISTRATION] * 2, ErrorCode.NONE]


@pytest.mark.parametrize(
    ("version", "fenced_at_ms"),
    [pytest.param("3.9", [("0", 10.0), ("1", 15.0), ("2", 16.0)], id="3.9"), pytest.param("4.3", [("0", 11.25), ("1", 21.25), ("2", 31.25)], id="4.3")],
)
def test_stale_brokers_are_found_one_by_one(version: str, fenced_at_ms: list[tuple[str, float]]) -> None:
    """BV-233; from 4.0 one per scan, of which there are eight in a session (KC-2)."""
    config = BrokerConfig(broker_session_timeout_ms=10, controller_quorum_append_linger_ms=0)
    contact = {"0": 0, "1": ms(5), "2": ms(6)}
    cluster = LoneController(version, brokers=("0", "1", "2"), assignment=[("0", "1", "2")], config=config, first_contact=contact)

    cluster.until(ms(40))

    fenced = [(fact.broker, at / 1000) for at, fact in cluster.facts if getattr(fact, "state", "") == "fenced"]  # type: ignore[attr-defined]
    assert fenced == fenced_at_ms


@pytest.mark.parametrize(
    ("offset", "want_fence", "fenced"),
    [
        pytest.param(0, False, False, id="BV-236 unfence, caught up"),
        pytest.param(-1, False, True, id="BV-236 unfence, behind"),
        pytest.param(0, True, True, id="BV-236 wantFence"),
    ],
)
def test_a_fenced_broker_is_unfenced_once_it_has_read_its_registration(offset: int, want_fence: bool, fenced: bool) -> None:
    """`offset` is counted from that of the registration record."""
    cluster = topic("3.9", "012")
    cluster.fence("0")
    assert cluster.register("0") is ErrorCode.NONE
    registration_offset = cluster.epochs["0"] - 1

    response = cluster.heartbeat("0", offset=registration_offset + offset, want_fence=want_fence)

    assert (response.is_caught_up, response.is_fenced) == (offset >= 0, fenced)
    assert cluster.controller.is_fenced("0") is fenced
