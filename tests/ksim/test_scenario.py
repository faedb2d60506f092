"""Scenarios: from a file, from Python and from the command line to a plan. scenario.md sections 1, 2, 3 ([expect]) and 6."""

from __future__ import annotations

import io
import pickle
import sys
import tomllib
from fractions import Fraction
from pathlib import Path

import pytest

from ksim.plan import Burst, CountTrigger, Expectation, FrameTrigger, Keys, Latency, Link, Plan, Who, WorkloadPlan
from ksim.problems import ScenarioError
from ksim.scenario import Scenario, names
from ksim_models.errors import ErrorCode

HANDBOOK = Path(__file__).parents[2] / "experiments" / "handbook" / "producer.properties"

SMALL = """\
kafka = "4.3"
seed = 7
[topics.payments]
[[workload]]
topic = "payments"
records = 10
every = "5ms"
"""

FIRST_SAMPLE = """\
format = 1
title  = "The acknowledgement is lost"
kafka  = "4.3"
client = "java"
seed   = 7

[topics.payments]
partitions  = 1
replication = 3
config.min.insync.replicas = 2

[producers.p1]
config.acks = "all"
config.enable.idempotence = false

[[workload]]
topic    = "payments"
records  = 2_000
every    = "5ms"
size     = 100

[[fault]]
when = { request = "Produce", nth = 3 }
do   = "lose-response"

[expect]
lost = 0
duplicated = ">= 1"
"""


def plan_of(extra: str = "", text: str = SMALL) -> Plan:
    return Scenario.loads(text + extra).plan()


def workload_of(lines: str) -> WorkloadPlan:
    return plan_of(text=SMALL.replace('records = 10\nevery = "5ms"\n', lines + "\n")).workloads[0]


# Built-in scenarios.


@pytest.mark.parametrize("name", [name for name, _ in names()])
def test_a_built_in_scenario_has_a_sentence_a_seed_a_release_and_a_prediction(name: str) -> None:
    plan = Scenario.load(name).plan()

    assert len(plan.title.split()) > 3
    release = "3.9" if name == "last-replica-standing" else "4.3"  # Before eligible leader replicas.
    assert (plan.seed, plan.broker_version, plan.notes) == (11 if name.startswith("copy-") else 7, release, ())
    assert plan.expect
    assert plan.faults


def test_the_built_in_scenarios_of_the_first_release_are_there() -> None:
    """Issue 3, point 2."""
    expected = "below-min-isr below-min-isr-retries-3 cut-producer-leader leader-crash leader-crash-acks-0 leader-crash-acks-1 leader-crash-lagging-followers"

    assert {*expected.split(), "lost-ack", "lost-ack-idempotent", "reorder"} <= {name for name, _ in names()}


def test_lost_ack_is_the_first_sample_of_the_contract() -> None:
    assert Scenario.load("lost-ack") == Scenario.loads(FIRST_SAMPLE)


def test_the_properties_file_of_the_handbook_runs_unchanged_with_notes() -> None:
    """Issue 3, point 2: bootstrap servers and serializers play no part, and it is said."""
    scenario = Scenario.load("leader-crash").override(producer_config=str(HANDBOOK))
    producer = scenario.plan().producers[0]

    assert (producer.config.acks, producer.config.retries, producer.config.enable_idempotence) == (-1, 3, True)
    assert [note.split(" ")[1].rstrip(",") for note in scenario.notes] == ["bootstrap.servers", "key.serializer"]
    assert [line.origin for line in scenario.effective()["p1"][:3]] == [f"{HANDBOOK}:4", f"{HANDBOOK}:6", f"{HANDBOOK}:5"]


# As data.


@pytest.mark.parametrize("name", [name for name, _ in names()])
def test_the_repr_of_a_scenario_makes_it_again(name: str) -> None:
    scenario = Scenario.load(name)

    assert eval(repr(scenario)) == scenario
    assert pickle.loads(pickle.dumps(scenario)).plan() == scenario.plan()


