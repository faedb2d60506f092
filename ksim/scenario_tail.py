"""The rest of a scenario: the network's latency, the machines' page cache, how the run ends, and what the author predicts.

Not Kafka's: scenario.md sections 1 ([network], [model], [tail]) and 3 ([expect]).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction

from ksim.calibration import CALIBRATED_ON, MEASURED
from ksim.plan import BrokerPlan, Costs, Expectation, Latency, Link, ModelPlan, NetworkPlan, ProducerPlan, Who
from ksim.problems import listed, shown
from ksim.scenario_names import CONNECTED, Names, are_connected
from ksim.scenario_reading import Reading, Table, name_of
from ksim.scenario_shape import EXPECTED_NAMES, LATENCY, LINK, MODEL, NETWORK, TAIL, VERDICTS
from ksim.scenario_values import BANDWIDTH, DURATION, FLAG, POSITIVE_DURATION, choice, exact
from ksim_models.errors import ErrorCode
from ksim_models.librdkafka_errors import TEXTS as LIBRDKAFKA_TEXTS
from ksim_models.librdkafka_errors import name_of as librdkafka_name_of
from ksim_models.page_cache import PageCache, PowerLossKeeps
from ksim_models.units import SECOND, Micros

DEFAULT_LATENCY = Latency(500, 500)
DEFAULT_LIMIT: Micros = 300 * SECOND
COSTS = choice("measured", "none")
KEEPS = choice(*(keeps.value for keeps in PowerLossKeeps))

ASKED_AGAIN_BY_BROKERS = ("replica.fetch.wait.max.ms", "replica.fetch.backoff.ms")
ASKED_AGAIN_BY_PRODUCERS = ("metadata.max.age.ms", "retry.backoff.ms", "reconnect.backoff.ms")

NUMBER = r"-?[0-9][0-9_]{0,30}(?:\.[0-9]{1,30})?"
COMPARISON = re.compile(rf"\s*(==|!=|<=|>=|=|<|>)?\s*({NUMBER})\s*", re.ASCII)
RANGE = re.compile(rf"\s*({NUMBER})\s*\.\.\s*({NUMBER})\s*", re.ASCII)
VERDICT = re.compile(r"\s*(==|!=|=)?\s*([a-z]+)\s*")
EXCEPTIONS = sorted(
    {error.exception for error in ErrorCode if error.exception}
    | {"BufferExhaustedException", "SerializationException", "KafkaException", "InterruptException"}
    | {*LIBRDKAFKA_TEXTS, *(librdkafka_name_of(error) for error in ErrorCode if error)}
)
"""Of both clients: the Java client's classes, and the names of librdkafka's codes."""
POSSIBLE = 'a number, or "= N", "!= N", "< N", "<= N", "> N", ">= N", "N..M"'


def read_network(reading: Reading, content: object, names: Names) -> NetworkPlan:
    table = reading.table(("network",), {} if content is None else content, NETWORK)
    if table is None:
        return NetworkPlan(DEFAULT_LATENCY)
    links = [
        one
        for path, value in reading.array(("network", "links"), table.content.get("links"))
        if (link := reading.table(path, value, LINK)) is not None
        for one in _links(link, names)
    ]
    return NetworkPlan(
        latency=_latency(table) or DEFAULT_LATENCY,
        bandwidth=table.take("bandwidth", BANDWIDTH),
        links=tuple(links),
    )


def _latency(table: Table) -> Latency | None:
    latency = table.inner("latency", LATENCY, LATENCY, '{ median = "0.5ms", p99 = "3ms" }')
    if latency is None:
        constant = table.take("latency", DURATION)
        return None if constant is None else Latency(constant, constant)
    median, p99 = latency.take("median", DURATION), latency.take("p99", DURATION)
    if median is None or p99 is None:
        return None
    if p99 < median:
        latency.problem("p99", f"{name_of(latency.path)}: p99 is smaller than the median.", possible="at least the median")
    if median == 0 < p99:
        latency.problem("median", f"{name_of(latency.path)}: a median of zero does not go with a p99 above zero.", possible="a median above zero")
    return Latency(median, p99)


def _links(table: Table, names: Names) -> list[Link]:
    """One for each pair of machines: `brokers` is all of them but the other end."""
    possible = [*names.machines, "brokers"]
    for name in ("from", "to", "latency"):
        if not table.has(name):
            table.problem("", f"{name_of(table.path)}: {name} is missing.", given=f"no {name}", possible='{ from = "p1", to = "broker-2", latency = "100ms" }')
    sender, receiver = (table.choose(key, possible, "a machine of this scenario") for key in ("from", "to"))
    latency = _latency(table)
    if sender is not None and sender == receiver and sender != "brokers":
        table.problem("to", f"{name_of(table.path)}: {sender} is not connected with itself.", possible="another machine")
        return []
    roles = [names.role(Who("brokers") if end == "brokers" else Who("machine", end)) for end in (sender, receiver) if end]
    if len(roles) == 2 and not are_connected(*roles):
        table.problem("to", f"{name_of(table.path)}: nothing connects {sender} and {receiver}.", possible=CONNECTED)
        return []
    if not (sender and receiver and latency):
        return []
    senders, receivers = (list(names.brokers) if end == "brokers" else [end] for end in (sender, receiver))
    return [Link(one, other, latency) for one in senders for other in receivers if one != other]


def refuse_standing_time(reading: Reading, network: NetworkPlan, brokers: Sequence[BrokerPlan], producers: Sequence[ProducerPlan]) -> None:
    """Over a network that takes no time, whoever waits for nothing before he asks again asks without end in one instant."""
    if network.latency.p99 > 0:
        return
    waits = [(name, getattr(broker.config, name.replace(".", "_"))) for name in ASKED_AGAIN_BY_BROKERS for broker in brokers]
    waits += [(name, getattr(producer.config, name.replace(".", "_"))) for name in ASKED_AGAIN_BY_PRODUCERS for producer in producers]
    for name in dict.fromkeys(name for name, wait in waits if wait == 0):
        message = f"network: latency = 0 does not go with {name} = 0: they would ask and answer without end in one instant."
        reading.problem(("network", "latency"), message, given="0", possible=f'a latency above zero, such as "0.5ms", or a longer {name}')


def read_model(reading: Reading, content: object) -> ModelPlan:
    table = reading.table(("model",), {} if content is None else content, MODEL)
    if table is None:
        return ModelPlan()
    expire, scan = table.take("writeback", DURATION), table.take("writeback_scan", DURATION)
    default = PageCache()
    cache = PageCache(default.expire if expire is None else expire, default.scan if scan is None else scan)
    keeps = table.take("power_loss_keeps", KEEPS)
    given = {field.name: cost for field in fields(Costs) if (cost := table.take(field.name, DURATION)) is not None}
    usual = Costs() if table.take("costs", COSTS) == "none" else MEASURED
    measured = any(getattr(usual, field.name) for field in fields(Costs) if field.name not in given)
    kept = PowerLossKeeps(keeps) if keeps else PowerLossKeeps.NOTHING
    return ModelPlan(replace(usual, **given), CALIBRATED_ON if measured else "", cache, kept, table.take("load", DURATION))


@dataclass(frozen=True, slots=True)
class Tail:
    heal: bool
    limit: Micros
    warm: bool


def read_tail(reading: Reading, content: object) -> Tail:
    table = reading.table(("tail",), {} if content is None else content, TAIL)
    if table is None:
        return Tail(True, DEFAULT_LIMIT, False)
    return Tail(
        heal=table.take("heal", FLAG) is not False, limit=table.take("limit", POSITIVE_DURATION) or DEFAULT_LIMIT, warm=table.take("warm", FLAG) or False
    )


def read_expectations(reading: Reading, content: object) -> list[Expectation]:
    """[expect], its names made flat before: errors.TimeoutException is one name."""
    if content is None:
        return []
    if not isinstance(content, dict):
        reading.problem(("expect",), f"expect = {shown(content)} is not a table: write [expect].", given=shown(content), possible="[expect]")
        return []
    return [expectation for key, value in content.items() if (expectation := _expectation(reading, key, value)) is not None]


def _expectation(reading: Reading, key: str, value: object) -> Expectation | None:
    path = ("expect", key)
    if key.startswith("errors."):
        if key.removeprefix("errors.") not in EXCEPTIONS:
            reading.problem(
                path,
                f"expect: {key} names no exception that a send can end with.",
                given=key,
                names=[f"errors.{name}" for name in EXCEPTIONS],
                possible="errors.CLASS, such as errors.TimeoutException",
            )
            return None
    elif key not in EXPECTED_NAMES:
        reading.problem(path, f"expect: {key} is not in the report.", given=key, names=[*EXPECTED_NAMES, "errors.CLASS"])
        return None
    return _verdict(reading, path, value) if key == "verdict" else _number(reading, path, value)


def _verdict(reading: Reading, path: tuple[str, str], value: object) -> Expectation | None:
    match = VERDICT.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2] not in VERDICTS:
        reading.problem(
            path,
            f"expect: verdict = {shown(value)} is not possible.",
            given=shown(value),
            names=VERDICTS,
            possible=listed(f'"{verdict}"' for verdict in VERDICTS),
        )
        return None
    return Expectation("verdict", match[0], "!=" if match[1] == "!=" else "=", match[2])


def _number(reading: Reading, path: tuple[str, str], value: object) -> Expectation | None:
    key = path[1]
    if isinstance(value, str):
        if comparison := COMPARISON.fullmatch(value):
            operator = "=" if comparison[1] in (None, "==") else comparison[1]
            return Expectation(key, value, operator, Fraction(comparison[2].replace("_", "")))
        if between := RANGE.fullmatch(value):
            low, high = (Fraction(number.replace("_", "")) for number in between.groups())
            if low > high:
                reading.problem(path, f"expect: {key} = {shown(value)}: nothing lies between.", given=shown(value), possible="the smaller number first")
                return None
            return Expectation(key, value, "..", low, high)
    else:
        try:
            return Expectation(key, shown(value), "=", exact(value))
        except ValueError:
            pass
    reading.problem(path, f"expect: {key} = {shown(value)} is not possible.", given=shown(value), possible=POSSIBLE)
    return None
