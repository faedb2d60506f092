"""Applications that read, make something of it, and write: what becomes of every input, with transactions and without."""

from __future__ import annotations

import pytest

from ksim import Run, Scenario, simulate
from ksim.problems import ScenarioError
from ksim.processing import Processing
from ksim_models.consumer_facts import CommittedOffset, PollFailed, Processed, Read
from ksim_models.facts import Fault, ProducerId, Transaction
from orders import orders

ABORTS_SOON = "config.transaction.abort.timed.out.transaction.cleanup.interval.ms = 500"
APPLICATION = """
[producers.{name}-writer]
{producer}
[consumers.{name}-reader]
config.auto.offset.reset = "earliest"
config.group.id = "g"
config.enable.auto.commit = false
config.session.timeout.ms = 6000
config.heartbeat.interval.ms = 1000
work = "{work}"
[applications.{name}]
reads = "orders"
writes = "payments"
producer = "{name}-writer"
consumer = "{name}-reader"
commit_every = {{ records = {records} }}
{more}
"""
FAULT = '[[fault]]\nat = "{at}"\ndo = "{do}"\nwho = "{who}"\n{more}\n'


def application(name: str = "copy", *, transactional: bool = True, records: int = 20, work: str = "0ms", more: str = "") -> str:
    producer = f'config.transactional.id = "{name}"' if transactional else 'config.acks = "all"'
    return APPLICATION.format(name=name, producer=producer, records=records, work=work, more=more)


def fault(at: str, do: str, who: str, more: str = "") -> str:
    return FAULT.format(at=at, do=do, who=who, more=more)


def play(*parts: str, kafka: str = "4.3") -> Run:
    return simulate(Scenario.loads(orders(kafka, cluster=ABORTS_SOON) + "".join(parts)))


def done(run: Run) -> tuple[int, int, int, int]:
    """Inputs processed once, more than once, skipped, not yet."""
    once = twice = skipped = left = 0
    for one in run.verdict.processing:
        assert isinstance(one, Processing)
        once, twice, skipped, left = once + one.processed_once, twice + one.processed_twice, skipped + one.skipped, left + one.unprocessed
    return once, twice, skipped, left


def transactions(run: Run, phase: str) -> list[Transaction]:
    return [fact for _, fact in run.history.of(Transaction) if fact.phase == phase]


@pytest.mark.parametrize("kafka", ["3.9", "4.3"])
@pytest.mark.parametrize("transactional", [False, True])
def test_every_input_is_processed_once_where_nothing_goes_wrong(kafka: str, transactional: bool) -> None:
    run = play(application(transactional=transactional), kafka=kafka)

    assert done(run) == (400, 0, 0, 0)
    assert run.verdict.verdict == "held"
    assert bool(transactions(run, "committed")) is transactional


def test_without_transactions_a_crash_repeats_what_was_written_and_not_committed() -> None:
    run = play(application(transactional=False, records=100), fault("1800ms", "crash", "copy", 'for = "1s"'))
    once, twice, skipped, left = done(run)

    assert twice > 0
    assert (once + twice, skipped, left) == (400, 0, 0)


@pytest.mark.parametrize("kafka", ["3.9", "4.3"])
@pytest.mark.parametrize("at", ["2s", "2001ms", "2010ms", "2052500us"])
def test_with_transactions_a_crash_repeats_nothing(kafka: str, at: str) -> None:
    run = play(application(), fault(at, "crash", "copy", 'for = "1s"'), kafka=kafka)

    assert done(run) == (400, 0, 0, 0)


def test_what_strikes_a_part_of_a_process_strikes_the_whole_of_it() -> None:
    run = play(application(), fault("2s", "crash", "copy-writer", 'for = "1s"'))

    assert done(run) == (400, 0, 0, 0)


@pytest.mark.parametrize("who", ["leader(payments-0)", "leader(orders-0)", "broker-1", "broker-2", "broker-3"])
def test_with_transactions_a_broker_may_die(who: str) -> None:
    """The leader of what is written or read, or a coordinator."""
    run = play(application(), fault("2s", "crash", who, 'for = "5s"'))

    assert done(run) == (400, 0, 0, 0)


