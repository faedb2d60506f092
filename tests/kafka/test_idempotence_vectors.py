"""The idempotent Java client: section 3 of the vectors.

A script's line: what the test does, and everything that then happens (`scripted.Client.play`). "e0s3" is epoch 0, base sequence 3.
Our machine loops on where Java's next turn follows at once, so what the vectors put into the next turn may stand on the same line.
"""

from __future__ import annotations

from typing import Any

import pytest

from ksim_models.batch import Batch
from ksim_models.errors import ErrorCode as E
from ksim_models.facts import Acked, Failed
from ksim_models.idempotence import LAST_EPOCH, Idempotence
from ksim_models.machine import Received
from ksim_models.messages import InitProducerIdRequest, InitProducerIdResponse, ProduceRequest
from ksim_models.sequences import next_sequence
from scripted import Client, Lines

SETTINGS: dict[str, Any] = {"enable_idempotence": True, "request_timeout_ms": 5_000, "delivery_timeout_ms": 120_000}
IN_ORDER: dict[str, Any] = {"max_in_flight_requests_per_connection": 1, "retries": 10}
BRIEF: dict[str, Any] = {"delivery_timeout_ms": 1_500}
OUT_OF_ORDER = "OUT_OF_ORDER_SEQUENCE_NUMBER"


def vector(title: str, config: dict[str, Any], *script: tuple[str, str], epoch: int = 0) -> Any:
    return pytest.param(SETTINGS | config, epoch, list(script), id=title)


def client_of(epoch: int = 0, **config: Any) -> Client:
    """A client with a producer id, of that epoch."""
    client = Client(**SETTINGS | config)
    client.play([("at 0", "pid 343434")])
    assert client.producer.idempotence is not None
    client.producer.idempotence.given(343434, epoch)
    return client


