"""Which partition a record without one of its own goes to: by bytes, by batches, in turn."""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.client_metadata import ClientMetadata
from ksim_models.config import ProducerConfig
from ksim_models.partitioner_names import DEFAULT, ROUND_ROBIN, UNIFORM_STICKY
from ksim_models.partitioners import BuiltIn, Partitioner, RoundRobin, StickyByBatch, partitioner_of
from ksim_models.profiles import client_profile
from scripted import Client, Half, Recording

THREE = ("t-0", "t-1", "t-2")


class Falling:
    """Dice that fall as they are told, by the ordinal of the draw."""

    def __init__(self, *draws: float) -> None:
        self.draws = draws

    def at(self, *what: str | int) -> float:
        return self.draws[int(what[-1])]


def made(*draws: float, kafka: str = "4.3", leaderless: tuple[str, ...] = (), **config: Any) -> Partitioner:
    settings, profile = ProducerConfig(**config), client_profile(kafka)
    metadata = ClientMetadata("p1", ["b1"], settings, profile, Half())
    metadata.topics["t"] = THREE
    metadata.leaders = {name: ("" if name in leaderless else "b1", 0) for name in THREE}
    return partitioner_of("p1", settings, profile, metadata, Falling(*draws))


@pytest.mark.parametrize(
    ("kafka", "cls", "kind", "by_key", "again"),
    [
        ("4.3", None, BuiltIn, True, False),
        ("3.3", None, BuiltIn, True, False),
        ("3.2", DEFAULT, StickyByBatch, True, True),
        ("3.9", DEFAULT, StickyByBatch, True, True),
        ("3.9", UNIFORM_STICKY, StickyByBatch, False, True),
        ("3.9", ROUND_ROBIN, RoundRobin, False, True),
        ("4.0", ROUND_ROBIN, RoundRobin, False, False),
    ],
)
def test_each_release_has_its_classes(kafka: str, cls: str | None, kind: type, by_key: bool, again: bool) -> None:
    """A46, A47, A48, A49; KIP-480, KIP-794."""
    partitioner = made(kafka=kafka, partitioner_class=cls)

    assert (type(partitioner), partitioner.places_keys, partitioner.asks_again) == (kind, by_key, again)


def test_ignoring_keys_leaves_every_record_to_the_built_in_choice() -> None:
    """A6: partitioner.ignore.keys."""
    assert not made(partitioner_ignore_keys=True).places_keys


def test_the_sticky_partition_is_drawn_uniformly_and_may_be_the_same_again() -> None:
    """A46."""
    partitioner = made(0.0, 0.34, 0.99, 0.99, batch_size=1)
    chosen = []
    for _ in range(4):
        chosen.append(partitioner.choose("t", THREE))
        partitioner.appended("t", 1, THREE, last_is_full=True)
        if len(chosen) == 3:
            partitioner.dice = Falling(0.0, 0.0, 0.0, 0.0, 0.0)

    assert chosen[:3] == ["t-0", "t-1", "t-2"]
    assert chosen[3] == "t-2"


def test_it_sticks_for_batch_size_bytes_if_the_batch_is_full_then_and_for_twice_as_many_otherwise() -> None:
    """A46 (KIP-794)."""
    partitioner = made(0.0, 0.5, 0.0, batch_size=1000)
    seen = []
    for count, last_is_full in ((0, True), (999, True), (1, False), (1, True), (1999, False), (1, False)):
        partitioner.choose("t", THREE)
        seen.append((partitioner.appended("t", count, THREE, last_is_full=last_is_full), partitioner.choose("t", THREE)))

    assert seen == [(False, "t-0"), (False, "t-0"), (False, "t-0"), (True, "t-1"), (False, "t-1"), (True, "t-0")]


def test_a_switch_that_was_held_back_is_made_up_for_once_all_batches_are_full() -> None:
    """A46: and only if there were bytes enough."""
    partitioner = made(0.0, 0.5, batch_size=1000)
    partitioner.choose("t", THREE)
    partitioner.appended("t", 999, THREE, last_is_full=False)
    assert not partitioner.completes_switch("t", THREE)
    partitioner.appended("t", 1, THREE, last_is_full=False)

    assert partitioner.completes_switch("t", THREE)
    assert partitioner.choose("t", THREE) == "t-1"


def test_before_3_3_a_new_batch_moves_on_to_any_other_partition() -> None:
    """A47: never the same, unless it is the only one; another partition's new batch is no reason."""
    partitioner = made(0.0, 0.0, 0.99, kafka="3.2", partitioner_class=DEFAULT)
    chosen = [partitioner.choose("t", THREE)]
    partitioner.new_batch("t", "t-2", THREE)
    chosen.append(partitioner.choose("t", THREE))
    partitioner.new_batch("t", "t-0", THREE)
    chosen.append(partitioner.choose("t", THREE))
    lonely = made(0.0, 0.0, kafka="3.2", leaderless=("t-0", "t-2"))
    lonely.choose("t", THREE)
    lonely.new_batch("t", "t-1", THREE)

    assert chosen == ["t-0", "t-0", "t-1"]
    assert lonely.choose("t", THREE) == "t-1"


