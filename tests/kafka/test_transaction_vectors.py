"""Vectors of the transactional client: the normal flow, and the order of requests (section 4 of the client's vectors)."""

from __future__ import annotations

from typing import Any

import pytest

from scripted_transactions import Transactional

Script = list[tuple[str, str]]


def vector(title: str, config: dict[str, Any], *script: tuple[str, str]) -> Any:
    return pytest.param(config, list(script), id=title)


NORMAL = [
    vector(
        "PV-100 a transaction with records and offsets",
        {},
        ("init", "FindCoordinator transaction; [INITIALIZING]"),
        ("reply FindCoordinator", ""),
        ("pass 99", ""),
        ("pass 1", "InitProducerId"),
        ("reply InitProducerId", "epoch 1; init returns; [READY]"),
        ("begin", "[IN_TRANSACTION]"),
        ("send p0", "AddPartitions t-0"),
        ("send-offsets t-1=1", ""),
        ("reply AddPartitions", "AddOffsets g"),
        ("reply AddOffsets", "FindCoordinator group"),
        ("reply FindCoordinator", ""),
        ("pass 100", "TxnOffsetCommit t-1=1"),
        ("reply TxnOffsetCommit", "sent 0 e1s0; send-offsets returns"),
        ("commit", "[COMMITTING_TRANSACTION]"),
        ("answer 0 NONE 0", "acked 0; EndTxn commit"),
        ("reply EndTxn", "commit returns; [READY]"),
    ),
    vector(
        "PV-101 a partition is added once",
        {},
        ("start", ""),
        ("send p0", "AddPartitions t-0"),
        ("send p0", ""),
        ("reply AddPartitions", "sent 0-1 e1s0"),
        ("answer 0 NONE 0", "acked 0-1"),
        ("send p0", "sent 2 e1s2"),
    ),
    vector(
        "PV-103 version 2: partitions and offsets are added by those who write them",
        {"v2": True},
        ("start", ""),
        ("send p0", "sent 0 e1s0"),
        ("answer 0 NONE 0", "acked 0"),
        ("send-offsets t-1=1", "FindCoordinator group"),
        ("reply FindCoordinator", ""),
        ("pass 100", "TxnOffsetCommit t-1=1"),
        ("reply TxnOffsetCommit", "send-offsets returns"),
        ("commit", "EndTxn commit; [COMMITTING_TRANSACTION]"),
        ("reply EndTxn", "epoch 2; commit returns; [READY]"),
    ),
    vector(
        "PV-104 version 2: the end of a transaction brings the next epoch",
        {"v2": True},
        ("start", ""),
        ("send p0", "sent 0 e1s0"),
        ("answer 0 NONE 0", "acked 0"),
        ("abort", "EndTxn abort; [ABORTING_TRANSACTION]"),
        ("reply EndTxn", "epoch 2; abort returns; [READY]"),
        ("begin", "[IN_TRANSACTION]"),
        ("send p0", "sent 1 e2s0"),
    ),
    vector(
        "PV-106 version 2 holds from the next transaction on, and begins with another epoch",
        {},
        ("start", ""),
        ("send p0", "AddPartitions t-0"),
        ("reply AddPartitions", "sent 0 e1s0"),
        ("answer 0 NONE 0", "acked 0"),
        ("upgrade", ""),
        ("send p1", "AddPartitions t-1"),
        ("reply AddPartitions", "sent 1 e1s0"),
        ("answer 1 NONE 0", "acked 1"),
        ("commit", "EndTxn commit; [COMMITTING_TRANSACTION]"),
        ("reply EndTxn", "InitProducerId 13131/1; [INITIALIZING]"),
        ("reply InitProducerId", "epoch 2; commit returns; [READY]"),
        ("begin", "[IN_TRANSACTION]"),
        ("send p0", "sent 2 e2s0"),
    ),
    vector("PV-107 version 1, though the client could do more", {}, ("start", ""), ("send p0", "AddPartitions t-0")),
    vector(
        "PV-109 commit flushes",
        {"linger_ms": 50},
        ("start", ""),
        ("append p0", ""),
        ("commit", "AddPartitions t-0; [COMMITTING_TRANSACTION]"),
        ("reply AddPartitions", "sent 0 e1s0"),
        ("answer 0 NONE 0", "acked 0; EndTxn commit"),
        ("reply EndTxn", "commit returns; [READY]"),
    ),
    vector(
        "PV-110 data of a partition that is in the transaction waits while another is added",
        {"linger_ms": 50},
        ("start", ""),
        ("send p0", "AddPartitions t-0"),
        ("reply AddPartitions", ""),
        ("send p1", "AddPartitions t-1"),
        ("send p0", ""),
        ("pass 50", ""),
        ("reply AddPartitions", "sent 0-2 e1s0; sent 1 e1s0"),
    ),
    vector(
        "PV-112 the end waits for all batches",
        {},
        ("start", ""),
        ("send p0", "AddPartitions t-0"),
        ("reply AddPartitions", "sent 0 e1s0"),
        ("append p0", ""),
        ("commit", "sent 1 e1s1; [COMMITTING_TRANSACTION]"),
        ("answer 0 NONE 0", "acked 0"),
        ("answer 1 NONE 1", "acked 1; EndTxn commit"),
        ("reply EndTxn", "commit returns; [READY]"),
    ),
    vector(
        "PV-113 linger is over with the transaction, and back in the next one",
        {"linger_ms": 50, "v2": True},
        ("start", ""),
        ("send p0 x2", ""),
        ("commit", "sent 0-1 e1s0; [COMMITTING_TRANSACTION]"),
        ("answer 0 NONE 0", "acked 0-1; EndTxn commit"),
        ("reply EndTxn", "epoch 2; commit returns; [READY]"),
        ("begin", "[IN_TRANSACTION]"),
        ("send p0", ""),
        ("pass 49", ""),
        ("pass 1", "sent 2 e2s0"),
    ),
    *(
        vector(
            f"PV-113 KAFKA-12870 {kafka}",
            {"linger_ms": 50, "kafka": kafka},
            ("start", ""),
            ("append p0", ""),
            ("turn", "AddPartitions t-0"),
            ("reply AddPartitions", ""),
            ("commit", "sent 0 e1s0; [COMMITTING_TRANSACTION]"),
            ("answer 0 NONE 0", "acked 0; EndTxn commit"),
            ("reply EndTxn", "commit returns; [READY]"),
            ("begin", "[IN_TRANSACTION]"),
            ("send p0", "AddPartitions t-0"),
            ("reply AddPartitions", sent_at_once),
            ("pass 49", ""),
            ("pass 1", sent_later),
        )
        for kafka, sent_at_once, sent_later in (("2.8.0", "sent 1 e1s1", ""), ("2.8.1", "", "sent 1 e1s1"))
    ),
    vector(
        "PV-115 nothing is drained before its partition was added",
        {},
        ("start", ""),
        ("send p0", "AddPartitions t-0"),
        ("pass 500", ""),
        ("reply AddPartitions", "sent 0 e1s0"),
    ),
    vector(
        "PV-116 the first partition is asked for again after 20 ms",
        {},
        ("start", ""),
        ("send p0", "AddPartitions t-0"),
        ("reply AddPartitions CONCURRENT_TRANSACTIONS", ""),
        ("pass 19", ""),
        ("pass 1", "AddPartitions t-0"),
        ("reply AddPartitions", "sent 0 e1s0"),
    ),
    vector(
        "PV-118 a further one after retry.backoff.ms",
        {},
        ("start", ""),
        ("send p0", "AddPartitions t-0"),
        ("reply AddPartitions", "sent 0 e1s0"),
        ("send p1", "AddPartitions t-1"),
        ("reply AddPartitions CONCURRENT_TRANSACTIONS", ""),
        ("pass 99", ""),
        ("pass 1", "AddPartitions t-1"),
    ),
    *(
        vector(
            f"PV-119 {error} is tried again",
            {},
            ("init", "FindCoordinator transaction; [INITIALIZING]"),
            (f"reply FindCoordinator {error}", ""),
            ("pass 100", "FindCoordinator transaction"),
            ("reply FindCoordinator", ""),
            ("pass 100", "InitProducerId"),
            (f"reply InitProducerId {error}", ""),
            ("pass 100", "InitProducerId"),
            ("reply InitProducerId", "epoch 1; init returns; [READY]"),
            ("begin", "[IN_TRANSACTION]"),
            ("send p0", "AddPartitions t-0"),
            (f"reply AddPartitions {error if error != 'CONCURRENT_TRANSACTIONS' else 'COORDINATOR_LOAD_IN_PROGRESS'}", ""),
            ("pass 100", "AddPartitions t-0"),
            ("reply AddPartitions", "sent 0 e1s0"),
            ("answer 0 NONE 0", "acked 0"),
            ("commit", "EndTxn commit; [COMMITTING_TRANSACTION]"),
            (f"reply EndTxn {error}", ""),
            ("pass 100", "EndTxn commit"),
            ("reply EndTxn", "commit returns; [READY]"),
        )
        for error in ("UNKNOWN_TOPIC_OR_PARTITION", "REQUEST_TIMED_OUT", "COORDINATOR_LOAD_IN_PROGRESS", "CONCURRENT_TRANSACTIONS")
    ),
    vector(
        "PV-121 the coordinator is sought anew when the request is lost",
        {},
        ("init", "FindCoordinator transaction; [INITIALIZING]"),
        ("reply FindCoordinator b2", ""),
        ("pass 100", "InitProducerId"),
        ("drop b2", "FindCoordinator transaction"),
        ("reply FindCoordinator", ""),
        ("pass 100", "InitProducerId"),
        ("reply InitProducerId", "epoch 1; init returns; [READY]"),
    ),
    vector(
        "PV-121 and when it cannot be reached, at once",
        {},
        ("init", "FindCoordinator transaction; [INITIALIZING]"),
        ("refuse b2", ""),
        ("reply FindCoordinator b2", "FindCoordinator transaction"),
        ("reply FindCoordinator b2", "FindCoordinator transaction"),
        ("up b2", ""),
        ("reply FindCoordinator", ""),
        ("pass 100", "InitProducerId"),
        ("reply InitProducerId", "epoch 1; init returns; [READY]"),
    ),
    vector(
        "PV-121 and when it says that it is none",
        {},
        ("init", "FindCoordinator transaction; [INITIALIZING]"),
        ("reply FindCoordinator", ""),
        ("pass 100", "InitProducerId"),
        ("reply InitProducerId NOT_COORDINATOR", "FindCoordinator transaction"),
        ("reply FindCoordinator b2", ""),
        ("pass 100", "InitProducerId"),
        ("reply InitProducerId", "epoch 1; init returns; [READY]"),
    ),
    vector(
        "PV-122 version 2: a batch waits for the end of the transaction before",
        {"v2": True},
        ("start", ""),
        ("send p0", "sent 0 e1s0"),
        ("answer 0 CONCURRENT_TRANSACTIONS", "sent 0 e1s0"),
        ("answer 0 NONE 0", "acked 0"),
        ("commit", "EndTxn commit; [COMMITTING_TRANSACTION]"),
        ("reply EndTxn", "epoch 2; commit returns; [READY]"),
    ),
]


@pytest.mark.parametrize(("config", "script"), NORMAL)
def test_the_normal_flow(config: dict[str, Any], script: Script) -> None:
    """PV-119 is here for each of its errors."""
    Transactional(**config).play(script)


INEXPRESSIBLE = {
    "PV-125": "it counts polls of the network client, which is one event here",
}