@pytest.mark.parametrize(
    ("config", "epoch", "script"),
    [
        vector(
            "PV-053 sequences count records",
            {},
            ("send", "sent 0 e0s0"),
            ("answer 0 NONE 0", "acked 0 at 0"),
            ("state", "e0 next 1 acked 0 (offset 0)"),
        ),
        vector(
            "PV-055 with several in flight, retries go in order and one at a time; what has no sequence yet waits behind them",
            {},
            ("send", "sent 0 e0s0"),
            ("send", "sent 1 e0s1"),
            ("send", "sent 2 e0s2"),
            ("answer 0 LEADER_NOT_AVAILABLE", "sent 0 e0s0"),
            (f"answer 1 {OUT_OF_ORDER}", ""),
            (f"answer 2 {OUT_OF_ORDER}", ""),
            ("send", ""),
            ("state", "e0 next 3 acked -1, queue 1 s1, 2 s2, 3"),
            ("answer 0 NONE 0", "acked 0 at 0; sent 1 e0s1"),
            ("answer 1 NONE 1", "acked 1 at 1; sent 2 e0s2; sent 3 e0s3"),
            ("answer 2 NONE 2", "acked 2 at 2"),
            ("answer 3 NONE 3", "acked 3 at 3"),
        ),
        vector(
            "PV-055 but while those behind are unanswered it stands at the head, and is sent",
            {},
            ("send", "sent 0 e0s0"),
            ("send", "sent 1 e0s1"),
            ("send", "sent 2 e0s2"),
            ("answer 0 LEADER_NOT_AVAILABLE", "sent 0 e0s0"),
            ("send", "sent 3 e0s3"),
        ),
        vector(
            "PV-056 a final failure raises the epoch, and what stands behind it is renumbered on the wire",
            {},
            ("send", "sent 0 e0s0"),
            ("send", "sent 1 e0s1"),
            ("answer 0 MESSAGE_TOO_LARGE", "failed 0 RecordTooLargeException; epoch 1"),
            (f"answer 1 {OUT_OF_ORDER}", "sent 1 e1s0"),
            ("answer 1 NONE 0", "acked 1 at 0"),
            ("state", "e1 next 1 acked 0 (offset 0)"),
        ),
        vector(
            "PV-058 I13 another partition keeps its epoch until its next batch, when nothing of it is in flight",
            {},
            ("send", "sent 0 e0s0"),
            ("answer 0 NONE 0", "acked 0 at 0"),
            ("send p1", "sent 1 e0s0"),
            ("answer 1 NONE 0", "acked 1 at 0"),
            ("send", "sent 2 e0s1"),
            (f"answer 2 {OUT_OF_ORDER}", "epoch 1; sent 2 e1s0"),
            ("state", "e1 next 1 acked -1 (offset 0)"),
            ("state t-1", "e0 next 1 acked 0 (offset 0)"),
            ("send p1", "sent 3 e1s0"),
        ),
        vector(
            "PV-059 and through its retries, to the final failure",
            {"retries": 1},
            ("send", "sent 0 e0s0"),
            ("answer 0 NONE 0", "acked 0 at 0"),
            ("send p1", "sent 1 e0s0"),
            ("answer 1 NONE 0", "acked 1 at 0"),
            ("send p1", "sent 2 e0s1"),
            ("send", "sent 3 e0s1"),
            ("answer 2 NOT_LEADER_OR_FOLLOWER", "sent 2 e0s1"),
            (f"answer 3 {OUT_OF_ORDER}", "epoch 1; sent 3 e1s0"),
            ("state t-1", "e0 next 2 acked 0 (offset 0)"),
            ("answer 2 NOT_LEADER_OR_FOLLOWER", "failed 2 NotLeaderOrFollowerException"),
            ("state t-1", "e0 next 2 acked 0 (offset 0)"),
            ("send p1", "sent 4 e1s0"),
            ("answer 3 NONE 1", "acked 3 at 1"),
            ("send", "sent 5 e1s1"),
        ),
        vector(
            "PV-061 the second batch is acknowledged first: its callback precedes the first one's",
            {},
            ("send", "sent 0 e0s0"),
            ("send", "sent 1 e0s1"),
            ("inject 1 NONE 1", "acked 1 at 1"),
            ("state", "e0 next 2 acked 1 (offset 1)"),
            ("answer 0 REQUEST_TIMED_OUT", "sent 0 e0s0"),
            ("answer 0 NONE 0", "acked 0 at 0"),
            ("state", "e0 next 2 acked 1 (offset 1)"),
        ),
        vector(
            "S23 so it happens around a leader move: in the log already, and told as a duplicate",
            {},
            ("leader t-1 b2 100", ""),
            ("send p1", "sent 0 e0s0 to b2"),
            ("answer 0 NONE 0", "acked 0 at 0"),
            ("send", "sent 1 e0s0"),
            ("leader t-0 b2 101", ""),
            ("refresh", ""),
            ("send", "sent 2 e0s1 to b2"),
            ("answer 2 NONE 5", "acked 2 at 5"),
            ("answer 1 NOT_LEADER_OR_FOLLOWER", "sent 1 e0s0 to b2"),
            ("answer 1 DUPLICATE_SEQUENCE_NUMBER", "acked 1 at -1"),
        ),
        vector(
            "S23 not in the log yet: the second one is out of order, and waits for the first",
            {},
            ("leader t-1 b2 100", ""),
            ("send p1", "sent 0 e0s0 to b2"),
            ("answer 0 NONE 0", "acked 0 at 0"),
            ("send", "sent 1 e0s0"),
            ("leader t-0 b2 101", ""),
            ("refresh", ""),
            ("send", "sent 2 e0s1 to b2"),
            (f"answer 2 {OUT_OF_ORDER}", ""),
            ("answer 1 NOT_LEADER_OR_FOLLOWER", "sent 1 e0s0 to b2"),
            ("answer 1 NONE 5", "acked 1 at 5; sent 2 e0s1 to b2"),
        ),
        vector(
            "PV-062 a batch that was never sent leaves nothing unresolved",
            BRIEF,
            ("send", "sent 0 e0s0"),
            ("answer 0 NONE 0", "acked 0 at 0"),
            ("down b1 b2", ""),
            ("send", ""),
            ("at 10000", "failed 1 TimeoutException"),
            ("state", "e0 next 1 acked 0 (offset 0)"),
        ),
        vector(
            "PV-063 PV-064 an expired retry holds new batches back, until those in flight tell that nothing is missing",
            BRIEF,
            ("send", "sent 0 e0s0"),
            ("at 1000", ""),
            ("send", "sent 1 e0s1"),
            ("answer 0 REQUEST_TIMED_OUT", "sent 0 e0s0"),
            ("down b1 b2", ""),
            ("at 1600", "failed 0 TimeoutException"),
            ("state", "e0 next 2 acked -1, unresolved until 1, queue 1 s1"),
            ("up b1 b2", ""),
            ("append", ""),
            ("at 2300", "sent 1 e0s1"),
            ("state", "e0 next 2 acked -1, unresolved until 1, queue 2"),
            ("answer 1 NONE 1", "acked 1 at 1; sent 2 e0s2"),
            ("state", "e0 next 3 acked 1 (offset 1)"),
        ),
        vector(
            "PV-065 or that something is: a new epoch",
            BRIEF,
            ("send", "sent 0 e0s0"),
            ("at 1000", ""),
            ("send", "sent 1 e0s1"),
            ("answer 0 NOT_LEADER_OR_FOLLOWER", "sent 0 e0s0"),
            ("down b1 b2", ""),
            ("at 1600", "failed 0 TimeoutException"),
            ("up b1 b2", ""),
            ("append", ""),
            ("at 2300", "sent 1 e0s1"),
            (f"answer 1 {OUT_OF_ORDER}", "epoch 1; sent 1 e1s0; sent 2 e1s1"),
            ("state", "e1 next 2 acked -1"),
        ),
        vector(
            "PV-066 when all that was sent expired the epoch is raised",
            BRIEF,
            ("send", "sent 0 e0s0"),
            ("answer 0 NOT_LEADER_OR_FOLLOWER", "sent 0 e0s0"),
            ("down b1 b2", ""),
            ("at 15000", "failed 0 TimeoutException; epoch 1"),
            ("state", "e1 next 0 acked -1"),
        ),
        vector(
            "PV-067 PV-068 with the epochs used up a new id is asked for; what was in flight goes out without one, or with its old one",
            IN_ORDER,
            ("append p0", ""),
            ("send p1", "sent 0 e32767s0; sent 1 e32767s0"),
            (f"answer 0 {OUT_OF_ORDER}, 1 NOT_LEADER_OR_FOLLOWER", "pid 343435; sent 1 e32767s0; sent 0 e-1s0"),
            ("state t-1", "e32767 next 1 acked -1"),
            ("answer 0 NONE 9, 1 NONE 10", "acked 1 at 10; acked 0 at 9"),
            ("state t-1", "e32767 next 1 acked 0 (offset 10)"),
            ("send p1", "sent 2 e0s0"),
            epoch=LAST_EPOCH,
        ),
        vector(
            "PV-070 what was drained under the old epoch keeps it through its retries",
            IN_ORDER,
            ("append p0", ""),
            ("send p1", "sent 0 e0s0; sent 1 e0s0"),
            (f"answer 0 {OUT_OF_ORDER}, 1 NOT_LEADER_OR_FOLLOWER", "epoch 1; sent 1 e0s0; sent 0 e1s0"),
            ("answer 0 NONE 9, 1 NOT_LEADER_OR_FOLLOWER", "acked 0 at 9; sent 1 e0s0"),
            ("answer 1 NONE 10", "acked 1 at 10"),
            ("state t-1", "e0 next 1 acked 0 (offset 10)"),
        ),
        vector(
            "PV-071 a disconnect asks for no bump, even where the epochs are used up",
            IN_ORDER,
            ("send", "sent 0 e32767s0"),
            ("disconnect", ""),
            ("at 100", "sent 0 e32767s0"),
            ("state", "e32767 next 1 acked -1"),
            epoch=LAST_EPOCH,
        ),
        vector(
            "PV-073 S11 a duplicate whose offset nobody remembers is a success without one",
            {},
            ("send", "sent 0 e0s0"),
            ("send", "sent 1 e0s1"),
            ("inject 1 NONE 1000", "acked 1 at 1000"),
            ("answer 0 DUPLICATE_SEQUENCE_NUMBER", "acked 0 at -1"),
            ("state", "e0 next 2 acked 1 (offset 1000)"),
        ),
        vector(
            "PV-074 the broker forgot the producer with its records: a new epoch",
            {},
            ("send", "sent 0 e0s0"),
            ("answer 0 NONE 1000", "acked 0 at 1000"),
            ("send x2", "sent 1-2 e0s1"),
            ("answer 1 UNKNOWN_PRODUCER_ID lso=1010", "epoch 1; sent 1-2 e1s0"),
            ("state", "e1 next 2 acked -1 (offset 1000)"),
            ("answer 1 NONE 1011", "acked 1-2 at 1011"),
            ("state", "e1 next 2 acked 1 (offset 1012)"),
        ),
        vector(
            "PV-076 S20 it does not know where its log starts: the same again",
            {},
            ("send", "sent 0 e0s0"),
            ("answer 0 NONE 1000", "acked 0 at 1000"),
            ("send", "sent 1 e0s1"),
            ("answer 1 UNKNOWN_PRODUCER_ID lso=-1", "sent 1 e0s1"),
            ("state", "e0 next 2 acked 0 (offset 1000)"),
            ("answer 1 NONE 1011", "acked 1 at 1011"),
        ),
        vector(
            "PV-077 two in flight, both refused so: one new epoch, and one after the other",
            {},
            ("send", "sent 0 e0s0"),
            ("answer 0 NONE 1000", "acked 0 at 1000"),
            ("send", "sent 1 e0s1"),
            ("send", "sent 2 e0s2"),
            ("answer 1 UNKNOWN_PRODUCER_ID lso=1010", "epoch 1; sent 1 e1s0"),
            ("answer 2 UNKNOWN_PRODUCER_ID lso=1010", ""),
            ("state", "e1 next 2 acked -1 (offset 1000), queue 2 s1"),
            ("answer 1 NONE 1011", "acked 1 at 1011; sent 2 e1s1"),
            ("answer 2 NONE 1012", "acked 2 at 1012"),
        ),
        vector(
            "PV-079 an authorization failure is fatal: send() throws from then on",
            {},
            ("send", "sent 0 e0s0"),
            ("answer 0 CLUSTER_AUTHORIZATION_FAILED", "failed 0 ClusterAuthorizationException"),
            ("send", "refused 1 KafkaException"),
        ),
        vector(
            "PV-080 and what is in flight fails with it",
            {},
            ("send", "sent 0 e0s0"),
            ("send p1", "sent 1 e0s0"),
            ("answer 0 CLUSTER_AUTHORIZATION_FAILED", "failed 0 ClusterAuthorizationException; failed 1 ClusterAuthorizationException"),
            ("answer 1 NONE 1", ""),
        ),
        vector(
            "PV-082 N13 a version that the broker does not speak: fatal too",
            {},
            ("send", "sent 0 e0s0"),
            ("send p1", "sent 1 e0s0"),
            ("answer 0 UNSUPPORTED_VERSION", "failed 0 UnsupportedVersionException; failed 1 UnsupportedVersionException"),
        ),
        vector(
            "PV-086 five in flight, the second one unknown: those from it on are numbered from 0 under the next epoch",
            {},
            *((("send"), f"sent {number} e1s{number}") for number in range(5)),
            ("answer 0 NONE 500", "acked 0 at 500"),
            ("answer 1 UNKNOWN_PRODUCER_ID lso=500", "epoch 2; sent 1 e2s0"),
            ("state", "e2 next 4 acked -1 (offset 500)"),
            epoch=1,
        ),
        vector(
            "PV-088 a new id while another partition has batches in flight: it stays with the old one until they are done",
            {},
            ("send", "sent 0 e32767s0"),
            ("send", "sent 1 e32767s1"),
            ("send p1", "sent 2 e32767s0"),
            (f"inject 2 {OUT_OF_ORDER}", "pid 343435; sent 2 e-1s0"),
            ("answer 0 NONE 0", "acked 0 at 0"),
            ("state", "e32767 next 2 acked 0 (offset 0)"),
            ("answer 1 NONE 1", "acked 1 at 1"),
            ("send", "sent 3 e0s0"),
            ("state", "e0 next 1 acked -1 (offset 1)"),
            epoch=LAST_EPOCH,
        ),
        vector(
            "PV-089 the old request of an expired batch takes the connection, and the new epoch's first batch, with it",
            {"request_timeout_ms": 10_000, "delivery_timeout_ms": 15_000},
            ("send", "sent 0 e1s0"),
            ("at 10001", ""),
            ("at 10200", "sent 0 e1s0"),
            ("at 15000", "failed 0 TimeoutException"),
            ("send", "epoch 2; sent 1 e2s0"),
            ("at 25000", ""),
            ("at 25100", "sent 1 e2s0"),
            ("state", "e2 next 1 acked -1"),
            epoch=1,
        ),
        vector(
            "PV-091 an expired batch with nothing behind it: a new epoch in the next turn",
            {"request_timeout_ms": 20_000, "delivery_timeout_ms": 15_000},
            ("send", "sent 0 e5s0"),
            ("answer 0 REQUEST_TIMED_OUT", "sent 0 e5s0"),
            ("at 15000", "failed 0 TimeoutException"),
            ("refresh", "epoch 6"),
            epoch=5,
        ),
        vector(
            "PV-092 the last one in flight is acknowledged: resolved without a new epoch",
            {"request_timeout_ms": 60_000, "delivery_timeout_ms": 5_000},
            ("send", "sent 0 e0s0"),
            ("answer 0 REQUEST_TIMED_OUT", "sent 0 e0s0"),
            ("send", "sent 1 e0s1"),
            ("at 2000", ""),
            ("send", "sent 2 e0s2"),
            ("at 5000", "failed 0 TimeoutException; failed 1 TimeoutException"),
            ("state", "e0 next 3 acked -1, unresolved until 1"),
            ("inject 2 NONE 2", "acked 2 at 2"),
            ("state", "e0 next 3 acked 2 (offset 2)"),
            ("send", "sent 3 e0s3"),
        ),
        vector(
            "PV-095 a healthy partition goes on with its retries under the old epoch, and only then takes the new one",
            {},
            ("send", "sent 0 e1s0"),
            ("answer 0 NONE 0", "acked 0 at 0"),
            ("send p1", "sent 1 e1s0"),
            ("answer 1 NONE 0", "acked 1 at 0"),
            ("send", "sent 2 e1s1"),
            ("send p1", "sent 3 e1s1"),
            ("answer 2 UNKNOWN_PRODUCER_ID lso=0", "epoch 2; sent 2 e2s0"),
            ("append p1", ""),
            ("answer 3 NOT_LEADER_OR_FOLLOWER", "sent 3 e1s1"),
            ("state t-1", "e1 next 2 acked 0 (offset 0), queue 4"),
            ("answer 2 NONE 1", "acked 2 at 1"),
            ("answer 3 NONE 1", "acked 3 at 1; sent 4 e2s0"),
            epoch=1,
        ),
        vector(
            "A42 several cancelled requests come back in order, one at a time",
            {},
            ("send", "sent 0 e0s0"),
            ("send", "sent 1 e0s1"),
            ("disconnect", ""),
            ("at 100", "sent 0 e0s0"),
            ("answer 0 NONE 0", "acked 0 at 0; sent 1 e0s1"),
        ),
        vector(
            "I9 the broker lost what it had acknowledged: a new epoch, and the application hears of no error",
            {},
            ("send", "sent 0 e0s0"),
            ("answer 0 NONE 0", "acked 0 at 0"),
            ("send", "sent 1 e0s1"),
            (f"answer 1 {OUT_OF_ORDER}", "epoch 1; sent 1 e1s0"),
            ("answer 1 NONE 0", "acked 1 at 0"),
        ),
        vector(
            "I18 a record fails for good, the next one is persisted: a gap, in order, and no fatal state",
            {},
            ("send", "sent 0 e0s0"),
            ("answer 0 INVALID_RECORD", "failed 0 InvalidRecordException; epoch 1"),
            ("send", "sent 1 e1s0"),
            ("answer 1 NONE 0", "acked 1 at 0"),
        ),
        vector(
            "I15 with the retries used up the gap stays, and those behind it are out of order",
            {"retries": 0},
            ("send", "sent 0 e0s0"),
            ("answer 0 NOT_ENOUGH_REPLICAS", "failed 0 NotEnoughReplicasException"),
            ("send", "sent 1 e0s1"),
            (f"answer 1 {OUT_OF_ORDER}", "failed 1 OutOfOrderSequenceException; epoch 1"),
        ),
        vector(
            "I12 I15 what was in flight behind a failure is sent again under the new epoch, though the broker may have it",
            {},
            ("send", "sent 0 e0s0"),
            ("send", "sent 1 e0s1"),
            ("answer 0 INVALID_RECORD", "failed 0 InvalidRecordException; epoch 1"),
            ("disconnect", ""),
            ("at 100", "sent 1 e1s0"),
        ),
    ],
)
def test_sequences_epochs_and_ids(config: dict[str, Any], epoch: int, script: Lines) -> None:
    client_of(epoch, **config).play(script)