def test_every_spelling_of_a_setting_is_the_same_scenario() -> None:
    nested = Scenario.loads(SMALL + "[producers.p1]\nconfig.enable.idempotence = false\n")
    quoted = Scenario.loads(SMALL + '[producers.p1.config]\n"enable.idempotence" = false\n')
    python = Scenario(
        kafka="4.3",
        seed=7,
        topics={"payments": {}},
        producers={"p1": {"config": {"enable.idempotence": False}}},
        workload=[{"topic": "payments", "records": 10, "every": "5ms"}],
    )

    assert nested == quoted == python
    assert hash(nested) == hash(quoted)
    assert nested.plan().producers == python.plan().producers
    assert nested != Scenario.loads(SMALL)


def test_words_that_python_reserves_take_an_underscore() -> None:
    scenario = Scenario(
        seed=1,
        topics={"payments": {}},
        workload=[{"topic": "payments", "for_": "1s", "rate": 10}],
        fault=[{"at": "1s", "do": "crash", "who": "broker-1", "for_": "2s"}, {"do": "hang", "when": {"from_": "p1"}}],
        network={"links": [{"from_": "p1", "to": "broker-1", "latency": "1ms"}]},
    )
    plan = scenario.plan()

    assert (plan.workloads[0].records, plan.faults[0].duration, plan.network.links[0].sender) == (10, 2_000_000, "p1")
    assert scenario.data["workload"] == [{"topic": "payments", "for": "1s", "rate": 10}]


@pytest.mark.parametrize(("client", "version"), [("librdkafka", ""), ("librdkafka:2.16", "2.16"), ("librdkafka:2.8.0", "2.8.0")])
def test_a_producer_is_of_the_general_client_library_or_of_its_own(client: str, version: str) -> None:
    of_two = SMALL.replace("topic =", 'producer = "a"\ntopic =') + '[producers.a]\n[producers.b]\nclient = "java"\n'
    first, second = Scenario.loads(f'client = "{client}"\n{of_two}').plan().producers

    assert (first.client, first.client_version, first.config.enable_idempotence) == ("librdkafka", version, False)
    assert (second.client, second.client_version, second.config.enable_idempotence) == ("java", "", True)


def test_a_real_client_gets_what_was_written_by_one_name_in_its_own_units(tmp_path: Path) -> None:
    (tmp_path / "own.properties").write_text("message.timeout.ms=4000\nsasl.password=secret\n")
    (tmp_path / "small.toml").write_text('client = "librdkafka"\n' + SMALL + '[producers.p1]\nfile = "own.properties"\nconfig.delivery.timeout.ms = "3s"\n')
    (producer,) = Scenario.load(tmp_path / "small.toml").plan().producers

    assert producer.given == (("delivery.timeout.ms", "3000"), ("sasl.password", "secret"))
    assert "secret" not in repr(producer)


def test_a_path_into_the_settings_knows_the_names_of_the_producers_client() -> None:
    librdkafka = Scenario.loads('client = "librdkafka"\n' + SMALL)

    assert librdkafka.at("producers.p1.config.message.timeout.ms", 5000).plan().producers[0].config.delivery_timeout_ms == 5000
    with pytest.raises(ScenarioError):
        librdkafka.at("producers.p1.config.buffer.memory", 5000)
    with pytest.raises(ScenarioError):
        Scenario.loads(SMALL).at("producers.p1.config.message.timeout.ms", 5000)


def test_a_change_of_the_data_that_is_handed_out_changes_no_scenario() -> None:
    scenario = Scenario.loads(SMALL)
    scenario.data["seed"] = 8

    assert scenario.plan().seed == 7


def test_a_scenario_comes_from_a_file_or_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.toml").write_text(SMALL)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(SMALL.encode())))

    assert Scenario.load(tmp_path / "own.toml") == Scenario.load(str(tmp_path / "own.toml")) == Scenario.load("-")


