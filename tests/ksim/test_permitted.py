"""What a power loss or an unclean election may do to transactions: the smallest scenario of each anomaly that the verdict excuses with it."""

from __future__ import annotations

import pytest

from ksim import Scenario, simulate

POWER, UNCLEAN = "a power loss: neither the transaction log nor a marker", "an unclean election may take a marker"
ONE_REPLICA = """
config.transaction.state.log.num.partitions = 1
config.transaction.state.log.replication.factor = 1
config.transaction.state.log.min.isr = 1
config.transaction.abort.timed.out.transaction.cleanup.interval.ms = 500
"""
AUDITOR = """
[consumers.auditor]
topics = ["payments"]
config.isolation.level = "read_committed"
config.auto.offset.reset = "earliest"
"""
BESIDE = '[topics.other]\nreplication = 1\n[producers.p2]\n[[workload]]\nproducer = "p2"\ntopic = "other"\nevery = "1s"\n'
"""Somebody else's records, so that the run lasts."""
TAKES_A_MARKER = (
    ONE_REPLICA.replace("factor = 1", "factor = 2")
    + 'config.unclean.leader.election.enable = true\n[topics.payments]\nassignment = [[1, 2]]\n[producers.p1]\nconfig.transactional.id = "t"\n'
    + AUDITOR
    + BESIDE
    + """
records = 50
[[workload]]
producer = "p1"
topic = "payments"
records = RECORDS
arrivals = { burst = 10, every = "45s" }
transaction = { records = 10, abort_every = 2, think = "1s" }
[[fault]]
name = "the follower has the records, and not the marker"
when = { acked = 11 }
do = "crash"
who = "broker-2"
for = "22s"
[[fault]]
name = "the leader has both"
at = "20s"
do = "crash"
who = "broker-1"
for = "20s"
"""
)
SCENARIOS = {
    ("torn", POWER): ONE_REPLICA
    + """
[topics.payments]
replication = 1
assignment = [[1], [2]]
[producers.p1]
config.transactional.id = "t"
[[workload]]
topic = "payments"
records = 20
every = "10ms"
key = { distinct = 50 }
transaction = { records = 10 }
[[fault]]
at = "2s"
do = "power-loss"
who = "broker-2"
for = "1s"
""",
    ("aborted_read", POWER): ONE_REPLICA
    + "config.log.flush.interval.messages = 2\n[topics.payments]\nassignment = [[1]]\nconfig.flush.messages = 10\n[producers.p1]\n"
    + 'config.transactional.id = "t"\n'
    + "config.transaction.timeout.ms = 5000\n"
    + AUDITOR
    + BESIDE
    + """
records = 20
[[workload]]
producer = "p1"
topic = "payments"
records = 10
every = "0ms"
transaction = { records = 10 }
[[fault]]
name = "the coordinator has noted PrepareCommit, and not yet CompleteCommit, which would be flushed"
when = { response = "WriteTxnMarkers" }
do = "delay"
by = "5s"
[[fault]]
at = "2s"
do = "power-loss"
who = "brokers"
for = "1s"
""",
    ("torn", UNCLEAN): """
config.transaction.state.log.num.partitions = 1
config.transaction.state.log.min.isr = 1
[topics.payments]
assignment = [[1, 2], [2, 3]]
config.min.insync.replicas = 1
config.unclean.leader.election.enable = true
[producers.p1]
config.transactional.id = "t"
[[workload]]
topic = "payments"
records = 300
every = "50ms"
key = { distinct = 50 }
transaction = { records = 20 }
[[fault]]
at = "1s"
do = "crash"
who = "broker-3"
for = "20s"
[[fault]]
at = "18s"
do = "crash"
who = "broker-2"
for = "60s"
""",
    ("hidden", UNCLEAN): TAKES_A_MARKER.replace("RECORDS", "10"),
    ("aborted_read", UNCLEAN): TAKES_A_MARKER.replace("RECORDS", "20"),  # The next transaction aborts, and its marker ends both.
}


@pytest.mark.parametrize("which", SCENARIOS, ids=" ".join)
def test_what_the_verdict_excuses_can_be_shown(which: tuple[str, str]) -> None:
    """TC-2, LR-2, LR-4: nothing of a transaction waits for a flush, and only its log is never elected uncleanly."""
    anomaly, because = which
    brokers = 3 if which == ("torn", UNCLEAN) else 2
    text = f'title = "{anomaly}"\nkafka = "4.3"\nclient = "java"\nseed = 7\n[cluster]\nbrokers = {brokers}\n{SCENARIOS[which]}'

    found = {one.name: one for one in simulate(Scenario.loads(text), check_every=7).verdict.anomalies}

    assert found[anomaly].because.startswith(because)
    assert all(one.allowed for one in found.values())
    assert simulate(Scenario.loads(text.partition("[[fault]]")[0])).verdict.verdict == "held"
