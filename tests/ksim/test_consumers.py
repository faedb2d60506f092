"""Consumers end to end: what they read of what was written, and what each of their settings and faults changes."""

from __future__ import annotations

from ksim import Run, Scenario, simulate
from ksim_models.consumer_facts import PollFailed, Read

WITH_READER = """
kafka = "4.3"
seed = 7
[topics.payments]
partitions = 2
[consumers.reader]
topics = ["payments"]
config.auto.offset.reset = "earliest"
[[workload]]
topic = "payments"
records = 400
every = "5ms"
"""


def run(text: str, check_every: int | None = None) -> Run:
    return simulate(Scenario.loads(text), check_every=check_every)


def read_by(run: Run, consumer: str = "reader") -> list[int]:
    return [record for _, fact in run.history.of(Read) if fact.consumer == consumer for record in fact.records]


def test_a_consumer_reads_every_record_once_in_the_order_of_each_partition() -> None:
    played = run(WITH_READER)

    facts = [fact for _, fact in played.history.of(Read)]
    assert sorted(read_by(played)) == list(range(400))
    for partition in ("payments-0", "payments-1"):
        offsets = [fact.base_offset + place for fact in facts if fact.partition == partition for place in range(len(fact.records))]
        assert offsets == list(range(len(offsets)))


def test_nothing_is_read_before_it_is_committed() -> None:
    """CV-1: the high watermark, not the log end, is where a consumer stops."""
    played = run(WITH_READER + '[[fault]]\nat = "1s"\ndo = "pause"\nwho = "followers(payments-0)"\nfor = "3s"\n')

    read = [(at, fact) for at, fact in played.history.of(Read) if fact.partition == "payments-0"]
    assert not [at for at, _ in read if 1_100_000 < at < 4_000_000]
    assert sorted(read_by(played)) == list(range(400))


def test_a_consumer_follows_its_partitions_to_another_leader() -> None:
    played = run(WITH_READER + '[[fault]]\nat = "500ms"\ndo = "crash"\nwho = "leader(payments-0)"\nfor = "5s"\n')

    assert sorted(read_by(played)) == list(range(400))
    assert not list(played.history.of(PollFailed))


def test_a_consumer_that_begins_at_the_end_reads_only_what_comes_later() -> None:
    played = run(WITH_READER.replace('"earliest"', '"latest"').replace("[[workload]]", '[[workload]]\nstart = "0s"'))

    read = read_by(played)
    assert read == sorted(read)
    assert set(read) < set(range(400)) or len(read) == 400


def test_without_a_reset_policy_a_consumer_without_offsets_ends() -> None:
    """CV-7."""
    played = run(WITH_READER.replace('"earliest"', '"none"'))

    assert [fact.error for _, fact in played.history.of(PollFailed)] == ["NoOffsetForPartitionException"]
    assert read_by(played) == []


def test_an_application_that_works_on_each_record_polls_no_more_than_it_can() -> None:
    played = run(WITH_READER.replace("[[workload]]", "[[workload]]").replace('topics = ["payments"]', 'topics = ["payments"]\nwork = "10ms"'))

    assert sorted(read_by(played)) == list(range(400))
    assert played.simulated_us >= 4_000_000