def test_the_file_of_a_producer_is_found_beside_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "own.properties").write_text("acks=1\nenable.idempotence=false\nlinger.ms=20\n")
    (tmp_path / "own.toml").write_text(SMALL + '[producers.p1]\nfile = "own.properties"\nconfig.linger.ms = 30\n')
    config = Scenario.load(tmp_path / "own.toml").plan().producers[0].config

    assert (config.acks, config.linger_ms) == (1, 30)


# Defaults.


def test_what_is_left_out_is_filled_in() -> None:
    """scenario.md section 1, "Defaults"."""
    plan = plan_of()

    assert [broker.name for broker in plan.brokers] == ["broker-1", "broker-2", "broker-3"]
    assert plan.controllers == ("controller-1",)
    assert plan.topics[0].assignment == (("broker-1", "broker-2", "broker-3"),)
    assert [(producer.name, producer.client) for producer in plan.producers] == [("p1", "java")]
    assert plan.workloads[0].producer == "p1"
    assert (plan.heal, plan.limit, plan.warm) == (True, 300_000_000, False)
    assert plan.network.latency == Latency(500, 500)


def test_replication_is_at_most_the_number_of_brokers_where_none_is_given() -> None:
    assert plan_of("[cluster]\nbrokers = 2\n").topics[0].assignment == (("broker-1", "broker-2"),)


def test_partitions_are_spread_round_robin_beginning_with_broker_1() -> None:
    plan = plan_of(text=SMALL.replace("[topics.payments]", "[topics.payments]\npartitions = 4\nreplication = 2"))

    assert [replicas[0] for replicas in plan.topics[0].assignment] == ["broker-1", "broker-2", "broker-3", "broker-1"]
    assert plan.topics[0].assignment[2] == ("broker-3", "broker-1")
    assert plan.topics[0].partitions == ("payments-0", "payments-1", "payments-2", "payments-3")


def test_an_assignment_is_taken_as_it_is() -> None:
    plan = plan_of(text=SMALL.replace("[topics.payments]", '[topics.payments]\nassignment = [[3, 1], ["broker-2", "broker-3"]]'))

    assert plan.topics[0].assignment == (("broker-3", "broker-1"), ("broker-2", "broker-3"))


def test_min_insync_replicas_above_the_replication_is_legal_and_noted() -> None:
    """BP-26: 4.3 counts with the replication factor instead; before 3.7 every acks=all write is refused."""
    text = SMALL.replace("[topics.payments]", "[topics.payments]\nreplication = 2\nconfig.min.insync.replicas = 3")

    assert any("min.insync.replicas=3" in note and "2 count instead" in note for note in plan_of(text=text).notes)
    assert any("every write with acks=all is refused" in note for note in plan_of(text=text.replace("4.3", "3.6")).notes)


@pytest.mark.parametrize(
    ("kafka", "brokers", "clients", "note"),
    [
        ('kafka = "4.3"', "4.3", "4.3", ""),
        ('kafka = "3.9.1"', "3.9.1", "3.9.1", ""),
        ('kafka = "2.8"', "3.3", "2.8", "those of 3.3"),
        ('kafka = { brokers = "4.3", clients = "3.3" }', "4.3", "3.3", ""),
        ('kafka = { clients = "3.3" }', "4.3", "3.3", "warning"),
        ("", "4.3", "4.3", "warning"),
    ],
)
def test_a_release_is_of_brokers_and_clients_and_a_missing_one_is_warned_of(kafka: str, brokers: str, clients: str, note: str) -> None:
    plan = plan_of(text=SMALL.replace('kafka = "4.3"', kafka))

    assert (plan.broker_version, plan.client_version) == (brokers, clients)
    assert plan.producers[0].profile.version == clients
    assert (note in " ".join(plan.notes)) if note else plan.notes == ()


def test_a_broker_may_have_settings_of_its_own() -> None:
    plan = plan_of("[cluster]\nconfig.num.replica.fetchers = 3\n[cluster.broker-2]\nconfig.num.replica.fetchers = 2\n")

    assert [broker.config.num_replica_fetchers for broker in plan.brokers] == [3, 2, 3]