def test_gc_3_a_member_that_its_group_has_given_up_is_fenced_by_its_generation() -> None:
    """KIP-447: the frozen one comes back in the middle of a transaction, and may not commit offsets any more."""
    run = play(application("one", work="40ms"), application("two"), fault("2s", "pause", "one", 'for = "15s"'))
    failed = [fact for fact in transactions(run, "failed") if fact.producer == "one-writer"]

    assert done(run) == (400, 0, 0, 0)
    assert [(fact.call, fact.error) for fact in failed] == [("send-offsets", "CommitFailedException")]
    assert [fact.phase for _, fact in run.history.of(Transaction) if fact.producer == "one-writer"][-1] in ("aborted", "committed")


def test_gc_3_without_its_generation_the_frozen_one_commits_what_another_has_done_meanwhile() -> None:
    more = "group_metadata = false"
    run = play(application("one", work="40ms", more=more), application("two", more=more), fault("2s", "pause", "one", 'for = "15s"'))

    assert done(run)[1] > 0


def outlasted(kafka: str) -> Run:
    """Its coordinator gives the transaction up before the application has done with it."""
    with_timeout = 'transactional.id = "copy"\nconfig.transaction.timeout.ms = 1000'
    return play(application(records=1000).replace('transactional.id = "copy"', with_timeout), kafka=kafka)


def test_gc_8_behind_an_abort_what_was_read_is_read_again() -> None:
    """TC-61: with transaction version 2 the producer survives that its transaction was aborted by the coordinator."""
    run = outlasted("4.3")

    assert [fact.error for fact in transactions(run, "failed")] == ["InvalidProducerEpochException"]
    assert len(transactions(run, "aborted")) == 1
    assert done(run) == (400, 0, 0, 0)


def test_a_producer_that_is_fenced_ends_its_application() -> None:
    """TC-61: without it the producer has been fenced, by nobody in particular."""
    run = outlasted("3.9")

    assert [fact.error for fact in transactions(run, "failed")] == ["InvalidProducerEpochException", "ProducerFencedException"]
    assert [fact.consumer for _, fact in run.history.of(PollFailed)] == ["copy-reader"]
    assert done(run) == (0, 0, 0, 400)


def test_a_second_application_with_the_same_transactional_id_fences_the_first() -> None:
    second = application("two").replace('transactional.id = "two"', 'transactional.id = "one"')
    run = play(application("one"), second)
    ended = [fact.consumer for _, fact in run.history.of(PollFailed)]

    assert len(ended) == 1
    assert done(run) == (400, 0, 0, 0)
    assert {fact.error for fact in transactions(run, "failed")} <= {"ProducerFencedException", "InvalidProducerEpochException", "KafkaException"}


def test_offsets_of_a_transaction_that_was_committed_are_told() -> None:
    run = play(application())
    told = [fact for _, fact in run.history.of(CommittedOffset)]

    assert all(fact.transaction > 0 and not fact.error for fact in told)
    assert sum(offset for _, offset in {partition: offset for fact in told for partition, offset in fact.offsets}.items()) == 400


def test_what_a_crash_touched_is_what_was_read_and_not_committed_or_had_to_wait() -> None:
    run = play(
        application(), fault("2s", "crash", "copy", 'for = "1s"'), fault("3900ms", "cut", "", "").replace('who = ""', 'between = ["copy-reader", "brokers"]')
    )
    crash, cut = [fact for _, fact in run.history.of(Fault) if fact.phase == "summary"]

    assert crash.touched > 10
    assert cut.touched > 10


def with_many(text: str, more: str = "") -> str:
    return text + f'producers = "per-partition"\n{more}'


def many(name: str, transactional_id: str, *, records: int = 20, work: str = "0ms") -> str:
    """A producer for each input partition."""
    return with_many(application(name, records=records, work=work).replace(f'transactional.id = "{name}"', f'transactional.id = "{transactional_id}"'))


def test_with_a_producer_per_partition_each_has_the_transactional_id_of_its_partition() -> None:
    run = play(many("one", "copy"))

    assert [(one.name, one.config.transactional_id) for one in run.plan.producers[1:]] == [
        ("one-writer-orders-0", "copy-orders-0"),
        ("one-writer-orders-1", "copy-orders-1"),
    ]
    assert {fact.writer[-8:] for _, fact in run.history.of(Processed) if fact.partition == "orders-1"} == {"orders-1"}
    assert done(run) == (400, 0, 0, 0)


