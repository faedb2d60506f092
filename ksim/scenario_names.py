"""Who is who: the machines, topics and partitions of a scenario, and the words by which a fault names them.

Kafka: brokers and controllers by number, partitions as topic-number. A word such as leader(payments-0) is resolved when the fault begins;
here it is only made sure that it can be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ksim.plan import Who
from ksim.problems import shown
from ksim.scenario_reading import Table

CALL = re.compile(r"\s*([a-z-]+)\s*\(\s*([^()]*?)\s*\)\s*")
OF_PARTITION = ("leader", "followers", "isr", "replica")
PLAIN = ("controller", "any-broker", "brokers")

BROKER, CONTROLLER, PRODUCER, CONSUMER = "broker", "controller", "producer", "consumer"


CONNECTED = "a client and a broker, two brokers, a broker and a controller, or two controllers"


def are_connected(one: str, other: str) -> bool:
    """Machines of these roles talk to each other."""
    return {one, other} in ({PRODUCER, BROKER}, {CONSUMER, BROKER}, {BROKER}, {BROKER, CONTROLLER}, {CONTROLLER})


@dataclass(frozen=True, slots=True)
class Names:
    """Everything that can be named."""

    brokers: Sequence[str]
    controllers: Sequence[str]
    producers: Sequence[str]
    partitions: Mapping[str, Sequence[str]]
    """topic -> its partitions."""
    replicas: int
    """Of the partition that has most."""
    consumers: Sequence[str] = ()
    racks: Sequence[str] = ()
    coordinated: Sequence[str] = ()
    """Transactional ids and groups."""
    applications: Sequence[str] = ()

    @property
    def all_partitions(self) -> list[str]:
        return [partition for partitions in self.partitions.values() for partition in partitions]

    @property
    def machines(self) -> list[str]:
        return [*self.brokers, *self.controllers, *self.producers, *self.consumers, *self.applications]

    @property
    def examples(self) -> list[str]:
        """What can stand in `who`."""
        partitions = self.all_partitions[:3]
        calls = [f"{call}({partition})" for partition in partitions for call in ("leader", "followers", "isr")]
        return [*self.machines, *PLAIN, *calls, *(f"replica({partition}, 0)" for partition in partitions), *(f"coordinator({one})" for one in self.coordinated)]

    def role(self, who: Who) -> str:
        if who.kind == "controller" or who.argument in self.controllers:
            return CONTROLLER
        if who.kind == "machine" and who.argument in (*self.consumers, *self.applications):
            return CONSUMER
        return PRODUCER if who.kind == "machine" and who.argument in self.producers else BROKER


def read_who(table: Table, key: str, value: object, names: Names, roles: Sequence[str] = (BROKER, CONTROLLER, PRODUCER, CONSUMER)) -> tuple[Who, ...] | None:
    """One name or a list of names; None where one of them was reported."""
    given = value if isinstance(value, list) else [value]
    if not given:
        table.problem(key, f"{key} names nobody.", given="[]", possible=", ".join(names.examples))
        return None
    found = [_one(table, key, element, names) for element in given]
    known = tuple(who for who in found if who is not None)
    for who in known:
        if names.role(who) not in roles:
            possible = [name for name in names.examples if names.role(_guess(name)) in roles]
            table.problem(key, f"{key}: {who} is a {names.role(who)}, which is not possible here.", given=str(who), possible=", ".join(possible))
            return None
    return known if len(known) == len(found) else None


def _one(table: Table, key: str, value: object, names: Names) -> Who | None:
    if not isinstance(value, str):
        table.problem(key, f"{key}: {shown(value)} is not a name.", given=shown(value), possible=", ".join(names.examples))
        return None
    if value in names.machines:
        return Who("machine", value)
    if value in PLAIN:
        return Who(value)
    call = CALL.fullmatch(value)
    word, argument = (call[1], call[2]) if call else (value, "")
    if word == "coordinator" and argument in names.coordinated:
        return Who(word, argument)
    if word == "coordinator":
        table.problem(
            key, f"{key}: no producer has this transactional.id, and no consumer this group.id.", given=value, names=names.coordinated or names.examples
        )
        return None
    if word == "rack" and argument in names.racks:
        return Who(word, argument)
    if word == "rack":
        possible = ", ".join(f"rack({rack})" for rack in names.racks) or '[cluster] racks = ["a", "b", "c"]'
        table.problem(key, f"{key}: no broker stands in this rack.", given=value, possible=possible)
        return None
    if call is None or word not in OF_PARTITION:
        table.problem(key, f"{key}: there is no {shown(value)} in this scenario.", given=shown(value), names=names.examples)
        return None
    partition, _, position = (part.strip() for part in argument.partition(","))
    if partition not in names.all_partitions:
        table.problem(key, f"{key}: there is no partition {shown(partition)} in this scenario.", given=shown(partition), names=names.all_partitions)
        return None
    if (word == "replica") != bool(position) or (position and not (position.isascii() and position.isdigit() and int(position[:9]) < names.replicas)):
        table.problem(
            key,
            f"{key}: {shown(value)} is not possible.",
            given=value,
            possible=f"replica({partition}, 0) to replica({partition}, {names.replicas - 1}), or leader({partition})",
        )
        return None
    return Who(word, partition, int(position or 0))


def _guess(name: str) -> Who:
    return Who(name) if name in PLAIN else Who("leader", name) if "(" in name else Who("machine", name)
