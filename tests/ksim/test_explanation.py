"""The explanation: the steps of one record, each with the rule that it rests on."""

from __future__ import annotations

import pytest

from ksim.explanation import explain
from ksim.history import History
from ksim.problems import ScenarioError
from ksim.runs import Run
from ksim.scenario import Scenario
from ksim.simulation import simulate
from ksim_models.facts import Acked, Blocked, Ended, Failed, FinalLog, LoggedBatch, Offered, Refused, Rejected, Retried, Sent, Split, TimedOut


@pytest.fixture(scope="module")
def lost_ack() -> Run:
    return simulate(Scenario.load("lost-ack").at("workload.0.records", 20))


@pytest.fixture(scope="module")
def idempotent() -> Run:
    return simulate(Scenario.load("lost-ack-idempotent").at("workload.0.records", 20))


def rules(run: Run | History, record: int | str | None = None) -> list[str]:
    return [step.rule for step in explain(run, record).steps]


def small(*facts: tuple[int, object], logged: bool = False, producers: tuple[str, ...] = ("p1",)) -> History:
    config = {"acks": "all", "enable.idempotence": False}
    history = History({"config": {"producers": dict.fromkeys(producers, config), "topics": {}, "brokers": {}}})
    for at, fact in facts:
        history.add(at, fact)
    batches = (LoggedBatch(0, 0, "p1", range(1), -1, -1, -1),) if logged else ()
    history.add(90_000, FinalLog("payments-0", "broker-1", True, True, 0, len(batches), len(batches), len(batches), batches))
    history.add(90_000, Ended(True, producers, 0))
    return history


def test_a_healthy_record_goes_the_whole_road(lost_ack: Run) -> None:
    explanation = explain(lost_ack, 0)

    assert explanation.fate == "ok"
    assert [step.rule for step in explanation.steps] == ["A1", "A3", "M1, A30", "A27, A31", "BP-29", "RP-4", "RP-4", "RP-20", "S14", "the final log"]
    assert [step.at for step in explanation.steps] == sorted(step.at for step in explanation.steps)


def test_by_default_the_first_record_that_is_not_ok_is_explained(lost_ack: Run) -> None:
    explanation = explain(lost_ack)

    assert explanation.fate == "duplicated"
    assert explanation.because == "allowed: enable.idempotence=false"
    assert explanation.record == lost_ack.verdict.first_not_ok()


def test_where_all_are_ok_the_first_record_is_explained(idempotent: Run) -> None:
    explanation = explain(idempotent)

    assert (explanation.record, explanation.full_name, explanation.fate) == ("0", "p1/0", "ok")


def test_a_lost_response_leads_to_a_second_copy_without_idempotence(lost_ack: Run) -> None:
    """N5, A42, BP-29."""
    told = rules(lost_ack)

    assert told.count("BP-29") == 2
    assert told[told.index("fault lose-response") :][:4] == ["fault lose-response", "N5, N6", "S12, A42, A28", "A28, A31"]
    assert "PS-10" not in told


def test_a_lost_response_leads_to_a_recognised_duplicate_with_idempotence(lost_ack: Run, idempotent: Run) -> None:
    """PS-10."""
    told = rules(idempotent, lost_ack.verdict.first_not_ok())

    assert told.count("BP-29") == 1
    assert told.count("RP-20") == 1
    assert told.index("PS-10") < told.index("S14")


def test_a_record_lost_with_acks_1_was_acknowledged_before_any_follower_had_it() -> None:
    """RP-33: the new leader does not have it, and the old one cuts it off."""
    explanation = explain(Scenario.load("leader-crash-lagging-followers"))
    told = [step.rule for step in explanation.steps]

    assert explanation.fate == "lost"
    assert told.index("BP-29") < told.index("S14") < told.index("fault leader dies") < told.index("KC-41") < told.index("RP-33, RP-34")
    assert "RP-4" not in told
    assert explanation.steps[-1].text == "it stands in no leader's final log"


def test_a_record_sent_with_acks_0_is_told_nothing_more() -> None:
    """S22."""
    history = small((0, Offered("p1", range(1), 0, 0)), (0, Sent("p1", "payments-0", range(1), "b", "c", 1)), (0, Acked("p1", "payments-0", range(1), -1)))

    assert rules(history) == ["A1", "A27, A31", "S22", "the final log"]


