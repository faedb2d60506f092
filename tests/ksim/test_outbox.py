"""An outbox: rows are polled, sent, and marked as sent behind their acknowledgement; what dies in between is sent again."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ksim import Run, Scenario, explain, simulate
from ksim.problems import ScenarioError
from ksim_models.facts import Fault, Marked, Offered

TABLE = """
kafka = "4.3"
client = "{client}"
seed = 7
[topics.t]
[producers.p1]
{config}
[[workload]]
topic = "t"
records = 200
every = "5ms"
outbox = {outbox}
"""
CRASH = '[[fault]]\nwhen = {{ acked = 60 }}\ndo = "{do}"\nwho = "p1"\nfor = "1s"\n'


def play(*more: str, client: str = "java", config: str = "", outbox: str = '{ every = "50ms", batch = 20, mark = "5ms" }') -> Run:
    return simulate(Scenario.loads(TABLE.format(client=client, config=config, outbox=outbox) + "".join(more)))


def marked(run: Run) -> list[int]:
    return [number for _, fact in run.history.of(Marked) for number in fact.records]


def offered(run: Run) -> list[int]:
    return [number for _, fact in run.history.of(Offered) for number in fact.records]


@pytest.mark.parametrize("client", ["java", "librdkafka"])
def test_every_row_is_sent_and_marked_once_where_nothing_goes_wrong(client: str) -> None:
    run = play(client=client)

    assert sorted(marked(run)) == sorted(offered(run)) == list(range(200))
    assert run.verdict.records["ok"] == 200


@pytest.mark.parametrize("client", ["java", "librdkafka"])
def test_rows_that_were_acknowledged_and_not_marked_are_sent_again_and_no_idempotence_knows_them(client: str) -> None:
    """The process that comes back is another producer (I2)."""
    run = play(CRASH.format(do="crash"), client=client, config="config.enable.idempotence = true")
    records = run.verdict.records
    (crash,) = [fact for _, fact in run.history.of(Fault) if fact.phase == "summary"]

    assert records["duplicated"] > 0
    assert records["duplicated"] == records["sends"] - 200 == len(offered(run)) - 200
    assert (records["acked"], records["lost"], records["unknown"]) == (200, 0, 0)
    assert sorted(marked(run)) == list(range(200))
    assert crash.touched > 0
    assert [anomaly.because for anomaly in run.verdict.anomalies if anomaly.name == "duplicated"] == ["the application sent the record again"]


def test_a_relay_that_marks_before_it_dies_sends_nothing_again() -> None:
    run = play(CRASH.format(do="crash"), outbox='{ every = "50ms", mark = "0ms" }')

    assert run.verdict.records["duplicated"] == 0
    assert run.verdict.records["sends"] == 200


def test_a_relay_that_ends_in_order_marks_what_was_acknowledged_first() -> None:
    run = play(CRASH.format(do="shutdown"), outbox='{ every = "50ms", batch = 20, mark = "2s" }')

    assert run.verdict.records["duplicated"] == 0
    assert run.verdict.records["ok"] == 200


def test_a_row_whose_send_failed_stays_in_the_table_and_stays_one_record() -> None:
    outage = '[[fault]]\nat = "300ms"\ndo = "crash"\nwho = "brokers"\nfor = "8s"\n'
    run = play(outage, config="config.delivery.timeout.ms = 2000\nconfig.request.timeout.ms = 1000\nconfig.linger.ms = 0")
    records = run.verdict.records

    assert (records["offered"], records["acked"], records["failed"]) == (200, 200, 0)
    assert records["sends"] > 200
    assert records["lost"] == 0


def test_a_round_has_no_more_rows_than_its_batch_and_the_next_look_is_so_much_later() -> None:
    run = play()
    rounds = [(at, len(fact.records)) for at, fact in run.history.of(Marked)]

    assert max(count for _, count in rounds) <= 20
    assert all(later - earlier >= 55_000 for (earlier, _), (later, _) in pairwise(rounds))


def test_explain_says_when_the_row_was_marked() -> None:
    run = play(CRASH.format(do="crash"))
    witness = next(anomaly.witness.record for anomaly in run.verdict.anomalies if anomaly.name == "duplicated")
    told = [step.text for step in explain(run, str(witness)).steps]

    assert told.count("p1 hands it to send()") == 1
    assert told.count("p1 hands it again to send()") == 1
    assert [text for text in told if "marked" in text] == ["the relay of its outbox has marked the row as sent"]


MISTAKES = [
    ("{ batch = 20 }", "", "every"),
    ('"yes"', "", "not a table"),
    ('{ every = "0ms" }', "", "0ms"),
    ('{ every = "1ms" }\nwait = "each"', "", "outbox and wait do not go together"),
    ('{ every = "1ms" }\non_failure = "resend"', "", "outbox and on_failure do not go together"),
    ('{ every = "1ms" }\ntransaction = { records = 10 }', 'config.transactional.id = "t"', "outbox and transaction do not go together"),
    ('{ every = "1ms" }\n[[workload]]\ntopic = "t"\nrecords = 1\nevery = "1ms"', "", "has another workload"),
]


@pytest.mark.parametrize(("outbox", "config", "words"), MISTAKES, ids=[words for *_, words in MISTAKES])
def test_what_makes_no_outbox_is_refused_by_name(outbox: str, config: str, words: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        play(outbox=outbox, config=config)

    assert any(words in problem.message for problem in refused.value.problems)
