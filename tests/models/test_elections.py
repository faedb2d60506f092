"""Elections: what is left open by the vectors of tests/kafka/test_controller_vectors.py."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksim_models.broker_variants import ReassignmentNeeds
from ksim_models.elections import Assignment, Election, PartitionChange, PartitionChangeBuilder, PartitionState
from ksim_models.profiles import broker_profile

REPLICAS = ("1", "2", "3")


def state(leader: str, isr: str, *, elr: str = "", last_known_elr: str = "", recovering: bool = False) -> PartitionState:
    return PartitionState("t-0", REPLICAS, tuple(isr), tuple(elr), tuple(last_known_elr), leader, 5, 9, recovering)


def change(
    partition: PartitionState,
    *,
    alive: Collection[str],
    version: str = "3.9",
    isr: str | None = None,
    election: Election = Election.ANY,
    recovering: bool | None = None,
    min_isr: int = 2,
) -> PartitionChange | None:
    return PartitionChangeBuilder(
        partition=partition,
        profile=broker_profile(version),
        is_acceptable=lambda replica: replica in alive,
        min_insync_replicas=min_isr,
        election=election,
        target_isr=None if isr is None else tuple(isr),
        recovering=recovering,
    ).build()


def test_the_new_leader_is_the_first_of_the_assignment_that_is_in_sync_and_alive() -> None:
    """KC-41 (2)."""
    made = change(state("1", "321"), isr="32", alive="23")

    assert made is not None
    assert (made.state.leader, made.state.isr, made.unclean) == ("2", ("3", "2"), False)


def test_losing_the_leader_raises_both_epochs_by_one() -> None:
    """KC-47: on every leader change, to "none" too."""
    made = change(state("1", "1"), isr="", alive="")

    assert made is not None
    assert (made.state.leader, made.state.leader_epoch, made.state.partition_epoch) == ("", 6, 10)


def test_without_elr_the_last_in_sync_replica_stays_in_the_isr() -> None:
    """KC-21, KC-56."""
    gone = change(state("1", "1"), isr="", alive="")
    assert gone is not None
    back = change(gone.state, alive="1")

    assert gone.state.isr == ("1",)
    assert back is not None
    assert (back.state.leader, back.state.isr, back.unclean, back.state.recovering) == ("1", ("1",), False, False)


def test_with_elr_the_isr_may_become_empty() -> None:
    """KC-52."""
    made = change(state("1", "1"), isr="", alive="", version="4.3")

    assert made is not None
    assert (made.state.isr, made.state.elr, made.state.last_known_elr) == ((), ("1",), ("1",))


def test_an_election_from_the_elr_is_clean_and_keeps_the_others_eligible() -> None:
    """KC-53."""
    made = change(state("", "", elr="23", last_known_elr="1"), alive="3", version="4.3")

    assert made is not None
    assert (made.state.leader, made.state.isr, made.state.elr, made.state.last_known_elr) == ("3", ("3",), ("2",), ())
    assert (made.unclean, made.state.recovering) == (False, False)


def test_an_elr_member_that_died_cannot_be_elected() -> None:
    """KC-40."""
    assert change(state("", "", elr="2", last_known_elr="1"), alive="13", version="4.3") is None


def test_the_elr_prevents_an_unclean_election_where_one_of_it_lives() -> None:
    """KC-41: the clean candidates come first, even where unclean election is enabled."""
    made = change(state("1", "1", elr="3"), isr="", alive="23", version="4.3", election=Election.UNCLEAN)

    assert made is not None
    assert (made.state.leader, made.unclean) == ("3", False)


def test_the_last_known_leader_is_not_elected_while_the_elr_has_members() -> None:
    """KC-55."""
    assert change(state("", "", elr="2", last_known_elr="1"), alive="1", version="4.3") is None


def test_the_elr_is_empty_where_every_replica_is_in_sync_however_many_are_asked_for() -> None:
    """KC-50: min.insync.replicas = 5 on three replicas counts as 3."""
    made = change(state("1", "12", elr="3"), isr="123", alive="123", version="4.3", min_isr=5)

    assert made is not None
    assert made.state.elr == ()


def test_an_unclean_election_raises_the_leader_epoch_even_where_the_leader_stays() -> None:
    """KC-47."""
    made = change(state("1", "12"), isr="2", alive="1", election=Election.UNCLEAN)

    assert made is not None
    assert (made.state.leader, made.state.isr, made.state.leader_epoch, made.unclean) == ("1", ("1",), 6, True)


def test_a_preferred_election_is_never_unclean_without_a_last_known_leader() -> None:
    """KC-42."""
    assert change(state("", "3"), alive="12", election=Election.PREFERRED) is None


def test_a_recovering_partition_stays_recovering_through_a_clean_election_and_ends_by_its_leader() -> None:
    """KC-43, KC-63: RECOVERED comes with the leader's AlterPartition."""
    elected = change(state("", "1", recovering=True), alive="1")
    assert elected is not None
    recovered = change(elected.state, alive="1", recovering=False)

    assert elected.state.recovering
    assert recovered is not None
    assert (recovered.state.recovering, recovered.state.leader_epoch) == (False, elected.state.leader_epoch)