# Workloads.


@pytest.mark.parametrize(
    ("lines", "records", "gap", "arrivals"),
    [
        ('records = 10\nevery = "5ms"', 10, Fraction(5_000), "steady"),
        ("records = 10\nevery = 5", 10, Fraction(5_000), "steady"),
        ('records = 10\nevery = "0ms"', 10, Fraction(0), "steady"),
        ("records = 10\nrate = 3", 10, Fraction(1_000_000, 3), "steady"),
        ("records = 10\nrate = 0.1", 10, Fraction(10_000_000), "steady"),
        ('for = "1s"\nrate = 3', 3, Fraction(1_000_000, 3), "steady"),
        ('for = "1001ms"\nevery = "500ms"', 3, Fraction(500_000), "steady"),
        ('for = "1s"\nevery = "500ms"', 2, Fraction(500_000), "steady"),
        ('for = "10s"\nrate = 200\narrivals = "poisson"', 2_000, Fraction(5_000), "poisson"),
        ('for = "2.5s"\narrivals = { burst = 50, every = "1s" }', 150, Fraction(20_000), Burst(50, 1_000_000)),
        ('records = 70\narrivals = { burst = 50, every = "1s" }', 70, Fraction(20_000), Burst(50, 1_000_000)),
    ],
)
def test_a_workload_offers_the_records_that_come_before_its_end(lines: str, records: int, gap: Fraction, arrivals: str | Burst) -> None:
    """Arrivals at start <= t < start + for; distances are exact."""
    workload = workload_of(lines)

    assert (workload.records, workload.gap, workload.arrivals) == (records, gap, arrivals)


def test_poisson_arrivals_with_for_are_as_many_as_expected_and_it_is_noted() -> None:
    plan = plan_of(text=SMALL.replace('records = 10\nevery = "5ms"', 'for = "1s"\nrate = 7.4\narrivals = "poisson"'))

    assert plan.workloads[0].records == 7
    assert any("Poisson" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("line", "attribute", "value"),
    [
        ("size = 10", "size_bytes", 10),
        ('size = "1KiB"', "size_bytes", 1024),
        ("size = { mean = 1000, spread = 200 }", "size_spread", 200),
        ('key = "none"', "keys", Keys(0)),
        ('key = "fixed"', "keys", Keys(1)),
        ("key = { distinct = 50, skew = 1.1 }", "keys", Keys(50, Fraction(11, 10))),
        ("partition = 0", "partition", 0),
        ('wait = "none"', "window", None),
        ('wait = "each"', "window", 1),
        ("wait = 7", "window", 7),
        ('start = "1.5s"', "start", 1_500_000),
        ('on_failure = "report"', "partition", None),
    ],
)
def test_a_workload_says_how_large_with_which_key_and_how_many_at_a_time(line: str, attribute: str, value: object) -> None:
    assert getattr(workload_of(f'records = 10\nevery = "5ms"\n{line}'), attribute) == value


# Faults.


@pytest.mark.parametrize(
    ("given_who", "who"),
    [
        ("'broker-1'", (Who("machine", "broker-1"),)),
        ("'controller-1'", (Who("machine", "controller-1"),)),
        ("'p1'", (Who("machine", "p1"),)),
        ("'leader(payments-0)'", (Who("leader", "payments-0"),)),
        ("'replica(payments-0, 2)'", (Who("replica", "payments-0", 2),)),
        ("['any-broker', 'controller']", (Who("any-broker"), Who("controller"))),
        ("'isr(payments-0)'", (Who("isr", "payments-0"),)),
    ],
)
def test_a_fault_names_machines_or_what_they_are_at_that_moment(given_who: str, who: tuple[Who, ...]) -> None:
    fault = plan_of(f"[[fault]]\nat = '495.8ms'\ndo = 'pause'\nwho = {given_who}\nfor = '5s'\n").faults[0]

    assert fault.who == who
    assert (fault.name, fault.at, fault.duration, fault.when) == ("pause", 495_800, 5_000_000, None)


