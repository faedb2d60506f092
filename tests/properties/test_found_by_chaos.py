"""What random chaos has found, each as the smallest scenario that showed it: every invariant is looked at after every step, and all hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from ksim.scenario import Scenario
from ksim.simulation import simulate

READER = '[consumers.c1]\ntopics = ["t"]\nconfig.isolation.level = "read_committed"\nconfig.auto.offset.reset = "earliest"\n'

FOUND = {
    "INV-10: whose records retention has deleted stays open until its marker comes": (
        'kafka = "3.5"\n[cluster]\nconfig.log.retention.check.interval.ms = 1000\n[topics.t]\nconfig.retention.ms = 2000\n[producers.p1]\n'
        'config.transactional.id = "id"\n[[workload]]\ntopic = "t"\nrecords = 8\nevery = "200ms"\ntransaction = { records = 20, think = "9s" }\n'
        '[[fault]]\ndo = "crash"\nwho = "p1"\nat = "1500ms"\nfor = "5s"\n'
    ),
    "LeaderCompleteness: who has lost its power leads by old metadata, and serves nobody, until it is let in": (
        'kafka = "3.8"\n[cluster]\ncontrollers = 3\n[topics.t]\n[[workload]]\ntopic = "t"\nrecords = 1\nevery = "1ms"\n'
        '[[fault]]\ndo = "power-loss"\nwho = "leader(t-0)"\nat = "1900ms"\nfor = "180ms"\n'
    ),
    "INV-12: one fetch brings several aborted transactions of one producer": (
        'kafka = "3.3"\n[topics.t]\n[producers.p1]\nconfig.transactional.id = "id"\n'
        '[[workload]]\ntopic = "t"\nrecords = 40\nevery = "10ms"\ntransaction = { records = 10, abort_every = 1, think = "50ms" }\n'
        + READER
        + '[[fault]]\ndo = "pause"\nwho = "c1"\nat = "1ms"\nfor = "3s"\n'
    ),
    "a late error between two transactions: up to 3.5 the handler of the answer dies of it, and nothing else happens": (
        'kafka = { brokers = "4.3", clients = "3.5" }\n[topics.t]\n[producers.p1]\nconfig.transactional.id = "id"\nconfig.request.timeout.ms = 2000\n'
        'config.delivery.timeout.ms = 2100\nconfig.linger.ms = 0\n[[workload]]\ntopic = "t"\nrecords = 1\nevery = "1ms"\n'
        'transaction = { records = 1 }\non_failure = "stop"\n'
        '[[fault]]\ndo = "answer"\nwhen = { request = "Produce" }\nerror = "NOT_ENOUGH_REPLICAS"\n'
        '[[fault]]\ndo = "hang"\nwhen = { request = "Produce", nth = 2 }\n'
    ),
    "hidden: a power loss takes the marker of a transaction that is complete, and nobody writes another": (
        'kafka = "4.0"\n[cluster]\nbrokers = 1\n'
        "config.transaction.state.log.replication.factor = 1\nconfig.transaction.state.log.min.isr = 1\n[topics.t]\nconfig.flush.messages = 4\n"
        '[producers.p1]\nconfig.transactional.id = "id"\n[[workload]]\ntopic = "t"\nrecords = 8\nevery = "0ms"\n'
        'transaction = { records = 4, think = "500ms" }\non_failure = "stop"\n'
        '[[fault]]\ndo = "power-loss"\nwho = "broker-1"\nwhen = { transaction = 2, phase = "after-begin" }\nfor = "2s"\n'
    ),
    "a follower comes back in the leader's epoch and before the start of its log: its offset is out of range": (
        'kafka = "4.0"\n[cluster]\nconfig.log.retention.check.interval.ms = 1000\n[topics.t]\nreplication = 2\nconfig.retention.ms = 12000\n'
        '[producers.p1]\nconfig.linger.ms = 0\n[[workload]]\ntopic = "t"\nrecords = 57\nevery = "10ms"\n'
        '[[fault]]\ndo = "crash"\nwho = "followers(t-0)"\nat = "532ms"\nfor = "25s"\n'
    ),
    "a marker is answered by an error that nobody expects: NetworkClient writes the IllegalStateException into a log, and the transaction stays (TC-52)": (
        'kafka = "4.3"\n[topics.t]\n[producers.p1]\nconfig.transactional.id = "id"\nconfig.max.block.ms = 5000\n'
        '[[workload]]\ntopic = "t"\nrecords = 20\nevery = "10ms"\ntransaction = { records = 5 }\n[tail]\nlimit = "20s"\n'
        '[[fault]]\ndo = "answer"\nwhen = { request = "WriteTxnMarkers", nth = 2 }\nerror = "CONCURRENT_TRANSACTIONS"\n'
    ),
    "a retry behind a later batch, when the broker has forgotten the producer by the age of that one (INV-9, PS-13)": (
        'kafka = { brokers = "4.1", clients = "3.5" }\n[cluster]\nbrokers = 5\nconfig.producer.id.expiration.ms = 2000\n'
        "config.producer.id.expiration.check.interval.ms = 1000\n[topics.t]\npartitions = 4\nreplication = 4\n[producers.p2]\nconfig.linger.ms = 5\n"
        'config.request.timeout.ms = 500\n[[workload]]\ntopic = "t"\nrecords = 47\nevery = "500ms"\nsize = 10\n[network]\nlatency = "2ms"\n'
        '[[fault]]\ndo = "cut"\nbetween = ["p2", "leader(t-3)"]\nat = "17507ms"\nfor = "12155ms"\n'
    ),
    "ReplicationQuorumSuperset: a leader whose min.insync.replicas was raised on the way commits nothing alone": (
        'kafka = "4.3"\n[topics.t]\nreplication = 2\n[[workload]]\ntopic = "t"\nrecords = 1\nevery = "200ms"\n'
        '[[fault]]\ndo = "alter"\ntarget = "t"\nconfig.min.insync.replicas = 2\nat = "2s"\n'
        '[[fault]]\ndo = "crash"\nwho = "broker-2"\nat = "3s"\nfor = "20s"\n'
    ),
    "duplicated: an answer that comes for a batch which expired in flight is the failure of that batch (S12, I12)": (
        'kafka = { brokers = "3.6", clients = "2.8" }\n[topics.u]\npartitions = 2\nreplication = 1\nconfig.max.message.bytes = 2000\n'
        '[producers.p1]\nconfig.enable.idempotence = true\nconfig.request.timeout.ms = 500\nconfig.delivery.timeout.ms = 6000\n[network]\nlatency = "20ms"\n'
        '[[workload]]\ntopic = "u"\nrecords = 53\nevery = "10ms"\nsize = 1000\n'
        '[[fault]]\ndo = "delay"\nwhen = { request = "Produce", nth = 7, times = 3 }\nby = "2172ms"\n'
    ),
    "LogMatching: a replica that starts anew at a log start in the middle of a batch": (
        'kafka = { brokers = "4.1", clients = "3.0" }\n[topics.t]\n[producers.p1]\nconfig.linger.ms = 100\n[network]\nlatency = "2ms"\n'
        '[[workload]]\ntopic = "t"\nrecords = 103\nevery = "10ms"\nsize = 10\n[[fault]]\ndo = "delete-records"\npartition = "t-0"\nbefore = 50\nat = "9663ms"\n'
        '[[fault]]\ndo = "power-loss"\nwho = "leader(t-0)"\nat = "13723ms"\nfor = "904ms"\n'
    ),
    "LogMatching: what a follower keeps before the start of the leader's log differs, and nobody reads it": (
        'kafka = { brokers = "3.3", clients = "2.8" }\n[cluster]\nconfig.log.retention.check.interval.ms = 1000\n[topics.t]\npartitions = 2\n'
        "config.retention.bytes = 20000\nconfig.segment.bytes = 2100\n[topics.u]\npartitions = 2\n[producers.p1]\nconfig.batch.size = 300\n"
        '[network]\nlatency = "20ms"\n[[workload]]\ntopic = "t"\nrecords = 48\nevery = "50ms"\nsize = 1000\n'
        '[[fault]]\ndo = "cut"\nbetween = ["broker-1", "broker-2"]\nat = "71ms"\nfor = "12959ms"\n'
        '[[fault]]\ndo = "disk-full"\nwho = "leader(u-0)"\nat = "402ms"\nfor = "30694ms"\n'
    ),
}
FILES = sorted((Path(__file__).parent / "found").glob("*.toml"))


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_every_invariant_holds_in_the_file(file: Path) -> None:
    verdict = simulate(Scenario.load(file), check_every=1).verdict

    assert all(anomaly.allowed for anomaly in verdict.anomalies)


@pytest.mark.parametrize("text", FOUND.values(), ids=FOUND)
def test_every_invariant_holds(text: str) -> None:
    verdict = simulate(Scenario.loads(f'title = "found"\nseed = 7\n{text}'), check_every=1).verdict

    assert all(anomaly.allowed for anomaly in verdict.anomalies)
