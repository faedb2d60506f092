"""What a client knows of the cluster, and when it asks again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ksim_models.client_metadata import ClientMetadata
from ksim_models.config import ProducerConfig
from ksim_models.errors import ErrorCode as E
from ksim_models.facts import Learned
from ksim_models.machine import Effect, Note
from ksim_models.messages import MetadataResponse, PartitionMetadata, TopicMetadata
from ksim_models.profiles import client_profile
from ksim_models.units import NEVER, ms
from scripted import Drawn, Half, Recording


def metadata(*, kafka: str = "4.3", **config: Any) -> ClientMetadata:
    settings: dict[str, Any] = {"retry_backoff_ms": 100, "retry_backoff_max_ms": 1000, "metadata_max_age_ms": 300_000} | config
    known = ClientMetadata("p1", ["b1", "b2"], replace(ProducerConfig(), **settings), client_profile(kafka), Half())
    known.add("t", 0)
    return known


def response(leader: str = "b1", epoch: int = 1, *, error: E = E.NONE, brokers: tuple[str, ...] = ("b1", "b2"), topic_error: E = E.NONE) -> MetadataResponse:
    found = () if topic_error else (PartitionMetadata("t-0", error, leader, epoch),)
    return MetadataResponse(brokers, (TopicMetadata("t", topic_error, found),))


def learnt(known: ClientMetadata, answer: MetadataResponse, at: int = 0) -> list[Learned]:
    out: list[Effect] = []
    known.asked(at)
    known.learn(answer, at, out)
    return [effect.fact for effect in out if isinstance(effect, Note) and isinstance(effect.fact, Learned)]


def test_a_new_topic_is_asked_for_at_once() -> None:
    """M2: whatever was refreshed a moment ago."""
    known = metadata()
    learnt(known, response(), ms(10))
    known.request_update()
    assert known.due_at == ms(110)
    known.add("u", ms(20))

    assert known.due_at < 0
    assert known.asked(ms(20)) == ("t", "u")


@pytest.mark.parametrize(
    ("answer", "leader"),
    [
        pytest.param(response("b2", 4), ("b1", 5), id="M4 a lower leader epoch is old news"),
        pytest.param(response("b2", 5), ("b2", 5), id="M4 the same epoch is taken"),
        pytest.param(response("b2", 6), ("b2", 6), id="M4 a higher one too"),
        pytest.param(response("", 6), ("", 6), id="M4 also when nobody leads"),
    ],
)
def test_what_an_answer_says_of_a_leader(answer: MetadataResponse, leader: tuple[str, int]) -> None:
    known = metadata()
    learnt(known, response("b1", 5))
    learnt(known, answer, ms(200))

    assert known.leader_of("t-0") == leader
    assert known.partitions_led_by("b2") == (["t-0"] if leader[0] == "b2" else [])


def test_full_metadata_grows_old() -> None:
    """M1: metadata.max.age.ms after the last success."""
    known = metadata()
    learnt(known, response(), ms(10))

    assert known.due_at == ms(300_010)


@pytest.mark.parametrize("answer", [response(error=E.LEADER_NOT_AVAILABLE), response(topic_error=E.UNKNOWN_TOPIC_OR_PARTITION)], ids=["partition", "topic"])
def test_an_error_in_an_answer_asks_again(answer: MetadataResponse) -> None:
    """M1."""
    known = metadata()
    learnt(known, answer, ms(10))

    assert known.due_at == ms(110)


@pytest.mark.parametrize(("kafka", "waits"), [("3.6", [100, 100, 100]), ("3.7", [100, 200, 400])])
def test_failed_refreshes_wait_longer_from_3_7_on(kafka: str, waits: list[int]) -> None:
    """M2, N6: a lost request counts as a failed update."""
    known = metadata(kafka=kafka)
    found = []
    for number in range(3):
        known.asked(ms(1000 * number))
        known.failed(ms(1000 * number))
        found.append((known.due_at - ms(1000 * number)) // 1000)

    assert found == waits


@pytest.mark.parametrize(("kafka", "waits"), [("3.6", [100, 100, 100, 100]), ("3.7", [100, 100, 200, 400])])
def test_answers_that_bring_no_change_wait_longer_from_3_7_on(kafka: str, waits: list[int]) -> None:
    """M2: and a change begins anew."""
    known = metadata(kafka=kafka)
    found = []
    for number in range(4):
        learnt(known, response(), ms(1000 * number))
        known.request_update()
        found.append((known.due_at - ms(1000 * number)) // 1000)
    learnt(known, response("b2", 2), ms(9000))
    known.request_update()

    assert found == waits
    assert known.due_at == ms(9100)


def unchanged_three_times() -> ClientMetadata:
    known = metadata()
    for number in range(4):
        learnt(known, response(), ms(1000 * number))
        known.request_update()
    assert known.due_at == ms(3400)
    return known


def test_a_failed_refresh_begins_the_waits_for_unchanged_answers_anew() -> None:
    """Metadata.failedUpdate."""
    known = unchanged_three_times()
    known.asked(ms(4000))
    known.failed(ms(4000))
    assert known.due_at == ms(4100)
    learnt(known, response(), ms(5000))
    known.request_update()

    assert known.due_at == ms(5100)


def test_a_periodic_refresh_begins_the_waits_for_unchanged_answers_anew() -> None:
    """Metadata.timeToAllowUpdate; a new topic does too (requestUpdateForNewTopics)."""
    known = unchanged_three_times()
    learnt(known, response(), ms(3_500))
    assert known.due_at == ms(303_500)
    learnt(known, response(), ms(310_000))
    known.request_update()
    assert known.due_at == ms(310_100)

    other = unchanged_three_times()
    other.add("u", ms(4000))
    learnt(other, response(), ms(4000))
    other.request_update()

    assert other.due_at == ms(4100)


def test_an_answer_without_brokers_is_a_failure() -> None:
    """M3."""
    known = metadata()
    learnt(known, MetadataResponse((), ()), ms(10))

    assert (known.nodes, known.due_at) == (known.bootstrap, ms(110))


def test_what_was_asked_for_while_an_answer_was_under_way_is_answered_by_it() -> None:
    known = metadata()
    known.asked(0)
    known.request_update()
    known.learn(response(), ms(5), [])

    assert known.due_at == ms(300_005)


@pytest.mark.parametrize(
    ("leader", "epoch", "taken"),
    [
        pytest.param("b2", 6, True, id="M5 newer, and a broker it knows"),
        pytest.param("b2", 5, False, id="M5 not newer"),
        pytest.param("b9", 6, True, id="M5 a broker it does not know: the answer names its address"),
        pytest.param("", 6, False, id="M5 nobody leads"),
    ],
)
def test_a_leader_named_in_a_produce_answer(leader: str, epoch: int, taken: bool) -> None:
    known = metadata()
    learnt(known, response("b1", 5))
    known.take_hint("t-0", leader, epoch, [])

    assert known.leader_of("t-0") == ((leader, epoch) if taken else ("b1", 5))
    assert known.nodes == (("b1", "b2", "b9") if leader == "b9" else ("b1", "b2"))


@pytest.mark.parametrize(("kafka", "leader"), [("3.6", "b1"), ("3.7", "b2")])
def test_m5_a_named_leader_is_taken_since_3_7(kafka: str, leader: str) -> None:
    """KIP-951, whatever the answer is of."""
    known = metadata(kafka=kafka)
    learnt(known, response("b1", 5))
    known.take_hint("t-0", "b2", 6, [])

    assert known.leader_of("t-0")[0] == leader


@pytest.mark.parametrize(("age", "taken"), [(0, False), (1, True)])
def test_m5_a_named_leader_is_measured_by_the_lowest_epochs_too(age: int, taken: bool) -> None:
    known = metadata()
    learnt(known, response("b1", 0))
    known.take_hint("t-0", "b2", age, [])
    known.take_hint("t-1", "b2", 9, [])

    assert known.leaders == {"t-0": ("b2", 1) if taken else ("b1", 0)}, "t-1 was never described"


def test_m5_a_named_leader_does_not_end_the_waits_for_unchanged_answers() -> None:
    """Metadata.updatePartitionLeadership does not count as an answer (M2)."""
    known = unchanged_three_times()
    known.take_hint("t-0", "b2", 6, [])
    learnt(known, response("b2", 6), ms(4_000))
    known.request_update()

    assert known.due_at == ms(4_800)


def test_partitions_of_a_leader_stand_in_the_order_of_their_numbers() -> None:
    """A31: the order of draining."""
    known = metadata()
    names = tuple(f"t-{number}" for number in range(12))
    found = tuple(PartitionMetadata(name, E.NONE, "b1" if number % 2 else "b2", 0) for number, name in enumerate(names))
    learnt(known, MetadataResponse(("b1", "b2"), (TopicMetadata("t", E.NONE, found),)))

    assert known.partitions_led_by("b1") == ["t-1", "t-3", "t-5", "t-7", "t-9", "t-11"]
    assert known.partitions_led_by("b1") is known.partitions_led_by("b1"), "remembered until a leader changes"


def test_m1_a_topic_not_sent_to_for_metadata_max_idle_ms_is_asked_for_no_more() -> None:
    """Looked at when a full answer comes; then send() has to wait for it again."""
    known = metadata(metadata_max_idle_ms=5_000)
    known.last_use = lambda topic, now: {"t": ms(2_000)}[topic]
    learnt(known, response(), ms(10))
    known.request_update()
    learnt(known, response(), ms(6_999))
    assert known.topics == {"t": ("t-0",)}

    known.request_update()
    learnt(known, response(), ms(7_000))

    assert (known.topics, known.wanted, known.leader_of("t-0")) == ({}, {}, ("", -1))
    known.want("t", ms(8_000))
    assert known.due_at < 0, "it is a new topic again"


def test_what_an_answer_does_not_describe_is_not_known_any_more() -> None:
    """An error takes the topic's leaders away (MetadataSnapshot); when it comes back, any leader epoch is taken, for its id is not known either (M4)."""
    known = metadata()
    learnt(known, response("b1", 5), ms(10))
    learnt(known, response(topic_error=E.UNKNOWN_TOPIC_OR_PARTITION), ms(200))
    assert (known.topics, known.leader_of("t-0")) == ({"t": ()}, ("", -1))
    assert known.errors == {"t": E.UNKNOWN_TOPIC_OR_PARTITION}
    assert known.update_requested

    learnt(known, response("b2", 4), ms(400))

    assert (known.leader_of("t-0"), known.errors) == (("b2", 4), {})


