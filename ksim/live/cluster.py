"""A cluster of real brokers and controllers on this machine, a process each, with the settings of a plan.

Kafka: kafka-storage format, kafka-server-start; KafkaRaftServer. Broker N has node.id N, controller N has 100 + N.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import javaproperties

from ksim.live import disks
from ksim.live.ask import Ask, NewTopic, Partition, Refused
from ksim.live.errors import LiveError
from ksim.live.exchange import Address, NoAnswer, NotSpoken
from ksim.live.kafka import SERVER, STORAGE_TOOL, Installation
from ksim.live.naming import is_ours
from ksim.live.owners import owner
from ksim.live.ports import HOST, Ports
from ksim.live.processes import Child, Workplace
from ksim.live.training import train
from ksim.plan import DISK_FAULTS, Plan
from ksim.scenario_features import flat
from ksim_models.profiles import parse_release
from ksim_models.transaction_messages import CONSUMER_OFFSETS, TRANSACTION_STATE

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
COORDINATED = (CONSUMER_OFFSETS, TRANSACTION_STATE)
META = "meta.properties"
PROTOCOLS = "CLIENT:PLAINTEXT,REPLICATION:PLAINTEXT,CONTROLLER:PLAINTEXT"
SMALL = {
    "log.cleaner.dedupe.buffer.size": "2097152",  # Kafka sets 128 MiB aside, half of the heap.
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
    features: tuple[tuple[str, object], ...] = ()

    @staticmethod
    def of(plan: Plan, *, version: str | None = None) -> ClusterSpec:
        brokers = tuple((broker.name, broker.given) for broker in plan.brokers)
        return ClusterSpec(version or plan.broker_version, brokers, plan.controllers, tuple(_features(plan).items()))

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
        self.failing: set[str] = set()
        """Brokers of which a log directory takes no more writes. Who has no other one ends by itself."""
        self._ailing: set[str] = set()
        """Those that have been among them, and not been started again since."""
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
        """All that a scenario can ask is possible to processes of our own, but one: a disk fails by means of the system."""
        return disks.why_not(max(len(self.directories(broker)) for broker in self.brokers), self.folder) if do in DISK_FAULTS else ""

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
        """LiveError where a node has ended that nobody ended, nor the loss of its disk."""
        for name, child in self.children.items():
            if not child.is_running and name not in self._ailing:
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

    # Disks.

    def data(self, name: str) -> Path:
        """The first log directory of a node, in which the metadata log stands: one folder per partition."""
        return self.folder / name / "data"

    def directories(self, name: str) -> list[Path]:
        """As many as the scenario gives this broker (log.dirs), under names of ours."""
        given = dict(dict(self.spec.brokers).get(name, ())).get("log.dirs", "")
        return [self.data(name), *(self.folder / name / f"data-{number}" for number in range(2, given.count(",") + 2))]

    async def place(self, topics: Sequence[NewTopic]) -> None:
        """Where a broker has several directories, a new partition goes where the fewest are: of ours as if there were none but these."""
        for broker in self.brokers:
            directories = self.directories(broker)
            own = [(topic.name, number) for topic in topics for number, replicas in enumerate(topic.assignment) if broker in replicas]
            if len(directories) > 1:
                await self.ask.prefer_directories(broker, {partition: str(directories[nth % len(directories)]) for nth, partition in enumerate(own)})

    async def coordinate(self, topics: Sequence[NewTopic]) -> bool:
        """Made anew for each play that has transactions: `reset` has taken those of the last one away."""
        if topics:
            await self.ask.create(self.brokers[0], topics)
            await self.ask.until_known(topics)
        return True

    def fail_disk(self, name: str, partition: Partition | None) -> None:
        """Of the log directory that holds this partition (None: the first) each write fails from now on."""
        folders = self.directories(name)
        if len(folders) > 1:
            disks.freeze(next((folder for folder in folders if partition and (folder / "{}-{}".format(*partition)).is_dir()), folders[0]))
        elif self.is_running(name):
            disks.limit_writes(self.children[name].pid, to_none=True)
        self.failing.add(name)
        self._ailing.add(name)

    def repair_disk(self, name: str) -> None:
        """As it was, for whoever writes next. A broker that has lost a directory takes it back when it starts again."""
        self.failing.discard(name)
        if len(self.directories(name)) > 1:
            for folder in self.directories(name):
                disks.thaw(folder)
        elif self.is_running(name):
            disks.limit_writes(self.children[name].pid, to_none=False)

    def has_fallen(self, name: str) -> bool:
        """It ended by itself, for want of a disk."""
        return name in self._ailing and name in self.children and not self.children[name].is_running

    async def has_lost_a_directory(self, name: str) -> bool:
        """And runs on with the others."""
        try:
            return len(self.directories(name)) > 1 and bool(await self.ask.lost_directories(name))
        except NoAnswer:
            return False

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
        names = {child.pid: name for name, child in list(self.children.items())}  # Another thread may ask.
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
        for name in sorted(self._ailing):
            self.repair_disk(name)
            await self.shutdown(name)
        for name in self.nodes:
            await self.restart(name)
        await self.ready()
        broker = self.brokers[0]
        for target, before in self._altered.items():
            now = await self.ask.dynamic_config(broker, target)
            if changes := {key: before.get(key) for key in {**before, **now} if before.get(key) != now.get(key)}:
                await self.ask.alter_broker(broker, target, changes)
        offsets = await self.ask.metadata(broker, [CONSUMER_OFFSETS])
        if any(partition.leader_epoch > 0 for partition in offsets.partitions.values()):
            # GroupMetadataManager loads nothing in an epoch that is not later than the last it knows, and a topic made anew begins with 0.
            raise LiveError("the group coordinators of this cluster have seen later leader epochs than those of a new topic.")
        topics = [topic for topic in (await self.ask.metadata(broker)).topics if is_ours(topic) or topic in COORDINATED]
        if topics:
            await self.ask.delete_topics(broker, topics)

    async def close(self) -> None:
        """Every node is gone and nothing is left of their logs."""
        for name in sorted(self.failing):
            self.repair_disk(name)
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
            "log.dirs": ",".join(map(str, self.directories(name))),
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
        child = self.children[name] = self.workplace.start(name, self.installation.command(SERVER, str(self._properties_file(name))))
        if name in self.failing and len(self.directories(name)) == 1:
            disks.limit_writes(child.pid, to_none=True)
        self._ailing = {ailing for ailing in self._ailing if ailing != name or name in self.failing}

    async def _format(self) -> None:
        """Formats one directory with Kafka's own tool, and gives every other node a copy with its own ids: they differ in nothing else."""
        first, *others = self.nodes
        features = [argument for feature, level in self.spec.features for argument in ("--feature", f"{feature}={level}")]
        arguments = ["format", "-t", _uuid(), "-c", str(self._properties_file(first)), *features]
        child = self.workplace.start("format", self.installation.command(STORAGE_TOOL, *arguments))
        if await child.ended() != 0:
            raise LiveError(f"kafka-storage format of Kafka {self.installation.version} failed. Its last lines:\n{child.last_lines()}")
        text = javaproperties.loads((self.data(first) / META).read_text(encoding="latin-1"))
        for name in others:
            shutil.copytree(self.data(first), self.data(name))
            for folder in self.directories(name):
                folder.mkdir(exist_ok=True)
                own = text | {"node.id": str(self.ids[name]), "directory.id": _uuid()}
                (folder / META).write_text(javaproperties.dumps(own, timestamp=False), encoding="latin-1")

    async def _missing_for(self, name: str) -> set[str]:
        """The brokers that this one does not see; itself as long as it does not answer."""
        try:
            return set(self.brokers) - set((await self.ask.metadata(name, topics=())).brokers)
        except NoAnswer:
            return {name}


def _features(plan: Plan) -> dict[str, object]:
    """What the scenario says of them; the release decides about the rest."""
    cluster = plan.data.get("cluster")
    given = cluster.get("features") if isinstance(cluster, dict) else None
    return flat(given) if isinstance(given, dict) else {}


def _uuid() -> str:
    """As Kafka writes one: 128 bits in URL-safe base64, not beginning with a dash."""
    while True:
        text = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
        if not text.startswith("-"):
            return text
