"""A cluster of real brokers and controllers on this machine, a process each, with the settings of a plan.

Kafka: kafka-storage format, kafka-server-start; KafkaRaftServer. Broker N has node.id N, controller N has 100 + N.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import javaproperties

from ksim.live.ask import Ask, Refused
from ksim.live.errors import LiveError
from ksim.live.exchange import Address, NoAnswer, NotSpoken
from ksim.live.kafka import SERVER, STORAGE_TOOL, Installation
from ksim.live.naming import is_ours
from ksim.live.owners import owner
from ksim.live.ports import HOST, Ports
from ksim.live.processes import Child, Workplace
from ksim.live.training import train
from ksim.plan import Plan
from ksim_models.profiles import parse_release

FIRST_CONTROLLER = 100
READY_S = 90.0
LOOK_S = 0.05
SHUTDOWN_S = 20.0
"""A broker whose controller is gone ignores SIGTERM for minutes."""
OURS = frozenset(
    "broker.id node.id process.roles listeners advertised.listeners log.dir log.dirs metadata.log.dir inter.broker.listener.name security.inter.broker.protocol"
    " controller.listener.names controller.quorum.voters controller.quorum.bootstrap.servers".split()
)
"""Where the brokers are and how they reach each other: the scenario says which there are, and we say where."""
OURS_BEGIN = ("listener.", "zookeeper.")
PROTOCOLS = "CLIENT:PLAINTEXT,REPLICATION:PLAINTEXT,CONTROLLER:PLAINTEXT"
SMALL = {
    "log.cleaner.dedupe.buffer.size": "2097152",  # Kafka sets 128 MiB aside, half of the heap.
    "group.initial.rebalance.delay.ms": "0",
}

Settings = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Link:
    """A way into a node that only other nodes take. The proxy listens on `listen_port` (with SO_REUSEADDR, as asyncio does) and forwards to `real_port`."""

    target: str
    host: str
    listen_port: int
    real_port: int
    kind: str
    """"replication" or "controller"."""


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """What a plan asks of a cluster; two plans with equal specs can share one."""

    version: str
    """"4.3", "3.9.1"."""
    brokers: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    """Name and given settings of each."""
    controllers: tuple[str, ...]
    features: tuple[tuple[str, int], ...] = ()

    @staticmethod
    def of(plan: Plan, *, version: str | None = None) -> ClusterSpec:
        return ClusterSpec(version or plan.broker_version, tuple((broker.name, broker.given) for broker in plan.brokers), plan.controllers)

    @property
    def shared(self) -> Settings:
        """What was set for every broker alike holds for the controllers too: election, sessions, minimum ISR."""
        first, *others = [dict(given) for _, given in self.brokers]
        return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}


class KraftCluster:
    """Links and addresses are known at once; the processes begin with `start`."""

    def __init__(self, spec: ClusterSpec, installation: Installation, workplace: Workplace) -> None:
        self.spec = spec
        self.installation = installation
        self.workplace = workplace
        self.folder = workplace.folder / "nodes"
        self.brokers = tuple(name for name, _ in spec.brokers)
        self.controllers = spec.controllers
        self.ids = {name: number for number, name in enumerate(self.brokers, 1)}
        self.ids |= {name: number for number, name in enumerate(self.controllers, FIRST_CONTROLLER + 1)}
        self.children: dict[str, Child] = {}
        self.paused: set[str] = set()
        self._leaving: dict[str, Child] = {}
        """Processes that were told to end, or killed, and may not be gone yet."""
        self._altered: dict[str | None, dict[str, str | None]] = {}
        self._ports = Ports()
        self.addresses: dict[str, Address] = {name: (HOST, self._ports.take()) for name in self.brokers}
        """Where the clients' listener of each broker really is."""
        self.links = [Link(name, HOST, self._ports.take(), self._ports.take(), "replication") for name in self.brokers]
        self.links += [Link(name, HOST, self._ports.take(), self._ports.take(), "controller") for name in self.controllers]
        self.ask = Ask(self.addresses, {name: self.ids[name] for name in self.brokers})

    @property
    def version(self) -> str:
        return self.installation.version

    async def leave(self, prefix: str) -> None:
        """They go with the next `reset`, or with the cluster."""

    def why_not(self, do: str, name: str) -> str:
        """All that a scenario can ask is possible to processes of our own."""
        return ""

    @property
    def nodes(self) -> tuple[str, ...]:
        return (*self.controllers, *self.brokers)

    async def start(self) -> None:
        """Formats, and starts every node. The proxies of the links must listen by now."""
        if not self.installation.archive.exists():
            await train(self.installation, self.workplace)
        self.folder.mkdir(exist_ok=True)
        for name in self.nodes:
            self._properties_file(name).write_text(javaproperties.dumps(self.properties(name), timestamp=False), encoding="latin-1")
        await self._format()
        for name in self.nodes:
            self._start(name)

    async def _formed(self) -> None:
        """What is set dynamically from the start: minimum ISR where there are eligible leader replicas."""
        for target in (None, *self.brokers):
            self._altered[target] = await self.ask.dynamic_config(self.brokers[0], target)

    async def ready(self, timeout_s: float = READY_S) -> None:
        """Until every broker says that all brokers are there and unfenced."""
        missing = set(self.brokers)
        try:
            async with asyncio.timeout(timeout_s):
                for name in self.brokers:
                    while missing := await self._missing_for(name):
                        self.check()
                        await asyncio.sleep(LOOK_S)
        except TimeoutError:
            late = sorted(missing)
            lines = "\n".join(f"{name}: {self.children[name].last_lines(5) if name in self.children else 'not running'}" for name in late)
            raise LiveError(f"{', '.join(late)} did not join the cluster within {timeout_s:g} s. The last lines of the logs:\n{lines}") from None
        if not self._altered:
            await self._formed()

    def check(self) -> None:
        """LiveError where a node has ended that nobody ended."""
        for name, child in self.children.items():
            if not child.is_running:
                raise LiveError(f"{name} (Kafka {self.installation.version}) ended by itself, exit code {child.code}. Its last lines:\n{child.last_lines()}")

    def is_running(self, name: str) -> bool:
        return name in self.children and self.children[name].is_running

    def crash(self, name: str) -> None:
        """kill -9, at once."""
        child = self.children.pop(name, None)
        self.paused.discard(name)
        if child is not None:
            child.kill()
            self._leaving[name] = child

    async def shutdown(self, name: str, timeout_s: float = SHUTDOWN_S) -> bool:
        """Orderly; returns when it is gone. False: it did not go within the time, and was killed."""
        child = self.children.pop(name, None)
        self.paused.discard(name)
        if child is None:
            return True
        child.terminate()
        self._leaving[name] = child
        try:
            await child.ended(timeout_s)
        except TimeoutError:
            child.kill()
            await child.ended()
            return False
        return True

    async def restart(self, name: str) -> None:
        """Starts a node that is down, when its last process is gone; nothing for one that is up."""
        if self.is_running(name):
            return
        leaving = self._leaving.pop(name, None)
        if leaving is not None:
            try:
                await leaving.ended(SHUTDOWN_S)
            except TimeoutError:
                leaving.kill()
                await leaving.ended()
        if not self.is_running(name):
            self._start(name)

    def pause(self, name: str) -> None:
        """SIGSTOP; nothing for one that is down."""
        if name in self.children:
            self.children[name].pause()
            self.paused.add(name)

    def resume(self, name: str) -> None:
        if name in self.children:
            self.children[name].resume()
        self.paused.discard(name)

    def data(self, name: str) -> Path:
        """The log directory of a node: one folder per partition."""
        return self.folder / name / "data"

    async def active_controller(self) -> str | None:
        """None: no broker that answers knows one."""
        names = {self.ids[name]: name for name in self.controllers}
        for broker in self.brokers:
            if self.is_running(broker) and broker not in self.paused:
                try:
                    return names.get(await self.ask.quorum_leader(broker))
                except (NoAnswer, NotSpoken, Refused):
                    continue
        return None

    def owner_of(self, local_port: int) -> str | None:
        """The node from which an outgoing connection with this local port comes."""
        names = {child.pid: name for name, child in self.children.items()}
        pid = owner(local_port, names)
        return None if pid is None else names[pid]

    def can_carry(self, spec: ClusterSpec) -> bool:
        """Whether a plan with this spec can run here after a `reset`."""
        return spec == self.spec or (
            (spec.brokers, spec.controllers, spec.features) == (self.spec.brokers, self.spec.controllers, self.spec.features)
            and parse_release(spec.version) == parse_release(self.installation.version)
        )

    async def reset(self) -> None:
        """As after the start: every node up, every broker unfenced, topics of earlier runs gone."""
        for name in sorted(self.paused):
            self.resume(name)
        for name in self.nodes:
            await self.restart(name)
        await self.ready()
        broker = self.brokers[0]
        for target, before in self._altered.items():
            now = await self.ask.dynamic_config(broker, target)
            if changes := {key: before.get(key) for key in {**before, **now} if before.get(key) != now.get(key)}:
                await self.ask.alter_broker(broker, target, changes)
        topics = [topic for topic in (await self.ask.metadata(broker)).topics if is_ours(topic)]
        if topics:
            await self.ask.delete_topics(broker, topics)

    async def close(self) -> None:
        """Every node is gone and nothing is left of their logs."""
        every = [*self.children.values(), *self._leaving.values()]
        for child in every:
            child.kill()
        for child in every:
            await child.ended()
        self.children.clear()
        self._leaving.clear()
        self._ports.close()
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    def properties(self, name: str) -> dict[str, str]:
        """Everything a node is started with."""
        given = dict(self.spec.shared) if name in self.controllers else dict(dict(self.spec.brokers)[name])
        given = {key: value for key, value in given.items() if key not in OURS and not key.startswith(OURS_BEGIN)}
        copies = str(min(3, len(self.brokers)))
        small = SMALL | {"offsets.topic.replication.factor": copies, "transaction.state.log.replication.factor": copies}
        small |= {"transaction.state.log.min.isr": str(min(2, len(self.brokers)))}
        return small | given | self._place(name)

    def _place(self, name: str) -> dict[str, str]:
        links = {link.target: link for link in self.links}
        own = links[name]
        place = {
            "node.id": str(self.ids[name]),
            "log.dirs": str(self.data(name)),
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": PROTOCOLS,
            "controller.quorum.voters": ",".join(f"{self.ids[other]}@{HOST}:{links[other].listen_port}" for other in self.controllers),
        }
        if name in self.controllers:
            place |= {"process.roles": "controller", "listeners": f"CONTROLLER://{HOST}:{own.real_port}"}
            if parse_release(self.installation.version) >= (3, 9, 0):  # Before, only the voters' addresses counted.
                place["advertised.listeners"] = f"CONTROLLER://{HOST}:{own.listen_port}"
            return place
        host, port = self.addresses[name]
        return place | {
            "process.roles": "broker",
            "inter.broker.listener.name": "REPLICATION",
            "listeners": f"CLIENT://{host}:{port},REPLICATION://{HOST}:{own.real_port}",
            "advertised.listeners": f"CLIENT://{host}:{port},REPLICATION://{HOST}:{own.listen_port}",
        }

    def _properties_file(self, name: str) -> Path:
        return self.folder / f"{name}.properties"

    def _start(self, name: str) -> None:
        self.children[name] = self.workplace.start(name, self.installation.command(SERVER, str(self._properties_file(name))))

    async def _format(self) -> None:
        """Formats one directory with Kafka's own tool, and gives every other node a copy with its own ids: they differ in nothing else."""
        first, *others = self.nodes
        features = [argument for feature, level in self.spec.features for argument in ("--feature", f"{feature}={level}")]
        arguments = ["format", "-t", _uuid(), "-c", str(self._properties_file(first)), *features]
        child = self.workplace.start("format", self.installation.command(STORAGE_TOOL, *arguments))
        if await child.ended() != 0:
            raise LiveError(f"kafka-storage format of Kafka {self.installation.version} failed. Its last lines:\n{child.last_lines()}")
        for name in others:
            shutil.copytree(self.data(first), self.data(name))
            meta = self.data(name) / "meta.properties"
            text = javaproperties.loads(meta.read_text(encoding="latin-1"))
            meta.write_text(javaproperties.dumps(text | {"node.id": str(self.ids[name]), "directory.id": _uuid()}, timestamp=False), encoding="latin-1")

    async def _missing_for(self, name: str) -> set[str]:
        """The brokers that this one does not see; itself as long as it does not answer."""
        try:
            return set(self.brokers) - set((await self.ask.metadata(name, topics=())).brokers)
        except NoAnswer:
            return {name}


def _uuid() -> str:
    """As Kafka writes one: 128 bits in URL-safe base64, not beginning with a dash."""
    while True:
        text = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
        if not text.startswith("-"):
            return text