def test_of_what_is_not_described_any_more_the_id_is_forgotten_and_that_of_the_others_is_not() -> None:
    """M4: what a Produce request of 4.1 names its topics by."""
    known = metadata()
    known.add("u", 0)
    described = TopicMetadata("u", E.NONE, (PartitionMetadata("u-0", E.NONE, "b1", 0),), topic_id=7)
    learnt(known, replace(response(), topics=(*response().topics, described)))
    assert dict(known.topic_ids) == {"t": response().topics[0].topic_id, "u": 7}
    learnt(known, replace(response(), topics=(TopicMetadata("t", E.UNKNOWN_TOPIC_OR_PARTITION, ()), described)), ms(200))

    assert dict(known.topic_ids) == {"u": 7}


def test_a_partition_that_was_added_is_a_change_whatever_its_leader_epoch() -> None:
    """M2, M4: nothing was known of it, so its first epoch is a higher one."""
    known = unchanged_three_times()
    first = response().topics[0].partitions
    learnt(known, replace(response(), topics=(TopicMetadata("t", E.NONE, (*first, PartitionMetadata("t-1", E.NONE, "b2", 0))),)), ms(4_000))
    known.request_update()

    assert (known.topics, known.leader_of("t-1"), known.due_at) == ({"t": ("t-0", "t-1")}, ("b2", 0), ms(4_100))


