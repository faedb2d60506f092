"""Somebody else's cluster: found at HOST:PORT, never started, never stopped, and touched only where its owner said how.

Client-side and proxy faults work as anywhere. Broker faults need the owner's own commands (`--hooks FILE`), or are reported "not injected".
"""

from __future__ import annotations

import asyncio
import contextlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

from ksim.live.ask import Ask, NewTopic, Partition
from ksim.live.errors import LiveError
from ksim.live.exchange import Address, NoAnswer
from ksim.problems import listed, nearest

DEEDS = ("crash", "shutdown", "restart", "pause", "resume")
PLACES = ("broker", "id", "host", "port")
NO_HOOK = "this cluster is not ksim's: broker faults need the commands of its owner (--hooks FILE)"


@dataclass(frozen=True, slots=True)
class Hooks:
    """Shell commands by deed; {broker}, {id}, {host} and {port} stand for whom it concerns."""

    commands: Mapping[str, str]

    @staticmethod
    def load(path: str) -> Hooks:
        """A TOML file with crash, restart, pause and resume, each a command."""
        try:
            data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as mistake:
            raise LiveError(f"{path}: the hooks cannot be read: {mistake}.") from None
        for deed, command in data.items():
            if deed not in DEEDS:
                close = nearest(deed, DEEDS)
                raise LiveError(f"{path}: there is no hook {deed!r}.{f' Did you mean {close}?' if close else ''} Possible: {listed(DEEDS)}.")
            if not isinstance(command, str) or not command.strip():
                raise LiveError(f"{path}: {deed} must be a command, as a text.")
            _check_places(path, deed, command)
        for deed, undo in (("crash", "restart"), ("shutdown", "restart"), ("pause", "resume")):
            if deed in data and undo not in data:
                raise LiveError(f"{path}: {deed} is given, but not {undo}: what is broken must be mended at the end.")
        return Hooks(data)


def _check_places(path: str, deed: str, command: str) -> None:
    try:
        names = [name for _, name, _, _ in Formatter().parse(command) if name is not None]
    except ValueError as mistake:
        raise LiveError(f"{path}: {deed}: {mistake}: write {{{{ and }}}} for plain braces.") from None
    for name in names:
        if name not in PLACES:
            raise LiveError(f"{path}: {deed}: {{{name}}} stands for nothing. Possible: {listed(f'{{{place}}}' for place in PLACES)}.")


@dataclass(frozen=True, slots=True)
class Member:
    """A broker of the external cluster under the scenario's name."""

    name: str
    node_id: int
    host: str
    port: int


class ExternalCluster:
    version = "of a release that it does not tell"

    def __init__(self, members: Mapping[str, Member], hooks: Hooks | None = None) -> None:
        self.members = members
        self.hooks = hooks
        self.brokers = tuple(members)
        self.addresses: dict[str, Address] = {name: (member.host, member.port) for name, member in members.items()}
        self.ids = {name: member.node_id for name, member in members.items()}
        self.ask = Ask(self.addresses, self.ids)

    def check(self) -> None:
        """Its owner looks after it."""

    async def leave(self, prefix: str) -> None:
        """Nothing of ours stays on it."""
        for name in self.brokers:
            with contextlib.suppress(NoAnswer):
                await self.ask.delete_topics(name, [topic for topic in (await self.ask.metadata(name)).topics if topic.startswith(prefix)])
                return

    def why_not(self, do: str, name: str) -> str:
        if do not in DEEDS:
            return "this cluster is not ksim's: its disks are left alone"
        if self.hooks is None or do not in self.hooks.commands:
            return NO_HOOK
        return "the controllers of this cluster are not known to ksim" if name.startswith("controller") else ""

    def fail_disk(self, name: str, partition: Partition | None) -> None:
        raise AssertionError("refused before: see why_not")

    def repair_disk(self, name: str) -> None:
        """There is nothing to repair."""

    def has_fallen(self, name: str) -> bool:
        return False

    async def has_lost_a_directory(self, name: str) -> bool:
        return False

    async def place(self, topics: Sequence[NewTopic]) -> None:
        """Its brokers put them where they like."""

    async def coordinate(self, topics: Sequence[NewTopic]) -> bool:
        """Its coordinators serve others too."""
        return False

    async def crash(self, name: str) -> None:
        await self._run("crash", name)

    async def shutdown(self, name: str) -> None:
        await self._run("shutdown", name)

    async def restart(self, name: str) -> None:
        await self._run("restart", name)

    async def pause(self, name: str) -> None:
        await self._run("pause", name)

    async def resume(self, name: str) -> None:
        await self._run("resume", name)

    async def _run(self, deed: str, name: str) -> None:
        assert self.hooks is not None
        member = self.members[name]
        command = self.hooks.commands[deed].format(broker=name, id=member.node_id, host=member.host, port=member.port)
        process = await asyncio.create_subprocess_shell(command, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE)
        _, told = await process.communicate()
        if process.returncode:
            last = told.decode(errors="replace").strip().splitlines()[-1:]
            raise LiveError(f"the hook {deed} for {name} ended with {process.returncode}{': ' + last[0] if last else ''}.")
