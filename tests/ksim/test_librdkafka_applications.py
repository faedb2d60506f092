"""Applications whose consumer and producer are both librdkafka's: what becomes of every input, and where that differs from the Java client.

Sources are librdkafka's own: examples/transactions.c, rdkafka_cgrp.c, rdkafka_txnmgr.c, rd_kafka_toppar_seek, rd_kafka_committed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ksim import Run, Scenario, ScenarioError, simulate
from ksim.processing import Processing
from ksim_models.consumer_facts import CommittedOffset, PollFailed, Processed, Read
from ksim_models.facts import Transaction
from orders import orders

APPLICATION = """
[producers.{name}-writer]
{producer}
[consumers.{name}-reader]
config.auto.offset.reset = "earliest"
config.group.id = "g"
config.session.timeout.ms = 6000
config.heartbeat.interval.ms = 1000
work = "{work}"
{reader}
[applications.{name}]
reads = "orders"
writes = "payments"
producer = "{name}-writer"
consumer = "{name}-reader"
commit_every = {{ records = 20 }}
{more}
"""
AT = '[[fault]]\nat = "{at}"\ndo = "{do}"\nwho = "{who}"\nfor = "{lasts}"\n'
IN = '[[fault]]\nwhen = {{ transaction = 3, phase = "{phase}", from = "one-writer" }}\ndo = "{do}"\nwho = "one"\nfor = "{lasts}"\n'


def application(name: str = "one", *, producer: str = "", transactional: bool = True, work: str = "0ms", reader: str = "", more: str = "") -> str:
    producer = f'config.transactional.id = "{name}"\n{producer}' if transactional else producer
    return APPLICATION.format(name=name, producer=producer, work=work, reader=reader, more=more)


def play(*parts: str, kafka: str = "4.3") -> Run:
    return simulate(Scenario.loads(orders(kafka, client="librdkafka") + "".join(parts)))


def done(run: Run) -> tuple[int, int, int, int]:
    """Inputs processed once, more than once, skipped, not yet."""
    (one,) = (one for one in run.verdict.processing if isinstance(one, Processing))
    return one.processed_once, one.processed_twice, one.skipped, one.unprocessed


def failed(run: Run) -> list[tuple[str, str, str]]:
    return [(fact.producer, fact.call, fact.error) for _, fact in run.history.of(Transaction) if fact.phase == "failed"]


def at(moment: str, do: str, who: str, lasts: str) -> str:
    return AT.format(at=moment, do=do, who=who, lasts=lasts)


def within(phase: str, do: str, lasts: str) -> str:
    return IN.format(phase=phase, do=do, lasts=lasts)


PHASES = ["after-begin", "before-produce", "before-offsets", "before-commit", "after-commit-sent"]


def test_a_whole_client_librdkafka_reads_and_writes_with_it() -> None:
    run = play(application())

    assert [one.client for one in run.plan.consumers] == ["librdkafka"]
    assert done(run) == (400, 0, 0, 0)
    assert run.verdict.verdict == "held"


def test_its_poll_brings_one_record_so_every_commit_is_of_exactly_so_many() -> None:
    """Java's max.poll.records may bring more than commit_every at once."""
    run = play(application())
    sizes: dict[int, int] = {}
    number = 0
    for _, fact in run.history.of(Processed, Transaction):
        if isinstance(fact, Processed):
            sizes[number] = sizes.get(number, 0) + len(fact.records)
        elif fact.phase == "begin":
            number = fact.number

    assert max(sizes.values()) == 20


@pytest.mark.parametrize("kafka", ["3.9", "4.3"])
@pytest.mark.parametrize("phase", PHASES)
def test_a_crash_at_any_step_repeats_nothing(kafka: str, phase: str) -> None:
    run = play(application(work="5ms"), within(phase, "crash", "2s"), kafka=kafka)

    assert done(run) == (400, 0, 0, 0)


@pytest.mark.parametrize("kafka", ["3.9", "4.3"])
@pytest.mark.parametrize("who", ["leader(payments-0)", "leader(orders-0)", "coordinator(one)", "coordinator(g)"])
def test_a_broker_may_die(kafka: str, who: str) -> None:
    run = play(application(work="5ms"), at("2s", "crash", who, "5s"), kafka=kafka)

    assert done(run) == (400, 0, 0, 0)


