"""Version profiles: the switchboards of the client's section 0.2 and of the broker's section 0, release by release."""

from __future__ import annotations

from typing import get_type_hints

import pytest

from ksim_models.broker_variants import HeartbeatRetry, ReassignmentNeeds, RegistrationLeavesIsr
from ksim_models.profiles import (
    KAFKA_VERSIONS,
    NEWEST,
    BrokerProfile,
    ClientProfile,
    IdempotenceRule,
    broker_profile,
    client_profile,
    parse_release,
)
from ksim_models.switches import differing

CLIENT_SWITCHES = [
    # switch, the last release without it, the first one with it
    ("uniform_sticky", "3.2", "3.3"),  # KIP-794, A46
    ("drains_each_node_from_its_own_place", "3.2", "3.3"),  # KAFKA-13834, A31
    ("batch_size_at_least_one", "3.3.1", "3.3.2"),  # section 0.2
    ("flush_in_callback_throws", "4.0", "4.1.0"),  # A50
    ("flush_waits_for_parts", "3.9.1", "3.9.2"),  # KAFKA-19479, A50
    ("flush_waits_for_parts", "4.0.1", "4.0.2"),
    ("flush_waits_for_parts", "4.1.0", "4.1.1"),
    ("metadata_timeout_has_cause", "3.8", "3.9.0"),  # KAFKA-16965, A3
    ("metadata_timeout_names_partition", "3.9.0", "3.9.1"),  # KAFKA-8862, A3
    ("request_timeout_is_timed_out", "3.4", "3.5"),  # N4
    ("new_epoch_skips_backoff", "3.6.0", "3.6.1"),  # A30
    ("any_epoch_change_skips_backoff", "3.6.0", "3.6.1"),  # KAFKA-16226, A30
    ("any_epoch_change_skips_backoff", "3.6.2", "3.7.0"),
    ("exponential_backoff", "3.6", "3.7"),  # KIP-580
    ("backoff_is_capped", "3.6", "3.7"),  # KIP-580, N7, N8
    ("equivalent_response_backoff", "3.6", "3.7"),  # M2
    ("leader_hint_in_produce", "3.6", "3.7"),  # KIP-951, M5
    ("setup_time_out_ends_poll", "3.0.0", "3.0.1"),  # KAFKA-12762, N8
    ("throttle_extends_time_out", "3.7", "3.8"),  # KAFKA-16083, N11
    ("sequences_hear_only_the_first_failure", "3.5", "3.6"),  # I16, I17
    ("tells_batches_apart_by_epoch", "3.0.1", "3.0.2"),  # KAFKA-13794
    ("tells_batches_apart_by_epoch", "3.1.0", "3.1.1"),
    ("retries_more_errors", "3.3.1", "3.3.2"),  # KAFKA-14417, I1
    ("topic_id_resets_epoch", "2.8.0", "2.8.1"),  # M4, H-090
    ("unknown_topic_id_resets_epoch", "2.8.1", "2.8.2"),  # M4
    ("unknown_topic_id_resets_epoch", "3.0.0", "3.0.1"),
    ("produces_by_topic_id", "4.0", "4.1"),  # BP-16
    ("rebootstraps", "3.7", "3.8"),  # M6 i
    ("metrics_keep_overlapping_windows", "3.7", "3.8"),  # X1
    ("send_refuses_after_fatal_error", "3.1.0", "3.1.1"),  # A8, A11
    ("authorization_errors_end_no_producer", "3.5", "3.6"),  # I1
    ("id_mapping_error_is_fatal", "3.9", "4.0"),  # I14
    ("rebootstraps_after_trigger", "3.9", "4.0"),  # M6 ii
    ("memory_kept_until_answer", "3.9.1", "3.9.2"),  # KAFKA-19012, A24
    ("memory_kept_until_answer", "4.0.1", "4.0.2"),
    ("memory_kept_until_answer", "4.1.1", "4.1.2"),
    ("memory_kept_until_answer", "4.1.1", "4.2.0"),
    ("round_robin_remembers", "3.9.1", "3.9.2"),  # KAFKA-17632, A48
    ("asks_partitioner_once", "3.9", "4.0"),  # A48
    ("splits_parts_in_halves", "4.1", "4.2"),  # KAFKA-8350, A43
    ("expired_text_says_not_sent", "4.2", "4.3"),  # A39
    ("memory_text_tells_pool", "3.0", "3.1.0"),  # A22
    ("tells_records_apart", "2.8", "3.0.0"),  # KAFKA-12548, S16
    ("backoff_lasts_until_usable", "3.2", "3.3.0"),  # KAFKA-13879, N7
    ("linger_returns", "2.8.0", "2.8.1"),  # KAFKA-12870, A27
    ("illegal_steps_are_illegal_states", "3.1.0", "3.1.1"),  # T1
    ("pins_timed_out_calls", "3.1.0", "3.1.1"),  # T9
    ("failed_sends_abort", "3.1", "3.2"),  # KAFKA-9279, H-133
    ("illegal_steps_poison", "3.5", "3.6"),  # T1
    ("offset_commit_retries_all", "3.7", "3.8"),  # T25a
    ("transaction_errors_keep_their_names", "3.5", "3.6"),  # T25a
    ("transactions_v2", "3.9", "4.0"),  # KIP-890, T40
    ("exhausted_retries_are_abortable", "4.0", "4.1"),  # T12
    ("failed_abort_is_fatal", "4.0", "4.1"),  # section 5.5
    ("generation_in_subscription", "3.3", "3.4.0"),  # KIP-792
    ("compares_claims", "3.4.0", "3.4.1"),  # KAFKA-14639
    ("keeps_member_id", "3.1", "3.2"),  # KAFKA-13419
    ("failed_sync_loses_partitions", "3.2", "3.3.0"),  # KAFKA-13891
    ("reads_on_while_it_commits", "3.2.0", "3.2.1"),  # KAFKA-14196
    ("returns_while_it_commits", "3.1", "3.2.0"),  # KAFKA-13310
    ("offset_fetch_retries_all", "3.8", "3.9"),  # KAFKA-17279
    ("fetches_wait_for_positions", "4.1", "4.2"),  # KAFKA-18376
]

