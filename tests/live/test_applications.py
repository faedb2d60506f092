"""What the application does, on real clients as in the simulation: sends again, stops, breaks the circuit, ends and comes back."""

from __future__ import annotations

import pytest

from ksim import Live, Run, Scenario
from ksim_models.facts import BreakerChanged, Fault, ProducerId

pytestmark = pytest.mark.slow  # `make live ARGS="-m live"` runs these too.

BOTH = pytest.mark.parametrize("client", ["java", "librdkafka"])
CUT = '[[fault]]\nat = "1s"\ndo = "cut"\nbetween = ["brokers", "p1"]\none_way = true\nfor = "4s"\n'
SETTINGS = {
    "java": "config.delivery.timeout.ms = 2000\nconfig.request.timeout.ms = 1000",
    "librdkafka": "config.message.timeout.ms = 2000",
}


def replay(live: Live, client: str, workload: str = "", faults: str = "") -> Run:
    return live.replay(
        Scenario.loads(
            f'kafka = "4.3"\nclient = "{client}"\nseed = 7\n[topics.payments]\n[tail]\nlimit = "60s"\n'
            f"[producers.p1]\nconfig.linger.ms = 0\nconfig.enable.idempotence = true\n{SETTINGS[client]}\n"
            f'[[workload]]\ntopic = "payments"\nrecords = 200\nevery = "20ms"\n{workload}\n{faults}'
        )
    )


@BOTH
@pytest.mark.parametrize("wait", ["", '\nwait = "each"'], ids=["callback", "get"])
def test_a_record_that_is_sent_again_may_be_there_twice_although_the_producer_is_idempotent(live: Live, client: str, wait: str) -> None:
    records = replay(live, client, f'on_failure = "resend"{wait}', CUT).verdict.records

    assert (records["acked"], records["lost"]) == (200, 0)
    assert records["sends"] > 200
    assert records["duplicated"] >= 1


@BOTH
def test_who_stops_offers_nothing_more_after_the_first_failure(live: Live, client: str) -> None:
    records = replay(live, client, 'on_failure = "stop"', CUT).verdict.records

    assert 140 <= records["offered"] < 200
    assert records["unknown"] == 0


def test_a_breaker_keeps_records_from_the_client_and_closes_with_its_first_success(live: Live) -> None:
    run = replay(live, "java", 'on_failure = { open_after = 5, half_open = "500ms" }', CUT)

    states = [fact.state for _, fact in run.history.of(BreakerChanged)]
    assert (states[0], states[-1]) == ("open", "closed")
    assert run.metrics.errors["CircuitBreakerOpenException"] == run.metrics.metrics["breaker-shed-total"] > 0


@BOTH
def test_flawed_records_are_refused_and_said_to_be_hit(live: Live, client: str) -> None:
    run = replay(live, client, "", '[[fault]]\ndo = "unserializable"\nnth = 3\n[[fault]]\ndo = "oversize"\nnth = 5\n')

    wanted = {
        "java": {"RecordTooLargeException": 1, "SerializationException": 1},
        "librdkafka": {"MSG_SIZE_TOO_LARGE": 1, "_VALUE_SERIALIZATION": 1},
    }
    assert run.metrics.errors == wanted[client]
    assert [fact.resolved for _, fact in run.history.of(Fault) if fact.phase == "hit"] == [("p1/2",), ("p1/4",)]
    assert run.verdict.verdict == "held"


@BOTH
@pytest.mark.parametrize("do", ["shutdown", "crash"])
def test_a_client_that_comes_back_goes_on_with_the_next_record(live: Live, client: str, do: str) -> None:
    run = replay(live, client, "", f'[[fault]]\nat = "1s"\ndo = "{do}"\nwho = "p1"\nfor = "1s"\n')

    records = run.verdict.records
    assert (records["offered"], records["ok"]) == (200, 200 - records["unknown"])
    assert records["unknown"] <= (0 if do == "shutdown" else 3)
    assert len({fact.producer_id for _, fact in run.history.of(ProducerId)}) == 2
    assert run.verdict.verdict == "held"


@BOTH
def test_close_with_a_time_gives_up_what_has_no_answer(live: Live, client: str) -> None:
    """A52; librdkafka's application hears no more."""
    run = replay(live, client, "", CUT + '[[fault]]\nat = "2s"\ndo = "shutdown"\nwho = "p1"\ntimeout = "500ms"\n')

    records = run.verdict.records
    assert records["offered"] == 101
    assert (records["failed"] > 0, records["unknown"] > 0) == ((True, False) if client == "java" else (False, True))


@pytest.mark.parametrize(
    ("client", "setting", "errors"),
    [("java", "max.block.ms", {"TimeoutException": 5}), ("librdkafka", "topic.metadata.propagation.max.ms", {"UNKNOWN_TOPIC_OR_PART": 5})],
    ids=["java", "librdkafka"],
)
@pytest.mark.parametrize("auto", ["true", "false"])
def test_a_topic_that_does_not_exist_is_created_or_waited_for(live: Live, client: str, setting: str, errors: dict[str, int], auto: str) -> None:
    run = live.replay(
        Scenario.loads(
            f'kafka = "4.3"\nclient = "{client}"\nseed = 7\n[cluster]\nconfig.auto.create.topics.enable = {auto}\n[topics.absent]\nexists = false\n'
            f'[producers.p1]\nconfig.{setting} = 2000\n[tail]\nlimit = "60s"\n[[workload]]\ntopic = "absent"\nrecords = 5\nevery = "20ms"\n'
        )
    )

    assert (run.metrics.errors, run.verdict.records["ok"]) == (({}, 5) if auto == "true" else (errors, 0))
    assert run.verdict.verdict == "held"
