"""When the Java client's I/O thread turns again, and what that decides: found by playing drawn scripts with the released client, in step with this one.

Kafka: Sender.runOnce, sendProducerData; NetworkClient.poll. A row is a script, as in section 1 of the vectors (`scripted.Client.play`).
"""

from __future__ import annotations

from typing import Any

import pytest

from scripted import PATIENT, S_SET, Client, Lines, vector

IDEMPOTENT: dict[str, Any] = {"enable_idempotence": True}
OUT_OF_ORDER = "OUT_OF_ORDER_SEQUENCE_NUMBER"


@pytest.mark.parametrize(
    ("config", "script"),
    [
        vector(
            "Sender.sendProducerData S5: a retry in flight expires, and the one that had to wait for it goes in that very moment, not at its own expiry",
            IDEMPOTENT,
            ("send", "pid 343434; sent 0 e0s0"),
            ("at 500", ""),
            ("send", "sent 1 e0s1"),
            ("answer 0 NOT_ENOUGH_REPLICAS", "sent 0 e0s0"),
            (f"answer 1 {OUT_OF_ORDER}", ""),
            ("at 1500", "failed 0 TimeoutException; sent 1 e0s1"),
        ),
        vector(
            "Sender.sendProducerData S5 I11: the same for a new epoch: what was held back by the expired batch is sent under it at once",
            IDEMPOTENT,
            ("send", "pid 343434; sent 0 e0s0"),
            ("answer 0 NOT_ENOUGH_REPLICAS", "sent 0 e0s0"),
            ("at 1499", ""),
            ("answer 0 NOT_ENOUGH_REPLICAS", "sent 0 e0s0"),
            ("at 1500", "failed 0 TimeoutException"),
            ("send", "epoch 1; sent 1 e1s0"),
        ),
        vector(
            "NetworkClient.poll N14: a node is ready and its batch may not go yet, so the thread never sleeps and notices an overdue request at once",
            IDEMPOTENT | PATIENT | {"request_timeout_ms": 1_000},
            ("leader t-1 b2 100", ""),
            ("send p1", "pid 343434; sent 0 e0s0 to b2"),
            ("answer 0 NONE 0", "acked 0 at 0"),
            ("send", "sent 1 e0s0"),
            ("send", "sent 2 e0s1"),
            ("answer 1 NOT_ENOUGH_REPLICAS", "sent 1 e0s0"),
            (f"answer 2 {OUT_OF_ORDER}", ""),
            ("at 700", ""),
            ("send p1", "sent 3 e0s1 to b2"),
            ("answer 3 NONE 1", "acked 3 at 1"),
            ("at 1100", "sent 1 e0s0"),
        ),
        vector(
            "NetworkClient.poll N14: the same without a batch that is held back: the poll that began with the last answer ends later",
            IDEMPOTENT | PATIENT | {"request_timeout_ms": 1_000},
            ("leader t-1 b2 100", ""),
            ("send p1", "pid 343434; sent 0 e0s0 to b2"),
            ("answer 0 NONE 0", "acked 0 at 0"),
            ("send", "sent 1 e0s0"),
            ("at 700", ""),
            ("send p1", "sent 2 e0s1 to b2"),
            ("answer 2 NONE 1", "acked 2 at 1"),
            ("at 1700", ""),
            ("at 1800", "sent 1 e0s0"),
        ),
        vector(
            "Sender.getExpiredInflightBatches A37: a retry stands behind a younger batch in flight, and expires when that has its answer",
            {"request_timeout_ms": 5_000, "delivery_timeout_ms": 1_500},
            ("send", "sent 0"),
            ("at 500", ""),
            ("send", "sent 1"),
            ("at 900", ""),
            ("answer 0 REQUEST_TIMED_OUT", "sent 0"),
            ("at 1500", ""),
            ("answer 1 NONE 0", "acked 1 at 0; failed 0 TimeoutException"),
        ),
        vector(
            "RecordAccumulator.expiredBatches A37 A38: of a queue in reverse order the older batch expires in the turn in which the younger one leaves",
            {"request_timeout_ms": 5_000, "delivery_timeout_ms": 1_500, "retry_backoff_ms": 1_300, "retry_backoff_max_ms": 1_300},
            ("send", "sent 0"),
            ("at 300", ""),
            ("send", "sent 1"),
            ("disconnect", ""),
            ("at 1500", ""),
            ("at 1600", "failed 0 TimeoutException; sent 1"),
        ),
    ],
)
def test_the_next_turn(config: dict[str, Any], script: Lines) -> None:
    Client(**config).play(script)


BLOCKED_BEHIND = [
    # (release, what the answer brings): t-0 is held back by a batch of an older epoch (A33 c), and t-1 stands behind it.
    ("3.2", "sent 4 e1s0"),
    ("3.3", ""),
    ("4.3", ""),
]


@pytest.mark.parametrize(("kafka", "then"), BLOCKED_BEHIND)
def test_a_partition_that_may_not_go_holds_up_those_behind_it_from_3_3_on(kafka: str, then: str) -> None:
    """RecordAccumulator.drainBatchesForOneNode, A31, A33; KAFKA-13834: before, the next drain went on behind it, whoever's broker it was."""
    client = Client(kafka=kafka, **S_SET | PATIENT | IDEMPOTENT)
    client.play(
        [
            ("send", "pid 343434; sent 0 e0s0"),
            ("send p1", "sent 1 e0s0"),
            ("answer 0 NONE 0", "acked 0 at 0"),
            ("send", "sent 2 e0s1"),
            ("answer 1 INVALID_RECORD", "failed 1 InvalidRecordException; epoch 1"),
            ("send", ""),
            ("send p1", then),
            ("answer 2 NONE 1", "acked 2 at 1; sent 3 e1s0" + ("" if then else "; sent 4 e1s0")),
        ]
    )
