"""Transactions on real Kafka: the same end for each of them as in the simulation, and an application that processes each input once."""

from __future__ import annotations

import pytest

from ksim import Live, Scenario, compare, simulate
from ksim_models.facts import FinalLog, Transaction

ABORTED = """
kafka = "4.3"
seed = 1
[topics.payments]
[producers.p1]
config.transactional.id = "pay-1"
[[workload]]
topic = "payments"
records = 60
every = "2ms"
transaction = { records = 10, abort_every = 3, think = "100ms" }
"""
# It thinks before it ends each: what lingers when abort() is called is never sent, so there would be nothing to mark.
LOST = """
[[fault]]
do = "lose-response"
when = { request = "EndTxn", nth = 2 }
"""
COPY = """
kafka = "4.3"
seed = 7
[topics.orders]
[topics.payments]
[producers.feed]
[producers.copier]
config.transactional.id = "copy-1"
[consumers.reader]
config.group.id = "copy"
config.isolation.level = "read_committed"
config.enable.auto.commit = false
config.auto.offset.reset = "earliest"
[[workload]]
producer = "feed"
topic = "orders"
records = 100
every = "5ms"
[applications.copy]
reads = "orders"
writes = "payments"
producer = "copier"
consumer = "reader"
commit_every = { records = 20 }
"""


@pytest.mark.parametrize("fault", ["", LOST])
def test_each_transaction_ends_as_in_the_simulation(live: Live, fault: str) -> None:
    scenario = Scenario.loads(ABORTED + fault)
    twin = live.replay(scenario)
    (log,) = [log for _, log in twin.history.of(FinalLog) if log.leader]

    assert [step.phase for _, step in twin.history.of(Transaction) if step.phase in ("committed", "aborted")] == [*["committed"] * 2, "aborted"] * 2
    assert [batch.marker for batch in log.batches if batch.marker] == [*["commit"] * 2, "abort"] * 2
    assert log.last_stable_offset == log.high_watermark
    assert compare(simulate(scenario), twin).agreement == "agree"


def test_an_application_processes_every_input_once(live: Live) -> None:
    scenario = Scenario.loads(COPY)
    twin = live.replay(scenario)

    assert [(one.processed_once, one.processed_twice, one.skipped, one.unprocessed) for one in twin.verdict.processing] == [(100, 0, 0, 0)]
    assert compare(simulate(scenario), twin).agreement == "agree"
