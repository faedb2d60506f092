"""The sentences about what a release does differently: none is missing, each holds for every value, and idle switches are idle."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from enum import Enum
from typing import Any, get_type_hints

import pytest

from ksim_models.broker_switches import BROKER_SWITCHES
from ksim_models.config import ProducerConfig, TopicConfig
from ksim_models.profiles import KAFKA_VERSIONS, BrokerProfile, ClientProfile, broker_profile, client_profile
from ksim_models.switch import ProducerUse, Switch, TopicUse
from ksim_models.switches import CLIENT_SWITCHES, NOT_SWITCHES, differing

PROFILES: tuple[tuple[type[Any], tuple[Switch, ...]], ...] = ((ClientProfile, CLIENT_SWITCHES), (BrokerProfile, BROKER_SWITCHES))


@pytest.mark.parametrize(("profile", "switches"), PROFILES)
def test_every_switch_of_a_profile_has_its_sentence(profile: type[Any], switches: tuple[Switch, ...]) -> None:
    """Whoever adds a switch says in `switches` what it means to a user."""
    assert {made.name for made in fields(profile)} - set(NOT_SWITCHES) == {switch.name for switch in switches}
    assert len({switch.name for switch in switches}) == len(switches)


@pytest.mark.parametrize(("profile", "switches"), PROFILES)
def test_a_sentence_is_there_for_every_position_of_its_switch(profile: type[Any], switches: tuple[Switch, ...]) -> None:
    hints = get_type_hints(profile)
    for switch in switches:
        kind = hints[switch.name]
        positions = set(kind) if issubclass(kind, Enum) else {False, True} if kind is bool else {0, 1, 2}
        assert set(switch.does) == positions, switch.name


SOURCE = r"((KIP|KAFKA)-\d+|pull request \d+|T\d+)"
VERBS = frozenset(
    "adds answers appends asks assigns begins cannot can changes counts doubles drops ends fails fences follows "
    "gets gives has is keeps leaves learns lets looks makes may moves names never only "
    "reaches refuses remembers repeats rises says skips stands stays takes throws times tries returns waits writes".split()
)
"""With which the rest of a sentence begins, so that it reads as one."""


@pytest.mark.parametrize("switch", [*CLIENT_SWITCHES, *BROKER_SWITCHES], ids=lambda switch: switch.name)
def test_every_sentence_says_where_it_comes_from(switch: Switch) -> None:
    assert re.fullmatch(rf"{SOURCE}(, {SOURCE})*", switch.cited)
    for before in switch.does:
        for after in switch.does:
            sentence = switch.sentence(before, after, ("2.8", "4.3"))
            assert sentence.startswith("In 2.8 ")
            assert f"{switch.does[before]}; in 4.3 it {switch.does[after]} ({switch.cited})." in sentence
            assert len(sentence) < 400
            assert switch.does[after].split()[0].rstrip(",") in VERBS


def test_a_start_takes_equally_long_in_every_release() -> None:
    """So it is no difference to speak of."""
    assert len({broker_profile(version).start_up_ms for version in KAFKA_VERSIONS}) == 1


def test_two_releases_differ_in_what_changed_between_them() -> None:
    assert [found.switch.name for found in differing(client_profile("3.6.0"), client_profile("3.6.1"))] == [
        "new_epoch_skips_backoff",
        "any_epoch_change_skips_backoff",
    ]
    assert differing(client_profile("4.3"), client_profile("4.3")) == []
    assert "KAFKA-19012" in differing(client_profile("3.9.1"), client_profile("3.9.2"))[0].sentence
    assert [found.switch.name for found in differing(broker_profile("3.9.0"), broker_profile("3.9.1"))] == [
        "drops_newer_epoch_batches",
        "matches_epochs_of_fetches",
    ]


def test_a_sentence_turns_round_with_its_releases() -> None:
    forth, _ = differing(client_profile("3.6.0"), client_profile("3.6.1"))
    back, _ = differing(client_profile("3.6.1"), client_profile("3.6.0"))

    assert forth.sentence == (
        "In 3.6.0 a retry for which a newer leader is known waits for its backoff nevertheless; in 3.6.1 it is sent at once (KAFKA-15415)."
    )
    assert "In 3.6.1 a retry for which a newer leader is known is sent at once; in 3.6.0 it waits for its backoff" in back.sentence


PLAIN = ProducerConfig(enable_idempotence=False)
IDLE: list[tuple[str, ProducerConfig, ProducerConfig]] = [
    # switch, a producer to whom it cannot matter, one to whom it can
    ("id_mapping_error_is_fatal", PLAIN, ProducerConfig()),
    ("send_refuses_after_fatal_error", PLAIN, ProducerConfig()),
    ("authorization_errors_end_no_producer", PLAIN, ProducerConfig()),
    ("request_timeout_is_timed_out", replace(PLAIN, acks=0), replace(PLAIN, acks=1)),
    ("leader_hint_in_produce", replace(PLAIN, acks=0), PLAIN),
    ("tells_batches_apart_by_epoch", PLAIN, replace(PLAIN, enable_idempotence=True)),
    ("new_epoch_skips_backoff", replace(PLAIN, retries=0), PLAIN),
    ("any_epoch_change_skips_backoff", replace(PLAIN, retries=0), PLAIN),
    ("batch_size_at_least_one", PLAIN, replace(PLAIN, batch_size=0)),
    ("tells_records_apart", replace(PLAIN, acks=0), PLAIN),
    ("rebootstraps", replace(PLAIN, metadata_recovery_strategy="none"), PLAIN),
]


@pytest.mark.parametrize(("name", "idle", "concerned"), IDLE, ids=[case[0] for case in IDLE])
def test_a_switch_cannot_matter_to_a_producer_that_never_meets_it(name: str, idle: ProducerConfig, concerned: ProducerConfig) -> None:
    switch = next(switch for switch in CLIENT_SWITCHES if switch.name == name)

    assert switch.idle(ProducerUse(idle, {}, spreads=True))
    assert not switch.idle(ProducerUse(concerned, {}, spreads=True))


def test_the_rule_of_idempotence_cannot_matter_where_it_is_written() -> None:
    switch = CLIENT_SWITCHES[0]

    assert "enable.idempotence=false is written" in switch.idle(ProducerUse(PLAIN, {"enable.idempotence": "false"}, spreads=True))
    assert not switch.idle(ProducerUse(PLAIN, {"acks": "1"}, spreads=True))


def test_the_choice_of_a_partition_cannot_matter_where_there_is_none() -> None:
    switch = next(switch for switch in CLIENT_SWITCHES if switch.name == "uniform_sticky")

    assert switch.idle(ProducerUse(PLAIN, {}, spreads=False))
    assert not switch.idle(ProducerUse(PLAIN, {}, spreads=True))


@pytest.mark.parametrize(
    ("name", "idle", "concerned"),
    [
        ("min_isr_capped_by_replication", TopicUse(TopicConfig(min_insync_replicas=3), 3), TopicUse(TopicConfig(min_insync_replicas=4), 3)),
        ("hw_frozen_below_min_isr", TopicUse(TopicConfig(), 3), TopicUse(TopicConfig(min_insync_replicas=2), 3)),
        ("epoch_bump_on_isr_shrink", TopicUse(TopicConfig(), 1), TopicUse(TopicConfig(), 2)),
    ],
)
def test_a_switch_cannot_matter_to_a_topic_that_never_meets_it(name: str, idle: TopicUse, concerned: TopicUse) -> None:
    switch = next(switch for switch in BROKER_SWITCHES if switch.name == name)

    assert switch.idle_topic(idle)
    assert not switch.idle_topic(concerned)
