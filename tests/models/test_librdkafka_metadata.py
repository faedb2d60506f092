"""What librdkafka knows of topics and leaders, and when it asks again, case by case (section 7.1 of the client's rule book, KIP-951)."""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.errors import ErrorCode as E
from ksim_models.facts import Learned
from ksim_models.librdkafka_config import LibrdkafkaConfig
from ksim_models.librdkafka_metadata import LibrdkafkaMetadata
from ksim_models.machine import Effect, Note
from ksim_models.messages import MetadataResponse, PartitionMetadata, TopicMetadata
from ksim_models.units import NEVER, SECOND, ms
from scripted import Drawn, Half

FIXED = {"retry_backoff_ms": 100, "retry_backoff_max_ms": 1_000, "topic_metadata_refresh_fast_interval_ms": 100}


def metadata(*falls: float, wants: tuple[str, ...] = ("t",), born_at: int = 0, **config: Any) -> LibrdkafkaMetadata:
    known = LibrdkafkaMetadata("p1", LibrdkafkaConfig(**(FIXED | config)), Drawn(*falls) if falls else Half(), born_at)
    for topic in wants:
        known.want(topic, 0)
    return known


def answer(*leaders: tuple[str, int], topic: str = "t", error: E = E.NONE, topic_id: int = 1) -> MetadataResponse:
    found = tuple(PartitionMetadata(f"{topic}-{number}", E.NONE, leader, epoch) for number, (leader, epoch) in enumerate(leaders))
    return MetadataResponse(("b1", "b2"), (TopicMetadata(topic, error, found, topic_id),))


def learnt(known: LibrdkafkaMetadata, response: MetadataResponse, at: int = 0) -> tuple[list[str], list[tuple[str, str, int]]]:
    """(topics that were settled, leaders that the history hears of)"""
    out: list[Effect] = []
    settled = known.learn(response, at, out)
    told = [effect.fact for effect in out if isinstance(effect, Note)]
    assert all(isinstance(fact, Learned) and fact.client == "p1" for fact in told)
    return settled, [(fact.partition, fact.leader, fact.leader_epoch) for fact in told if isinstance(fact, Learned)]


