"""An explanation of a record in a transaction: its beginning, its end and its markers, and who read the record."""

from __future__ import annotations

import pytest

from ksim import Run, Scenario, explain, simulate
from ksim.explanation import Explanation

HEAD = """
kafka = "{kafka}"
seed = 7
[cluster]
config.offsets.topic.num.partitions = 3
config.transaction.state.log.num.partitions = 3
config.group.initial.rebalance.delay.ms = 0
config.transaction.abort.timed.out.transaction.cleanup.interval.ms = 500
[model]
costs = "none"
"""
PLAIN = (
    HEAD
    + """
[topics.payments]
[producers.p1]
config.transactional.id = "t"
{config}
[consumers.committed]
topics = ["payments"]
config.isolation.level = "read_committed"
config.auto.offset.reset = "earliest"
[consumers.anything]
topics = ["payments"]
config.auto.offset.reset = "earliest"
[[workload]]
topic = "payments"
records = 40
every = "10ms"
transaction = {{ records = 10, abort_every = 2, think = "50ms" }}
"""
)
COPY = (
    HEAD
    + """
[topics.orders]
[topics.payments]
[producers.feed]
[producers.copier]
config.transactional.id = "t"
[consumers.reader]
config.group.id = "g"
config.isolation.level = "read_committed"
config.auto.offset.reset = "earliest"
config.enable.auto.commit = false
[[workload]]
producer = "feed"
topic = "orders"
records = 100
every = "10ms"
[applications.copy]
reads = "orders"
writes = "payments"
producer = "copier"
consumer = "reader"
commit_every = {{ records = 20 }}
"""
)


def play(text: str, more: str = "", *, kafka: str = "4.3", config: str = "") -> Run:
    return simulate(Scenario.loads(text.format(kafka=kafka, config=config) + more))


def texts(explanation: Explanation) -> list[str]:
    return [step.text for step in explanation.steps]


def place(told: list[str], words: str) -> int:
    (found,) = [number for number, text in enumerate(told) if words in text]
    return found


@pytest.mark.parametrize("kafka", ["3.9", "4.3"])
def test_the_steps_of_its_transaction_stand_in_their_order(kafka: str) -> None:
    told = texts(explain(play(PLAIN, kafka=kafka), 5))
    places = [
        place(told, words)
        for words in (
            "begins transaction 1",
            "has payments-0 in the transaction",
            "asks to commit transaction 1",
            "decides: PrepareCommit",
            "writes the commit marker of payments-0",
            "CompleteCommit",
        )
    ]

    assert places == sorted(places)
    assert not any("transaction 2" in text for text in told)


def test_an_aborted_record_is_given_to_who_reads_anything_and_to_nobody_else() -> None:
    explanation = explain(play(PLAIN), 15)
    told = texts(explanation)

    assert place(told, "begins transaction 2") < place(told, "decides: PrepareAbort") < place(told, "writes the abort marker")
    assert [step.rule for step in explanation.steps if "is given it" in step.text] == ["read_uncommitted"]
    assert any("left out by who reads what is committed" in text for text in told)


def test_a_committed_record_is_given_to_who_reads_what_is_committed_behind_its_marker() -> None:
    explanation = explain(play(PLAIN), 5)
    given = {step.rule: step.at for step in explanation.steps if "is given it" in step.text}
    (marker,) = [step.at for step in explanation.steps if "commit marker" in step.text]

    assert given["read_uncommitted"] < marker < given["read_committed"]


def test_a_transaction_that_nobody_ends_is_told() -> None:
    """The process dies, and the run ends before the coordinator's patience does."""
    crash = '[[fault]]\nwhen = { transaction = 3, phase = "before-commit" }\ndo = "crash"\nwho = "p1"\n[tail]\nlimit = "5s"\n'
    told = texts(explain(play(PLAIN, crash), 25))

    assert any("no marker stands behind it" in text for text in told)
    assert not any("decides" in text for text in told)


def test_a_coordinator_that_gives_up_decides_by_itself() -> None:
    crash = '[[fault]]\nwhen = { transaction = 3, phase = "before-commit" }\ndo = "crash"\nwho = "p1"\n'
    told = texts(explain(play(PLAIN, crash, config="config.transaction.timeout.ms = 1000"), 25))

    assert place(told, "decides: PrepareAbort") < place(told, "writes the abort marker")
    assert not any("asks to abort" in text for text in told)


def test_an_input_tells_who_read_it_what_was_made_of_it_and_which_commit_passed_it() -> None:
    told = texts(explain(play(COPY), "feed/30"))

    assert place(told, "reader is given it, at offset 30 of orders-0") < place(told, "copy makes copier/30 of it") < place(told, "the group has passed it")
    assert any("for g with transaction" in text for text in told)


def test_an_output_tells_what_it_was_made_of_and_that_the_offsets_are_in_its_transaction() -> None:
    told = texts(explain(play(COPY), "copier/30"))

    assert place(told, "copy makes it of feed/30, which stands at offset 30 of orders-0") < place(told, "copier hands it to send()")
    assert place(told, "has the offsets of its group in the transaction, too") < place(told, "decides: PrepareCommit")


def test_without_transactions_and_consumers_nothing_is_added() -> None:
    run = play(HEAD + '[topics.t]\n[[workload]]\ntopic = "t"\nrecords = 5\nevery = "1ms"\n')

    assert not any(word in text for text in texts(explain(run, 2)) for word in ("transaction", "given", "marker"))
