"""`enable.idempotence` as each release settles it: every row of the table of section 1.3, and the vectors PV-211 to PV-215."""

from __future__ import annotations

import pytest

from ksim_models.config import ProducerResolution, Setting, resolve_producer
from ksim_models.idempotence_setting import settle_idempotence
from ksim_models.producer_config import PRODUCER
from ksim_models.profiles import client_profile
from ksim_models.settings import Origin, Reading, read_settings

IN_FLIGHT = "max.in.flight.requests.per.connection"
REFUSED = "ConfigException"
PLAIN, IDEMPOTENT = False, True

NOTHING: dict[str, object] = {}

# What the user sets -> (acks, idempotent) or REFUSED, for 2.8, for 3.2 to 3.9, for 4.0 and later.
TABLE: list[tuple[dict[str, object], object, object, object]] = [
    (NOTHING, (1, PLAIN), (-1, IDEMPOTENT), (-1, IDEMPOTENT)),
    ({"acks": 1}, (1, PLAIN), (1, PLAIN), (1, PLAIN)),
    ({"acks": 0}, (0, PLAIN), (0, PLAIN), (0, PLAIN)),
    ({"acks": 1, "enable.idempotence": True}, REFUSED, REFUSED, REFUSED),
    ({"acks": 0, "enable.idempotence": True}, REFUSED, REFUSED, REFUSED),
    ({"acks": "all", "enable.idempotence": True}, (-1, IDEMPOTENT), (-1, IDEMPOTENT), (-1, IDEMPOTENT)),
    ({"acks": "-1", "enable.idempotence": True}, (-1, IDEMPOTENT), (-1, IDEMPOTENT), (-1, IDEMPOTENT)),
    ({"enable.idempotence": True}, (-1, IDEMPOTENT), (-1, IDEMPOTENT), (-1, IDEMPOTENT)),
    ({"acks": "all", "enable.idempotence": False}, (-1, PLAIN), (-1, PLAIN), (-1, PLAIN)),
    ({"retries": 0}, (1, PLAIN), (-1, PLAIN), (-1, PLAIN)),
    ({"retries": 0, "enable.idempotence": True}, REFUSED, REFUSED, REFUSED),
    ({IN_FLIGHT: 5}, (1, PLAIN), (-1, IDEMPOTENT), (-1, IDEMPOTENT)),
    ({IN_FLIGHT: 6}, (1, PLAIN), (-1, PLAIN), REFUSED),
    ({IN_FLIGHT: 6, "acks": 1}, (1, PLAIN), (1, PLAIN), REFUSED),
    ({IN_FLIGHT: 6, "retries": 0}, (1, PLAIN), (-1, PLAIN), REFUSED),
    ({IN_FLIGHT: 6, "enable.idempotence": False}, (1, PLAIN), (-1, PLAIN), (-1, PLAIN)),
    ({IN_FLIGHT: 6, "enable.idempotence": True}, REFUSED, REFUSED, REFUSED),
]

VERSIONS = [("2.8", 1), ("3.0", 2), ("3.2", 2), ("3.9", 2), ("4.0", 3), ("4.3", 3)]


def written(values: dict[str, object]) -> list[Setting]:
    return [Setting(name, value, Origin("producer.properties", line)) for line, (name, value) in enumerate(values.items(), start=1)]


def resolve(version: str, **values: object) -> ProducerResolution:
    return resolve_producer(written({name.replace("_", "."): value for name, value in values.items()}), client_profile(version))


def outcome(resolution: ProducerResolution) -> object:
    return REFUSED if resolution.config is None else (resolution.config.acks, resolution.config.enable_idempotence)


@pytest.mark.parametrize(("version", "column"), VERSIONS)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: ",".join(f"{name}={value}" for name, value in row[0].items()) or "nothing")
def test_idempotence_is_settled_as_this_release_settles_it(version: str, column: int, row: tuple[object, ...]) -> None:
    """Section 1.3; PV-211, PV-212, PV-213, PV-214, PV-215"""
    values = row[0]
    assert isinstance(values, dict)

    assert outcome(resolve_producer(written(values), client_profile(version))) == row[column]


@pytest.mark.parametrize("version", ["3.0.0", "3.1.0"])
def test_3_0_0_and_3_1_0_declare_idempotence_as_default_and_do_not_apply_it(version: str) -> None:
    """KAFKA-13598"""
    resolution = resolve(version)

    assert outcome(resolution) == (-1, PLAIN)
    assert any("KAFKA-13598" in note for note in resolution.notes)


@pytest.mark.parametrize("version", ["3.0.0", "3.1.0"])
def test_3_0_0_and_3_1_0_are_idempotent_where_the_user_asks(version: str) -> None:
    """KAFKA-13598"""
    assert outcome(resolve(version, enable_idempotence=True)) == (-1, IDEMPOTENT)
    assert outcome(resolve(version, enable_idempotence=True, acks=1)) == REFUSED


@pytest.mark.parametrize("version", ["3.0.1", "3.1.1"])
def test_the_next_patch_applies_the_default(version: str) -> None:
    """KAFKA-13598"""
    assert outcome(resolve(version)) == (-1, IDEMPOTENT)