@pytest.mark.parametrize(
    ("kafka", "partitions"),
    [
        ("3.9.1", ["t-1", "t-1", "t-1", "t-1"]),
        ("3.9.2", ["t-0", "t-1", "t-0", "t-1"]),
        ("4.0", ["t-0", "t-1", "t-0", "t-1"]),
    ],
)
def test_round_robin_skipped_a_partition_with_every_new_batch(kafka: str, partitions: list[str]) -> None:
    """A48 (KAFKA-17632): with batches of one record and two partitions one of them got nothing."""
    client = Client(kafka=kafka, partitioner_class=ROUND_ROBIN, batch_size=1)
    client.calls[0].partition = None
    for _ in range(4):
        client.send()

    assert [batch.partition for batch in client.sent] == partitions


def test_round_robin_counts_over_the_partitions_that_have_a_leader() -> None:
    """A48."""
    partitioner = made(partitioner_class=ROUND_ROBIN, leaderless=("t-1",))
    leaderless = made(partitioner_class=ROUND_ROBIN, leaderless=THREE)

    assert [partitioner.choose("t", THREE) for _ in range(4)] == ["t-0", "t-2", "t-0", "t-2"]
    assert [leaderless.choose("t", THREE) for _ in range(4)] == ["t-0", "t-1", "t-2", "t-0"]


def test_a_choice_stands_while_send_waits_for_memory() -> None:
    """A6, A20: round robin is not asked a second time for the same record."""
    client = Client(partitioner_class=ROUND_ROBIN, batch_size=200, buffer_memory=400, linger_ms=0, delivery_timeout_ms=60_000)
    client.calls[0].partition = None
    client.calls[0].size = 100
    client.send(count=5)
    client.at(10)
    while client.requests:
        client.answer(offset=0)
        client.at(client.now / 1000 + 1)

    assert [batch.partition for batch in sorted(client.sent, key=lambda batch: batch.records[0])] == ["t-0", "t-1", "t-0", "t-1", "t-0"]


@pytest.mark.parametrize(("slow", "table"), [([], ([1, 5, 6], ["t-0", "t-1", "t-2"])), (["b2"], ([1, 2], ["t-1", "t-2"]))], ids=["none slow", "one slow"])
def test_an_empty_queue_behind_one_that_was_left_out_counts_as_long_as_that(slow: list[str], table: tuple[list[int], list[str]]) -> None:
    """A46a: the sizes stand in one array, and an empty queue writes nothing into it: so it is in RecordAccumulator.partitionReady."""
    partitioner = made(0.0, 0.99, 0.0, 0.5, batch_size=1)
    assert isinstance(partitioner, BuiltIn)
    partitioner.metadata.leaders["t-0"] = ("b2", 0)
    queues: dict[str, list[int]] = {"t-0": [1, 2, 3], "t-1": [], "t-2": [1, 2, 3]}
    partitioner.choose("t", THREE)
    partitioner.looked(queues, frozenset(slow))

    assert partitioner.loads["t"] == table


def test_each_draw_of_the_built_in_choice_is_named_by_producer_topic_and_ordinal() -> None:
    """A46, A46a: also one that was held back, and one by the lengths of the queues."""
    partitioner, dice = made(batch_size=1), Recording()
    assert isinstance(partitioner, BuiltIn)
    partitioner.dice = dice
    partitioner.choose("t", THREE)
    partitioner.appended("t", 2, THREE, last_is_full=False)
    partitioner.appended("t", 1, THREE, last_is_full=False)
    partitioner.completes_switch("t", THREE)
    partitioner.looked({"t-0": [1], "t-1": [], "t-2": [1]}, frozenset())
    partitioner.appended("t", 2, THREE, last_is_full=False)

    assert dice.drawn == [("sticky", "p1", "t", ordinal) for ordinal in range(4)]


def test_each_draw_of_a_partitioner_that_goes_by_batches_is_named_too() -> None:
    """A47: a new batch may come before the first choice, of a record with a key."""
    partitioner, dice = made(kafka="3.2"), Recording()
    partitioner.dice = dice
    partitioner.new_batch("t", "t-1", THREE)
    assert partitioner.choose("t", THREE) == "t-0"
    partitioner.new_batch("t", "t-0", THREE)
    partitioner.new_batch("t", "t-1", THREE)
    partitioner.choose("u", ("u-0",))

    assert dice.drawn == [("sticky", "p1", "t", 0), ("sticky", "p1", "t", 1), ("sticky", "p1", "t", 2), ("sticky", "p1", "u", 0)]