BROKER_SWITCHES = [
    ("demoted_while_shutting_down", "3.3.1", "3.3.2"),  # H-049
    ("retries_heartbeats_in_session", "3.3.1", "3.3.2"),  # KAFKA-14392, KC-15
    ("deletes_strays_first", "3.6", "3.7"),  # KAFKA-14616
    ("broker_epoch_in_fetch", "3.4", "3.5"),  # KIP-903
    ("refuses_stale_fetches", "3.6", "3.7"),  # KAFKA-15221, RP-12
    ("hw_waits_only_for_eligible", "3.5", "3.6"),  # RP-22
    ("min_isr_capped_by_replication", "3.6", "3.7"),  # BP-26
    ("hw_frozen_below_min_isr", "3.6", "3.7"),  # RP-23
    ("leader_hint_in_produce", "3.6", "3.7"),  # BP-14
    ("clean_shutdown_epoch", "3.6", "3.7"),  # KC-58
    ("reports_failed_directories", "3.6", "3.7"),  # KIP-858
    ("drops_newer_epoch_batches", "3.9.0", "3.9.1"),  # RP-39
    ("matches_epochs_of_fetches", "3.9.0", "3.9.1"),  # RP-38
    ("matches_epochs_of_fetches", "4.0.0", "4.0.1"),
    ("exits_with_untold_directories", "3.7", "3.8"),  # BP-30
    ("unclean_election_sweep", "3.8", "3.9"),  # KC-44
    ("periodic_elections", "3.9", "4.0"),  # KC-46
    ("consumer_groups", "3.9", "4.0"),  # KIP-848
    ("fenced_members_rejoin", "4.1", "4.2"),  # KAFKA-19233
    ("epoch_waits_for_revocations", "4.1", "4.2"),  # KAFKA-19974
    ("takes_its_own_for_free", "4.0.1", "4.0.2"),  # KAFKA-19449
    ("takes_its_own_for_free", "4.1.1", "4.1.2"),
    ("commits_by_partition_epoch", "4.2", "4.3"),  # GC-10
    ("paces_assignments", "4.2", "4.3"),
    ("drops_newer_epoch_batches", "4.0.0", "4.0.1"),
    ("session_scan_in_slices", "3.9", "4.0"),  # KC-2
    ("old_session_blocks_after_shutdown", "3.9", "4.0"),  # KC-13
    ("eligible_leader_replicas", "4.0", "4.1"),  # KC-50
    ("last_known_leader_needs_acceptable", "4.0", "4.1"),  # KC-55
    ("parked_metadata_fetch_sees_commit", "4.0", "4.1"),  # KC-80
    ("verifies_transactions", "3.5", "3.6"),  # PS-60
    ("loads_only_when_elected", "3.7", "3.8"),  # KAFKA-15468, TC-8
    ("cancels_its_own_markers", "3.7", "3.8"),  # KAFKA-16352, TC-53
    ("hides_lost_questions", "3.7.0", "3.7.1"),  # KAFKA-16386, PS-65
    ("verifies_offset_commits", "3.6", "3.7"),  # PS-11
    ("transaction_abortable", "3.7", "3.8"),  # TC-33
    ("open_transaction_has_epoch", "3.9", "4.0"),  # PS-11
    ("pending_transition_first", "3.9", "4.0"),  # TC-30
    ("offsets_append_acks_1", "3.9", "4.0"),  # GC-9
    ("old_epoch_unasked", "4.0", "4.1"),  # PS-62
    ("strict_first_sequence", "4.0", "4.1"),  # PS-13a
    ("old_epoch_before_proof", "3.9.1", "3.9.2"),  # KAFKA-19690, PS-11
    ("old_epoch_before_proof", "4.0.1", "4.0.2"),
    ("old_epoch_before_proof", "4.1.1", "4.1.2"),
    ("strict_marker_epoch", "4.1", "4.2"),  # PS-31
    ("fence_changes_exhausted_id", "4.2", "4.3"),  # TC-43
    ("writes_other_producer_ids", "4.2", "4.3"),  # KAFKA-20310, TC-9
    ("check_quorum", "3.6", "3.7"),  # KC-86
    ("begin_quorum_epoch_repeats", "3.8", "3.9"),  # KC-82
    ("voters_look_elsewhere", "3.8", "3.9"),  # KC-82
    ("pre_vote", "3.9", "4.0"),  # KC-85
]