# With a transactional id, which is refused here as not yet supported, the rule itself is asked: idempotent, acks, does Kafka refuse?
TRANSACTIONAL: list[tuple[dict[str, object], str, bool | None]] = [
    ({}, "2.8", True),
    ({}, "3.9", True),
    ({}, "4.3", True),
    ({"acks": "1"}, "2.8", None),
    ({"acks": "1"}, "3.9", None),
    ({"acks": "1"}, "4.3", None),
    ({"acks": "0"}, "4.3", None),
    ({"enable.idempotence": False}, "2.8", None),
    ({"enable.idempotence": False}, "3.9", None),
    ({"enable.idempotence": False}, "4.3", None),
    ({"retries": 0}, "2.8", None),
    ({"retries": 0}, "4.3", None),
    ({IN_FLIGHT: 6}, "3.9", None),
    ({IN_FLIGHT: 6}, "4.3", None),
    ({IN_FLIGHT: 5, "enable.idempotence": False}, "4.3", None),
]


@pytest.mark.parametrize(("values", "version", "idempotent"), TRANSACTIONAL)
def test_a_transactional_id_needs_idempotence(values: dict[str, object], version: str, idempotent: bool | None) -> None:
    """C10; PV-213, PV-214, PV-215; None: Kafka refuses."""
    profile = client_profile(version)
    reading: Reading = read_settings(written({"transactional.id": "t", **values}), PRODUCER, profile.release, profile.version)
    reading.problems.clear()  # "transactions: not yet supported" is not what is asked here.

    settle_idempotence(profile.idempotence_rule, reading)

    if idempotent is None:
        assert reading.problems
    else:
        assert (reading.problems, reading.value("enable.idempotence"), reading.value("acks")) == ([], True, "all")


def test_each_conflict_with_explicit_idempotence_is_a_problem_of_its_own() -> None:
    """All at once, where the client stops at the first."""
    resolution = resolve_producer(written({"enable.idempotence": "true", "retries": "0", "acks": "1", IN_FLIGHT: "6"}), client_profile("3.9"))

    assert [problem.origin.line for problem in resolution.problems] == [2, 3, 4]
    assert all("KIP-98" in problem.message and "Kafka refuses it" in problem.message for problem in resolution.problems)


def test_the_4_x_text_for_too_many_in_flight_is_kafkas() -> None:
    """PV-215"""
    problem = resolve_producer(written({IN_FLIGHT: 6}), client_profile("4.3")).problems[0]

    assert "max.in.flight.requests.per.connection must be set to at most 5. Current value is 6." in problem.message
    assert problem.possible == "1 to 5, or enable.idempotence = false"


def test_switching_off_in_silence_is_said_aloud_here() -> None:
    resolution = resolve("4.3", acks="1", retries="0")
    flag = next(line for line in resolution.effective if line.name == "enable.idempotence")

    assert (flag.value, flag.origin) == (False, "forced by retries=0 and acks=1")
    assert any("switched off in silence by retries=0 and acks=1" in note for note in resolution.notes)


def test_acks_that_2_8_forces_to_all_say_so() -> None:
    """Section 1.3"""
    acks = next(line for line in resolve("2.8", enable_idempotence="true").effective if line.name == "acks")

    assert (acks.value, acks.origin) == ("all", "forced by idempotence")


# What Kafka says (ProducerConfig.postProcessAndValidateIdempotenceConfigs, KafkaProducer.configureInflightRequests), and what to do.
NEVER_RETRIED = "Must set retries to non-zero when using the idempotent producer."
WEAK_ACKS = "Must set acks to all in order to use the idempotent producer. Otherwise we cannot guarantee idempotence."
MANY = f"Must set {IN_FLIGHT} to at most 5 to use the idempotent producer."
MANY_4 = f"To use the idempotent producer, {IN_FLIGHT} must be set to at most 5. Current value is 6."


@pytest.mark.parametrize("version", ["2.8", "3.0.0", "3.2", "3.9", "4.0", "4.3"])
@pytest.mark.parametrize(
    ("name", "value", "shown", "because", "says", "choose"),
    [
        ("retries", 0, "retries=0", "telling a retry from a new batch is all that idempotence does (KIP-98)", NEVER_RETRIED, "at least 1"),
        ("acks", "1", "acks=1", "a new leader recognises a retry only among records that were replicated to it (KIP-98)", WEAK_ACKS, "all"),
        (IN_FLIGHT, 6, f"{IN_FLIGHT}=6", "a broker remembers only the last five batches of a producer (KIP-98)", MANY, "1 to 5"),
    ],
    ids=["retries", "acks", "in flight"],
)
def test_what_does_not_go_with_idempotence_is_refused_in_kafkas_words(
    version: str, name: str, value: object, shown: str, because: str, says: str, choose: str
) -> None:
    """Section 1.3, C10; PV-211 to PV-215."""
    if says is MANY and version in ("4.0", "4.3"):
        says = MANY_4
    resolution = resolve_producer(written({"enable.idempotence": True, name: value}), client_profile(version))
    (problem,) = resolution.problems
    possible = f"{choose}, or enable.idempotence = false"

    assert problem.message == f"{shown} does not go with an idempotent producer, because {because}. Kafka refuses it: {says} Choose {possible}."
    assert (problem.possible, problem.origin.line, problem.given.partition(" = ")[0]) == (possible, 2, name)