def test_pv_050_the_producer_id_is_asked_for_in_the_first_turn() -> None:
    """I1: whether there is a record or not."""
    client = Client(**SETTINGS)
    client.play([("at 0", "pid 343434"), ("send", "sent 0 e0s0")])

    assert client.asked_for_id == 1


def test_pv_052_a_retriable_error_is_waited_out_with_a_constant_backoff() -> None:
    """t, t+50, t+100."""
    client = Client(**SETTINGS | {"retry_backoff_ms": 50, "retry_backoff_max_ms": 1_000})
    client.holding = (ProduceRequest, InitProducerIdRequest)
    asked = []
    for at, error in ((0, E.COORDINATOR_LOAD_IN_PROGRESS), (50, E.COORDINATOR_LOAD_IN_PROGRESS), (100, E.NONE)):
        client.at(at - 1)
        assert not [request for _, request in client.pending if isinstance(request, InitProducerIdRequest)]
        client.at(at)
        ((connection, request),) = [one for one in client.pending if isinstance(one[1], InitProducerIdRequest)]
        client.pending.remove((connection, request))
        asked.append(client.now // 1000)
        client._handle(_answer(connection, error))

    assert asked == [0, 50, 100]
    assert client.producer.idempotence is not None
    assert client.producer.idempotence.has_id


def _answer(connection: str, error: E) -> Any:
    return Received(connection, InitProducerIdResponse(error, -1 if error else 7, -1 if error else 0))


def test_s2_after_a_lost_connection_the_thread_sleeps_twice() -> None:
    """Before it looks for another node, and, the request being a retry now, before it sends it: retry.backoff.ms each."""
    client = Client(**SETTINGS | {"retry_backoff_ms": 100, "retry_backoff_max_ms": 1_000})
    client.refusing = ["b2"]
    client.at(199)
    assert client.asked_for_id == 0

    client.at(200)

    assert client.asked_for_id == 1


@pytest.mark.parametrize(
    ("kafka", "error", "told"),
    [
        pytest.param("4.3", E.UNSUPPORTED_VERSION, "KafkaException", id="I3 a broker that knows no producer ids: fatal"),
        pytest.param("4.3", E.CLUSTER_AUTHORIZATION_FAILED, "ClusterAuthorizationException", id="I1 authorization: what waits fails"),
        pytest.param("3.5", E.CLUSTER_AUTHORIZATION_FAILED, "ClusterAuthorizationException", id="I1 and up to 3.5 it is fatal"),
        pytest.param("3.3.1", E.REQUEST_TIMED_OUT, "KafkaException", id="I1 KAFKA-14417 a time-out was fatal before 3.3.2"),
        pytest.param("3.4", E.REQUEST_TIMED_OUT, "", id="I1 KAFKA-14417 it is tried again"),
    ],
)
def test_a_producer_id_is_refused(kafka: str, error: E, told: str) -> None:
    client = Client(kafka=kafka, **SETTINGS)
    client.holding = (ProduceRequest, InitProducerIdRequest)
    client.send()
    ((connection, request),) = [one for one in client.pending if isinstance(one[1], InitProducerIdRequest)]
    client.pending.remove((connection, request))
    client._handle(_answer(connection, error))

    assert client.outcomes() == ([([0], told)] if told else [])
    assert all(error.meaning in fact.message for _, fact in client.facts if isinstance(fact, Failed))


def test_i1_zero_is_a_producer_id() -> None:
    client = client_of()
    client.producer.idempotence.given(0, 0)  # type: ignore[union-attr]
    client.send()

    assert (client.sent[0].producer_id, client.asked_for_id) == (0, 1)


def test_i2_a_producer_that_starts_again_is_another_one_to_the_brokers() -> None:
    """So what it sends again is not known again: only a transactional id survives a restart."""
    first, second = client_of(), client_of()
    second.producer.idempotence.given(343435, 0)  # type: ignore[union-attr]
    for client in (first, second):
        client.send()

    assert [(client.sent[0].producer_id, client.sent[0].base_sequence) for client in (first, second)] == [(343434, 0), (343435, 0)]


def test_pv_069_a_forced_close_fails_what_waits_and_what_is_in_flight() -> None:
    """A52, after the turn that asked for a new id."""
    client = client_of(LAST_EPOCH, **IN_ORDER)
    client.play([("append p0", ""), ("send p1", "sent 0 e32767s0; sent 1 e32767s0")])
    client.holding = (ProduceRequest, InitProducerIdRequest)
    client._do(f"answer 0 {OUT_OF_ORDER}, 1 NOT_LEADER_OR_FOLLOWER")
    out: list[Any] = []
    client.producer.outcomes.abort_all("KafkaException", "Producer is closed forcefully.", client.now, out)

    assert sorted(record for effect in out if isinstance(effect.fact, Failed) for record in effect.fact.records) == [0, 1]
    assert not client.producer.accumulator_holds()


def test_pv_080_the_memory_of_what_was_in_flight_returns_with_its_answer() -> None:
    """A24: since KAFKA-19012."""
    client = client_of()
    pool = client.producer.accumulator
    client.send()
    client.send(1)
    client.answer(E.CLUSTER_AUTHORIZATION_FAILED)
    texts = {fact.message for _, fact in client.facts if isinstance(fact, Failed)}
    assert texts == {"The producer is not authorized to do idempotent sends"}, "what is aborted is told the same"
    assert pool.free_memory == pool.total_memory - pool.batch_size
    client.answer(offset=1)

    assert pool.free_memory == pool.total_memory


def test_pv_085_sequences_wrap() -> None:
    last = 2**31 - 1

    assert (next_sequence(0, last), next_sequence(last, 100), next_sequence(99, last)) == (last, 99, 98)


def sent(idempotence: Idempotence, *partitions: str) -> list[Batch]:
    batches = [Batch(number, partition, 100, 0) for number, partition in enumerate(partitions)]
    for batch in batches:
        batch.add(0, 1, 10)
        idempotence.number(batch)
    return batches


def test_pv_091_an_acknowledged_batch_leaves_nothing_to_resolve() -> None:
    idempotence = Idempotence()
    idempotence.given(343434, 5)
    (first,) = sent(idempotence, "t-0")
    idempotence.succeeded(first, 0)
    first.retried = True
    idempotence.expired(first)
    idempotence.resolve()

    assert not idempotence.to_bump


def test_pv_094_in_a_fatal_state_a_failure_asks_for_no_new_epoch() -> None:
    idempotence = Idempotence()
    idempotence.given(343434, 5)
    first, second = sent(idempotence, "t-0", "t-1")
    idempotence.failed(first, E.OUT_OF_ORDER_SEQUENCE_NUMBER, "", adjust=True)
    idempotence.bump(lambda batch: False)
    assert idempotence.epoch == 6
    idempotence.fatal = "KafkaException"
    idempotence.failed(second, E.OUT_OF_ORDER_SEQUENCE_NUMBER, "", adjust=True)

    assert not idempotence.to_bump


@pytest.mark.parametrize(("kafka", "epoch"), [("3.5", 1), ("3.6", 0)])
def test_i16_up_to_3_5_a_late_error_asks_for_another_epoch(kafka: str, epoch: int) -> None:
    client = Client(kafka=kafka, **SETTINGS | BRIEF)
    client.play([("send", "pid 343434; sent 0 e0s0"), ("at 1500", "failed 0 TimeoutException")])
    client.answer(E.INVALID_RECORD)

    assert client.producer.idempotence is not None
    assert client.producer.idempotence.epoch == epoch


@pytest.mark.parametrize(("kafka", "refused"), [("3.5", True), ("3.6", False)])
def test_i17_from_3_6_on_the_callback_of_a_fatal_failure_may_still_send(kafka: str, refused: bool) -> None:
    """What it sends then waits, and fails with the rest in the next turn; before, send() throws."""
    client = Client(kafka=kafka, **SETTINGS)
    client.send()
    seen = []
    finished = client.producer.sending.finished
    client.producer.sending.finished = lambda batch, now: (seen.append(client.producer.sending.in_error_state), finished(batch, now))[1]  # type: ignore[func-returns-value, method-assign]
    client.answer(E.CLUSTER_AUTHORIZATION_FAILED)

    assert bool(seen[0]) is refused
    assert client.producer.sending.in_error_state == "ClusterAuthorizationException"


def test_s15_a_late_success_still_moves_the_numbers_on() -> None:
    """I6: and changes no outcome."""
    client = client_of(**BRIEF)
    client.play([("send", "sent 0 e0s0"), ("at 1500", "failed 0 TimeoutException"), ("answer 0 NONE 7", ""), ("state", "e0 next 1 acked 0 (offset 7)")])

    assert not [fact for _, fact in client.facts if isinstance(fact, Acked)]


INEXPRESSIBLE: dict[str, str] = {}