@pytest.mark.parametrize(("switch", "last_without", "first_with"), CLIENT_SWITCHES)
def test_a_client_behaviour_begins_with_its_release(switch: str, last_without: str, first_with: str) -> None:
    assert getattr(client_profile(last_without), switch) is False
    assert getattr(client_profile(first_with), switch) is True


@pytest.mark.parametrize(("switch", "last_without", "first_with"), BROKER_SWITCHES)
def test_a_broker_behaviour_begins_with_its_release(switch: str, last_without: str, first_with: str) -> None:
    assert getattr(broker_profile(last_without), switch) is False
    assert getattr(broker_profile(first_with), switch) is True


def test_an_isr_shrink_raises_the_leader_epoch_before_3_6_only() -> None:
    """KC-47"""
    assert [version for version in KAFKA_VERSIONS if broker_profile(version).epoch_bump_on_isr_shrink] == ["2.8", "3.0", "3.1", "3.2", "3.3", "3.4", "3.5"]


def test_any_change_of_the_leader_epoch_skips_the_backoff_in_two_releases_only() -> None:
    """A30, KAFKA-16226: in both, the last patch is right again."""
    asked = ["3.6.0", "3.6.1", "3.6.2", "3.7.0", "3.7.1", "3.7.2", *KAFKA_VERSIONS]

    assert [version for version in asked if client_profile(version).any_epoch_change_skips_backoff] == ["3.6.1", "3.7.0"]