def test_answers_to_who_asks_for_no_topic_bring_no_change_from_the_second_on() -> None:
    """M2: the first one is not counted."""
    known = ClientMetadata("p1", ["b1"], ProducerConfig(), client_profile("4.3"), Half())
    found = []
    for number in range(3):
        known.request_update()
        learnt(known, MetadataResponse(("b1",), ()), ms(1_000 * number))
        known.request_update()
        found.append((known.due_at - ms(1_000 * number)) // 1_000)

    assert found == [100, 200, 400]


def test_every_change_is_counted_once() -> None:
    """What was foreseen, or divided among readers, by an older count is void."""
    known = metadata()
    counts = []
    for number, answer in enumerate([response("b1", 5), response("b1", 5), response("b2", 5), response(topic_error=E.UNKNOWN_TOPIC_OR_PARTITION)]):
        learnt(known, answer, ms(1_000 * number))
        counts.append(known.learnt)

    assert counts == [2, 2, 3, 4], "the partitions and their leader; nothing; the leader; the topic"


@pytest.mark.parametrize(("error", "again"), [(E.TOPIC_AUTHORIZATION_FAILED, False), (E.INVALID_TOPIC_EXCEPTION, False), (E.LEADER_NOT_AVAILABLE, True)])
def test_m1_only_an_error_that_newer_metadata_may_cure_asks_again(error: E, again: bool) -> None:
    known = metadata()
    learnt(known, response(topic_error=error), ms(10))

    assert known.update_requested is again


def test_m3_a_new_topic_is_asked_for_alone_and_its_answer_does_not_make_the_rest_young() -> None:
    known = metadata()
    learnt(known, response(), ms(10))
    known.want("u", ms(1_000))
    assert known.due_at < 0
    assert known.asked(ms(1_000)) == ("u",)

    known.learn(MetadataResponse(("b1", "b2"), (TopicMetadata("u", E.NONE, (PartitionMetadata("u-0", E.NONE, "b2", 0),)),)), ms(1_001), [])

    assert known.topics == {"t": ("t-0",), "u": ("u-0",)}
    assert known.due_at == ms(300_010)


def test_a_failed_request_for_a_new_topic_waits_for_the_backoff() -> None:
    """M2, N6."""
    known = metadata()
    learnt(known, response(), ms(10))
    known.want("u", ms(1_000))
    known.asked(ms(1_000))
    known.failed(ms(1_500))

    assert known.due_at == ms(1_600)
    assert known.asked(ms(1_600)) == ("u",)


@pytest.mark.parametrize(("kafka", "leader"), [("2.8.0", ("b1", 5)), ("2.8.1", ("b2", 0)), ("4.3", ("b2", 0))])
def test_m4_a_topic_of_another_id_counts_however_low_its_epochs(kafka: str, leader: tuple[str, int]) -> None:
    """H-090, KAFKA-12257."""
    known = metadata(kafka=kafka)
    learnt(known, response("b1", 5))
    again = replace(response("b2", 0), topics=(replace(response("b2", 0).topics[0], topic_id=9),))
    learnt(known, again, ms(200))

    assert known.leader_of("t-0") == leader
    assert known.topic_ids == (("t", 9),)


@pytest.mark.parametrize(("kafka", "leader"), [("2.8.1", ("", -1)), ("2.8.2", ("b2", 0)), ("3.0.0", ("", -1)), ("3.0.1", ("b2", 0))])
def test_m4_after_a_topic_was_not_there_its_old_id_is_forgotten(kafka: str, leader: tuple[str, int]) -> None:
    """KAFKA-13488: before, its old leader epochs were not."""
    known = metadata(kafka=kafka)
    learnt(known, response("b1", 5))
    learnt(known, response(topic_error=E.UNKNOWN_TOPIC_OR_PARTITION), ms(200))
    again = replace(response("b2", 0), topics=(replace(response("b2", 0).topics[0], topic_id=9),))
    learnt(known, again, ms(400))

    assert known.leader_of("t-0") == leader


def test_an_answer_tells_of_a_leader_once() -> None:
    known = metadata()

    assert learnt(known, response("b1", 5), ms(10)) == [Learned("p1", "t-0", "b1", 5)]
    assert learnt(known, response("b1", 5), ms(200)) == []
    assert learnt(known, response("b2", 5), ms(400)) == [Learned("p1", "t-0", "b2", 5)]


def test_a_topic_that_is_back_is_a_change() -> None:
    """M2: whatever its leader epoch; so the next refresh waits for the shortest time only."""
    known = unchanged_three_times()
    learnt(known, response(topic_error=E.UNKNOWN_TOPIC_OR_PARTITION), ms(4_000))
    assert known.due_at == ms(4_800), "an error is no change"
    learnt(known, response(), ms(5_000))
    known.request_update()

    assert known.due_at == ms(5_100)


def test_a_full_answer_that_does_not_describe_a_topic_takes_it_away_and_keeps_its_leader_epoch() -> None:
    known = metadata()
    learnt(known, response("b1", 5), ms(10))
    known.request_update()
    learnt(known, MetadataResponse(("b1",), ()), ms(200))

    assert (known.topics, known.leaders, known.epochs) == ({}, {}, {"t-0": 5})


def test_a_refresh_of_that_very_age_is_a_full_one() -> None:
    known = metadata()
    learnt(known, response(), ms(10))
    known.add("u", ms(300_010))

    assert known.asked(ms(300_010)) == ("t", "u")


def test_every_wait_has_a_draw_of_its_own() -> None:
    dice = Recording()
    known = ClientMetadata("p1", ["b1"], ProducerConfig(), client_profile("4.3"), dice)
    known.failed(ms(10))
    known.failed(ms(20))

    assert dice.drawn == [("refresh", "p1", 1), ("refresh", "p1", 2)]
    assert known.due_at == ms(20 + 160), "the draw is the lowest: 0.8 of 200 ms"


def test_what_was_due_a_moment_ago_need_not_be_when_the_connection_is_lost() -> None:
    """N6: Java draws the backoff anew at each look; a loss that no longer finds the update due is no failed update, and the next one is due soon again."""
    known = ClientMetadata("p1", ["b1"], ProducerConfig(), client_profile("4.3"), Drawn(0.5, 0.75, 0.25, 0.0))
    known.request_update()
    known.failed(ms(0))
    assert known.due_at == ms(100)
    assert not known.is_due_still(ms(101)), "110 ms this time"
    assert known.due_at == ms(90)
    assert known.is_due_still(ms(101)), "80 ms this time"
    assert known.failures == 1


def test_before_3_7_the_backoff_is_always_as_long() -> None:
    known = ClientMetadata("p1", ["b1"], ProducerConfig(), client_profile("3.6"), Drawn(0.9))
    known.request_update()
    known.failed(ms(0))

    assert (known.is_due_still(ms(99)), known.is_due_still(ms(101))) == (False, True)


@pytest.mark.parametrize("now", [ms(5), ms(400_000)])
def test_nothing_is_due_while_it_is_asked_for(now: int) -> None:
    known = metadata()
    known.asked(0)

    assert not known.is_due_still(now)


@pytest.mark.parametrize(
    ("told", "between"),
    [
        pytest.param(True, response("b1", 5), id="described without a break"),
        pytest.param(False, response(topic_error=E.UNKNOWN_TOPIC_OR_PARTITION), id="refused meanwhile"),
        pytest.param(False, MetadataResponse(("b1", "b2"), ()), id="left out meanwhile"),
    ],
)
def test_of_a_partition_with_an_older_epoch_what_was_known_is_kept_and_that_may_be_nothing(told: bool, between: MetadataResponse) -> None:
    """M4, H-090: without partitions send() waits, and a client before 2.8.2 learns of none as long as the new topic's epoch is lower."""
    known = metadata(kafka="2.8.0")
    learnt(known, response("b1", 5), ms(10))
    known.request_update()
    learnt(known, between, ms(200))
    learnt(known, response("b2", 0), ms(400))

    assert known.topics.get("t", ()) == (("t-0",) if told else ())
    assert known.leader_of("t-0") == (("b1", 5) if told else ("", -1))


@pytest.mark.parametrize(
    ("kafka", "strategy", "begins_again", "at"),
    [
        ("3.7", "rebootstrap", False, NEVER),
        ("3.8", "none", False, NEVER),
        ("3.8", "rebootstrap", True, NEVER),
        ("4.0", "rebootstrap", True, ms(10 + 300_000 + 1)),
        ("4.0", "none", False, NEVER),
    ],
)
def test_which_clients_begin_again_from_their_bootstrap_servers_and_when(kafka: str, strategy: str, begins_again: bool, at: int) -> None:
    """M6 (i), (ii); KIP-899, KIP-1102."""
    known = metadata(kafka=kafka, metadata_recovery_strategy=strategy)
    assert known.rebootstrap_at == NEVER
    known.tried_since = ms(10)

    assert (known.rebootstraps, known.rebootstrap_at) == (begins_again, at)


@pytest.mark.parametrize(("strategy", "begins_again"), [("rebootstrap", True), ("none", False)])
def test_a_broker_may_ask_a_client_to_begin_again(strategy: str, begins_again: bool) -> None:
    """M6 (iii): what was asked is answered by that, and the trigger is past; who does not begin again has no brokers in this answer."""
    known = metadata(metadata_recovery_strategy=strategy)
    known.asked(0)
    known.learn(MetadataResponse((), (), error=E.REBOOTSTRAP_REQUIRED), ms(10), [])

    assert (known.rebootstrap_at <= ms(10), known.failures) == (begins_again, 0 if begins_again else 1)
    assert (known.asking, known.due_at < NEVER) == (False, True)


def test_each_look_at_what_is_due_draws_anew_and_says_so() -> None:
    """N6, M2: due at the very moment at which the backoff ends."""
    dice = Recording()
    known = ClientMetadata("p1", ["b1"], ProducerConfig(), client_profile("4.3"), dice)
    known.request_update()
    known.failed(0)
    looks = [known.is_due_still(at) for at in (ms(80) - 1, ms(80), ms(81))]

    assert looks == [False, True, True]
    assert dice.drawn == [("refresh", "p1", 1), *[("refresh", "p1", 1, look) for look in (1, 2, 3, 4)]]


def test_a_refresh_by_age_is_due_when_the_metadata_is_that_old() -> None:
    """M1, N6: before, nobody looks at the backoff."""
    dice = Recording()
    known = ClientMetadata("p1", ["b1"], ProducerConfig(metadata_max_age_ms=1_000), client_profile("4.3"), dice)
    known.add("t", 0)
    learnt(known, response())
    looks = []
    for at in (ms(1_000) - 1, ms(1_000)):
        looks.append((known.is_due_still(at), len(dice.drawn)))

    assert looks == [(False, 1), (True, 2)]


def test_before_3_7_an_update_is_due_at_the_end_of_its_backoff() -> None:
    """N6, M2."""
    known = metadata(kafka="3.6")
    known.failed(0)

    assert (known.is_due_still(ms(100) - 1), known.is_due_still(ms(100))) == (False, True)


def test_a_request_that_went_out_asks_no_second_time() -> None:
    """M2, M3: only what is requested while it is under way, and not for long: its answer covers that."""
    known = metadata(metadata_max_age_ms=10_000)
    assert not known.update_requested, "a new topic alone requests no full update"
    learnt(known, response(), ms(10))
    known.request_update()
    assert known.due_at == ms(110)
    known.asked(ms(110))
    assert (known.due_at, known.update_requested) == (NEVER, False)
    known.request_update()
    assert known.due_at == NEVER
    known.learn(response(), ms(120), [])

    assert known.due_at == ms(10_120)


def test_who_begins_again_knows_only_its_bootstrap_servers_and_asks_at_once() -> None:
    """M6: and the trigger counts from there."""
    known = metadata()
    learnt(known, response("b3", 5, brokers=("b3", "b4")), ms(10))
    assert known.nodes == ("b3", "b4")

    known.rebootstrap(ms(200_000))

    assert (known.nodes, known.topics, known.leaders, known.topic_ids) == (known.bootstrap, {}, {}, ())
    assert known.due_at == ms(110), "no sooner than the backoff allows (M2)"
    assert known.rebootstrap_at == ms(200_000 + 300_000 + 1)
    assert known.asked(ms(200_000)) == ("t",)
