"""Methods of SenderTest, ProducerBatchTest and TransactionManagerTest without transactions that no vector is named after: what becomes of the records.

A script's line: what the test does, and everything that then happens (`scripted.Client.play`).
"""

from __future__ import annotations

from typing import Any

import pytest

from scripted import IN_ORDER, S_SET, Client, Lines, row

SETTINGS: dict[str, Any] = {"enable_idempotence": True, "request_timeout_ms": 5_000, "delivery_timeout_ms": 120_000}
OUT_OF_ORDER = "OUT_OF_ORDER_SEQUENCE_NUMBER"
IDEMPOTENT_IN_ORDER = IN_ORDER | {"retries": 10}


PLAIN = [
    row(
        "testRetries the second loss is one too many",
        {"retries": 1},
        ("send", "sent 0"),
        ("disconnect", ""),
        ("at 100", "sent 0"),
        ("disconnect", "failed 0 NetworkException"),
        ("at 2000", ""),
    ),
    row(
        "testCanRetryWithoutIdempotence an authorization error is final at once, and of no consequence for the next record",
        {},
        ("send", "sent 0"),
        ("answer 0 TOPIC_AUTHORIZATION_FAILED", "failed 0 TopicAuthorizationException"),
        ("send", "sent 1"),
        ("answer 1 NONE 0", "acked 1 at 0"),
    ),
    row(
        "testInflightBatchesExpireOnDeliveryTimeout the acknowledgement that is taken in when the time is over comes too late",
        IN_ORDER,
        ("send", "sent 0"),
        ("at 1500", "failed 0 TimeoutException"),
        ("answer 0 NONE 0", ""),
    ),
    row(
        "testExpiredBatchesInMultiplePartitions",
        IN_ORDER,
        ("append p0", ""),
        ("send p1", "sent 0; sent 1"),
        ("at 1499", ""),
        ("at 1500", "failed 0 TimeoutException; failed 1 TimeoutException"),
        ("answer 0 NONE 0, 1 NONE 0", ""),
    ),
    row(
        "testNoDoubleDeallocation the batch expires, then its request times out: its memory comes back once",
        {"request_timeout_ms": 2000},
        ("send", "sent 0"),
        ("at 1500", "failed 0 TimeoutException"),
        ("at 6000", ""),
        ("send", "sent 1"),
    ),
    row(
        "testUnsupportedForMessageFormatInProduceRequest",
        {},
        ("send", "sent 0"),
        ("answer 0 UNSUPPORTED_FOR_MESSAGE_FORMAT", "failed 0 UnsupportedForMessageFormatException"),
        ("send", "sent 1"),
    ),
    row(
        "testSplitBatchAndSend without sequences the parts go one after the other at once, and a part that fails takes no other with it",
        {"retries": 1, "batch_size": 300},
        ("send x2", "sent 0-1"),
        ("answer 0 MESSAGE_TOO_LARGE", "sent 0-1"),
    ),
]

