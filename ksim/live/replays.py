"""Replays: a scenario on a real cluster, one or many after another on the same cluster.

`replay` is the door for Python and for the command line. A cluster of our own is started when it is first needed, kept while scenarios ask for the same one,
and gone when the block is left, however it is left.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeVar

from ksim.live.cluster import ClusterSpec, KraftCluster
from ksim.live.errors import LiveError
from ksim.live.exchange import Address, Exchange, NoAnswer
from ksim.live.external import ExternalCluster, Hooks, Member
from ksim.live.kafka import installed
from ksim.live.naming import is_ours
from ksim.live.processes import Workplace
from ksim.live.proxy import Proxy
from ksim.live.refusals import refuse_what_is_not_replayed
from ksim.live.stage import Play, Scene
from ksim.live.world import MACHINE_FAULTS
from ksim.plan import Plan
from ksim.runs import Run
from ksim.scenario import Given, Scenario
from ksim_models.profiles import parse_release

T = TypeVar("T")

KRAFT = "kraft"
PATIENCE_S = 5.0
"""How long the proxies may take to stop when everything is to end."""
POSSIBLE = "HOST:PORT, kraft, or kraft:VERSION"


def replay(scenario: Given | Plan, cluster: str = KRAFT, *, seed: int | None = None, hooks: str | None = None, shared: bool = False) -> Run:
    """Carry a scenario out on real Kafka. Raises ScenarioError where it is not possible, LiveError where the cluster is not.

    `cluster`: "kraft" starts the scenario's version on this machine, "kraft:3.9" another one, "HOST:PORT" is a cluster that is there already.
    `hooks`: a file with the commands that crash, restart, pause and resume its brokers. `shared`: allow broker faults although it holds other topics.
    """
    with Live(cluster, hooks=hooks, shared=shared) as live:
        return live.replay(scenario, seed=seed)


class Live:
    """A cluster for several replays: `with Live("kraft:4.3") as live: run = live.replay(scenario)`."""

    def __init__(self, cluster: str = KRAFT, *, hooks: str | None = None, shared: bool = False, say: Callable[[str], None] = lambda line: None) -> None:
        self.kind, self.address, self.version = _parse(cluster)
        if hooks is not None and self.address is None:
            raise LiveError("hooks are for a cluster that is there already (HOST:PORT): ksim crashes its own brokers itself.")
        self.hooks = Hooks.load(hooks) if hooks is not None else None
        self.shared = shared
        self.say = say
        self._workplace = Workplace()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ksim-live", daemon=True)
        """The proxies live here, so the cluster goes on between two replays."""
        self._playing: asyncio.Task[Run] | None = None
        self._cluster: KraftCluster | None = None
        self._proxy: Proxy | None = None

    def __enter__(self) -> Live:
        self._workplace.__enter__()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None or issubclass(kind, Exception):
                self._run(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE_S)
            if not self._thread.is_alive():
                self._loop.close()
        finally:
            self._workplace.__exit__(kind, error, trace)

    def replay(self, scenario: Given | Plan, *, seed: int | None = None) -> Run:
        """Raises ScenarioError or LiveError; the cluster can be used again after either."""
        return self._run(self._play(scenario if isinstance(scenario, Plan) else Scenario.of(scenario).plan(seed)))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            with suppress(TimeoutError):  # What is broken on somebody else's cluster is mended before anything else.
                asyncio.run_coroutine_threadsafe(self._played(), self._loop).result(PATIENCE_S)
            raise

    async def _played(self) -> None:
        if self._playing is not None:
            await asyncio.wait([self._playing])

    async def _play(self, plan: Plan) -> Run:
        refuse_what_is_not_replayed(plan)
        scene: Scene
        if self.address is not None:
            scene, proxy = await self._external(plan, self.address)
        else:
            scene, proxy = await self._own(plan)
        self._playing = asyncio.create_task(Play(plan, scene, proxy, self._workplace).run())
        try:
            return await self._playing
        finally:
            self._playing.cancel()

    # Our own.

    async def _own(self, plan: Plan) -> tuple[KraftCluster, Proxy]:
        spec = ClusterSpec.of(plan, version=self.version)
        if self._cluster is not None and self._proxy is not None and self._cluster.can_carry(spec):
            with suppress(LiveError):  # Beyond repair: another one is started.
                await self._cluster.reset()
                return self._cluster, self._proxy
        await self._close()
        found = await asyncio.to_thread(installed, spec.version, self._workplace)
        self.say(f"starting {_count(len(spec.controllers), 'controller')} and {_count(len(spec.brokers), 'broker')} of Kafka {found.version} ...")
        self._cluster = KraftCluster(spec, found, self._workplace)
        self._proxy = Proxy()
        for link in self._cluster.links:
            await self._proxy.open_link(link, self._cluster.owner_of)
        await self._cluster.start()
        await self._cluster.ready()
        return self._cluster, self._proxy

    async def _close(self) -> None:
        if self._cluster is not None:
            await self._cluster.close()
        if self._proxy is not None:
            await self._proxy.close()
        self._cluster = self._proxy = None

    # Somebody else's.

    async def _external(self, plan: Plan, address: Address) -> tuple[ExternalCluster, Proxy]:
        _refuse_secured(plan)
        members = await _members(address)
        wanted = [broker.name for broker in plan.brokers]
        if len(members) < len(wanted):
            raise LiveError(f"{address[0]}:{address[1]} has {_count(len(members), 'broker')}, and the scenario needs {len(wanted)}.")
        found = ExternalCluster({name: members[name] for name in wanted}, self.hooks)
        strikes = any(fault.do in MACHINE_FAULTS for fault in plan.faults)
        if strikes and self.hooks is not None and not self.shared:
            others = [topic for topic in (await found.ask.metadata(wanted[0])).topics if not is_ours(topic) and not topic.startswith("__")]
            if others:
                told = f"{address[0]}:{address[1]} holds {_count(len(others), 'topic')} that ksim did not create ({', '.join(others[:3])})"
                raise LiveError(f"{told}: broker faults would hurt their users. --on-shared-cluster says that this is meant.")
        await self._close()
        self._proxy = Proxy()
        return found, self._proxy


def _parse(cluster: str) -> tuple[str, Address | None, str | None]:
    """kind, address and version."""
    if not isinstance(cluster, str):
        raise LiveError(f"--cluster {cluster!r} is not possible. Possible: {POSSIBLE}.")
    kind, colon, rest = cluster.partition(":")
    if kind == KRAFT and (not colon or rest):
        if rest:
            try:
                parse_release(rest)
            except ValueError as reason:
                raise LiveError(f"--cluster {cluster}: {reason}") from None
        return KRAFT, None, rest or None
    host, colon, port = cluster.rpartition(":")
    if host and port.isascii() and port.isdigit() and 0 < int(port) < 65536:
        return "external", (host.strip("[]"), int(port)), None
    raise LiveError(f"--cluster {cluster!r} is not possible. Possible: {POSSIBLE}.")


async def _members(address: Address) -> dict[str, Member]:
    """Its brokers, the one with the lowest id first."""
    shown = f"{address[0]}:{address[1]}"
    content = {"topics": [], "allow_auto_topic_creation": False, "include_topic_authorized_operations": False, "include_cluster_authorized_operations": False}
    try:
        answer = await Exchange().ask(address, "metadata", content)
    except NoAnswer as why:
        raise LiveError(f"no Kafka broker answers at {shown}: {why}. (ksim speaks PLAINTEXT to it.)") from None
    brokers = sorted(answer.brokers, key=lambda broker: int(broker.node_id))
    return {f"broker-{number}": Member(f"broker-{number}", int(broker.node_id), broker.host, int(broker.port)) for number, broker in enumerate(brokers, 1)}


def _refuse_secured(plan: Plan) -> None:
    for producer in plan.producers:
        protocol = dict(producer.given).get("security.protocol", "PLAINTEXT").upper()
        if protocol != "PLAINTEXT":
            raise LiveError(
                f"{producer.name}: security.protocol={protocol}: ksim's proxy reads frames, and can do so on PLAINTEXT listeners only. Use such a listener."
            )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