@pytest.mark.parametrize("do", ["shutdown", "crash"])
def test_partitions_that_move_cost_nothing(do: str) -> None:
    """on_revoke commits what is open, inside poll(); who comes back joins again."""
    run = play(application(work="5ms"), application("two", work="5ms"), at("2s", do, "two", "1s"))

    assert done(run) == (400, 0, 0, 0)
    assert not failed(run)


def test_without_transactions_a_crash_repeats_what_was_written_and_not_committed() -> None:
    run = play(application(transactional=False), at("2052500us", "crash", "one", "1s"))
    once, twice, skipped, left = done(run)

    assert twice > 0
    assert (once + twice, skipped, left) == (400, 0, 0)


def test_without_transactions_what_was_not_written_is_read_again_before_anything_is_committed() -> None:
    """Behind a failed flush: committed(), and seek() back to it."""
    cut = '[[fault]]\nat = "2s"\ndo = "cut"\nbetween = ["one-writer", "brokers"]\nfor = "3s"\n'
    run = play(application(transactional=False, producer="config.message.timeout.ms = 1000"), cut)
    numbers = [number for _, fact in run.history.of(Read) for number in fact.records]
    once, twice, skipped, left = done(run)

    assert len(set(numbers)) < len(numbers)
    assert (once + twice, skipped, left) == (400, 0, 0)


def test_gc_3_a_member_that_its_group_has_given_up_is_fenced_by_its_generation() -> None:
    """KIP-447: frozen just before its offsets; librdkafka has no name of its own for it, as Java's CommitFailedException."""
    run = play(application(work="5ms"), application("two", work="5ms"), within("before-offsets", "pause", "15s"))

    assert failed(run) == [("one-writer", "send-offsets", "UNKNOWN_MEMBER_ID")]
    assert done(run) == (400, 0, 0, 0)


def test_gc_3_without_its_generation_the_frozen_one_commits_what_another_has_done_meanwhile() -> None:
    """rd_kafka_consumer_group_metadata_new(): a C program may have none."""
    more = "group_metadata = false"
    run = play(application(work="5ms", more=more), application("two", work="5ms", more=more), within("before-offsets", "pause", "15s"))

    assert done(run)[1] > 0


@pytest.mark.parametrize("phase", ["after-begin", "before-produce"])
def test_whose_session_has_timed_out_finds_its_partitions_lost_and_aborts(phase: str) -> None:
    """librdkafka watches the session itself, without a word from the broker (rd_kafka_cgrp_session_timeout_check); Java waits for its coordinator's."""
    run = play(application(work="5ms"), application("two", work="5ms"), within(phase, "pause", "15s"))
    phases = [fact.phase for _, fact in run.history.of(Transaction) if fact.producer == "one-writer"]

    assert phases.count("aborted") == 1
    assert not failed(run)
    assert done(run) == (400, 0, 0, 0)


def test_gc_8_behind_an_abort_it_waits_for_stable_offsets_and_reads_from_them_again() -> None:
    refused = '[[fault]]\nwhen = { request = "TxnOffsetCommit", nth = 3 }\ndo = "answer"\nerror = "ILLEGAL_GENERATION"\n'
    run = play(application(), refused)
    told = [fact.error for _, fact in run.history.of(CommittedOffset) if fact.error]

    assert failed(run) == [("one-writer", "send-offsets", "ILLEGAL_GENERATION")]
    assert told == ["ILLEGAL_GENERATION"]
    assert done(run) == (400, 0, 0, 0)


@pytest.mark.parametrize("error", ["COORDINATOR_LOAD_IN_PROGRESS", "NOT_COORDINATOR", "GROUP_AUTHORIZATION_FAILED"])
def test_its_way_back_is_asked_for_as_long_as_it_takes(error: str) -> None:
    """rd_kafka_committed repeats only what its request's errors let it; the application repeats the rest."""
    refused = '[[fault]]\nwhen = { request = "TxnOffsetCommit", nth = 3 }\ndo = "answer"\nerror = "ILLEGAL_GENERATION"\n'
    asked = f'[[fault]]\nwhen = {{ request = "OffsetFetch", nth = 2, times = 2 }}\ndo = "answer"\nerror = "{error}"\n'
    run = play(application(), refused, asked)

    assert done(run) == (400, 0, 0, 0)