IDEMPOTENT = [
    row(
        "testBumpEpochWhenOutOfOrderSequenceReceived",
        IDEMPOTENT_IN_ORDER,
        ("send", "sent 0 e0s0"),
        (f"answer 0 {OUT_OF_ORDER}", "epoch 1; sent 0 e1s0"),
        ("answer 0 NONE 0", "acked 0 at 0"),
        ("state", "e1 next 1 acked 0 (offset 0)"),
    ),
    row(
        "testEpochBumpOnOutOfOrderSequenceForNextBatch",
        {},
        ("send x2", "sent 0-1 e0s0"),
        ("answer 0 NONE 0", "acked 0-1 at 0"),
        ("send", "sent 2 e0s2"),
        ("state", "e0 next 3 acked 1 (offset 1)"),
        (f"answer 2 {OUT_OF_ORDER}", "epoch 1; sent 2 e1s0"),
        ("state", "e1 next 1 acked -1 (offset 1)"),
    ),
    row(
        "testShouldRaiseOutOfOrderSequenceExceptionToUserIfLogWasNotTruncated the log begins before what was acknowledged: a new epoch all the same",
        {},
        ("send", "sent 0 e0s0"),
        ("answer 0 NONE 1000", "acked 0 at 1000"),
        ("send", "sent 1 e0s1"),
        ("answer 1 UNKNOWN_PRODUCER_ID lso=10", "epoch 1; sent 1 e1s0"),
        ("state", "e1 next 1 acked -1 (offset 1000)"),
    ),
    row(
        "testCorrectHandlingOfOutOfOrderResponses the second is refused first: both wait, in order, and go one at a time",
        {},
        ("send", "sent 0 e0s0"),
        ("send", "sent 1 e0s1"),
        (f"inject 1 {OUT_OF_ORDER}", ""),
        ("state", "e0 next 2 acked -1, queue 1 s1"),
        ("answer 0 NOT_LEADER_OR_FOLLOWER", "sent 0 e0s0"),
        ("state", "e0 next 2 acked -1, queue 1 s1"),
        ("send", ""),
        ("answer 0 NONE 0", "acked 0 at 0; sent 1 e0s1; sent 2 e0s2"),
        ("answer 1 NONE 1", "acked 1 at 1"),
    ),
    row(
        "testIdempotenceWithMultipleInflights",
        {},
        ("send", "sent 0 e0s0"),
        ("send", "sent 1 e0s1"),
        ("state", "e0 next 2 acked -1"),
        ("answer 0 NONE 0", "acked 0 at 0"),
        ("answer 1 NONE 1", "acked 1 at 1"),
        ("state", "e0 next 2 acked 1 (offset 1)"),
    ),
    row(
        "testUnsupportedForMessageFormatInProduceRequest is not fatal, but leaves a gap to be numbered anew",
        {},
        ("send", "sent 0 e0s0"),
        ("answer 0 UNSUPPORTED_FOR_MESSAGE_FORMAT", "failed 0 UnsupportedForMessageFormatException; epoch 1"),
        ("send", "sent 1 e1s0"),
    ),
    row(
        "testEpochBumpAfterLastInFlightBatchFailsIdempotentProducer the first expired, the second was written, the last expires: a new epoch",
        {"request_timeout_ms": 60_000, "delivery_timeout_ms": 5_000},
        ("send", "sent 0 e0s0"),
        ("answer 0 REQUEST_TIMED_OUT", "sent 0 e0s0"),
        ("at 2000", ""),
        ("send", "sent 1 e0s1"),
        ("at 3000", ""),
        ("send", "sent 2 e0s2"),
        ("at 5000", "failed 0 TimeoutException"),
        ("inject 1 NONE 500", "acked 1 at 500"),
        ("state", "e0 next 3 acked 1 (offset 500), unresolved until 1"),
        ("at 8000", "failed 2 TimeoutException"),
        ("refresh", "epoch 1"),
        ("state", "e1 next 0 acked -1 (offset 500)"),
    ),
    row(
        "testFailedInflightBatchAfterEpochBump the other partition is not renumbered",
        {},
        ("send", "sent 0 e0s0"),
        ("send p1", "sent 1 e0s0"),
        ("answer 0 NONE 500", "acked 0 at 500"),
        ("answer 1 NONE 500", "acked 1 at 500"),
        ("send", "sent 2 e0s1"),
        ("send", "sent 3 e0s2"),
        ("send p1", "sent 4 e0s1"),
        ("answer 2 UNKNOWN_PRODUCER_ID lso=500", "epoch 1; sent 2 e1s0"),
        ("state", "e1 next 2 acked -1 (offset 500)"),
        ("state t-1", "e0 next 2 acked 0 (offset 500)"),
        ("send p1", ""),
        (f"answer 3 {OUT_OF_ORDER}", ""),
        ("answer 4 NOT_LEADER_OR_FOLLOWER", "sent 4 e0s1"),
        ("answer 2 NONE 501", "acked 2 at 501; sent 3 e1s1"),
        ("answer 4 NONE 501", "acked 4 at 501; sent 5 e1s0"),
        ("answer 3 NONE 502", "acked 3 at 502"),
        ("answer 5 NONE 502", "acked 5 at 502"),
        ("state t-1", "e1 next 1 acked 0 (offset 502)"),
    ),
]


@pytest.mark.parametrize(("config", "script"), PLAIN)
def test_a_method_without_sequences_and_what_it_holds_of_memory(config: dict[str, Any], script: Lines) -> None:
    client = Client(**S_SET | config)
    client.play(script)
    producer = client.producer
    held = sum(batch.held for batch in producer.outcomes.incomplete)
    assert producer.accumulator.free_memory == producer.accumulator.total_memory - held


@pytest.mark.parametrize(("config", "script"), IDEMPOTENT)
def test_a_method_with_sequences_and_epochs(config: dict[str, Any], script: Lines) -> None:
    Client(**SETTINGS | config).play([("at 0", "pid 343434"), *script])
