"""Kafka's own clients as a scenario drives them: what they offer, when, how much at a time, and what the application is told."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from ksim import Live, Run, Scenario
from ksim_models.facts import Acked, Failed, Offered, Refused

pytestmark = pytest.mark.slow  # `make live ARGS="-m live"` runs these too.

CLIENTS = ["java", "java 3.9", "librdkafka"]
OUTCOMES = (Acked, Failed, Refused)


def scenario(client: str, text: str) -> Scenario:
    library, _, release = client.partition(" ")
    return Scenario.loads(
        f'kafka = {{ brokers = "4.3", clients = "{release or "4.3"}" }}\nclient = "{library}"\nseed = 7\n'
        f'[topics.payments]\n[topics.orders]\npartitions = 3\n[tail]\nlimit = "30s"\n{text}'
    )


def facts(run: Run, kind: type) -> list[tuple[int, Any]]:
    return list(run.history.of(kind))


def calls(run: Run) -> list[tuple[int, int]]:
    """(moment of send(), number), in the order of the moments."""
    found = [(at, number) for _, fact in run.history.of(Offered) for number, at in zip(fact.records, fact.times or (fact.first_at,) * len(fact.records))]
    return sorted(found)


def told(run: Run, kind: type) -> list[int]:
    return sorted(number for _, fact in facts(run, kind) for number in fact.records)


def errors(run: Run, kind: type) -> set[tuple[str, str]]:
    return {(fact.error, fact.message) for _, fact in facts(run, kind)}


def most_outstanding(run: Run) -> int:
    steps = [(at, 1) for at, _ in calls(run)] + [(at, -1) for kind in OUTCOMES for at, fact in facts(run, kind) for _ in fact.records]
    outstanding = most = 0
    for _, step in sorted(steps):
        outstanding += step
        most = max(most, outstanding)
    return most


@pytest.mark.parametrize("client", CLIENTS)
def test_several_workloads_of_one_producer_are_threads_above_it(live: Live, client: str) -> None:
    run = live.replay(
        scenario(
            client,
            "[[workload]]\ntopic = 'payments'\nrecords = 200\nevery = '2ms'\nstart = '50ms'\n"
            "[[workload]]\ntopic = 'orders'\nrecords = 200\nevery = '1ms'\nkey = { distinct = 20, skew = 1.0 }\nsize = 12\n"
            "[[workload]]\ntopic = 'orders'\nrecords = 100\nevery = '0ms'\npartition = 2\nsize = { mean = 100, spread = 50 }\nwait = 5\n",
        )
    )

    assert run.verdict.records["ok"] == 500
    assert told(run, Acked) == list(range(500))
    assert all(one < other for one, other in pairwise(number for _, number in calls(run)))
    assert calls(run)[0][0] >= 0


@pytest.mark.parametrize(("wait", "possible"), [("'each'", [1]), ("3", [3, 4, 5])])
def test_a_closed_loop_waits_for_its_acknowledgements(live: Live, wait: str, possible: list[int]) -> None:
    """A batch is told as a whole, at the moment of its last record: the first ones have been answered a little before."""
    run = live.replay(scenario("java", f"[producers.p1]\nconfig.linger.ms = 0\n[[workload]]\ntopic = 'payments'\nrecords = 60\nevery = '0ms'\nwait = {wait}\n"))

    assert told(run, Acked) == list(range(60))
    assert most_outstanding(run) in possible


@pytest.mark.parametrize("client", ["java", "librdkafka"])
def test_without_acknowledgements_there_is_no_offset(live: Live, client: str) -> None:
    text = "[producers.p1]\nconfig.acks = 0\nconfig.enable.idempotence = false\n[[workload]]\ntopic = 'payments'\nrecords = 20\nevery = '1ms'\nsize = 2\n"
    run = live.replay(scenario(client, text))

    assert {fact.offset for _, fact in run.history.of(Acked)} == {-1}
    assert run.verdict.records["ok"] == 20


@pytest.mark.parametrize("client", ["java", "java 3.9"])
def test_a_record_that_is_too_large_is_refused(live: Live, client: str) -> None:
    run = live.replay(scenario(client, "[[workload]]\ntopic = 'payments'\nrecords = 2\nevery = '1ms'\nsize = '2MiB'\n"))
    ((error, message),) = errors(run, Refused)

    assert error == "RecordTooLargeException"
    assert "which is larger than 1048576" in message
    assert run.verdict.records["refused"] == 2


NOBODY_ANSWERS = """
[[fault]]
name = "nobody answers"
at = "500ms"
do = "pause"
who = "brokers"
for = "5s"
[[workload]]
topic = "payments"
records = 1
every = "0ms"
[[workload]]
topic = "payments"
records = 40
every = "10ms"
start = "800ms"
size = 10000
"""


@pytest.mark.parametrize("client", ["java", "java 3.9"])
def test_java_blocks_for_memory_and_expires_what_nobody_answers(live: Live, client: str) -> None:
    settings = "buffer.memory = 50_000\nmax.block.ms = 200\ndelivery.timeout.ms = 2_000\nrequest.timeout.ms = 1_500\nlinger.ms = 0"
    lines = "".join(f"config.{line}\n" for line in settings.splitlines())
    run = live.replay(scenario(client, f"[producers.p1]\n{lines}{NOBODY_ANSWERS}"))
    ((refusal, why),) = errors(run, Refused)

    assert refusal == "BufferExhaustedException"
    assert why.startswith("Failed to allocate 16384 bytes within the configured max blocking time 200 ms")
    assert {error for error, _ in errors(run, Failed)} == {"TimeoutException"}
    assert all(text.startswith("Expiring 1 record(s) for payments-0:") for _, text in errors(run, Failed))


def test_librdkafka_never_blocks_and_expires_what_nobody_answers(live: Live) -> None:
    settings = "queue.buffering.max.messages = 15\nmessage.timeout.ms = 2_000\nlinger.ms = 0"
    lines = "".join(f"config.{line}\n" for line in settings.splitlines())
    run = live.replay(scenario("librdkafka", f"[producers.p1]\n{lines}{NOBODY_ANSWERS}"))

    assert errors(run, Refused) == {("_QUEUE_FULL", "Local: Queue full")}
    assert errors(run, Failed) == {("_MSG_TIMED_OUT", "Local: Message timed out")}
    assert len(told(run, Failed)) == 15


@pytest.mark.parametrize("client", ["java", "librdkafka"])
def test_what_is_in_the_log_of_a_killed_client_was_offered(live: Live, client: str) -> None:
    text = "[[workload]]\ntopic = 'payments'\nrecords = 20_000\nevery = '0.1ms'\n[[fault]]\nat = '400ms'\ndo = 'crash'\nwho = 'p1'\n"
    run = live.replay(scenario(client, text))

    numbers = sorted(number for _, number in calls(run))
    assert numbers == list(range(len(numbers)))
    assert 0 < len(numbers) < 20_000
    assert run.verdict.records["misrouted"] == run.verdict.records["lost"] == 0


def test_a_frozen_client_offers_nothing_and_goes_on_afterwards(live: Live) -> None:
    text = "[[workload]]\ntopic = 'payments'\nrecords = 150\nevery = '10ms'\n[[fault]]\nat = '500ms'\ndo = 'pause'\nwho = 'p1'\nfor = '700ms'\n"
    run = live.replay(scenario("java", text))
    moments = [at for at, _ in calls(run)]

    assert run.verdict.records["ok"] == 150
    assert max(other - one for one, other in pairwise(moments)) >= 600_000


@pytest.mark.parametrize("client", ["java", "librdkafka"])
def test_a_warm_up_is_outside_every_count(live: Live, client: str) -> None:
    text = "[[workload]]\ntopic = 'orders'\nrecords = 20\nevery = '5ms'\n"
    run = live.replay(scenario(client, text).at("tail.warm", True))

    assert run.verdict.records["offered"] == run.verdict.records["ok"] == 20