def test_a_record_waits_for_the_leader_to_be_replaced() -> None:
    """N7, KC-41, A30: what stood when it was offered is told first."""
    explanation = explain(Scenario.load("leader-crash"), 150)
    told = [step.rule for step in explanation.steps]

    assert told[:3] == ["fault leader dies", "A1", "N7"]
    assert told.index("KC-41") < told.index("M1, A30") < told.index("A27, A31")


@pytest.mark.parametrize(
    ("fact", "rule"),
    [
        (Rejected("b", "payments-0", "p1", range(1), "NOT_ENOUGH_REPLICAS"), "BP-24"),
        (Rejected("b", "payments-0", "p1", range(1), "OUT_OF_ORDER_SEQUENCE_NUMBER"), "PS-13"),
        (TimedOut("b", "payments-0", "p1", range(1), "REQUEST_TIMED_OUT"), "BP-44"),
        (Retried("p1", "payments-0", range(1), "NETWORK_EXCEPTION", 1, 100_000), "S12, A42, A28"),
        (Split("p1", "payments-0", range(1), (1,)), "A43, A44"),
        (Failed("p1", "payments-0", range(1), "TimeoutException", "Expiring 1 record(s)"), "A37, A39"),
        (Failed("p1", "payments-0", range(1), "NotEnoughReplicasException", "Too few"), "S12, S13"),
    ],
)
def test_each_step_rests_on_a_rule(fact: object, rule: str) -> None:
    history = small((0, Offered("p1", range(1), 0, 0)), (1, Sent("p1", "payments-0", range(1), "b", "c", 1)), (2, fact))

    assert rules(history, 0)[2] == rule


def test_a_refused_record_never_left_send() -> None:
    """A3, A8."""
    history = small(
        (0, Blocked("p1", 0, "memory", 60_000)), (0, Offered("p1", range(1), 0, 0)), (60_000, Refused("p1", range(1), "BufferExhaustedException", "x"))
    )

    assert rules(history) == ["A1", "A20", "A22", "the final log"]
    assert explain(history).fate == "absent"


def test_a_record_without_an_outcome_has_no_name_for_it() -> None:
    assert explain(small((0, Offered("p1", range(1), 0, 0)))).fate == "without an outcome"


def test_with_several_producers_a_record_has_both_names() -> None:
    history = small((0, Offered("p1", range(1), 0, 0)), (0, Offered("p2", range(3), 5, 10)), producers=("p1", "p2"))

    assert explain(history, "p2/2").record == "p2/2"
    assert explain(history, "p2/2").steps[0].at == 25


@pytest.mark.parametrize("record", ["20", "p2/0", "p1/-1", "x", "", "p1/", "p1/²", "9" * 40, -1])
def test_a_record_that_does_not_exist_is_refused_with_what_is_possible(lost_ack: Run, record: str | int) -> None:
    with pytest.raises(ScenarioError) as refused:
        explain(lost_ack, record)

    assert refused.value.problems[0].possible == "p1/0 to p1/19"


def test_a_bare_number_is_not_enough_where_there_are_several_producers() -> None:
    history = small((0, Offered("p1", range(1), 0, 0)), (0, Offered("p2", range(3), 0, 0)), producers=("p1", "p2"))

    with pytest.raises(ScenarioError, match="p1/0 to p1/0, p2/0 to p2/2"):
        explain(history, "0")


def test_an_explanation_is_text_and_data(idempotent: Run) -> None:
    explanation = explain(idempotent, "p1/3")
    lines = str(explanation).splitlines()

    assert lines[0] == "record 3: ok"
    assert lines[1].endswith("[A1]")
    assert explanation.as_data()["record"] == "p1/3"
    assert explanation.as_data()["steps"][0] == {"at_us": 15_000, "text": "p1 hands it to send()", "rule": "A1"}  # type: ignore[index]


def test_a_run_that_offered_nothing_has_nothing_to_explain() -> None:
    crashed = Scenario.loads(
        'seed = 1\n[topics.t]\n[[workload]]\ntopic = "t"\nrecords = 1\nevery = 1\nstart = "1s"\n[[fault]]\nat = "1ms"\ndo = "crash"\nwho = "p1"\n'
    )

    with pytest.raises(ScenarioError, match="nothing to explain"):
        explain(simulate(crashed))


def test_a_record_that_is_sent_again_was_first_told_to_have_failed() -> None:
    """S18: the callback sends it again; how long it waits counts from there."""
    text = str(explain(simulate(Scenario.load("resend-idempotent")), 100))

    assert text.index("the application is told: TimeoutException") < text.index("p1 hands it again to send()")
    assert "1_144.557 ms after send()" in text
