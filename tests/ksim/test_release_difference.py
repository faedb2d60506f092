"""What changes for a scenario between two releases: values, refusals, notes, behaviour; and what of it cannot matter."""

from __future__ import annotations

import pytest

from ksim.release_difference import Difference, difference
from ksim.scenario import Scenario
from ksim.scenario_file import built_in_names

IN_FLIGHT = "max.in.flight.requests.per.connection"


PLAIN = """
kafka = "4.3"
seed = 7
[topics.payments]
partitions = 3
[[workload]]
topic = "payments"
records = 10
every = "5ms"
"""
"""Nothing but defaults, and records without a key for three partitions."""


def between(one: str, other: str, name: str = "lost-ack", client: str | None = None, **settings: str) -> Difference:
    scenario = Scenario.load(name) if name else Scenario.loads(PLAIN)
    typed = [(key.replace("__", ":").replace("_", "."), value) for key, value in settings.items()]
    before, after = (scenario.override(typed, kafka=release, client=client) for release in (one, other))
    return difference(before, after, (one, other))


def values(found: Difference) -> dict[str, tuple[str, str]]:
    return {change.name: change.values for change in found.changes}


def test_a_default_that_changed_is_told_and_a_setting_that_was_written_is_not() -> None:
    assert values(between("3.9", "4.3"))["linger.ms"] == ("0", "5")
    assert "linger.ms" not in values(between("3.9", "4.3", linger_ms="7"))


def test_a_setting_that_only_one_release_knows_is_told() -> None:
    found = between("3.6", "3.7", retry_backoff_max_ms="5s")

    assert values(found)["retry.backoff.max.ms"] == ("(not known)", "5000")
    assert [(note.release, "does not know it and ignores it" in note.text) for note in found.noted] == [("3.6", True)]


def test_what_a_client_forces_is_told_with_its_reason() -> None:
    """KIP-679: on by default since 3.0.1, and off again in silence with retries=0."""
    found = between("3.9", "4.3", "", retries="0")

    assert "enable.idempotence" not in values(found)
    assert "acks" not in values(between("2.8", "4.3", "", enable_idempotence="true"))  # 2.8 forces it to all.
    (change,) = (change for change in between("2.8", "4.3", "").changes if change.name == "acks")
    assert (change.values, change.origins) == (("1", "all"), ("default of 2.8", "default of 4.3"))


def test_idempotence_by_default_has_both_reasons() -> None:
    """KAFKA-13598: 3.0.0 never applied its default."""
    (change,) = (change for change in between("3.0.0", "3.0.1", "").changes if change.name == "enable.idempotence")

    assert change.values == ("false", "true")
    assert change.origins == ("forced by the client of 3.0.0", "default of 3.0.1")


def test_what_one_release_refuses_is_told_with_its_place() -> None:
    found = between("3.9", "4.3", "", **{IN_FLIGHT.replace(".", "_"): "6"})

    assert [(refused.release, refused.problem.given if refused.problem else "") for refused in found.refused] == [("4.3", f"{IN_FLIGHT} = 6")]


def test_what_both_releases_refuse_is_no_difference_however_they_put_it() -> None:
    assert between("3.9", "4.3", "lost-ack-idempotent", **{IN_FLIGHT.replace(".", "_"): "6"}).refused == ()


def test_the_choice_of_a_partition_matters_where_there_is_one() -> None:
    """KIP-794"""
    matters = {made.switch: not made.cannot_matter for made in between("3.2", "3.3", "").behaviour}
    cannot = {made.switch: made.cannot_matter for made in between("3.2", "3.3", "lost-ack").behaviour}

    assert matters["uniform_sticky"]
    assert "a topic of one partition" in cannot["uniform_sticky"]


def test_patches_differ_too() -> None:
    assert [found.switch for found in between("3.9.1", "3.9.2").behaviour] == [
        "memory_kept_until_answer",
        "round_robin_remembers",
        "flush_waits_for_parts",
        "heartbeat_retry",
        "old_epoch_before_proof",
    ]
    assert between("4.0.0", "4.0.0").is_empty


def test_switches_of_idempotence_cannot_matter_without_it() -> None:
    reasons = {made.switch: made.cannot_matter for made in between("3.9", "4.3", "lost-ack").behaviour}

    assert reasons["id_mapping_error_is_fatal"] == "the producer is not idempotent"
    assert not {made.switch: made.cannot_matter for made in between("3.9", "4.3", "lost-ack-idempotent").behaviour}["id_mapping_error_is_fatal"]


def test_what_matters_in_one_of_the_two_releases_matters() -> None:
    """2.8 is not idempotent by default, 4.3 is."""
    assert not {made.switch: made.cannot_matter for made in between("2.8", "4.3", "").behaviour}["id_mapping_error_is_fatal"]


def test_switches_of_the_brokers_ask_the_topics() -> None:
    reasons = {made.switch: made.cannot_matter for made in between("3.6", "4.3", "lost-ack", topic__payments_min_insync_replicas="1").behaviour}

    assert reasons["hw_frozen_below_min_isr"] == "min.insync.replicas is 1"
    assert reasons["min_isr_capped_by_replication"]
    assert not reasons["leader_hint_in_produce"] or "acks" in reasons["leader_hint_in_produce"]


def test_librdkafka_changes_with_its_own_releases_only() -> None:
    found = between("2.8", "4.3", client="librdkafka")

    assert not [change for change in found.changes if change.whose.startswith("producer")]
    assert {made.of for made in found.behaviour} == {"brokers"}


@pytest.mark.parametrize("name", built_in_names())
def test_every_built_in_scenario_can_be_compared(name: str) -> None:
    found = between("2.8", "4.3", name)

    assert found.changes
    assert {made.of for made in found.behaviour} == {"client", "brokers"}
    assert not found.refused


def test_brokers_that_are_alike_are_one() -> None:
    assert {change.whose for change in between("3.8", "3.9").changes} == {"broker-1, broker-2, broker-3"}
    assert values(between("3.8", "3.9"))["unclean.leader.election.interval.ms"] == ("(not known)", "300000")