@pytest.mark.parametrize(("version", "leader_epoch"), [("3.5", 6), ("3.6", 5), ("4.3", 5)])
def test_an_isr_shrink_raised_the_leader_epoch_before_3_6(version: str, leader_epoch: int) -> None:
    """KC-47, KAFKA-15021."""
    made = change(state("1", "123"), isr="12", alive="123", version=version)

    assert made is not None
    assert (made.state.leader, made.state.leader_epoch, made.state.partition_epoch) == ("1", leader_epoch, 10)


SOME = st.sets(st.sampled_from(REPLICAS)).map(lambda members: "".join(sorted(members)))


@given(
    version=st.sampled_from(["3.5", "3.9", "4.0", "4.3"]),
    steps=st.lists(st.tuples(st.sampled_from(["", *REPLICAS]), SOME, st.sampled_from(Election), SOME), min_size=1, max_size=12),
    min_isr=st.integers(1, 4),
)
def test_no_sequence_of_changes_breaks_the_invariants(version: str, steps: list[tuple[str, str, Election, str]], min_isr: int) -> None:
    """INV-6, INV-7. The controller lets one broker leave per change, and never elects it in the same change."""
    elr_is_on = broker_profile(version).eligible_leader_replicas
    now = state("1", "123")
    for leaving, alive, election, lost_records in steps:
        made = PartitionChangeBuilder(
            partition=now,
            profile=broker_profile(version),
            is_acceptable=lambda replica, alive=alive, leaving=leaving: replica in alive and replica != leaving,  # type: ignore[misc]
            min_insync_replicas=min_isr,
            election=election,
            target_isr=tuple(replica for replica in now.isr if replica != leaving),
            unclean_shutdown=tuple(lost_records),
        ).build()
        if made is None:
            continue
        was, now = now, made.state
        assert now.partition_epoch == was.partition_epoch + 1
        assert now.leader_epoch >= was.leader_epoch
        assert now.leader_epoch > was.leader_epoch or now.leader == was.leader
        assert now.leader in ("", *now.isr)
        assert now.isr or elr_is_on
        assert not set(now.isr) & set(now.elr)
        assert not now.elr or (elr_is_on and len(now.isr) < min(min_isr, 3))
        assert not made.unclean or now.isr == (now.leader,)
        assert len(now.last_known_elr) <= 1
        assert not (now.leader and now.last_known_elr)


@pytest.mark.parametrize(
    ("present", "wanted", "replicas", "adding", "removing"),
    [
        pytest.param("123", "124", "1243", "4", "3", id="KC-48 one for another"),
        pytest.param("321", "654", "654123", "456", "123", id="KC-48 in the order of their numbers"),
        pytest.param("123", "321", "321", "", "", id="KC-48 another order is nobody's coming or going"),
        pytest.param("123", "1", "123", "", "23", id="KC-48 fewer"),
    ],
)
def test_the_first_step_of_a_reassignment(present: str, wanted: str, replicas: str, adding: str, removing: str) -> None:
    assert Assignment.towards(tuple(present), tuple(wanted)) == Assignment(tuple(replicas), tuple(adding), tuple(removing))


def test_brokers_stand_in_the_order_of_their_numbers_and_not_of_their_names() -> None:
    """KC-48: who has no number stands first."""
    made = Assignment.towards((), ("b", "broker-10", "broker-9", "a-1"))

    assert made.adding == ("b", "a-1", "broker-9", "broker-10")


NEEDS = ReassignmentNeeds


@pytest.mark.parametrize(
    ("adding", "removing", "isr", "needs", "completes"),
    [
        pytest.param("4", "3", "124", NEEDS.ALL, True, id="KC-48 all of the target are in sync"),
        pytest.param("4", "3", "1234", NEEDS.ALL, True, id="KC-48 whoever goes does not count"),
        pytest.param("4", "3", "123", NEEDS.ALL, False, id="KC-48 who comes is not there yet"),
        pytest.param("4", "3", "14", NEEDS.ALL, False, id="KC-48 one that stays is not in sync"),
        pytest.param("4", "3", "14", NEEDS.ADDED, True, id="KC-48 where only those that come matter"),
        pytest.param("4", "3", "14", NEEDS.ALL_WHERE_FEWER, True, id="KC-48 as many come as go"),
        pytest.param("4", "35", "14", NEEDS.ALL_WHERE_FEWER, False, id="KC-48 fewer come than go"),
        pytest.param("4", "35", "124", NEEDS.ALL_WHERE_FEWER, True, id="KC-48 and all are there"),
        pytest.param("4", "35", "12", NEEDS.ALL_WHERE_FEWER, False, id="KC-48 but who comes"),
        pytest.param("", "3", "12", NEEDS.ALL, True, id="KC-48 nobody comes"),
        pytest.param("", "3", "3", NEEDS.ADDED, False, id="KC-48 nobody would be left in sync"),
        pytest.param("4", "", "124", NEEDS.ALL, True, id="KC-48 nobody goes"),
        pytest.param("", "", "1", NEEDS.ADDED, False, id="KC-48 nothing is under way"),
    ],
)
def test_the_last_step_of_a_reassignment(adding: str, removing: str, isr: str, needs: ReassignmentNeeds, completes: bool) -> None:
    """The partition stays on 1 and 2."""
    under_way = Assignment((*"12", *adding, *removing), tuple(adding), tuple(removing))
    made, left = under_way.completed(tuple(isr), needs)

    staying = tuple(replica for replica in isr if replica not in removing)
    assert (made, left) == ((Assignment((*"12", *adding)), staying) if completes else (under_way, tuple(isr)))
