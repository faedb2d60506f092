"""The sticky assignors: who keeps what, who gets what when, as Kafka's own AbstractStickyAssignorTest and CooperativeStickyAssignorTest ask them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksim_models.assignors import COOPERATIVE, STICKY, MemberAssignors
from ksim_models.errors import NONE
from ksim_models.profiles import client_profile
from ksim_models.sticky_assignors import Claim, Rules, assign_cooperatively, assign_stickily
from ksim_models.sticky_general import Movements
from ksim_models.transaction_messages import Held, JoinGroupResponse

Owned = Mapping[str, tuple[str, ...]]


def topics(**sizes: int) -> dict[str, list[str]]:
    return {topic: [f"{topic}-{number}" for number in range(size)] for topic, size in sizes.items()}


def claims(owned: Owned, subscribed: Mapping[str, Sequence[str]] | None = None, generations: Mapping[str, int] | None = None) -> list[Claim]:
    found = []
    for member, partitions in owned.items():
        generation = (generations or {}).get(member, 1)
        found.append(Claim(member, tuple((subscribed or {}).get(member, ("t",))), partitions, generation, generation))
    return found


def stickily(given: Sequence[Claim], **sizes: int) -> dict[str, list[str]]:
    assignment, _, _ = assign_stickily(given, topics(**sizes), Rules())
    return {member: sorted(partitions) for member, partitions in assignment.items()}


def t(*numbers: int) -> tuple[str, ...]:
    return tuple(f"t-{number}" for number in numbers)


@pytest.mark.parametrize(
    ("owned", "partitions", "expected"),
    [
        ({"c1": ()}, 2, {"c1": t(0, 1)}),
        ({"c1": (), "c2": ()}, 1, {"c1": t(0), "c2": ()}),
        ({"c1": (), "c2": ()}, 2, {"c1": t(0), "c2": t(1)}),
        ({"c1": t(0), "c2": t(1, 2), "c3": ()}, 5, {"c1": t(0, 4), "c2": t(1, 2), "c3": t(3)}),
        ({"c1": t(0, 1), "c2": t(2, 3), "c3": ()}, 5, {"c1": t(0, 1), "c2": t(2, 3), "c3": t(4)}),
        ({"c1": t(0, 1, 2), "c2": t(3, 4, 5), "c3": (), "c4": ()}, 6, {"c1": t(0, 1), "c2": t(3, 4), "c3": t(2), "c4": t(5)}),
        ({"c1": t(0, 1, 2)}, 3, {"c1": t(0, 1, 2)}),
        ({"c2": t(1, 2)}, 3, {"c2": t(0, 1, 2)}),
        ({"c1": t(0, 1), "c2": (), "c3": ()}, 2, {"c1": t(0), "c2": t(1), "c3": ()}),
        ({"c2": (), "c1": ()}, 3, {"c1": t(0, 2), "c2": t(1)}),
    ],
)
def test_equal_members_keep_what_they_had_up_to_what_is_fair(owned: Owned, partitions: int, expected: Owned) -> None:
    """ConstrainedAssignmentBuilder."""
    assert stickily(claims(owned), t=partitions) == {member: list(named) for member, named in expected.items()}


@pytest.mark.parametrize(
    ("owned", "generations", "expected"),
    [
        ({"c1": t(0, 2), "c2": t(1, 2)}, {"c1": 1, "c2": 2}, {"c1": t(0), "c2": t(1, 2)}),
        ({"c2": t(1, 2), "c1": t(0, 2)}, {"c1": 1, "c2": 2}, {"c1": t(0), "c2": t(1, 2)}),
        ({"c1": t(0, 1), "c2": t(0, 2), "c3": ()}, {}, {"c1": t(1), "c2": t(2), "c3": t(0)}),
    ],
)
def test_of_two_who_claim_a_partition_the_one_of_the_newer_generation_has_it_and_of_one_generation_neither(
    owned: Owned, generations: Mapping[str, int], expected: Owned
) -> None:
    assert stickily(claims(owned, generations=generations), t=3) == {member: list(named) for member, named in expected.items()}


def test_a_cooperative_assignment_gives_nobody_what_another_one_still_has() -> None:
    """KIP-429: two steps."""
    first, _ = assign_cooperatively(claims({"c1": t(0, 1, 2, 3), "c2": ()}), topics(t=4), Rules())
    assert first == {"c1": ["t-0", "t-1"], "c2": []}

    second, _ = assign_cooperatively(claims({"c1": t(0, 1), "c2": ()}), topics(t=4), Rules())
    assert second == {"c1": ["t-0", "t-1"], "c2": ["t-2", "t-3"]}


def test_what_two_members_of_one_generation_claim_is_nobodys_in_a_cooperative_assignment() -> None:
    found, _ = assign_cooperatively(claims({"c1": t(0, 1), "c2": t(0, 2), "c3": ()}), topics(t=3), Rules())

    assert found == {"c1": ["t-1"], "c2": ["t-2"], "c3": []}


MIXED = {"c1": ("t",), "c2": ("t", "u"), "c3": ("t", "u", "v")}


@pytest.mark.parametrize(
    ("owned", "subscribed", "sizes", "expected"),
    [
        ({"c1": (), "c2": (), "c3": ()}, {"c1": "t", "c2": "u", "c3": "t"}, {"t": 3, "u": 2}, {"c1": ["t-0", "t-2"], "c2": ["u-0", "u-1"], "c3": ["t-1"]}),
        ({"c1": (), "c2": (), "c3": ()}, MIXED, {"t": 1, "u": 2, "v": 3}, {"c1": ["t-0"], "c2": ["u-0", "u-1"], "c3": ["v-0", "v-1", "v-2"]}),
        ({"c1": ("t-0",), "c2": ("u-0", "u-1"), "c3": ("v-0",)}, MIXED, {"t": 1, "u": 2, "v": 1}, {"c1": ["t-0"], "c2": ["u-0", "u-1"], "c3": ["v-0"]}),
        ({"c1": ("t-0", "u-0"), "c2": ("u-1",)}, {"c1": "t", "c2": ("t", "u")}, {"t": 1, "u": 2}, {"c1": ["t-0"], "c2": ["u-0", "u-1"]}),
    ],
)
def test_members_with_different_topics_get_what_they_can_read_as_evenly_as_that_goes(
    owned: Owned, subscribed: Mapping[str, Sequence[str]], sizes: dict[str, int], expected: dict[str, list[str]]
) -> None:
    """GeneralAssignmentBuilder."""
    found, moving, _ = assign_stickily(claims(owned, subscribed), topics(**sizes), Rules())

    assert {member: sorted(partitions) for member, partitions in found.items()} == expected
    assert moving is None


def test_a_partition_goes_back_to_whoever_had_it_in_the_generation_before() -> None:
    """prevAssignment: c3 had t-0 and t-1 in generation 1, c1 has all but one since generation 2."""
    given = claims(
        {"c1": ("t-0", "t-1", "t-2", "t-3"), "c2": ("u-0",), "c3": ("t-0", "t-1")},
        {"c1": ("t",), "c2": ("u", "t"), "c3": ("t",)},
        {"c1": 2, "c2": 2, "c3": 1},
    )

    assert stickily(given, t=4, u=1)["c3"] == ["t-0", "t-1"]


def test_a_partition_does_not_move_against_the_stream_of_its_topic() -> None:
    moved = Movements()
    moved.move("t-0", "t", "a", "b")
    assert moved.instead_of("t-1", "t", "b", "a") == "t-0"
    assert moved.instead_of("t-1", "t", "a", "b") == "t-1"

    moved.move("t-0", "t", "b", "a")
    assert moved.instead_of("t-1", "t", "b", "a") == "t-1"


# What travels: the sticky assignor goes by what it gave, the cooperative one by what the members still have.


def joined(protocol: str, *held: Held) -> JoinGroupResponse:
    members = tuple((f"c{place}", "", ("t",)) for place, _ in enumerate(held, 1))
    return JoinGroupResponse(NONE, 3, "c1", "c1", members, protocol, held=held)


def test_the_sticky_assignor_remembers_what_it_gave_as_its_members_give_up_all_before_they_join() -> None:
    assignors = MemberAssignors([STICKY], client_profile("4.3"))
    assert assignors.held((), -1) == Held(sticky=None)
    assignors.assigned(STICKY, t(1, 2), 5)
    held = assignors.held((), 5)

    assert (held.partitions, held.sticky, held.sticky_generation) == ((), t(1, 2), 5)
    assert assignors.assign(joined(STICKY, Held(), held), topics(t=4)) == {"c1": t(0, 3), "c2": t(1, 2)}


def test_an_older_cooperative_member_tells_its_generation_by_its_assignor() -> None:
    """KIP-792: before 3.4 a subscription had none."""
    old = MemberAssignors([COOPERATIVE], client_profile("3.3"))
    old.assigned(COOPERATIVE, t(0), 4)
    held = old.held(t(0), 4)

    assert (held.generation, held.cooperative_generation) == (-1, 4)
    assert old.assign(joined(COOPERATIVE, held, Held(t(0, 1), -1, cooperative_generation=3)), topics(t=2)) == {"c1": t(0), "c2": t(1)}


@pytest.mark.parametrize(("only_the_newest", "given"), [(False, []), (True, ["t-1"])])
def test_before_3_4_1_what_a_member_of_an_older_generation_has_was_given_away_at_once(only_the_newest: bool, given: list[str]) -> None:
    """KAFKA-14639: c1 has missed generation 2, and both partitions are still its own."""
    found, _ = assign_cooperatively(claims({"c1": t(0, 1), "c2": ()}, generations={"c1": 1, "c2": 2}), topics(t=2), Rules(only_the_newest=only_the_newest))

    assert found == {"c1": ["t-0"], "c2": given}
    assert (client_profile("3.4.0").compares_claims, client_profile("3.4.1").compares_claims) == (False, True)


@pytest.mark.parametrize(("names", "cooperative"), [([COOPERATIVE], True), (["range", COOPERATIVE], False), ([STICKY], False), ([STICKY, COOPERATIVE], False)])
def test_a_member_is_cooperative_only_where_all_its_assignors_are(names: list[str], cooperative: bool) -> None:
    """So with the default list since 3.0, range and cooperative, it is eager."""
    assert MemberAssignors(names, client_profile("4.3")).is_cooperative is cooperative


# Properties.

SIZES = st.fixed_dictionaries({"t": st.integers(1, 5), "u": st.integers(0, 4)})


@st.composite
def drawn(draw: st.DrawFn, *, equal: bool) -> tuple[list[Claim], dict[str, int]]:
    sizes = {topic: size for topic, size in draw(SIZES).items() if size}
    every = [partition for partitions in topics(**sizes).values() for partition in partitions]
    found = []
    for number in range(draw(st.integers(1, 5))):
        named = ("t", "u") if equal else draw(st.sampled_from([("t",), ("u",), ("t", "u")]))
        mine = [partition for partition in every if partition.split("-")[0] in named]
        owned = tuple(draw(st.lists(st.sampled_from(mine), unique=True, max_size=4))) if mine else ()
        generation = draw(st.sampled_from([None, 1, 2, 2, 3]))
        found.append(Claim(f"c{number}", named, owned, generation, -1 if generation is None else generation))
    return found, {topic: size for topic, size in sizes.items() if any(topic in one.topics for one in found)}


@settings(deadline=None, max_examples=60)
@given(drawn(equal=True) | drawn(equal=False))
def test_every_partition_that_somebody_reads_is_one_members(case: tuple[list[Claim], dict[str, int]]) -> None:
    given_claims, sizes = case
    found, _, _ = assign_stickily(given_claims, topics(**sizes), Rules())
    subscribed = {one.member: one.topics for one in given_claims}
    read = [partition for partitions in found.values() for partition in partitions]

    assert sorted(read) == sorted(p for topic, ps in topics(**sizes).items() for p in ps if any(topic in named for named in subscribed.values()))
    assert all(partition.split("-")[0] in subscribed[member] for member, partitions in found.items() for partition in partitions)


@settings(deadline=None, max_examples=60)
@given(drawn(equal=True))
def test_equal_members_get_equally_many(case: tuple[list[Claim], dict[str, int]]) -> None:
    given_claims, sizes = case
    counts = [len(partitions) for partitions in assign_stickily(given_claims, topics(**sizes), Rules())[0].values()]

    assert max(counts) - min(counts) <= 1


@settings(deadline=None, max_examples=60)
@given(drawn(equal=True) | drawn(equal=False))
def test_cooperative_rebalances_come_to_an_end_and_never_give_what_is_still_held(case: tuple[list[Claim], dict[str, int]]) -> None:
    given_claims, sizes = case
    parts = topics(**sizes)
    held = {one.member: list(one.partitions) for one in given_claims}
    subscribed = {one.member: one.topics for one in given_claims}
    generations = {one.member: one.told_generation for one in given_claims}
    for generation in range(10, 16):
        asked = claims({member: tuple(partitions) for member, partitions in held.items()}, subscribed, generations)
        found, _ = assign_cooperatively(asked, parts, Rules())
        for member, partitions in found.items():
            for partition in partitions:
                if partition not in held[member]:
                    holders = [other for other in held if partition in held[other] and generations[other] >= max(generations.values())]
                    assert not holders
        if {member: sorted(partitions) for member, partitions in found.items()} == {member: sorted(partitions) for member, partitions in held.items()}:
            break
        held = found
        generations = dict.fromkeys(held, generation)
    else:
        raise AssertionError("it does not come to rest")

    assert sorted(p for ps in held.values() for p in ps) == sorted(p for topic, ps in parts.items() for p in ps if any(topic in n for n in subscribed.values()))