@pytest.mark.parametrize("do", ["lose-request", "lose-response"])
def test_its_way_back_survives_a_lost_connection(do: str) -> None:
    refused = '[[fault]]\nwhen = { request = "TxnOffsetCommit", nth = 3 }\ndo = "answer"\nerror = "ILLEGAL_GENERATION"\n'
    run = play(application(), refused, f'[[fault]]\nwhen = {{ request = "OffsetFetch", nth = 2 }}\ndo = "{do}"\n')

    assert done(run) == (400, 0, 0, 0)


def test_who_exceeds_max_poll_interval_inside_a_call_of_its_transaction_commits_nothing() -> None:
    """The main thread leaves the group meanwhile; the application learns in its next poll() that its partitions are lost."""
    cut = '[[fault]]\nwhen = { transaction = 3, phase = "before-offsets", from = "one-writer" }\ndo = "cut"\nbetween = ["one-writer", "brokers"]\nfor = "9s"\n'
    run = play(application(work="5ms", reader="config.max.poll.interval.ms = 6000"), application("two", work="5ms"), cut)

    assert failed(run) == [("one-writer", "send-offsets", "UNKNOWN_MEMBER_ID")]
    assert done(run) == (400, 0, 0, 0)


SCENARIOS = Path(__file__).parents[2] / "experiments" / "agreement" / "scenarios"


def twin(kafka: str, seed: int) -> Run:
    """The group's coordinator dies just before the third offsets."""
    scenario = Scenario.load(str(SCENARIOS / "t-copy-group-coordinator.toml")).override([], kafka=kafka, client="librdkafka")
    return simulate(scenario.at("seed", seed))


def test_who_waits_for_the_connection_of_a_broker_that_leaves_the_metadata_asks_for_another_coordinator() -> None:
    """rd_kafka_broker_set_state: a thread that ends while a request waits for it is news (persistconn.coord)."""
    assert done(twin("4.3", 9)) == (600, 0, 0, 0)


def test_who_remembers_a_coordinator_that_has_left_the_metadata_waits_for_a_connection_that_nobody_makes() -> None:
    """rd_kafka_coord_req_fsm: the cache keeps the broker's old thread; only another connection that comes or goes lets it ask again (2 of 11 live runs)."""
    run = twin("3.9", 0)
    phases = [fact.phase for _, fact in run.history.of(Transaction)]

    assert phases[-1] == "send-offsets"
    assert done(run) == (40, 0, 0, 560)


def test_a_producer_that_is_fenced_ends_its_application_which_closes_its_consumer() -> None:
    second = application("two").replace('transactional.id = "two"', 'transactional.id = "one"')
    run = play(application(), second)
    ended = [fact.consumer for _, fact in run.history.of(PollFailed)]

    assert len(ended) == 1
    assert {error for _, _, error in failed(run)} == {"_FENCED"}
    assert done(run) == (400, 0, 0, 0)


def test_a_static_member_that_comes_back_goes_on_where_it_was() -> None:
    """KIP-345: nobody else gets its partitions meanwhile, and its generation is still the group's."""
    run = play(application(work="5ms", reader='config.group.instance.id = "a"'), application("two", work="5ms"), at("2s", "crash", "one", "2s"))

    assert done(run) == (400, 0, 0, 0)


def test_h_150_auto_commit_beside_an_application_skips_inputs() -> None:
    """What poll() has handed over is stored, and committed by the timer, whatever becomes of the transaction."""
    eager = "config.enable.auto.commit = true\nconfig.auto.commit.interval.ms = 50"
    run = play(application(work="5ms", reader=eager), within("before-offsets", "crash", "2s"))

    assert done(run)[2] > 0


def test_the_java_client_may_be_either_half() -> None:
    java_reader = application().replace("[consumers.one-reader]", '[consumers.one-reader]\nclient = "java"')
    java_writer = application().replace("[producers.one-writer]", '[producers.one-writer]\nclient = "java"')

    assert done(play(java_reader)) == done(play(java_writer)) == (400, 0, 0, 0)


def test_a_producer_for_each_partition_is_the_java_clients_only() -> None:
    with pytest.raises(ScenarioError, match="Java client only"):
        Scenario.loads(orders(client="librdkafka") + application(more='producers = "per-partition"'))