def test_of_two_partitions_with_a_leader_a_new_batch_takes_the_other_one() -> None:
    """A47."""
    partitioner = made(0.0, 0.0, kafka="3.2", leaderless=("t-1",))
    partitioner.choose("t", THREE)
    partitioner.new_batch("t", "t-0", THREE)

    assert partitioner.choose("t", THREE) == "t-2"


@pytest.mark.parametrize(
    ("kafka", "cls", "course"),
    [("4.3", None, [0, 0, 1, 0]), ("3.2", DEFAULT, [0, 0, 1, 0]), ("3.9.1", ROUND_ROBIN, [0, 1, 2, 1]), ("3.9.2", ROUND_ROBIN, [0, 1, 0, 1])],
)
def test_what_is_tried_out_beforehand_changes_no_choice(kafka: str, cls: str | None, course: list[int]) -> None:
    """Our own foresight; A46, A47, A48."""
    partitioner = made(0.0, 0.4, kafka=kafka, partitioner_class=cls, batch_size=1)
    chosen = [partitioner.choose("t", THREE)]
    thought = partitioner.fork()
    chosen.append(thought.choose("t", THREE))
    thought.appended("t", 2, THREE, last_is_full=False)
    thought.new_batch("t", "t-0", THREE)
    chosen += [thought.choose("t", THREE), partitioner.choose("t", THREE)]

    assert chosen == [f"t-{number}" for number in course]


def test_the_bytes_left_are_those_that_do_not_yet_make_it_switch() -> None:
    """A46: at twice batch.size it switches, full or not."""
    for more, switches in ((0, False), (1, True)):
        partitioner = made(0.0, 0.5, batch_size=1000)
        assert isinstance(partitioner, BuiltIn)
        partitioner.choose("t", THREE)
        partitioner.appended("t", 300, THREE, last_is_full=False)
        left = partitioner.bytes_left("t")

        assert left == 1699
        assert partitioner.appended("t", left + more, THREE, last_is_full=False) is switches


@pytest.mark.parametrize("cls", [DEFAULT, ROUND_ROBIN])
def test_classes_neither_count_bytes_nor_queues(cls: str) -> None:
    """A47, A48."""
    partitioner = made(0.0, kafka="3.9", partitioner_class=cls, batch_size=1)
    partitioner.choose("t", THREE)

    assert not partitioner.appended("t", 99, THREE, last_is_full=True)
    assert not partitioner.completes_switch("t", THREE)
    assert not partitioner.counts_queues_of("t")


def test_only_an_adaptive_choice_that_was_made_counts_queues() -> None:
    """A46a: partitioner.adaptive.partitioning.enable."""
    adaptive, plain = made(0.0), made(0.0, partitioner_adaptive_partitioning_enable=False)
    adaptive.choose("t", THREE)
    plain.choose("t", THREE)

    assert (adaptive.counts_queues_of("t"), adaptive.counts_queues_of("u"), plain.counts_queues_of("t")) == (True, False, False)


def test_a_look_counts_where_it_changes_the_choice() -> None:
    """A46a: the same lengths are no news, equal ones make it even again, and a topic that is no longer known is left alone."""
    partitioner = made(0.0)
    assert isinstance(partitioner, BuiltIn)
    partitioner.choose("t", THREE)
    versions = []
    for lengths in ((1, 0, 0), (1, 0, 0), (2, 0, 0), (1, 1, 1), (3, 3, 3)):
        partitioner.looked({name: [0] * length for name, length in zip(THREE, lengths, strict=True)}, frozenset())
        versions.append((partitioner.version, "t" in partitioner.loads))
    del partitioner.metadata.topics["t"]
    partitioner.looked({}, frozenset())

    assert versions == [(1, True), (1, True), (2, True), (3, False), (3, False)]
    assert partitioner.version == 3


@pytest.mark.parametrize(
    ("partitions", "leaderless", "table"),
    [(2, (), ([1, 4], ["t-0", "t-1"])), (3, ("t-0",), ([1, 2], ["t-1", "t-2"])), (3, ("t-1",), ([1, 4], ["t-0", "t-2"])), (1, (), None)],
    ids=["two", "the first without a leader", "the second", "a single one is no choice"],
)
def test_partitions_with_a_leader_are_weighed_by_their_queues(partitions: int, leaderless: tuple[str, ...], table: Any) -> None:
    """A46a: as many as there are, from two on."""
    partitioner = made(0.0, leaderless=leaderless)
    assert isinstance(partitioner, BuiltIn)
    partitioner.metadata.topics["t"] = THREE[:partitions]
    partitioner.choose("t", THREE[:partitions])
    partitioner.looked({"t-0": [1, 2], "t-1": [], "t-2": []}, frozenset())

    assert partitioner.loads.get("t") == table
