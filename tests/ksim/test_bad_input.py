"""Bad input: every mistake gives file, line, what is possible and the nearest name; all of them come at once; nothing but ScenarioError ever comes out.

Issue 3 "Bad input"; scenario.md section 1, "Mistakes".
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ksim.plan import Plan
from ksim.problems import ScenarioError, row
from ksim.scenario import Scenario, names
from ksim.scenario_file import built_in
from ksim_models.config import Problem

GOOD = """\
title = "good"
kafka = "4.3"
seed = 7
[topics.payments]
[producers.p1]
config.acks = "all"
[[workload]]
topic = "payments"
records = 10
every = "5ms"
"""
LINES_OF_GOOD = GOOD.count("\n")


def problems_of(text: str, file: str = "bad.toml") -> tuple[Problem, ...]:
    with pytest.raises(ScenarioError) as caught:
        Scenario.loads(text, file).plan()
    return caught.value.problems


@dataclass(frozen=True)
class Mistake:
    """Lines behind the good scenario, or instead of one of its lines; which of them is wrong, from 1; the nearest name, and words of the message."""

    name: str
    lines: str
    line: int
    nearest: str | None
    words: str
    instead_of: str = ""

    @property
    def text(self) -> str:
        return GOOD.replace(self.instead_of, self.lines) if self.instead_of else GOOD + self.lines + "\n"

    @property
    def expected_line(self) -> int:
        return GOOD.split("\n").index(self.instead_of.split("\n")[0]) + self.line if self.instead_of else LINES_OF_GOOD + self.line


FAULT = "[[fault]]\n"
CRASH = '[[fault]]\nat = "1s"\ndo = "crash"\n'
CUT = '[[fault]]\nat = "1s"\ndo = "cut"\n'
ELECT = '[[fault]]\nat = "1s"\ndo = "elect"\n'
ALTER = '[[fault]]\nat = "1s"\ndo = "alter"\n'
REASSIGN = '[[fault]]\nat = "1s"\ndo = "reassign"\n'
ANSWER = '[[fault]]\ndo = "answer"\n'

ALERT = "[[alert]]\n"
MISTAKES = [
    # Alerts.
    Mistake("a typo in a metric", ALERT + "metric = 'record-eror-rate'\nabove = 0", 2, "record-error-rate", "not a metric that has a series"),
    Mistake("a metric that is a number", ALERT + "metric = 3\nabove = 0", 2, None, "not a metric that has a series"),
    Mistake("a broker's metric in lower case", ALERT + "metric = 'underReplicatedPartition'\nabove = 0", 2, "UnderReplicatedPartitions", "not a metric"),
    Mistake("a metric of the other client", ALERT + "metric = 'msg_cnt'\nabove = 0", 2, None, "msg_cnt is a metric of librdkafka"),
    Mistake("an alert without a metric", ALERT + "above = 0", 1, None, "metric is missing"),
    Mistake("an alert without a limit", ALERT + "metric = 'record-error-rate'", 1, None, "neither above nor below"),
    Mistake("an alert with two limits", ALERT + "metric = 'record-error-rate'\nabove = 0\nbelow = 1", 4, None, "above and below are both given"),
    Mistake("a limit that is a text", ALERT + "metric = 'record-error-rate'\nabove = '0'", 3, None, "a number"),
    Mistake("a limit that is nan", ALERT + "metric = 'record-error-rate'\nabove = nan", 3, None, "nan and inf are not possible"),
    Mistake("an alert that lasts no time", ALERT + "metric = 'record-error-rate'\nabove = 0\nfor = '10 sec'", 4, None, "for"),
    Mistake("an unknown key of an alert", ALERT + "metric = 'record-error-rate'\nabove = 0\nfro = '1s'", 4, "for", "fro"),
    Mistake("an alert that is a table", "[alert]\nmetric = 'record-error-rate'", 1, None, "[[alert]]"),
    # Keys and tables.
    Mistake("an unknown table", "topcis = 1", 1, "topics", "topcis is not a key", 'title = "good"'),
    Mistake("an unknown key of a topic", "[topics.payments]\npartitons = 2", 2, "partitions", "partitons", "[topics.payments]"),
    Mistake("a table that is a number", "tail = 3", 1, None, "tail = 3 is not a table", 'title = "good"'),
    Mistake("a model of nothing", "[model]\nwriteback_sacn = '1s'", 2, "writeback_scan", "writeback_sacn is not a key"),
    Mistake("a power loss that keeps something else", "[model]\npower_loss_keeps = 'all'", 2, None, 'Possible: "nothing" or "drawn"'),
    Mistake("a deletion of no partition", FAULT + "at = 1\ndo = 'delete-records'\nbefore = 3", 3, None, "delete-records needs partition"),
    Mistake("a deletion without an end", FAULT + "at = 1\ndo = 'delete-records'\npartition = 'payments-0'", 3, None, "delete-records needs before"),
    Mistake("a deletion before the beginning", FAULT + "at = 1\ndo = 'delete-records'\npartition = 'payments-0'\nbefore = -2", 5, None, "from -1"),
    Mistake("a deletion of a partition that is none", FAULT + "at=1\ndo='delete-records'\npartition='payments-9'\nbefore=3", 4, "payments-0", "payments-9"),
    Mistake("a power loss of nobody", FAULT + "at = 1\ndo = 'power-loss'", 3, None, "power-loss needs who"),
    Mistake("an array that is a table", "[fault]\ndo = 'crash'", 1, None, "[[fault]]"),
    Mistake("a title that is a number", "title = 3", 1, None, "text in quotes", 'title = "good"'),
    Mistake("a newer format", "format = 2", 1, None, "newer format", 'title = "good"'),
    Mistake("a format that never was", "format = 0", 1, None, "format: 0", 'title = "good"'),
    Mistake("a seed that is a text", 'seed = "7"', 1, None, "whole number", "seed = 7"),
    Mistake("a release that does not exist", 'kafka = "4.9"', 1, "4.3", "4.9", 'kafka = "4.3"'),
    Mistake("a release that is a number", "kafka = 4.3", 1, "4.3", "write it as a text", 'kafka = "4.3"'),
    Mistake("a client library that nobody knows", 'client = "jav"', 1, "java", "jav", "seed = 7"),
    Mistake("a librdkafka of another age", 'client = "librdkafka:1.9"', 1, None, "no version of librdkafka", "seed = 7"),
    Mistake("a sweep file", 'scenario = "x.toml"', 1, None, "ksim sweep", 'title = "good"'),
    # Kafka's settings.
    Mistake("a typo in a setting", "config.enable.idempotance = true", 1, "enable.idempotence", "enable.idempotance", 'config.acks = "all"'),
    Mistake("acks=2", "config.acks = 2", 1, None, "all, -1, 0, 1", 'config.acks = "all"'),
    Mistake("acks in an array", 'config.acks = ["all"]', 1, None, "all, -1, 0, 1", 'config.acks = "all"'),
    Mistake("acks in quotes and capitals", 'config.acks = "ALL"', 1, "all", "all, -1, 0, 1", 'config.acks = "all"'),
    Mistake("acks that is true", "config.acks = true", 1, None, "all, -1, 0, 1", 'config.acks = "all"'),
    Mistake("a number in an array", "config.linger.ms = [5]", 1, None, "linger.ms = [5]", 'config.acks = "all"'),
    Mistake("acks=1 with idempotence", "config.acks = 1\nconfig.enable.idempotence = true", 1, None, "acks=1", 'config.acks = "all"'),
    Mistake(
        "six in flight with idempotence",
        "config.enable.idempotence = true\nconfig.max.in.flight.requests.per.connection = 6",
        2,
        None,
        "max.in.flight.requests.per.connection",
        'config.acks = "all"',
    ),
    Mistake("a delivery time-out too small", "config.delivery.timeout.ms = 1000", 1, None, "linger.ms + request.timeout.ms", 'config.acks = "all"'),
    Mistake(
        "one setting in two spellings",
        'config."linger.ms" = 1\nconfig.linger.ms = 2',
        2,
        None,
        "linger.ms is given twice (also in line 6)",
        'config.acks = "all"',
    ),
    Mistake("a setting that is a time of day", "config.linger.ms = 10:00:00", 1, None, "linger.ms", 'config.acks = "all"'),
    Mistake("librdkafka's name", "config.message.timeout.ms = 1", 1, "delivery.timeout.ms", "librdkafka", 'config.acks = "all"'),
    Mistake(
        "a topic's setting that is no number", '[topics.payments]\nconfig.min.insync.replicas = "two"', 2, None, "min.insync.replicas", "[topics.payments]"
    ),
    Mistake("a broker's setting that is unknown", "[cluster]\nconfig.replica.lag.time.max = 1", 2, "replica.lag.time.max.ms", "replica.lag.time.max"),
    # Cluster and topics.
    Mistake("no brokers", "[cluster]\nbrokers = 0", 2, None, "brokers: 0"),
    Mistake("a broker that is not there", "[cluster.broker-4]\nconfig.num.replica.fetchers = 2", 1, "broker-3", "broker-4"),
    Mistake("more replicas than brokers", "[topics.payments]\nreplication = 4", 2, None, "InvalidReplicationFactorException", "[topics.payments]"),
    Mistake("an assignment to nobody", "[topics.payments]\nassignment = [[1, 2, 9]]", 2, "broker-3", "broker-9", "[topics.payments]"),
    Mistake("an assignment to one broker twice", "[topics.payments]\nassignment = [[1, 1]]", 2, None, "InvalidReplicaAssignmentException", "[topics.payments]"),
    Mistake("an assignment of unequal lengths", "[topics.payments]\nassignment = [[1, 2], [1]]", 2, None, "equally many", "[topics.payments]"),
    Mistake(
        "an assignment that contradicts partitions", "[topics.payments]\npartitions = 2\nassignment = [[1, 2]]", 2, None, "partitions = 2", "[topics.payments]"
    ),
    Mistake("partitions of a topic that does not exist", "[topics.later]\nexists = false\npartitions = 2", 3, None, "does not exist has no partitions"),
    Mistake("a topic with a space", '[topics."pay ments"]', 1, None, "InvalidTopicException"),
    Mistake("a producer called like a broker", "[producers.broker-1]", 1, None, "broker-1", "[producers.p1]"),
    # Workloads.
    Mistake("an unknown topic", 'topic = "paymnts"', 1, "payments", "paymnts", 'topic = "payments"'),
    Mistake("an unknown producer", 'topic = "payments"\nproducer = "p2"', 2, "p1", "p2", 'topic = "payments"'),
    Mistake("records and for", 'records = 10\nfor = "1s"', 2, None, "records and for are both given", "records = 10"),
    Mistake("neither rate nor every", "start = 0", -1, None, "neither rate nor every", 'every = "5ms"'),
    Mistake("a rate of zero", "rate = 0", 1, None, "rate", 'every = "5ms"'),
    Mistake("a rate that is nan", "rate = nan", 1, None, "nan", 'every = "5ms"'),
    Mistake("a negative duration", 'every = "-5ms"', 1, None, "negative", 'every = "5ms"'),
    Mistake("a unit that does not exist", 'every = "5sec"', 1, None, "sec", 'every = "5ms"'),
    Mistake("a ratio of nothing", 'every = "5ms"\ncompression_ratio = 0', 2, None, "above 0", 'every = "5ms"'),
    Mistake("a ratio without a mean", 'every = "5ms"\ncompression_ratio = { spread = 0.1 }', 2, None, "mean is missing", 'every = "5ms"'),
    Mistake("a ratio with a spread as large", 'every = "5ms"\ncompression_ratio = { mean = 0.3, spread = 0.3 }', 2, None, "to nothing", 'every = "5ms"'),
    Mistake("a spread larger than the mean", 'every = "5ms"\nsize = { mean = 10, spread = 20 }', 2, None, "spread", 'every = "5ms"'),
    Mistake("a partition that is not there", 'every = "5ms"\npartition = 1', 2, None, "no partition 1", 'every = "5ms"'),
    Mistake("key and partition", 'every = "5ms"\nkey = "fixed"\npartition = 0', 3, None, "key and partition", 'every = "5ms"'),
    Mistake("a wait of nobody", 'every = "5ms"\nwait = "eech"', 2, "each", "eech", 'every = "5ms"'),
    Mistake("a reaction misspelt", 'every = "5ms"\non_failure = "resnd"', 2, "resend", "resnd", 'every = "5ms"'),
    Mistake("a reaction that is a number", 'every = "5ms"\non_failure = 5', 2, None, "on_failure = 5", 'every = "5ms"'),
    Mistake("a breaker without a trial", 'every = "5ms"\non_failure = { open_after = 5 }', 2, None, "half_open is missing", 'every = "5ms"'),
    Mistake(
        "a breaker misspelt", 'every = "5ms"\non_failure = { open_after = 5, half_open = "1s", open_aftr = 1 }', 2, "open_after", "open_aftr", 'every = "5ms"'
    ),
    Mistake(
        "a breaker that opens before any failure", 'every = "5ms"\non_failure = { open_after = 0, half_open = "1s" }', 2, None, "open_after", 'every = "5ms"'
    ),
    Mistake("arrivals misspelt", 'every = "5ms"\narrivals = "poison"', 2, "poisson", "poison", 'every = "5ms"'),
    Mistake("bursts with a rate", 'rate = 5\narrivals = { burst = 5, every = "1s" }', 1, None, "bursts", 'every = "5ms"'),
    # Faults.
    Mistake("a fault without do", FAULT + 'at = "1s"', 1, None, "do is missing"),
    Mistake("a flawed record that is not there", FAULT + 'do = "unserializable"\nnth = 11', 3, None, "workload 0 has 10 records"),
    Mistake("a flawed record of a workload that is not there", FAULT + 'do = "oversize"\nworkload = 1', 3, None, "there is no workload 1"),
    Mistake("a flawed record at a moment", FAULT + 'do = "oversize"\nat = "1s"', 3, None, "so it has no at"),
    Mistake("a size of what cannot be serialized", FAULT + 'do = "unserializable"\nsize = 5', 3, None, "unserializable has no size"),
    Mistake("two flaws of one record", FAULT + 'do = "unserializable"\nnth = 3\n' + FAULT + 'do = "oversize"\nnth = 3', 6, None, "strikes the same record"),
    Mistake("an nth of a crash", CRASH + 'who = "broker-1"\nnth = 3', 5, None, "crash has no nth"),
    Mistake("a fault misspelt", FAULT + 'do = "crsh"', 2, "crash", "crsh"),
    Mistake("a fault without a moment", FAULT + 'do = "crash"\nwho = "broker-1"', 2, None, "nothing says when"),
    Mistake("a crash of nobody", CRASH, 3, None, "crash needs who"),
    Mistake("an unknown broker", CRASH + 'who = "broker-9"', 4, "broker-3", "broker-9"),
    Mistake("an unknown partition", CRASH + 'who = "leader(paymnts-0)"', 4, "payments-0", "paymnts-0"),
    Mistake("a replica that is not there", CRASH + 'who = "replica(payments-0, 3)"', 4, None, "replica(payments-0, 3)"),
    Mistake("an argument of another fault", CRASH + 'who = "broker-1"\nby = "1s"', 5, None, "crash has no by"),
    Mistake("a restart of the living", FAULT + 'at = "1s"\ndo = "restart"\nwho = "broker-1"', 4, None, "cannot restart"),
    Mistake("a restart before the crash", CRASH + 'who = "broker-1"\n' + FAULT + 'at = "0.5s"\ndo = "restart"\nwho = "broker-1"', 6, None, "only after"),
    Mistake(
        "a restart of who is back already",
        CRASH + 'who = "broker-1"\nfor = "1s"\n' + FAULT + 'at = "2s"\ndo = "restart"\nwho = "broker-1"',
        7,
        None,
        "broker-1 runs again at that moment",
    ),
    Mistake("a machine cut from itself", CUT + 'between = ["broker-1", "broker-1"]', 4, None, "not connected with itself"),
    Mistake("a cut where nothing is connected", CUT + 'between = ["p1", "controller-1"]', 4, None, "nothing connects"),
    Mistake("a cut with one end", CUT + 'between = ["p1"]', 4, None, "two ends"),
    Mistake("an error misspelt", ANSWER + 'error = "NOT_ENOUGH_REPLICA"\nwhen = { nth = 1 }', 3, "NOT_ENOUGH_REPLICAS", "NOT_ENOUGH_REPLICA"),
    Mistake(
        "a restart of the paused",
        FAULT + 'at = "1s"\ndo = "pause"\nwho = "broker-1"\n' + FAULT + 'at = "2s"\ndo = "restart"\nwho = "broker-1"',
        8,
        None,
        "cannot restart",
    ),
    Mistake("an API misspelt", FAULT + 'do = "lose-request"\nwhen = { request = "Prduce" }', 3, "Produce", "Prduce"),
    Mistake("the zeroth exchange", FAULT + 'do = "lose-request"\nwhen = { nth = 0 }', 3, None, "nth: 0"),
    Mistake("nth and every", FAULT + 'do = "hang"\nwhen = { nth = 2, every = 3 }', 3, None, "nth and every"),
    Mistake("a request to a producer", FAULT + 'do = "hang"\nwhen = { to = "p1" }', 3, None, "p1 is a producer"),
    Mistake("a chance of two", FAULT + 'do = "hang"\nwhen = { probability = 2 }', 3, None, "probability: 2"),
    Mistake("a frame fault that waits for a count", FAULT + 'do = "hang"\nwhen = { acked = 3 }', 3, None, "hits one exchange"),
    Mistake("a full disk of a producer", FAULT + 'at = "1s"\ndo = "disk-full"\nwho = "p1"', 4, None, "p1 is a producer"),
    Mistake("an election of nothing", ELECT + 'partition = "payment-0"', 4, "payments-0", "payment-0"),
    Mistake("an election of another kind", ELECT + 'kind = "uncleen"', 4, "unclean", "uncleen"),
    Mistake("an alteration of nobody", ALTER + 'target = "payment"\nconfig.min.insync.replicas = 1', 4, "payments", "payment"),
    Mistake("an alteration of nothing", ALTER + 'target = "payments"', 3, None, "alter needs config"),
    Mistake("a topic's setting misspelt", ALTER + 'target = "payments"\nconfig.min.insync.replica = 1', 5, "min.insync.replicas", "min.insync.replica"),
    Mistake(
        "a setting that a broker takes when it starts",
        ALTER + 'target = "brokers"\nconfig.replica.lag.time.max.ms = 1',
        5,
        None,
        "read-only: a broker takes it when it starts",
    ),
    Mistake("a slow path that is no slower", FAULT + 'at=1\ndo="slow"\nbetween=["p1", "brokers"]', 3, None, "slow needs latency or bandwidth"),
    Mistake("a slow path in bytes", FAULT + 'at=1\ndo="slow"\nbetween=["p1", "brokers"]\nbandwidth="1MB/s"', 5, None, "Gbit/s"),
    Mistake("a slow path without bandwidth", FAULT + 'at=1\ndo="slow"\nbetween=["p1", "brokers"]\nbandwidth="0Mbit/s"', 5, None, "Gbit/s"),
    Mistake("the bandwidth of a cut", FAULT + 'at=1\ndo="cut"\nbetween=["p1", "brokers"]\nbandwidth="1Mbit/s"', 5, None, "cut has no bandwidth"),
    Mistake("a reassignment to nobody", REASSIGN + "to = []", 4, None, "names nobody"),
    Mistake("a reassignment to an unknown broker", REASSIGN + "to = [1, 9]", 4, "broker-3", "there is no 9"),
    Mistake("a reassignment to one broker twice", REASSIGN + "to = [1, 1]", 4, None, "InvalidReplicaAssignmentException"),
    Mistake("another topic created again", FAULT + 'at = "1s"\ndo = "recreate-topic"\ntopic = "payment"', 4, "payments", "payment"),
    Mistake("two faults of one name", CRASH + 'who="broker-1"\nname="a"\n' + CRASH + 'who="broker-2"\nname="a"', 10, None, "another fault"),
    # Network, tail, expect.
    Mistake("a bandwidth in bytes", '[network]\nbandwidth = "1GB/s"', 2, None, "Gbit/s"),
    Mistake("a p99 below the median", '[network]\nlatency = { median = "3ms", p99 = "1ms" }', 2, None, "p99 is smaller"),
    Mistake("a link to nobody", '[network]\nlinks = [\n{ from = "p1", to = "broker-4", latency = 1 }]', 3, "broker-3", "broker-4"),
    Mistake("talk without end in no time", "[network]\nlatency = 0\n[cluster]\nconfig.replica.fetch.wait.max.ms = 0", 2, None, "replica.fetch.wait.max.ms = 0"),
    Mistake("a link that nobody uses", '[network]\nlinks = [{ from = "p1", to = "controller-1", latency = 1 }]', 2, None, "nothing connects"),
    Mistake("an unknown key of the tail", "[tail]\nheel = true", 2, "heal", "heel"),
    Mistake("a prediction of nothing in the report", "[expect]\nduplicates = 1", 2, "duplicated", "duplicates"),
    Mistake("a prediction without sense", '[expect]\nlost = ">> 1"', 2, None, "N..M"),
    Mistake("a range without numbers", '[expect]\nlost = "5..3"', 2, None, "nothing lies between"),
    Mistake("an unknown exception", "[expect]\nerrors.TimeOutException = 1", 2, "errors.TimeoutException", "TimeOutException"),
    Mistake("an unknown verdict", '[expect]\nverdict = "violatd"', 2, "violated", "violatd"),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_is_reported_with_its_file_its_line_and_the_nearest_name(mistake: Mistake) -> None:
    (problem,) = problems_of(mistake.text)

    assert problem.origin.file == "bad.toml"
    assert problem.origin.line == (GOOD.split("\n").index("[[workload]]") + 1 if mistake.line == -1 else mistake.expected_line)
    assert problem.nearest == mistake.nearest
    assert mistake.words in problem.message
    assert problem.possible
    assert problem.given


LATER = [
    ("an answer to ApiVersions", ANSWER + "error='UNSUPPORTED_VERSION'\nwhen = { request = 'ApiVersions' }", "ApiVersions"),
    ("an answer for one partition of a fetch", ANSWER + "error='NOT_LEADER_OR_FOLLOWER'\npartition='payments-0'\nwhen = { request = 'Fetch' }", "Fetch"),
]


@pytest.mark.parametrize(("text", "word"), [case[1:] for case in LATER], ids=[case[0] for case in LATER])
def test_what_is_not_yet_supported_is_refused_by_name(text: str, word: str) -> None:
    good = GOOD.replace("[producers.p1]\n", "").replace('config.acks = "all"\n', "") if "[producers" in text else GOOD
    (problem,) = problems_of(text + "\n" + good if text.startswith("client") else good + text + "\n")

    assert "not yet supported" in problem.message
    assert word in problem.message


def test_all_mistakes_of_a_file_come_at_once_and_in_its_order() -> None:
    together = [mistake for mistake in MISTAKES if not mistake.instead_of and mistake.lines.startswith("[[fault]]") and "restart" not in mistake.name]
    problems = problems_of(GOOD + "".join(f"{mistake.lines}\n" for mistake in together))

    lines = [problem.origin.line or 0 for problem in problems]
    assert lines == sorted(lines)
    for mistake in together:
        assert any(mistake.words in problem.message for problem in problems), mistake.name


TOML_MISTAKES = [
    ("a value is missing", "title =\nseed = 7\n", 1, "not valid TOML"),
    ("an open string", 'seed = 7\ntitle = "open\n', 2, "not valid TOML"),
    ("an open array", "seed = 7\nworkload = [\n1,\n", 3, "not valid TOML"),
    ("a key twice", "seed = 7\nkafka = '4.3'\nseed = 8\n", 3, "seed is given twice (also in line 1)"),
    ("a setting twice", "[producers.p1]\nconfig.acks = 1\nconfig.acks = 'all'\n", 3, "acks is given twice (also in line 2)"),
    ("shorter name first", "[cluster]\nconfig.max.connections = 1\nconfig.max.connections.per.ip = 2\n", 3, 'config."max.connections"'),
    ("longer name first", "[cluster]\nconfig.log.dir.x = 1\nconfig.log.dir = 2\n", 3, 'config."log.dir"'),
    ("a table twice", "[tail]\n[tail]\n", 2, "the table [tail] is given twice"),
    ("a table in two ways", "[topics.a]\nconfig.x = 1\n[topics.a.config]\n", 3, "the table [topics.a.config] is given twice"),
    ("an endless number", "seed = " + "9" * 5_000 + "\n", None, "cannot be read"),
    ("endless nesting", "seed = " + "[" * 100_000, None, "nested too deep"),
    ("an endless key", "a" + ".a" * 3_000 + " = 1\n", None, "nested too deep"),
]


@pytest.mark.parametrize(("text", "line", "words"), [case[1:] for case in TOML_MISTAKES], ids=[case[0] for case in TOML_MISTAKES])
def test_a_toml_mistake_says_where_and_what(text: str, line: int | None, words: str) -> None:
    (problem,) = problems_of(text)

    assert (problem.origin.file, problem.origin.line) == ("bad.toml", line)
    assert words in problem.message


def test_a_prefix_of_another_setting_can_be_quoted() -> None:
    """scenario.md section 1: `max.connections` beside `max.connections.per.ip`."""
    scenario = Scenario.loads(GOOD + '[cluster]\nconfig."max.connections" = 100\nconfig.max.connections.per.ip = 10\n', check=False)

    assert scenario.data["cluster"] == {"config": {"max.connections": 100, "max.connections.per.ip": 10}}


def test_a_list_of_kafka_may_be_written_as_an_array() -> None:
    lists = '[topics.other]\nconfig.cleanup.policy = ["delete"]\n[producers.p1]\nconfig.bootstrap.servers = ["a:1", "b:2"]\n'

    assert any("bootstrap.servers" in note for note in Scenario.loads(GOOD.replace("[producers.p1]\n", lists)).notes)


def test_an_empty_file_says_that_nothing_would_be_sent_and_that_there_is_no_seed() -> None:
    with pytest.raises(ScenarioError) as caught:
        Scenario.loads("", "empty.toml", check=False).plan()

    nothing, seedless = (problem.message for problem in caught.value.problems)
    assert "no [[workload]]" in nothing
    assert "no seed is given" in seedless


def test_a_missing_seed_is_no_mistake_of_the_file_but_of_the_run() -> None:
    scenario = Scenario.loads(GOOD.replace("seed = 7\n", ""), "seedless.toml")

    assert scenario.plan(seed=3).seed == 3
    with pytest.raises(ScenarioError, match=r"seed = 7 .* --seed 7 .* simulate\(scenario, seed=7\)"):
        scenario.plan()
    with pytest.raises(ScenarioError, match="seed = -1 is not possible"):
        scenario.plan(seed=-1)


FILES = [
    ("missing", None, "No such file"),
    ("not UTF-8", b"title = '\xff'\n", "not UTF-8"),
    ("binary", bytes(range(256)), "not UTF-8"),
    ("enormous", b"#" * 10_000_001, "larger than"),
]


@pytest.mark.parametrize(("content", "words"), [case[1:] for case in FILES], ids=[case[0] for case in FILES])
def test_a_file_that_cannot_be_read_is_a_problem_and_no_traceback(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "x.toml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ScenarioError, match=words) as caught:
        Scenario.load(path)

    assert caught.value.problems[0].origin.file == str(path)


def test_a_file_that_is_not_there_may_have_a_neighbour_that_was_meant(tmp_path: Path) -> None:
    (tmp_path / "producer.properties").write_text("acks=all\n")
    (tmp_path / "x.toml").write_text(GOOD.replace('config.acks = "all"', 'file = "producr.properties"'))

    for path, nearest in (("x1.toml", "x.toml"), ("x.toml", "producer.properties"), ("quite/other.toml", None)):
        with pytest.raises(ScenarioError) as caught:
            Scenario.load(tmp_path / path)

        assert caught.value.problems[0].nearest == (None if nearest is None else str(tmp_path / nearest))


def test_a_file_without_an_ending_needs_a_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text(GOOD)

    with pytest.raises(ScenarioError, match=r"write \./mine"):
        Scenario.load("mine")
    assert Scenario.load("./mine").title == "good"


def test_a_directory_is_no_scenario(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="cannot be read"):
        Scenario.load(f"{tmp_path}/")


def test_an_unknown_built_in_scenario_gives_the_nearest_name() -> None:
    with pytest.raises(ScenarioError) as caught:
        Scenario.load("leader-crsh")

    assert caught.value.problems[0].nearest == "leader-crash"


def test_a_mistake_in_a_properties_file_has_the_line_of_that_file(tmp_path: Path) -> None:
    """A continued line counts as the lines that it takes."""
    (tmp_path / "own.properties").write_bytes(b"# mine\nbootstrap.servers=a:1,\\\n  b:2\nacks=2\nretrys: 3\nretries=1\nretries=2\n")
    (tmp_path / "x.toml").write_text(GOOD.replace('config.acks = "all"', 'file = "own.properties"'))

    with pytest.raises(ScenarioError) as caught:
        Scenario.load(tmp_path / "x.toml")
    assert [(problem.origin.line, problem.nearest) for problem in caught.value.problems] == [(4, None), (5, "retries"), (7, None)]

    (tmp_path / "own.properties").write_bytes(b"# mine\nbootstrap.servers=a:1,\\\n  b:2\nacks=2\nretrys: 3\n")
    with pytest.raises(ScenarioError) as caught:
        Scenario.load(tmp_path / "x.toml")
    assert [(problem.origin.line, problem.nearest) for problem in caught.value.problems] == [(4, None), (5, "retries")]
    assert {problem.origin.file for problem in caught.value.problems} == {str(tmp_path / "own.properties")}


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [
        *[("ack", "acks"), ("retry", "retries"), ("lingerms", "linger.ms"), ("linger-ms", "linger.ms"), ("enable.idempotance", "enable.idempotence")],
        *[("idempotent", "enable.idempotence"), ("batch.size.bytes", "batch.size"), ("spring.kafka.producer.acks", "acks"), ("producer.override.acks", "acks")],
        ("message.timeout.ms", "delivery.timeout.ms"),
    ],
)
def test_a_misspelt_setting_of_a_users_own_file_is_a_mistake(tmp_path: Path, typed: str, nearest: str) -> None:
    """The client would run without it, and nobody would know."""
    (tmp_path / "own.properties").write_text(f"acks=all\n{typed}=1\n")

    with pytest.raises(ScenarioError) as caught:
        Scenario.loads(GOOD).override(producer_config=str(tmp_path / "own.properties")).plan()

    (problem,) = caught.value.problems
    assert (problem.origin.line, problem.nearest) == (2, nearest)


@pytest.mark.parametrize("name", ["acme.tracing.enabled", "com.acme.interceptor.level", "specific.avro.reader", "topic", "tenant.id", "opentelemetry.traces"])
def test_what_a_users_own_file_holds_for_the_rest_of_the_program_is_noted(tmp_path: Path, name: str) -> None:
    """Kafka's clients take a file as it is, and log what they do not know; a scenario's own config has no such rest."""
    (tmp_path / "own.properties").write_text(f"acks=all\n{name}=1\n")

    plan = Scenario.loads(GOOD).override(producer_config=str(tmp_path / "own.properties")).plan()

    assert any(note.startswith(f"p1: {name} plays no part") for note in plan.notes)
    (problem,) = problems_of(GOOD.replace("config.acks", f"config.{name}"))
    assert "is not a setting that a producer knows" in problem.message


def test_a_properties_file_that_is_not_there_is_reported_where_it_was_named(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(GOOD.replace('config.acks = "all"', 'file = "own.properties"'))

    with pytest.raises(ScenarioError, match="No such file") as caught:
        Scenario.load(tmp_path / "x.toml")

    assert caught.value.problems[0].origin.line == 6


COMMAND_LINE = [
    ("an unknown topic", [("topic:paymnts.min.insync.replicas", "1")], "-X topic:paymnts.min.insync.replicas=1", "payments"),
    ("an unknown setting", [("ack", "1")], "-X ack=1", "acks"),
    ("an impossible value", [("p1.acks", "2")], "-X p1.acks=2", None),
    ("a broker that is not there", [("broker-7.num.replica.fetchers", "1")], "-X broker-7.num.replica.fetchers=1", "broker-3"),
    ("one setting twice", [("acks", "all"), ("acks", "0")], "-X acks=0", None),
    ("an unknown producer", [("p2.acks", "1")], "-X p2.acks=1", "p1"),
    ("a topic without a setting", [("topic:payments", "1")], "-X topic:payments=1", None),
    ("a topic without a name", [("topic:", "1")], "-X topic:=1", None),
]


@pytest.mark.parametrize(("typed", "file", "nearest"), [case[1:] for case in COMMAND_LINE], ids=[case[0] for case in COMMAND_LINE])
def test_a_mistake_on_the_command_line_is_reported_as_it_was_typed(typed: list[tuple[str, str]], file: str, nearest: str | None) -> None:
    with pytest.raises(ScenarioError) as caught:
        Scenario.loads(GOOD).override(typed).plan()

    (problem,) = caught.value.problems
    assert (str(problem.origin), problem.nearest) == (file, nearest)
    assert problem.given
    assert problem.possible


def test_mistakes_of_the_file_and_of_the_command_line_come_together() -> None:
    scenario = Scenario.loads(GOOD + "[tail]\nheel = 1\n", "x.toml", check=False).override([("ack", "1")], producer_config="/nowhere/x", kafka="9.9", seed=-1)

    with pytest.raises(ScenarioError) as caught:
        scenario.plan()

    assert [str(problem.origin) for problem in caught.value.problems] == ["--kafka", "--seed", "-X ack=1", "/nowhere/x", f"x.toml:{LINES_OF_GOOD + 2}"]


@pytest.mark.parametrize("path", ["producers.p2.config.acks", "producers.p1.config.akcs", "workload.1.rate", "workload.0.rte", "fault.0.at", "", "tial.heal"])
def test_a_path_that_leads_nowhere_is_refused(path: str) -> None:
    with pytest.raises(ScenarioError, match="leads nowhere"):
        Scenario.loads(GOOD).at(path, 1)


def test_a_python_object_that_is_no_data_is_refused() -> None:
    with pytest.raises(ScenarioError, match="neither text, number"):
        Scenario(topics={"a": {}}, workload=[{"topic": "a", "records": object(), "every": 5}])


def test_a_scenario_error_survives_pickle_and_its_rows_are_plain() -> None:
    """Exceptions rebuild from their args: SimPy and pickle both make them again."""
    with pytest.raises(ScenarioError) as caught:
        Scenario.loads("seed = 'x'", "x.toml")
    again = pickle.loads(pickle.dumps(caught.value))

    assert (type(again), str(again)) == (ScenarioError, str(caught.value))
    assert set(row(again.problems[0])) == {"file", "line", "given", "possible", "nearest", "message"}


def plan_or_problems(make: Callable[[], Scenario]) -> Plan | str:
    """A plan, or ScenarioError with something to say: whatever else comes out fails the test."""
    try:
        return make().plan(seed=1)
    except ScenarioError as mistakes:
        return str(mistakes)


LEADER_CRASH = Scenario.load("leader-crash")
BUILT_IN = [built_in(name) for name, _ in names()]
PIECES = [
    "[",
    "]",
    "{",
    "}",
    '"',
    "'",
    "=",
    ".",
    ",",
    "\n",
    "#",
    "-1",
    "nan",
    "inf",
    "true",
    "9" * 30,
    "0x7f",
    '""',
    "[[fault]]\n",
    "config.",
    "every = 1\n",
    "\u0000",
    "é",
    "12:00:00",
]


@given(st.sampled_from(BUILT_IN), st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 30), st.sampled_from(PIECES)), min_size=1, max_size=4))
def test_no_mutation_of_a_scenario_gives_anything_but_a_scenario_error(text: str, mutations: list[tuple[int, int, str]]) -> None:
    for place, length, piece in mutations:
        text = text[:place] + piece + text[place + length :]
    assert plan_or_problems(lambda: Scenario.loads(text, "x.toml"))


VALUES: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["payments", "1s", "0ms", "broker-1", "each"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["mean", "every", "burst", "p99", "distinct", "request", "config", "a"]), inner, max_size=3)
    ),
    max_leaves=4,
)
KEYS = [
    *[
        f"workload.0.{key}"
        for key in ("producer", "topic", "records", "for", "rate", "every", "arrivals", "size", "key", "partition", "wait", "start", "on_failure")
    ],
    *[f"fault.0.{key}" for key in ("name", "do", "at", "when", "for", "who", "between", "one_way", "latency", "bandwidth", "by", "error", "processed")],
    "fault.0.partition",
    *[
        "topics.payments.partitions",
        "topics.payments.replication",
        "topics.payments.assignment",
        "topics.payments.exists",
        "topics.payments.config.min.insync.replicas",
    ],
    *["producers.p1.config.acks", "producers.p1.config.linger.ms", "producers.p1.file", "producers.p1.client", "cluster.brokers", "cluster.controllers"],
    *[
        "network.latency",
        "network.bandwidth",
        "network.links",
        "tail.heal",
        "tail.limit",
        "tail.warm",
        "expect.lost",
        "expect.verdict",
        "kafka",
        "seed",
        "title",
        "client",
        "format",
    ],
    *["workload", "fault", "topics", "producers", "cluster", "network", "tail", "expect"],
]


@given(st.sampled_from(KEYS), VALUES)
def test_no_value_anywhere_gives_anything_but_a_scenario_error(path: str, value: object) -> None:
    assert plan_or_problems(lambda: LEADER_CRASH.at(path, value))


@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_give_anything_but_a_scenario_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)

    assert plan_or_problems(lambda: Scenario.load(path))


@given(content=st.binary(max_size=80))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_properties_file_gives_anything_but_a_scenario_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "own.properties"
    path.write_bytes(content)

    assert plan_or_problems(lambda: Scenario.loads(GOOD).override(producer_config=str(path)))


TRANSACTIONAL = '[producers.p1]\nconfig.transactional.id = "x"\n'
COPYING = """[topics.a]
[topics.b]
[producers.feed]
[producers.c]
[consumers.r]
config.group.id = "g"
config.isolation.level = "read_comitted"
[[workload]]
producer = "feed"
topic = "a"
records = 1
every = "1ms"
[applications.copy]
reads = "a"
writes = "b"
producer = "c"
consumer = "r"
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            f'[topics.t]\n{TRANSACTIONAL}config.acks = 1\n[[workload]]\ntopic = "t"\nrecords = 2\nevery = "1ms"\ntransaction = {{ records = 2 }}\n',
            "idempotence",
        ),
        (COPYING, "read_comitted"),
    ],
)
def test_a_refused_setting_is_told_once_and_nothing_else_that_would_follow_from_it(text: str, words: str) -> None:
    problems = problems_of(f'title = "x"\nkafka = "4.3"\nclient = "java"\nseed = 7\n{text}')

    assert [words in problem.message for problem in problems] == [True]
