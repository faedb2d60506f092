"""A topic of four partitions, a group that reads it, and what came of that."""

from __future__ import annotations

from collections import Counter

from ksim import Run, Scenario, simulate
from ksim_models.consumer_facts import CommittedOffset, Read

GROUP = """
kafka = "4.3"
seed = 7
[cluster]
config.group.initial.rebalance.delay.ms = 0
config.offsets.topic.num.partitions = 4
[topics.payments]
partitions = 4
[producers.p1]
config.batch.size = 500
"""
MEMBER = """
[consumers.{name}]
topics = ["payments"]
config.group.id = "g"
config.auto.offset.reset = "earliest"
config.session.timeout.ms = 6000
config.heartbeat.interval.ms = 1000
{more}
"""
LOAD = """
[[workload]]
topic = "payments"
records = {records}
every = "10ms"
"""
SYNC = "config.enable.auto.commit = false"
RECORDS = 1000


def play(*members: str, fault: str = "", records: int = RECORDS) -> Run:
    return simulate(Scenario.loads(GROUP + "".join(members) + LOAD.format(records=records) + fault))


def member(name: str, more: str = "") -> str:
    return MEMBER.format(name=name, more=more)


def reads(run: Run, consumer: str = "") -> list[tuple[int, Read]]:
    return [(at, fact) for at, fact in run.history.of(Read) if consumer in ("", fact.consumer)]


def times_read(run: Run) -> Counter[int]:
    return Counter(record for _, fact in reads(run) for record in fact.records)


def commits(run: Run, consumer: str = "") -> list[tuple[int, CommittedOffset]]:
    return [(at, fact) for at, fact in run.history.of(CommittedOffset) if consumer in ("", fact.client)]