@pytest.mark.parametrize(
    ("when", "trigger"),
    [
        ("{ nth = 3 }", FrameTrigger("Produce", "request", nth=3)),
        ("{ response = 'Metadata' }", FrameTrigger("Metadata", "response")),
        (
            "{ request = 'Fetch', from = 'broker-2', to = 'leader(payments-0)', every = 5 }",
            FrameTrigger("Fetch", "request", sender=Who("machine", "broker-2"), receiver=Who("leader", "payments-0"), every=5),
        ),
        (
            "{ from = 'p1', topic = 'payments', partition = 'payments-0', times = 4, after = '1s' }",
            FrameTrigger("Produce", "request", sender=Who("machine", "p1"), topic="payments", partition="payments-0", times=4, after=1_000_000),
        ),
        ("{ probability = 0.5 }", FrameTrigger("Produce", "request", probability=0.5)),
        ("{ acked = 100 }", CountTrigger("acked", 100)),
        ("{ appended = 100, partition = 'payments-0' }", CountTrigger("appended", 100, "payments-0")),
        ("{ isr = 1 }", CountTrigger("isr", 1, "payments-0")),
    ],
)
def test_a_fault_waits_for_an_exchange_or_for_a_count(when: str, trigger: object) -> None:
    assert plan_of(f"[[fault]]\nwhen = {when}\ndo = 'crash'\nwho = 'broker-1'\n").faults[0].when == trigger


def test_a_frame_fault_hits_the_first_produce_exchange_where_nothing_else_is_said() -> None:
    fault = plan_of("[[fault]]\nat = '1s'\ndo = 'lose-response'\n").faults[0]

    assert (fault.at, fault.when) == (1_000_000, FrameTrigger("Produce", "response"))


def test_an_answer_is_an_error_by_kafkas_name() -> None:
    fault = plan_of(
        "[[fault]]\nwhen = { nth = 2 }\ndo = 'answer'\nerror = 'NOT_ENOUGH_REPLICAS_AFTER_APPEND'\nprocessed = true\npartition = 'payments-0'\n"
    ).faults[0]

    assert (fault.error, fault.processed, fault.partition) == (ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND, True, "payments-0")


def test_a_cut_lies_between_two_ends_and_may_be_one_way() -> None:
    fault = plan_of("[[fault]]\nat = 0\ndo = 'cut'\nbetween = ['broker-1', ['brokers', 'p1']]\none_way = true\n").faults[0]

    assert fault.between == ((Who("machine", "broker-1"),), (Who("brokers"), Who("machine", "p1")))
    assert fault.one_way


def test_faults_without_a_name_are_told_apart_by_number() -> None:
    plan = plan_of("[[fault]]\nat = 1\ndo = 'lose-request'\n[[fault]]\nat = 2\ndo = 'lose-request'\n[[fault]]\nat = 3\ndo = 'hang'\n")

    assert [fault.name for fault in plan.faults] == ["lose-request", "lose-request 2", "hang"]


def test_a_broker_may_restart_after_a_crash_of_whoever_led() -> None:
    plan = plan_of("[[fault]]\nat = 1\ndo = 'crash'\nwho = 'leader(payments-0)'\n[[fault]]\nat = 2\ndo = 'restart'\nwho = 'broker-1'\n")

    assert [fault.do for fault in plan.faults] == ["crash", "restart"]


@pytest.mark.parametrize(
    ("servers", "numbers"),
    [
        ("broker-2", [2]),
        ("broker-3:9092, broker-1:9092", [1, 3]),
        ("localhost:9092", [1, 2, 3]),
        ("broker-1,localhost:9092", [1, 2, 3]),
        ("broker-4", [1, 2, 3]),
    ],
)
@pytest.mark.parametrize("client", ["java", "librdkafka"])
def test_a_client_begins_with_the_brokers_that_it_names_and_with_all_where_it_names_others(client: str, servers: str, numbers: list[int]) -> None:
    name = "bootstrap.servers" if client == "java" else "metadata.broker.list"
    (producer,) = plan_of(f"[producers.p1]\nclient = '{client}'\nconfig.{name} = '{servers}'\n").producers

    assert producer.bootstrap(3) == numbers