def test_a_member_commits_over_and_over_in_one_release_and_reads_on_in_the_two_after_it() -> None:
    """KAFKA-13310, KAFKA-14024, KAFKA-14196."""
    asked = ["3.1.2", "3.2.0", "3.2.1", "3.2.2", "3.2.3", *KAFKA_VERSIONS]

    assert [version for version in asked if client_profile(version).commits_over_and_over] == ["3.2.0"]
    assert [version for version in asked if client_profile(version).reads_on_while_it_commits] == ["3.2.1", "3.2.2"]


def test_closing_repeats_an_impossible_abort_in_the_releases_between_two_fixes() -> None:
    """A51, KAFKA-14831 and KAFKA-16217."""
    asked = ["3.5.2", "3.6.0", "3.6.2", "3.7.0", "3.7.1", *KAFKA_VERSIONS]

    assert [version for version in asked if client_profile(version).close_repeats_abort] == ["3.6.0", "3.6.2", "3.7.0", "3.6"]


def test_no_switch_of_a_profile_is_left_unpinned_by_these_tests() -> None:
    client = {name for name, hint in get_type_hints(ClientProfile).items() if hint is bool}
    broker = {name for name, hint in get_type_hints(BrokerProfile).items() if hint is bool}

    assert client == {switch for switch, _, _ in CLIENT_SWITCHES} | {"close_repeats_abort", "commits_over_and_over"}
    assert broker == {switch for switch, _, _ in BROKER_SWITCHES} | {"epoch_bump_on_isr_shrink", "fence_takes_two_epochs", "remembers_failed_fence"}


def test_every_transaction_has_an_epoch_of_its_own_from_4_0_on_and_a_fence_two_in_4_0_0_only() -> None:
    """TC-24, TC-25, VP-2: KAFKA-19367."""
    assert {version: broker_profile(version).transaction_version for version in ("3.3", "3.9", "4.0", "4.3")} == {"3.3": 0, "3.9": 0, "4.0": 2, "4.3": 2}
    assert [version for version in ("3.9", "4.0.0", "4.0.1", "4.1") if broker_profile(version).fence_takes_two_epochs] == ["4.0.0"]
    assert [version for version in ("4.0.0", "4.1", "4.2", "4.3") if broker_profile(version).remembers_failed_fence] == ["4.0.0", "4.1"]


def test_who_must_be_in_sync_before_a_reassignment_is_complete() -> None:
    """KC-48, H-077: KAFKA-15665 in 3.8, KAFKA-19975 in 4.3."""
    needs = {version: broker_profile(version).reassignment_needs for version in ("3.7", "3.8", "4.2", "4.3")}

    assert list(needs.values()) == [ReassignmentNeeds.ADDED, ReassignmentNeeds.ALL, ReassignmentNeeds.ALL, ReassignmentNeeds.ALL_WHERE_FEWER]


@pytest.mark.parametrize(
    ("version", "rule"),
    [
        ("2.8", IdempotenceRule.EXPLICIT_ONLY),
        ("3.0.0", IdempotenceRule.EXPLICIT_ONLY),
        ("3.0.1", IdempotenceRule.SILENTLY_OFF),
        ("3.0", IdempotenceRule.SILENTLY_OFF),
        ("3.1.0", IdempotenceRule.EXPLICIT_ONLY),
        ("3.1.1", IdempotenceRule.SILENTLY_OFF),
        ("3.1", IdempotenceRule.SILENTLY_OFF),
        ("3.2.0", IdempotenceRule.SILENTLY_OFF),
        ("3.9", IdempotenceRule.SILENTLY_OFF),
        ("4.0.0", IdempotenceRule.IN_FLIGHT_ALWAYS_CHECKED),
        ("4.3", IdempotenceRule.IN_FLIGHT_ALWAYS_CHECKED),
    ],
)
def test_the_idempotence_rule_follows_the_release_and_its_patch(version: str, rule: IdempotenceRule) -> None:
    """Section 1.3, KAFKA-13598"""
    assert client_profile(version).idempotence_rule is rule


