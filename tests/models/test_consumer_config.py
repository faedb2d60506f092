"""A consumer's settings: defaults by release, what is forced, what is refused, as ConsumerConfig and KafkaConsumer do it."""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.assignors import assign_in_turn, assign_ranges
from ksim_models.config import ConsumerConfig, Origin, Setting, resolve_consumer
from ksim_models.consumer_keys import COOPERATIVE_ASSIGNOR, RANGE_ASSIGNOR, ROUND_ROBIN_ASSIGNOR, STICKY_ASSIGNOR
from ksim_models.profiles import client_profile


def resolved(release: str = "4.3", **settings: object) -> ConsumerConfig:
    found = resolve_consumer([Setting(name.replace("_", "."), value, Origin("test")) for name, value in settings.items()], client_profile(release))
    assert found.problems == ()
    assert found.config is not None
    return found.config


def problem(release: str = "4.3", **settings: object) -> str:
    found = resolve_consumer([Setting(name.replace("_", "."), value, Origin("test")) for name, value in settings.items()], client_profile(release))
    (only,) = found.problems
    return only.message


def test_the_defaults_are_those_of_the_newest_release() -> None:
    assert resolved(group_id="g") == ConsumerConfig(group_id="g")


def test_older_releases_have_other_defaults() -> None:
    """KIP-735, KIP-580."""
    old = resolved("2.8", group_id="g")

    assert (old.session_timeout_ms, old.assignors, old.retry_backoff_max_ms) == (10_000, ("range",), 100)
    assert resolved("3.0", group_id="g").session_timeout_ms == 45_000


def test_without_a_group_nothing_is_committed_automatically() -> None:
    assert resolved().enable_auto_commit is False
    assert "InvalidConfigurationException" in problem(enable_auto_commit=True)


def test_a_heartbeat_has_to_be_more_frequent_than_the_session_is_long() -> None:
    assert "Heartbeat must be set lower than the session timeout" in problem(group_id="g", heartbeat_interval_ms=6000, session_timeout_ms=6000)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"isolation_level": "committed"}, "read_committed"),
        ({"auto_offset_reset": "begin"}, "earliest"),
        ({"auto_offset_reset": "by_duration:1h"}, "no duration of ISO 8601"),
        ({"auto_offset_reset": "by_duration:P"}, "no duration of ISO 8601"),
        ({"auto_offset_reset": "by_duration:-PT1H"}, "no duration of ISO 8601"),
        ({"auto_offset_reset": "by_duration"}, "earliest"),
        ({"release": "3.9", "auto_offset_reset": "by_duration:PT1H"}, "came with 4.0"),
        ({"max_poll_records": 0}, "out of range"),
        ({"group_id": "g", "group_protocol": "consumer", "session_timeout_ms": 45_000}, "session.timeout.ms cannot be set when group.protocol=CONSUMER"),
        ({"group_id": "g", "group_protocol": "consumer", "heartbeat_interval_ms": 3_000}, "heartbeat.interval.ms cannot be set"),
        ({"group_id": "g", "group_protocol": "consumer", "partition_assignment_strategy": RANGE_ASSIGNOR}, "partition.assignment.strategy cannot be set"),
        ({"group_id": "g", "group_protocol": "consumer", "group_remote_assignor": "sticky"}, "UnsupportedAssignorException"),
        ({"group_id": "g", "group_remote_assignor": "range"}, "group.remote.assignor cannot be set when group.protocol=CLASSIC"),
        ({"release": "3.9", "group_id": "g", "group_protocol": "consumer"}, "tried out only"),
        ({"group_id": "g", "partition_assignment_strategy": "cooperative-sticky"}, f"write {COOPERATIVE_ASSIGNOR}"),
        ({"group_id": "g", "partition_assignment_strategy": "com.example.Mine"}, "cannot be simulated"),
        ({"group_id": "g", "partition_assignment_strategy": f"{RANGE_ASSIGNOR},{RANGE_ASSIGNOR}"}, "'range' is used in more than one assignor"),
        ({"min_insync_replicas": 2}, "topic's or a broker's"),
        ({"fetch_wait_max_ms": 5}, "fetch.max.wait.ms"),
    ],
)
def test_what_cannot_be_is_refused_by_name(settings: dict[str, Any], words: str) -> None:
    assert words in problem(**settings)


def test_a_producers_settings_in_a_shared_file_play_no_part() -> None:
    found = resolve_consumer([Setting("acks", "all", Origin("shared.properties"))], client_profile("4.3"))

    assert found.problems == ()
    assert any("acks" in note for note in found.notes)


def test_the_assignors_are_named_as_members_name_them() -> None:
    assert resolved(group_id="g").assignors == ("range", "cooperative-sticky")
    assert resolved(group_id="g", partition_assignment_strategy=f"{ROUND_ROBIN_ASSIGNOR},{RANGE_ASSIGNOR}").assignors == ("roundrobin", "range")
    assert resolved(group_id="g", partition_assignment_strategy=f"{STICKY_ASSIGNOR} , {COOPERATIVE_ASSIGNOR}").assignors == ("sticky", "cooperative-sticky")


PARTITIONS = {"a": ["a-0", "a-1", "a-2"], "b": ["b-0", "b-1", "b-2"]}
TWO = [("m2", "", ("a", "b")), ("m1", "", ("a", "b"))]


def test_ranges_give_the_first_members_more_of_every_topic() -> None:
    assert assign_ranges(TWO, PARTITIONS) == {"m1": ("a-0", "a-1", "b-0", "b-1"), "m2": ("a-2", "b-2")}


def test_in_turn_evens_out_over_all_topics() -> None:
    assert assign_in_turn(TWO, PARTITIONS) == {"m1": ("a-0", "a-2", "b-1"), "m2": ("a-1", "b-0", "b-2")}


def test_who_does_not_subscribe_to_a_topic_gets_none_of_it() -> None:
    members = [("m1", "", ("a",)), ("m2", "", ("a", "b"))]

    assert assign_ranges(members, PARTITIONS) == {"m1": ("a-0", "a-1"), "m2": ("a-2", "b-0", "b-1", "b-2")}
    assert assign_in_turn(members, PARTITIONS) == {"m1": ("a-0", "a-2"), "m2": ("a-1", "b-0", "b-1", "b-2")}


def test_static_members_come_first_in_the_order_of_their_instances() -> None:
    """MemberInfo: so that a member that comes back under another id gets what it had."""
    members = [("m1", "", ("a",)), ("m9", "i1", ("a",))]

    assert assign_ranges(members, {"a": ["a-0"]}) == {"m1": (), "m9": ("a-0",)}


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [("PT1H", 3600), ("PT1H30M", 5400), ("P1D", 86_400), ("P1DT0.5S", 86_400.5), ("pt10s", 10), ("PT0S", 0), ("PT2.25S", 2.25)],
)
def test_a_reset_by_duration_is_one_of_iso_8601(policy: str, seconds: float) -> None:
    """KIP-1106."""
    found = resolved(auto_offset_reset=f"by_duration:{policy}")

    assert (found.resets_to, found.resets_back) == ("since", int(seconds * 1_000_000))