# Network, tail, expect.


def test_the_network_has_a_latency_a_bandwidth_and_links_of_their_own() -> None:
    text = "[network]\nlatency = { median = '0.5ms', p99 = '3ms' }\nbandwidth = '1Gbit/s'\nlinks = [{ from = 'p1', to = 'broker-2', latency = '100ms' }]\n"
    network = plan_of(text).network

    assert network.latency == Latency(500, 3_000)
    assert network.bandwidth == 125  # Bytes per microsecond.
    assert network.links == (Link("p1", "broker-2", Latency(100_000, 100_000)),)


def test_a_link_of_all_brokers_is_one_for_each_of_them() -> None:
    pairs = "{ from = 'p1', to = 'brokers', latency = 1 }, { from = 'brokers', to = 'broker-1', latency = 1 }"
    network = plan_of(f"[network]\nlinks = [{pairs}]\n").network

    assert [(link.sender, link.receiver) for link in network.links] == [
        *(("p1", f"broker-{number}") for number in (1, 2, 3)),
        *((f"broker-{number}", "broker-1") for number in (2, 3)),
    ]


@pytest.mark.parametrize(
    ("line", "expectation"),
    [
        ("lost = 0", Expectation("lost", "0", "=", Fraction(0))),
        ("lost = '= 3'", Expectation("lost", "= 3", "=", Fraction(3))),
        ("lost = '== 3'", Expectation("lost", "== 3", "=", Fraction(3))),
        ("lost = '!=3'", Expectation("lost", "!=3", "!=", Fraction(3))),
        ("duplicated = '>= 1'", Expectation("duplicated", ">= 1", ">=", Fraction(1))),
        ("acked = '1_000..2_000'", Expectation("acked", "1_000..2_000", "..", Fraction(1_000), Fraction(2_000))),
        ("ack_p99_ms = '< 12.5'", Expectation("ack_p99_ms", "< 12.5", "<", Fraction(25, 2))),
        ("unavailable_ms = 0.1", Expectation("unavailable_ms", "0.1", "=", Fraction(1, 10))),
        ("errors.TimeoutException = '> 0'", Expectation("errors.TimeoutException", "> 0", ">", Fraction(0))),
        ("record-retry-total = 1", Expectation("record-retry-total", "1", "=", Fraction(1))),
        ("verdict = 'held'", Expectation("verdict", "held", "=", "held")),
        ("verdict = '!= violated'", Expectation("verdict", "!= violated", "!=", "violated")),
    ],
)
def test_a_prediction_is_a_number_a_comparison_a_range_or_a_verdict(line: str, expectation: Expectation) -> None:
    """scenario.md section 3, "[expect]"."""
    assert plan_of(f"[expect]\n{line}\n").expect == (expectation,)


# Changes.


def test_settings_count_from_the_weakest_to_the_strongest(tmp_path: Path) -> None:
    """Default, `file`, `config`, --producer.config, --producer-props and -X."""
    (tmp_path / "weak.properties").write_text("linger.ms=1\nbatch.size=1\nretries=1\nmax.block.ms=1\n")
    (tmp_path / "strong.properties").write_text("retries=3\nmax.block.ms=3\n")
    (tmp_path / "own.toml").write_text(SMALL + '[producers.p1]\nfile = "weak.properties"\nconfig.batch.size = 2\nconfig.retries = 2\nconfig.max.block.ms = 2\n')
    scenario = Scenario.load(tmp_path / "own.toml").override([("max.block.ms", "4")], producer_config=str(tmp_path / "strong.properties"))
    config = scenario.plan().producers[0].config
    origins = {line.name: line.origin for line in scenario.effective()["p1"]}

    assert (config.linger_ms, config.batch_size, config.retries, config.max_block_ms) == (1, 2, 3, 4)
    assert origins["request.timeout.ms"] == "default of 4.3"
    assert origins["linger.ms"] == f"{tmp_path / 'weak.properties'}:1"
    assert origins["batch.size"] == f"{tmp_path / 'own.toml'}:10"
    assert origins["retries"] == f"{tmp_path / 'strong.properties'}:1"
    assert origins["max.block.ms"] == "-X max.block.ms=4"


