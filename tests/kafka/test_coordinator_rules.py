"""Rules of the transaction coordinator, and of what readers see, that no vector pins by itself: sections 7 and 8 of the broker's rule book."""

from __future__ import annotations

from dataclasses import replace

from ksim import Scenario, simulate
from ksim_models.config import ProducerConfig
from ksim_models.consumer_facts import Read
from ksim_models.coordinated_transaction import State, Transaction
from ksim_models.errors import ErrorCode
from ksim_models.facts import Failed
from ksim_models.transaction_messages import TRANSACTION_STATE, EndTxnRequest, TxnMarker, WriteTxnMarkersRequest, WriteTxnMarkersResponse
from small_cluster import SmallCluster
from transactional_client import ID, Client, markers


def written(cluster: SmallCluster) -> list[Transaction]:
    """What stands in the coordinator's log, in order."""
    logs = cluster.brokers[cluster.find("transaction", ID)].logs
    records = [record for partition, log in logs.items() if partition.startswith(TRANSACTION_STATE) for batch in log.batches for record in batch.payload]
    return [record for record in records if isinstance(record, Transaction)]


def test_tc_11_what_is_written_of_a_transaction() -> None:
    cluster = SmallCluster(kafka="3.9", topics={"t": 2})
    client = Client(cluster, timeout_ms=7_000)
    client.init()
    client.add("t-0")
    empty, ongoing = written(cluster)

    assert (empty.transactional_id, empty.producer_id, empty.producer_epoch, empty.timeout_ms) == (ID, client.producer_id, 0, 7_000)
    assert (empty.state, empty.partitions, empty.start_ms) == (State.EMPTY, (), -1)
    assert ongoing == replace(empty, state=State.ONGOING, partitions=("t-0",), start_ms=ongoing.start_ms, update_ms=ongoing.update_ms, client_version=1)
    assert ongoing.start_ms == ongoing.update_ms > empty.update_ms


def test_tc_31_one_partition_that_does_not_exist_and_none_is_added() -> None:
    cluster = SmallCluster(kafka="3.9")
    client = Client(cluster)
    client.init()

    assert client.add("t-0", "t-9") == [ErrorCode.OPERATION_NOT_ATTEMPTED, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]
    assert client.states() == ["Empty"]


def test_tc_59_one_answer_for_all_markers_behind_the_last_append() -> None:
    cluster = SmallCluster(kafka="3.9", topics={"t": 4})
    client = Client(cluster)
    client.init()
    client.add("t-0", "t-3")
    client.produce("t-0")
    client.produce("t-3")
    leader = cluster.controller.leader_of("t-0")
    assert cluster.controller.leader_of("t-3") == leader
    followers = [name for name in cluster.names if name != leader]
    for name in followers:
        cluster.loop.cut(name, leader)
    connection = cluster.connect(leader)
    cluster.send(connection, WriteTxnMarkersRequest((TxnMarker(client.producer_id, client.epoch, 0, True, ("t-0", "t-3")),)))
    cluster.run_for(300)
    assert markers(cluster)
    assert markers(cluster, "t-3")
    assert cluster.caller.answers[connection] == []

    for name in followers:
        cluster.loop.mend(name, leader)
    cluster.until(lambda: bool(cluster.caller.answers[connection]))
    (answer,) = cluster.caller.answers[connection]
    assert isinstance(answer, WriteTxnMarkersResponse)
    assert sorted(partition for _, partition, error in answer.results if error is ErrorCode.NONE) == ["t-0", "t-3"]


def test_tc_56_one_partition_of_a_transaction_is_visible_before_another() -> None:
    cluster = SmallCluster(kafka="3.9", topics={"t": 3})
    client = Client(cluster)
    client.init()
    coordinator = cluster.find("transaction", ID)
    near, far = (next(f"t-{number}" for number in range(3) if (cluster.controller.leader_of(f"t-{number}") == coordinator) is here) for here in (True, False))
    client.add(near, far)
    client.produce(near)
    client.produce(far)
    away = cluster.controller.leader_of(far)
    cluster.loop.cut(coordinator, away)
    cluster.send(cluster.connect(coordinator), EndTxnRequest(ID, client.producer_id, client.epoch, True, 1))
    cluster.run_for(75_000)  # Until its own partitions do without that replica.

    stable = {name: cluster.brokers[cluster.controller.leader_of(name)].logs[name].last_stable_offset for name in (near, far)}
    assert stable == {near: 2, far: 0}


def test_tc_64_a_transaction_may_take_a_minute_unless_the_client_says_otherwise() -> None:
    assert ProducerConfig().transaction_timeout_ms == 60_000


GHOST = """
kafka = "4.3"
seed = 1
[topics.t]
[producers.p1]
config.request.timeout.ms = 1000
config.delivery.timeout.ms = 1000
config.linger.ms = 0
[consumers.reader]
topics = ["t"]
config.auto.offset.reset = "earliest"
[[workload]]
topic = "t"
records = 3
every = "500ms"
[[fault]]
at = "400ms"
do = "pause"
who = "followers(t-0)"
for = "3s"
"""


def test_cv_13_a_reader_may_be_given_what_its_producer_was_told_has_failed() -> None:
    run = simulate(Scenario.loads(GHOST))
    failed = {record for _, fact in run.history.of(Failed) for record in fact.records}
    read = {record for _, fact in run.history.of(Read) for record in fact.records}

    assert failed == {1, 2}
    assert failed <= read


def test_cv_11_what_was_read_goes_only_by_an_unclean_election() -> None:
    """The only replica that has it is gone, and who leads next never had it."""
    lost = "[topics.t]\nreplication = 2\nconfig.unclean.leader.election.enable = true\n"
    strikes = '[[fault]]\nat = "300ms"\ndo = "crash"\nwho = "followers(t-0)"\nfor = "30s"\n[[fault]]\nat = "20s"\ndo = "crash"\nwho = "broker-1"\n'
    text = GHOST[: GHOST.index("[[fault]]")].replace("[topics.t]\n", lost).replace("records = 3", "records = 60") + strikes
    run = simulate(Scenario.loads(text))
    read = [record for _, fact in run.history.of(Read) for record in fact.records]

    assert read[:3] == [0, 1, 2]
    assert run.verdict.records["lost"] > 0
    assert run.verdict.anomalies[0].because == "unclean.leader.election.enable=true"
