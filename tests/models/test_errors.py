"""Error codes: section 10 of the broker's rule book, ERR-0 to ERR-2, and the classes of section 3.5 of the client's."""

from __future__ import annotations

import pickle

import pytest

from ksim_models.errors import ErrorCode

RETRIABLE = (2, 3, 5, 6, 7, 9, 13, 14, 15, 16, 19, 20, 41, 51, 56, 70, 71, 72, 74, 75, 78, 80, 83, 84, 88, 89, 100, 103, 106)
INVALID_METADATA = (3, 5, 6, 9, 13, 56, 72, 74, 80, 83, 84, 100, 103)


def test_exactly_the_codes_of_the_retriable_classes_are_retriable() -> None:
    """ERR-0"""
    assert tuple(code.value for code in ErrorCode if code.retriable) == RETRIABLE


def test_exactly_the_invalid_metadata_codes_ask_for_new_metadata() -> None:
    """ERR-1"""
    assert tuple(code.value for code in ErrorCode if code.invalid_metadata) == INVALID_METADATA


@pytest.mark.parametrize("name", ["NOT_ENOUGH_REPLICAS", "NOT_ENOUGH_REPLICAS_AFTER_APPEND"])
def test_too_few_replicas_is_retried_without_asking_for_metadata(name: str) -> None:
    """ERR-2"""
    code = ErrorCode[name]

    assert (code.retriable, code.invalid_metadata) == (True, False)


@pytest.mark.parametrize(
    ("code", "name", "exception"),
    [
        (-1, "UNKNOWN_SERVER_ERROR", "UnknownServerException"),
        (6, "NOT_LEADER_OR_FOLLOWER", "NotLeaderOrFollowerException"),
        (7, "REQUEST_TIMED_OUT", "TimeoutException"),
        (10, "MESSAGE_TOO_LARGE", "RecordTooLargeException"),
        (13, "NETWORK_EXCEPTION", "NetworkException"),
        (19, "NOT_ENOUGH_REPLICAS", "NotEnoughReplicasException"),
        (20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", "NotEnoughReplicasAfterAppendException"),
        (45, "OUT_OF_ORDER_SEQUENCE_NUMBER", "OutOfOrderSequenceException"),
        (47, "INVALID_PRODUCER_EPOCH", "InvalidProducerEpochException"),
        (77, "STALE_BROKER_EPOCH", "StaleBrokerEpochException"),
        (95, "INVALID_UPDATE_VERSION", "InvalidUpdateVersionException"),
        (101, "DUPLICATE_BROKER_REGISTRATION", "DuplicateBrokerRegistrationException"),
        (107, "INELIGIBLE_REPLICA", "IneligibleReplicaException"),
    ],
)
def test_a_code_has_kafkas_name_and_the_exception_an_application_sees(code: int, name: str, exception: str) -> None:
    assert ErrorCode(code) is ErrorCode[name]
    assert ErrorCode(code).exception == exception


def test_only_success_has_no_exception() -> None:
    assert [code.name for code in ErrorCode if not code.exception] == ["NONE"]


def test_every_code_says_what_it_means_in_one_line() -> None:
    for code in ErrorCode:
        assert code.meaning.endswith(".")
        assert "\n" not in code.meaning


def test_no_two_errors_share_a_meaning_or_an_exception() -> None:
    assert len({code.meaning for code in ErrorCode}) == len(ErrorCode)
    assert len({code.exception for code in ErrorCode}) == len(ErrorCode)


def test_an_error_code_survives_pickling_as_the_same_object() -> None:
    assert pickle.loads(pickle.dumps(ErrorCode.NOT_ENOUGH_REPLICAS)) is ErrorCode.NOT_ENOUGH_REPLICAS