def flags(resolution: ProducerResolution) -> dict[str, tuple[object, str, str]]:
    return {line.name: (line.value, line.origin, line.changed_by) for line in resolution.effective if line.name in ("acks", "enable.idempotence")}


def test_a_setting_that_another_one_forces_says_by_which_and_by_what_rule() -> None:
    """Section 1.3: acks without idempotence in 2.8; the declared default in 3.0.0 and 3.1.0; the silence of 3.0.1 and later."""
    asked = flags(resolve("2.8", enable_idempotence=True))
    assert asked == {"acks": ("all", "forced by idempotence", "KIP-98"), "enable.idempotence": (True, "producer.properties:1", "")}
    undone = flags(resolve("3.0.0"))
    assert undone == {"acks": ("all", "default of 3.0.0", ""), "enable.idempotence": (False, "forced by the client of 3.0.0", "KAFKA-13598")}
    silent = flags(resolve("3.9", acks="1"))

    assert silent == {"acks": ("1", "producer.properties:1", ""), "enable.idempotence": (False, "forced by acks=1", "KIP-679")}


def test_acks_that_were_written_are_not_forced() -> None:
    """Section 1.3."""
    assert flags(resolve("2.8", enable_idempotence=True, acks="-1"))["acks"] == ("-1", "producer.properties:2", "")


def test_a_transactional_id_switches_idempotence_on_where_only_what_is_written_counts() -> None:
    """Section 1.3, C10: userConfiguredTransactions in 2.8; and it says so."""
    profile = client_profile("2.8")
    reading: Reading = read_settings(written({"transactional.id": "t"}), PRODUCER, profile.release, profile.version)
    settle_idempotence(profile.idempotence_rule, reading)

    assert reading.changed["enable.idempotence"] == (True, "forced by transactional.id", "KAFKA-13598")


@pytest.mark.parametrize(
    ("version", "values", "notes"),
    [
        (
            "3.0.0",
            {},
            ["enable.idempotence is true by default in 3.0.0, but this release does not apply the default: the producer is not idempotent (KAFKA-13598)."],
        ),
        ("3.0.0", {"enable.idempotence": False}, []),
        ("2.8", {}, []),
        ("2.8", {"enable.idempotence": False}, []),
        (
            "4.3",
            {"acks": "0"},
            ["Idempotence, on by default, is switched off in silence by acks=0 (KIP-679): a retry may write a record twice or out of order."],
        ),
        ("4.3", {"acks": "all"}, []),
    ],
)
def test_only_what_a_user_would_not_expect_is_noted(version: str, values: dict[str, object], notes: list[str]) -> None:
    """KAFKA-13598, KIP-679."""
    profile = client_profile(version)
    reading: Reading = read_settings(written(values), PRODUCER, profile.release, profile.version)
    settle_idempotence(profile.idempotence_rule, reading)

    assert reading.notes == notes


def test_a_transactional_id_without_idempotence_is_refused_in_kafkas_words() -> None:
    """C10."""
    profile = client_profile("4.3")
    reading: Reading = read_settings(written({"transactional.id": "t", "enable.idempotence": False}), PRODUCER, profile.release, profile.version)
    reading.problems.clear()
    settle_idempotence(profile.idempotence_rule, reading)
    (problem,) = reading.problems

    assert problem.message.endswith("Kafka refuses it: Cannot set a transactional.id without also enabling idempotence.")
    assert problem.message.startswith("transactional.id needs an idempotent producer, and idempotence is off (C10, KIP-98).")
    assert (problem.given, problem.possible) == ('transactional.id = "t"', "leave out transactional.id, or what switches idempotence off")


@pytest.mark.parametrize("version", ["2.8", "3.0.0", "3.1.0"])
def test_old_releases_look_at_the_requests_in_flight_last(version: str) -> None:
    """C1: the other conflicts come first, whatever stands first in the file; without idempotence it does not matter."""
    resolution = resolve_producer(written({IN_FLIGHT: 6, "retries": 0, "enable.idempotence": True}), client_profile(version))

    assert [problem.origin.line for problem in resolution.problems] == [2, 1]
    assert resolve_producer(written({IN_FLIGHT: 6}), client_profile(version)).problems == ()


def test_an_unreadable_flag_is_not_taken_for_its_default_when_the_requests_in_flight_are_counted() -> None:
    """C1: true is what 3.0.0 declares as its default, and six in flight would not go with it."""
    problems = resolve_producer(written({"enable.idempotence": "fals", IN_FLIGHT: 6}), client_profile("3.0.0")).problems

    assert [problem.origin.line for problem in problems] == [1]
