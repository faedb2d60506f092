"""What an error of a transactional request is called, by release: T25a, KAFKA-14278."""

from __future__ import annotations

import pytest

from scripted_transactions import Transactional

PARTITIONS = ("start", "send p0", "reply AddPartitions INVALID_TXN_STATE")
OFFSETS = ("start", "send-offsets t-1=1", "reply AddOffsets INVALID_TXN_STATE")
FENCED = ("start", "send-offsets t-0=1", "reply AddOffsets", "reply FindCoordinator", "pass 100", "reply TxnOffsetCommit INVALID_PRODUCER_EPOCH")


@pytest.mark.parametrize(
    ("script", "before", "since"),
    [
        (PARTITIONS, "KafkaException", "InvalidTxnStateException"),
        (OFFSETS, "KafkaException", "InvalidTxnStateException"),
        (FENCED, "InvalidProducerEpochException", "ProducerFencedException"),
    ],
    ids=["of partitions", "of offsets that are added", "of offsets that are committed"],
)
def test_since_3_6_a_fatal_error_of_a_transactional_request_is_told_by_its_own_name(script: tuple[str, ...], before: str, since: str) -> None:
    """T25a: all of them are fatal, in every release."""
    for kafka, exception in (("3.2", before), ("3.5", before), ("3.6", since), ("4.3", since)):
        client = Transactional(kafka=kafka)
        for line in script:
            client._do(line)

        assert client.manager.state.value == "FATAL_ERROR"
        assert client.manager.last_error is not None
        assert client.manager.last_error.exception == exception


@pytest.mark.parametrize(
    "script",
    [
        ("start", "send p0", "reply AddPartitions INVALID_PRODUCER_ID_MAPPING"),
        ("start", "send-offsets t-1=1", "reply AddOffsets INVALID_PRODUCER_ID_MAPPING"),
        ("start", "send p0", "reply AddPartitions", "answer 0 NONE 0", "commit", "reply EndTxn INVALID_PRODUCER_ID_MAPPING"),
    ],
)
def test_up_to_3_9_a_producer_id_that_the_coordinator_does_not_know_ends_the_transaction_and_from_4_0_on_the_producer(script: tuple[str, ...]) -> None:
    """T25a, I14: an older coordinator, which raises no epochs, always ended the producer (T11)."""
    states = []
    for kafka, bumps in (("2.8", True), ("3.9", True), ("3.9", False), ("4.0", True)):
        client = Transactional(kafka=kafka, bumps=bumps)
        for line in script:
            client._do(line)
        assert client.manager.last_error is not None
        assert client.manager.last_error.exception == "InvalidPidMappingException"
        states.append(client.manager.state.value)

    assert states == ["ABORTABLE_ERROR", "ABORTABLE_ERROR", "FATAL_ERROR", "FATAL_ERROR"]


def test_before_3_6_the_error_of_partitions_was_wrapped_and_that_of_offsets_unexpected() -> None:
    told = {}
    for name, script in (("partitions", PARTITIONS), ("offsets", OFFSETS)):
        client = Transactional(kafka="3.2")
        for line in script:
            client._do(line)
        assert client.manager.last_error is not None
        told[name] = client.manager.last_error

    assert told["partitions"].cause == "InvalidTxnStateException"
    assert told["offsets"].cause == ""
    assert told["offsets"].text.startswith("Unexpected error in AddOffsetsToTxnResponse: ")
