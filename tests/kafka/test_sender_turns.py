"""When the Java client's I/O thread turns again, and what that decides. Each row was played by the released client too, over a network of its own.

Kafka: Sender.runOnce, sendProducerData; NetworkClient.poll. A row is a script, as in section 1 of the vectors (`scripted.Client.play`).
"""

from __future__ import annotations

from typing import Any

import pytest

from scripted import PATIENT, Client, Lines, vector

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
    ],
)
def test_the_next_turn(config: dict[str, Any], script: Lines) -> None:
    Client(**config).play(script)