def test_the_command_line_reaches_every_producer_or_one_a_topic_and_the_brokers() -> None:
    text = SMALL.replace('topic = "payments"', 'topic = "payments"\nproducer = "a"') + '[producers.a]\n[producers.b]\n[topics."x.y"]\n'
    typed = [("a.linger.ms", "2"), ("linger.ms", "1"), ("topic:payments.min.insync.replicas", "1"), ("topic:x.y.min.insync.replicas", "2")]
    plan = Scenario.loads(text).override([*typed, ("broker.num.replica.fetchers", "3"), ("broker-2.num.replica.fetchers", "4")], seed=9, kafka="4.2").plan()

    assert {producer.name: producer.config.linger_ms for producer in plan.producers} == {"a": 2, "b": 1}
    assert [topic.given for topic in plan.topics] == [(("min.insync.replicas", "1"),), (("min.insync.replicas", "2"),)]
    assert [broker.config.num_replica_fetchers for broker in plan.brokers] == [3, 4, 3]
    assert (plan.seed, plan.broker_version) == (9, "4.2")


def test_an_override_makes_the_producer_that_the_file_leaves_out() -> None:
    assert Scenario.loads(SMALL).override(producer_props=[("linger.ms", "9")]).plan().producers[0].config.linger_ms == 9


def test_what_the_command_line_repairs_is_no_mistake() -> None:
    scenario = Scenario.loads(SMALL.replace('kafka = "4.3"', 'kafka = "4.33"'), check=False)

    with pytest.raises(ScenarioError):
        scenario.plan()
    assert scenario.override(kafka="4.3").plan().broker_version == "4.3"


def test_a_sweep_changes_a_value_by_its_path() -> None:
    scenario = Scenario.load("leader-crash")
    changed = (
        scenario.at("producers.p1.config.linger.ms", 7)
        .at("fault.leader-dies.at", "1s")
        .at("fault.0.for", "3s")
        .at("workload.0.rate", 50)
        .at("topics.payments.config.min.insync.replicas", 1)
        .at("cluster.config.num.replica.fetchers", 2)
        .at("cluster.broker-2.config.num.replica.fetchers", 3)
        .at("network.latency", "1ms")
        .at("tail.heal", False)
        .at("expect.errors.TimeoutException", 0)
    )
    plan = changed.plan()

    assert plan.producers[0].config.linger_ms == 7
    assert (plan.faults[0].at, plan.faults[0].duration) == (1_000_000, 3_000_000)
    assert plan.workloads[0].gap == 20_000  # `every` went when `rate` came.
    assert [broker.config.num_replica_fetchers for broker in plan.brokers] == [2, 3, 2]
    assert (plan.network.latency.median, plan.heal, plan.expect[-1].key) == (1_000, False, "errors.TimeoutException")
    assert scenario == Scenario.load("leader-crash")


def test_a_topic_with_dots_is_quoted_in_a_path() -> None:
    scenario = Scenario.loads(SMALL + '[topics."a.b"]\n').at('topics."a.b".partitions', 2)

    assert len(scenario.plan().topics[1].assignment) == 2


def test_the_plan_holds_the_scenario_as_data_with_the_seed_of_the_run() -> None:
    plan = Scenario.loads(SMALL).plan(seed=9)

    assert plan.data == {**tomllib.loads(SMALL), "seed": 9}