def test_partitions_that_come_and_go_cost_nothing_and_their_producers_are_constructed_anew() -> None:
    """A second process joins the group, and leaves it in order."""
    run = play(many("one", "copy"), many("two", "copy"), fault("2s", "shutdown", "two"))
    epochs: dict[str, list[int]] = {}
    for _, fact in run.history.of(ProducerId):
        if fact.why == "InitProducerId":
            epochs.setdefault(fact.producer, []).append(fact.producer_epoch)

    assert done(run) == (400, 0, 0, 0)
    assert len(epochs["one-writer-orders-0"]) > 1
    assert not transactions(run, "failed")
    assert not list(run.history.of(PollFailed))


def test_the_new_owner_of_a_partition_fences_the_old_one_by_init_transactions() -> None:
    """Without KIP-447: the frozen one finds its producer fenced when it wakes up in the middle of a transaction, and its application ends."""
    run = play(many("one", "copy", work="40ms"), many("two", "copy"), fault("2s", "pause", "one", 'for = "15s"'))

    assert done(run) == (400, 0, 0, 0)
    assert [fact.error for fact in transactions(run, "failed")] == ["ProducerFencedException"]
    assert [fact.consumer for _, fact in run.history.of(PollFailed)] == ["one-reader"]


def test_without_the_partition_in_the_transactional_id_nothing_fences_the_frozen_one() -> None:
    """The same two processes, each with a prefix of its own."""
    run = play(many("one", "one", work="40ms"), many("two", "two"), fault("2s", "pause", "one", 'for = "15s"'))

    assert done(run)[1] > 0


@pytest.mark.parametrize("at", ["500ms", "1s", "2s", "2010ms", "2052500us"])
def test_with_a_producer_per_partition_a_crash_repeats_nothing(at: str) -> None:
    run = play(many("one", "copy"), fault(at, "crash", "one", 'for = "1s"'))

    assert done(run) == (400, 0, 0, 0)


@pytest.mark.parametrize("who", ["leader(payments-0)", "leader(orders-0)", "coordinator(copy-orders-1)", "coordinator(g)"])
def test_with_a_producer_per_partition_a_broker_may_die(who: str) -> None:
    run = play(many("one", "copy"), many("two", "copy"), fault("2s", "crash", who, 'for = "5s"'))

    assert done(run) == (400, 0, 0, 0)


def test_with_cooperative_assignment_only_what_moves_gets_another_producer() -> None:
    """KIP-429: the partition that stays keeps its producer, and its open transaction."""
    cooperative = '[consumers.{0}-reader]\nconfig.partition.assignment.strategy = "org.apache.kafka.clients.consumer.CooperativeStickyAssignor"'
    both = [many(name, "copy").replace(f"[consumers.{name}-reader]", cooperative.format(name)) for name in ("one", "two")]
    run = play(*both, fault("2s", "shutdown", "two"))
    begun: dict[str, int] = {}
    for _, fact in run.history.of(ProducerId):
        if fact.why == "InitProducerId" and fact.producer != "feed":
            begun[fact.producer] = begun.get(fact.producer, 0) + 1

    assert done(run) == (400, 0, 0, 0)
    assert not transactions(run, "failed")
    assert 1 in begun.values()


def test_a_producer_per_partition_that_is_struck_takes_the_whole_process_along() -> None:
    run = play(many("one", "copy"), fault("2s", "crash", "one-writer-orders-1", 'for = "1s"'))
    (struck,) = [fact.resolved for _, fact in run.history.of(Fault) if fact.phase == "begin"]

    assert struck == ("one-reader", "one-writer-orders-0", "one-writer-orders-1")
    assert done(run) == (400, 0, 0, 0)


def test_behind_an_abort_only_the_partition_of_that_transaction_is_read_again() -> None:
    answer = '[[fault]]\nwhen = { request = "Produce", from = "one-writer-orders-1", nth = 3 }\ndo = "answer"\nerror = "INVALID_TXN_STATE"\n'
    run = play(many("one", "copy", records=50), answer, kafka="3.9")
    aborted = {fact.producer for fact in transactions(run, "aborted")}

    assert done(run)[1:3] == (0, 0)
    assert aborted <= {"one-writer-orders-1"}


def test_a_poll_whose_rebalance_callback_has_not_returned_returns_no_records() -> None:
    """Where the second process joins, the first commits what is open; what it had fetched besides is read by whoever gets the partition."""
    run = play(application("one", records=50), application("two", records=50))
    read: dict[tuple[str, int], int] = {}
    for _, fact in run.history.of(Read):
        for offset in range(fact.base_offset, fact.base_offset + len(fact.records)):
            read[fact.partition, offset] = read.get((fact.partition, offset), 0) + 1

    assert max(read.values()) == 1


