"""Changes: one value of a scenario replaced, from the command line or by a sweep, with its own origin.

Kafka: `-X k=v` and `--producer-props k=v` as its perf tools and librdkafka's programs spell them; the rest is ksim's own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ksim.problems import listed, nearest, shown
from ksim.scenario_data import Data, split_path
from ksim.scenario_file import failure
from ksim.scenario_producers import producer_names
from ksim.scenario_reading import MANY_NAMES
from ksim.scenario_shape import ALERT, APPLICATION, CHAOS, CLUSTER, CONSUMER, FAULT, MODEL, NETWORK, PRODUCER, SCENARIO, TAIL, TOPIC, WORKLOAD, Shape
from ksim.toml_lines import Path
from ksim_models.broker_keys import BROKER_KEYS, TOPIC_KEYS
from ksim_models.config import Origin, Problem, Setting
from ksim_models.consumer_keys import CONSUMER_KEYS
from ksim_models.librdkafka_consumer_keys import CONSUMER_ALIASES, LIBRDKAFKA_CONSUMER_KEYS
from ksim_models.librdkafka_keys import ALIASES, LIBRDKAFKA, LIBRDKAFKA_KEYS
from ksim_models.producer_keys import PRODUCER_KEYS

ALTERNATIVES = {"rate": "every", "every": "rate", "records": "for", "for": "records"}
"""In a workload, one replaces the other."""


@dataclass(frozen=True, slots=True)
class Change:
    path: Path
    value: object
    """None takes the key away."""
    origin: Origin


ALTERABLE = {**TOPIC_KEYS, **BROKER_KEYS}
"""What a fault may alter."""
ELEMENTS = {"workload": WORKLOAD, "fault": FAULT, "chaos": CHAOS, "alert": ALERT}
"""Arrays of tables."""
NAMED: Mapping[str, Shape] = {"topics": TOPIC, "producers": PRODUCER, "consumers": CONSUMER, "applications": APPLICATION}
TABLES: Mapping[str, Shape] = {"network": NETWORK, "tail": TAIL, "model": MODEL}
CLIENTS: Mapping[str, tuple[Collection[str], Collection[str]]] = {
    "producers": (PRODUCER_KEYS, {**LIBRDKAFKA_KEYS, **ALIASES}),
    "consumers": (CONSUMER_KEYS, {**LIBRDKAFKA_KEYS, **LIBRDKAFKA_CONSUMER_KEYS, **CONSUMER_ALIASES}),
}
"""The settings of the Java client, and of librdkafka."""


def placed(data: Mapping[str, object], setting: Setting) -> list[Change]:
    """One setting in every producer."""
    return [Change(("producers", name, "config", setting.name), setting.value, setting.origin) for name in producer_names(data.get("producers"))]


def changes_of(settings: Sequence[tuple[str, str]], data: Mapping[str, object], problems: list[Problem]) -> list[Change]:
    """`-X acks=1` for every producer, `-X p1.acks=1` (or a consumer's name), `-X topic:payments.min.insync.replicas=1`, `-X broker.k=v`.

    What names one is stronger than what names all.
    """
    for_all: list[Change] = []
    for_one: list[Change] = []
    for key, value in once_each(settings, "-X", problems):
        origin = Origin(f"-X {key}={value}")
        path = _target(key, data, origin, problems)
        if path is None:
            continue
        if path[0] == "producers" and len(path) == 2:
            for_all.extend(placed(data, Setting(str(path[1]), value, origin)))
        else:
            (for_one if path[1] != "config" else for_all).append(Change(path, value, origin))
    return [*for_all, *for_one]


def once_each(settings: Sequence[tuple[str, str]], option: str, problems: list[Problem]) -> list[tuple[str, str]]:
    """One setting twice in one place is a mistake, on the command line too."""
    first: dict[str, str] = {}
    for key, value in settings:
        if key in first:
            origin = Origin(f"{option} {key}={value}")
            problems.append(Problem(key, "each setting once", None, f"{key} is given twice: {shown(first[key])} and {shown(value)}.", origin))
        first.setdefault(key, value)
    return list(first.items())


def _target(key: str, data: Mapping[str, object], origin: Origin, problems: list[Problem]) -> Path | None:
    producers = producer_names(data.get("producers"))
    if key.startswith("topic:"):
        names = _names(data, "topics")
        rest = key.removeprefix("topic:")
        owner = max((name for name in names if rest.startswith(f"{name}.")), key=len, default=None)
        if owner is not None:
            return ("topics", owner, "config", rest[len(owner) + 1 :])
        if rest in names:
            example = f"topic:{rest}.min.insync.replicas=1"
            problems.append(Problem(key, example, None, f"{key} names no setting of the topic. Possible: {example}.", origin))
        else:
            problems.append(_nobody("topic", rest.partition(".")[0], names, origin))
        return None
    first, _, rest = key.partition(".")
    if rest and first == "broker":
        return ("cluster", "config", rest)
    if rest and first.startswith("broker-"):
        return ("cluster", first, "config", rest)
    owner = max((name for name in (*producers, *_names(data, "consumers")) if key.startswith(f"{name}.")), key=len, default=None)
    if owner is not None and owner not in producers:
        return ("consumers", owner, "config", key[len(owner) + 1 :])
    if owner is None and rest in PRODUCER_KEYS and key not in PRODUCER_KEYS:
        problems.append(_nobody("producer", first, producers, origin))
        return None
    if owner is None and rest in CONSUMER_KEYS and key not in PRODUCER_KEYS and key not in LIBRDKAFKA_KEYS:
        problems.append(_nobody("consumer", first, _names(data, "consumers"), origin))
        return None
    return ("producers", key) if owner is None else ("producers", owner, "config", key[len(owner) + 1 :])


def _names(data: Mapping[str, object], what: str) -> list[str]:
    tables = data.get(what)
    return list(tables) if isinstance(tables, Mapping) else []


def _nobody(what: str, wanted: str, names: Sequence[str], origin: Origin) -> Problem:
    close = nearest(wanted, names)
    hint = f" Did you mean {close}?" if close else ""
    message = f"there is no {what} {shown(wanted)} in this scenario. Possible: {listed(names)}.{hint}"
    return Problem(shown(wanted), listed(names), close, message, origin)


def change_at(data: Data, path: str | Path, value: object) -> list[Change]:
    """A value at a path, and its alternative taken away: a workload with a new `rate` has no `every` any more."""
    resolved = resolve_path(data, path)
    origin = Origin(path if isinstance(path, str) else ".".join(str(part) for part in path))
    gone = ALTERNATIVES.get(str(resolved[2])) if resolved[0] == "workload" and len(resolved) == 3 else None
    return [*([Change((*resolved[:2], gone), None, origin)] if gone else []), Change(resolved, value, origin)]


def resolve_path(data: Data, path: str | Path) -> Path:
    """The path with names for numbers and Kafka's dotted names whole. ScenarioError where it leads nowhere."""
    parts = split_path(path)
    written = path if isinstance(path, str) else ".".join(str(part) for part in path)
    if not parts or parts[0] not in SCENARIO:
        raise _nowhere(written, str(parts[0]) if parts else "", list(SCENARIO))
    head, rest = str(parts[0]), parts[1:]
    if head in ELEMENTS:
        number = _element(data.get(head), rest, written)
        return (head, number, *_inside(ELEMENTS[head], rest[1:], written, ALTERABLE))
    if head in NAMED:
        names = producer_names(data.get(head)) if head == "producers" else _names(data, head)
        if not rest or rest[0] not in names:
            raise _nowhere(written, str(rest[0]) if rest else "", names)
        return (head, rest[0], *_inside(NAMED[head], rest[1:], written, _settings_of(data, head, rest[0])))
    if head == "cluster":
        if len(rest) > 2 and str(rest[0]).startswith("broker-"):
            return (head, rest[0], *_inside({"config": CLUSTER["config"]}, rest[1:], written, BROKER_KEYS))
        return (head, *_inside(CLUSTER, rest, written, BROKER_KEYS))
    if head in TABLES:
        return (head, *_inside(TABLES[head], rest, written))
    if head == "expect":
        return (head, ".".join(str(part) for part in rest))
    return parts


def _settings_of(data: Data, head: str, name: str | int) -> Collection[str]:
    """The names of settings that a topic has, or this client."""
    if head not in CLIENTS:
        return TOPIC_KEYS if head == "topics" else ()
    tables = data.get(head)
    table = tables.get(name) if isinstance(tables, dict) else None
    client = (table if isinstance(table, dict) else {}).get("client", data.get("client"))
    return CLIENTS[head][str(client).partition(":")[0] == LIBRDKAFKA]


def _inside(shape: Shape, rest: Path, written: str, settings: Collection[str] = ()) -> Path:
    if not rest or rest[0] not in shape:
        raise _nowhere(written, str(rest[0]) if rest else "", list(shape))
    if rest[0] != "config":
        return rest
    setting = ".".join(str(part) for part in rest[1:])
    if setting not in settings:
        raise _nowhere(written, setting, sorted(settings))
    return ("config", setting)


def _element(tables: object, rest: Path, written: str) -> int:
    """By index from 0, or by the name of the fault, the first of its kind where it has none."""
    elements = tables if isinstance(tables, list) else []
    if rest and isinstance(rest[0], int) and rest[0] < len(elements):
        return rest[0]
    names = [str(element.get("name", element.get("do", ""))) if isinstance(element, dict) else "" for element in elements]
    for number, name in enumerate(names):
        if rest and name and rest[0] in (name, name.replace(" ", "-")):  # A bare TOML key has no spaces.
            return number
    raise _nowhere(written, str(rest[0]) if rest else "", [*(name for name in names if name), *(str(number) for number in range(len(elements)))])


def _nowhere(written: str, part: str, names: Sequence[str]) -> Exception:
    close = nearest(part, names)
    hint = f" Did you mean {close}?" if close else ""
    where = f": there is no {shown(part)}" if part else ", because it ends too early"
    possible = "" if close and len(names) > MANY_NAMES else f" Possible: {listed(names)}."
    return failure(written, None, f"this path leads nowhere{where}.{possible}{hint}", given=part, possible=listed(names), close=close)