@pytest.mark.parametrize(
    ("version", "leaves"),
    [
        ("3.7", RegistrationLeavesIsr.NO),
        ("3.8", RegistrationLeavesIsr.UNMATCHED),
        ("3.9", RegistrationLeavesIsr.NEW_INCARNATION),
        ("4.0", RegistrationLeavesIsr.NEW_INCARNATION),
        ("4.3", RegistrationLeavesIsr.NEW_INCARNATION),
    ],
)
def test_a_new_incarnation_leaves_the_isr_from_3_8_on(version: str, leaves: RegistrationLeavesIsr) -> None:
    """KC-57"""
    assert broker_profile(version).registration_leaves_isr is leaves


@pytest.mark.parametrize(("version", "fixed"), [("3.9.1", False), ("3.9.2", True), ("4.0.0", False), ("4.0.1", True), ("4.1.0", True), ("4.3", True)])
def test_a_broker_repeats_its_heartbeat_at_a_fixed_distance_since_kafka_19294(version: str, fixed: bool) -> None:
    """KC-15"""
    assert (broker_profile(version).heartbeat_retry is HeartbeatRetry.FIXED) is fixed


def test_a_minor_release_means_its_last_patch() -> None:
    assert parse_release("3.9") == (3, 9, 2)
    assert parse_release("3.9.0") == (3, 9, 0)


@pytest.mark.parametrize(("minor", "newest"), [("4.2", "4.2.1"), ("4.3", "4.3.1")])
def test_a_patch_that_changed_no_rule_is_known_where_it_is_written_out(minor: str, newest: str) -> None:
    """The minor release by itself stays what the live twin fetches and what was measured."""
    assert parse_release(minor) == parse_release(f"{minor}.0")
    assert parse_release(newest) == (*parse_release(minor)[:2], 1)
    assert differing(client_profile(minor), client_profile(newest)) == differing(broker_profile(minor), broker_profile(newest)) == []
    with pytest.raises(ValueError, match=rf'there are {minor}\.0 to {minor}\.1; "{minor}" is {minor}\.0\.'):
        parse_release(f"{minor}.2")


@pytest.mark.parametrize("version", ["2.8", "3.2", "3.2.3"])
def test_brokers_older_than_3_3_are_those_of_3_3(version: str) -> None:
    assert broker_profile(version) == broker_profile("3.3")
    assert broker_profile(version).version == "3.3"


def test_every_minor_release_from_2_8_to_the_newest_has_profiles() -> None:
    assert KAFKA_VERSIONS == ("2.8", "3.0", "3.1", "3.2", "3.3", "3.4", "3.5", "3.6", "3.7", "3.8", "3.9", "4.0", "4.1", "4.2", "4.3")
    assert KAFKA_VERSIONS[-1] == NEWEST
    assert [client_profile(version).version for version in KAFKA_VERSIONS] == list(KAFKA_VERSIONS)


@pytest.mark.parametrize("version", ["", "4", "4.9", "3.10", "latest", "v4.0", " 4.0", "4.0.", "4.0.x", "4.0.0.1", "4.0.99", "3.9.2-rc1", "4.0.01", "4.٠"])
def test_an_unknown_release_is_refused_with_those_that_are_possible(version: str) -> None:
    with pytest.raises(ValueError) as refused:
        client_profile(version)

    assert f'"{version}"' in str(refused.value)
    assert "3.9" in str(refused.value) or "4.0.0 to 4.0.2" in str(refused.value)