MISTAKES = [
    (with_many(application(transactional=False)), "by which the new owner of a partition would fence"),
    (with_many(application()).replace("[producers.copy-writer]", '[producers.copy-writer]\nclient = "librdkafka"'), "with the Java client only"),
    (with_many(application()).replace('producer = "copy-writer"\n', ""), "producer is missing"),
    (with_many(application()).replace('"per-partition"', '"each"'), "not a number of producers"),
    (with_many(application()) + "[producers.copy-writer-orders-0]\n", "as another machine is"),
    (application().replace('config.group.id = "g"', ""), "no group.id"),
    (application().replace('reads = "orders"', 'reads = "order"'), "topic of this scenario"),
    (application().replace('writes = "payments"\n', ""), "writes is missing"),
    (application().replace('producer = "copy-writer"', 'producer = "feed"'), "without a workload"),
    (application().replace("{ records = 20 }", "20"), "not a table"),
    (
        application() + '[applications.again]\nreads = "orders"\nwrites = "payments"\nproducer = "copy-writer"\nconsumer = "copy-reader"\n',
        "another application",
    ),
]


@pytest.mark.parametrize(("text", "words"), MISTAKES, ids=[words for _, words in MISTAKES])
def test_what_makes_no_application_is_refused_by_name(text: str, words: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        Scenario.loads(orders(cluster=ABORTS_SOON) + text)

    assert any(words in problem.message for problem in refused.value.problems)


TRUNCATED = """
kafka = "4.3"
seed = 1
[cluster]
brokers = 6
config.replica.lag.time.max.ms = 1000
config.unclean.leader.election.enable = true
config.group.initial.rebalance.delay.ms = 0
config.offsets.topic.num.partitions = 4
config.transaction.state.log.num.partitions = 4
[topics.orders]
assignment = [[1, 2]]
[topics.payments]
assignment = [[3, 4]]
[producers.feed]
[[workload]]
producer = "feed"
topic = "orders"
records = 2000
every = "10ms"
[[fault]]
at = "1s"
do = "crash"
who = "broker-2"
for = "11s"
[[fault]]
at = "6s"
do = "crash"
who = "copy"
for = "16s"
[[fault]]
at = "7s"
do = "crash"
who = "broker-1"
for = "30s"
"""


@pytest.mark.parametrize("transactional", [False, True])
def test_an_application_that_commits_leader_epochs_notices_that_what_it_read_was_cut_off(transactional: bool) -> None:
    """KIP-320: while it is down an unclean election takes what it has read, and other records take the place. Offsets without epochs skip those."""
    knows, does_not = (simulate(Scenario.loads(TRUNCATED + application(transactional=transactional, more=more))) for more in ("", "leader_epochs = false"))

    assert done(knows)[2] == 0
    assert done(does_not)[2] > 300


@pytest.mark.parametrize(("protocol", "beat"), [("classic", "Heartbeat"), ("consumer", "ConsumerGroupHeartbeat")])
def test_an_application_without_transactions_that_loses_its_place_gives_up_what_is_open_and_goes_on(protocol: str, beat: str) -> None:
    """onPartitionsLost in the middle of a hundred records: they are read again, and written twice."""
    told_so = f'[[fault]]\nat = "1s"\nwhen = {{ request = "{beat}", from = "reader" }}\ndo = "answer"\nerror = "UNKNOWN_MEMBER_ID"\n'
    run = simulate(Scenario.loads(LOSES_ITS_PLACE.format(protocol=protocol) + told_so))
    (processing,) = run.verdict.processing

    assert (processing.skipped, processing.unprocessed) == (0, 0)
    assert processing.processed_twice > 50


LOSES_ITS_PLACE = """
seed = 1
kafka = "4.3"
[cluster]
config.group.initial.rebalance.delay.ms = 0
[topics.orders]
[topics.payments]
[producers.feed]
[producers.writer]
[consumers.reader]
topics = ["orders"]
config.group.id = "g"
config.group.protocol = "{protocol}"
config.auto.offset.reset = "earliest"
[applications.copy]
reads = "orders"
writes = "payments"
commit_every = {{ records = 1000 }}
consumer = "reader"
producer = "writer"
[[workload]]
producer = "feed"
topic = "orders"
records = 800
every = "10ms"
"""
