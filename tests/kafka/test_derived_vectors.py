"""Vectors derived from Kafka's code, where no test of Kafka's stands behind them: section 9. Scripts as in section 1."""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.facts import Failed
from ksim_models.machine import Effect, Note
from scripted import IN_ORDER, PATIENT, S_SET, Client, Lines, vector

IDEMPOTENT: dict[str, Any] = {"enable_idempotence": True}
OUT_OF_ORDER = "OUT_OF_ORDER_SEQUENCE_NUMBER"


@pytest.mark.parametrize(
    ("config", "script"),
    [
        vector(
            "PV-301 a retriable error, and the next batch overtakes",
            {},
            ("send", "sent 0"),
            ("send", "sent 1"),
            ("answer 0 NOT_ENOUGH_REPLICAS", "sent 0"),
            ("answer 1 NONE 0", "acked 1 at 0"),
            ("answer 0 NONE 1", "acked 0 at 1"),
        ),
        vector(
            "PV-302 with one in flight no failure changes the order",
            IN_ORDER,
            ("send", "sent 0"),
            ("append", ""),
            ("answer 0 NOT_ENOUGH_REPLICAS", "sent 0"),
            ("answer 0 NONE 0", "acked 0 at 0; sent 1"),
            ("answer 1 NONE 1", "acked 1 at 1"),
            ("send", "sent 2"),
            ("append", ""),
            ("disconnect", ""),
            ("at 100", "sent 2"),
            ("answer 2 NONE 3", "acked 2 at 3; sent 3"),
        ),
        vector(
            "PV-305 the older of two requests times out: both are cancelled, both have used an attempt, and they are sent again in reverse",
            PATIENT | {"request_timeout_ms": 1_000, "retries": 1},
            ("send", "sent 0"),
            ("at 500", ""),
            ("send", "sent 1"),
            ("at 1500", ""),  # N14: the poll that began with the second one ends later.
            ("at 1600", "sent 1; sent 0"),
            ("answer 1 REQUEST_TIMED_OUT", "failed 1 TimeoutException"),
            ("answer 0 REQUEST_TIMED_OUT", "failed 0 TimeoutException"),
        ),
        vector(
            "PV-310 acks=0: what the broker refused was acknowledged, and is never sent again",
            {"acks": 0},
            ("send", "sent 0; acked 0 at -1"),
            ("disconnect", ""),
            ("at 1400", ""),
        ),
        vector(
            "PV-307 a batch that expired on its first attempt is not unresolved: the next one finds no end of being out of order, until it expires too",
            IDEMPOTENT,
            ("send x3", "pid 343434; sent 0-2 e0s0"),
            ("at 1000", ""),
            ("send", "sent 3 e0s3"),
            ("at 1500", "failed 0-2 TimeoutException"),
            ("answer 0 NETWORK_EXCEPTION", ""),
            (f"answer 3 {OUT_OF_ORDER}", "sent 3 e0s3"),
            (f"answer 3 {OUT_OF_ORDER}", "sent 3 e0s3"),
            ("state", "e0 next 4 acked -1"),
            ("at 2500", "failed 3 TimeoutException"),
            ("state", "e0 next 4 acked -1, unresolved until 4"),
            ("send", "epoch 1; sent 4 e1s0"),
        ),
    ],
)
def test_what_follows_from_the_code(config: dict[str, Any], script: Lines) -> None:
    Client(**config).play(script)


def test_pv_304_four_time_outs_of_the_broker_use_up_three_retries() -> None:
    """S12, S13: record-retry-total 3n, record-error-total n, record-send-total 4n."""
    client = Client(**S_SET | {"retries": 3})
    client.play([("send x2", "sent 0-1"), *[("answer 0 REQUEST_TIMED_OUT", "sent 0-1")] * 3, ("answer 0 REQUEST_TIMED_OUT", "failed 0-1 TimeoutException")])

    assert (client.producer.outcomes.records_retried, client.producer.outcomes.records_failed, client.producer.records_sent) == (6, 2, 8)


def test_pv_308_what_is_aborted_counts_as_no_error() -> None:
    """S21: and what was in flight may be in the log all the same."""
    client = Client(**S_SET)
    client.play([("send", "sent 0"), ("down b1", ""), ("send", "")])
    out: list[Effect] = []
    client.producer.outcomes.abort_all("KafkaException", "Producer is closed forcefully.", client.now, out)

    told = [effect.fact for effect in out if isinstance(effect, Note) and isinstance(effect.fact, Failed)]
    assert [(fact.producer, fact.partition, list(fact.records), fact.error) for fact in told] == [
        ("p1", "t-0", [0], "KafkaException"),
        ("p1", "t-0", [1], "KafkaException"),
    ]
    assert client.producer.outcomes.records_failed == 0
    assert not client.producer.accumulator_holds()
    assert client.producer.accumulator.free_memory == client.producer.accumulator.total_memory