@pytest.mark.parametrize(
    ("fall", "waits"),
    [
        pytest.param(0.5, [100, 200, 400, 800, 1_000, 1_000], id="retry.backoff.ms, doubled, up to retry.backoff.max.ms"),
        pytest.param(0.0, [100, 160, 320, 640, 1_000, 1_000], id="a fifth less"),
        pytest.param(0.999, [100, 240, 480, 960, 1_000, 1_000], id="a fifth more"),
    ],
)
def test_the_leader_query_waits_longer_each_time(fall: float, waits: list[int]) -> None:
    """rd_kafka_timer_exp_backoff: what would leave the limits has no jitter, and the doubling goes on from the interval without it."""
    known = metadata(*[fall] * 6)
    found = []
    for _ in range(6):
        now = known.query_at
        known.queried(now)
        found.append((known.query_at - now) // 1_000)

    assert found == waits


def test_a_leader_query_begins_anew_unless_the_next_one_is_near() -> None:
    """rd_kafka_metadata_fast_leader_query: topic.metadata.refresh.fast.interval.ms."""
    known = metadata()
    for _ in range(3):
        known.queried(0)
    assert known.query_at == ms(400)
    known.fast_query(ms(300))
    assert known.query_at == ms(400), "100 ms away"
    known.fast_query(ms(299))
    assert known.query_at == ms(299)
    known.queried(ms(299))
    assert known.query_at == ms(399), "with the shortest wait"
    known.want("u", ms(350))
    assert known.query_at == ms(350), "a new topic is asked for at once"


@pytest.mark.parametrize(("interval", "at"), [(300_000, 300 * SECOND + 7), (-1, NEVER)])
def test_topic_metadata_refresh_interval_ms_counts_from_the_birth_of_the_client(interval: int, at: int) -> None:
    assert metadata(born_at=7, topic_metadata_refresh_interval_ms=interval).refresh_at == at


def test_what_the_timer_asks_for() -> None:
    """rd_kafka_metadata_leader_query_tmr_cb: what is not known, or failed for stale metadata; not what does not exist."""
    known = metadata(wants=("t", "u", "v"))
    learnt(known, answer(("b1", 0)))
    learnt(known, answer(topic="v", error=E.INVALID_TOPIC_EXCEPTION))
    assert known.due_topics() == ["u"]
    known.leader_unavailable("t", 0)

    assert known.due_topics() == ["t", "u"]


@pytest.mark.parametrize(
    ("response", "again"),
    [
        pytest.param(answer(("b1", 5), ("b2", 5)), False, id="every partition has a leader"),
        pytest.param(answer(("b1", 5), ("", 5)), True, id="one has none"),
        pytest.param(answer(("b1", 5), ("b2", 4)), True, id="one is older than what is known"),
        pytest.param(answer(error=E.LEADER_NOT_AVAILABLE), True, id="an error"),
    ],
)
def test_a_topic_that_failed_for_stale_metadata_is_asked_for_until_all_of_it_is_new(response: MetadataResponse, again: bool) -> None:
    """RD_KAFKA_TOPIC_F_LEADER_UNAVAIL."""
    known = metadata()
    learnt(known, answer(("b1", 5), ("b1", 5)))
    known.leader_unavailable("t", 0)
    learnt(known, response)

    assert (known.due_topics() == ["t"]) is again


@pytest.mark.parametrize(
    ("then", "leader", "told"),
    [
        pytest.param(("b2", 4), ("b1", 5), [], id="older"),
        pytest.param(("b1", 5), ("b1", 5), [], id="the same"),
        pytest.param(("b2", 5), ("b2", 5), [("t-0", "b2", 5)], id="the same epoch, another leader"),
        pytest.param(("", 6), ("", 6), [("t-0", "", 6)], id="nobody leads"),
        pytest.param(("b1", 6), ("b1", 6), [("t-0", "b1", 6)], id="newer"),
    ],
)
def test_what_an_answer_says_of_a_leader(then: tuple[str, int], leader: tuple[str, int], told: list[tuple[str, str, int]]) -> None:
    """rd_kafka_toppar_leader_update."""
    known = metadata()
    assert known.leader_of("t-0") == ("", -1)
    assert learnt(known, answer(("b1", 5))) == (["t"], [("t-0", "b1", 5)])

    assert learnt(known, answer(then)) == ([], told)
    assert known.leader_of("t-0") == leader


def test_partitions_only_become_more() -> None:
    """rd_kafka_topic_partition_cnt_update; what was produced meanwhile is looked at again where the number changes."""
    known = metadata()
    found = [learnt(known, answer(*[("b1", 0)] * count))[0] for count in (1, 2, 1, 2)]

    assert found == [["t"], ["t"], [], []]
    assert (known.topics, known.topic_ids) == ({"t": ("t-0", "t-1")}, {"t": 1})


@pytest.mark.parametrize(
    ("error", "at", "missing"),
    [
        pytest.param(E.UNKNOWN_TOPIC_OR_PARTITION, 30 * SECOND - 1, False, id="it may just be new"),
        pytest.param(E.UNKNOWN_TOPIC_OR_PARTITION, 30 * SECOND, True, id="topic.metadata.propagation.max.ms"),
        pytest.param(E.UNKNOWN_TOPIC_ID, 30 * SECOND, True, id="by its id"),
        pytest.param(E.INVALID_TOPIC_EXCEPTION, 0, True, id="a name that no topic can have"),
        pytest.param(E.LEADER_NOT_AVAILABLE, 30 * SECOND, False, id="another error"),
    ],
)
def test_when_a_topic_does_not_exist(error: E, at: int, missing: bool) -> None:
    """rd_kafka_topic_set_notexists."""
    known = metadata()
    learnt(known, answer(("b1", 0)))
    known.leader_unavailable("t", 0)

    assert learnt(known, answer(error=error), at) == (["t"] if missing else [], [])
    assert known.missing == ({"t": error} if missing else {})
    assert ("t" in known.topics, "t" in known.unavailable) == (not missing, not missing)
    assert learnt(known, answer(error=error, topic="u"), at) == ([], []), "nobody wants it"
    assert learnt(known, answer(("b1", 0)), at)[0] == (["t"] if missing else [])
    assert known.missing == {}


def test_a_topic_is_asked_for_on_one_new_connection_until_it_is_answered() -> None:
    known = metadata(wants=("t", "u"))
    assert known.new_connection_asks() == ["t", "u"]
    assert known.new_connection_asks() == []
    learnt(known, answer(error=E.LEADER_NOT_AVAILABLE))
    assert known.new_connection_asks() == ["t"]
    learnt(known, answer(("b1", 0), topic="u"))

    assert known.new_connection_asks() == []


@pytest.mark.parametrize(
    ("leader", "epoch", "taken"),
    [
        pytest.param("b2", 6, True, id="newer"),
        pytest.param("b2", 5, False, id="not newer"),
        pytest.param("b9", 6, False, id="a broker that it does not know"),
    ],
)
def test_kip_951_a_leader_named_by_a_refusal(leader: str, epoch: int, taken: bool) -> None:
    known = metadata()
    learnt(known, answer(("b1", 5)))
    out: list[Effect] = []

    assert known.take_hint("t-0", leader, epoch, ["b1", "b2"], out) is taken
    assert known.take_hint("t-1", leader, epoch, ["b1", "b2"], []) is False, "never described"
    assert known.leader_of("t-0") == ((leader, epoch) if taken else ("b1", 5))
    assert out == ([Note(Learned("p1", "t-0", leader, epoch))] if taken else [])
