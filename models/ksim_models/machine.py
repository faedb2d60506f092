"""A machine: it is told what happened and when, and answers with what it wants done.

The shape is etcd-raft's and aioquic's: no clock, no I/O, no chance. `ksim.loop` carries the effects out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, dataclass_transform

from ksim_models.units import Micros

T = TypeVar("T")

FROZEN_AT_RUN_TIME = os.environ.get("KSIM_FROZEN") == "1"  # A test run with real frozen dataclasses catches a mutation that escaped the types.


@dataclass_transform(frozen_default=True)
def message(cls: type[T]) -> type[T]:
    """A value that travels: frozen for the type checker, plain slots at run time (a frozen dataclass costs up to five times as much to make)."""
    make: Callable[[type[T]], type[T]] = dataclass(slots=True, frozen=True) if FROZEN_AT_RUN_TIME else dataclass(slots=True, unsafe_hash=True)
    return make(cls)


# What can happen to a machine. Network events name the connection, not the peer: two connections to one peer may exist.


@message
class Wake:
    """The moment in `wake_at` has come."""


@message
class Opened:
    """A connection stands: at the side that asked for it, and (accepted) at the side that was called."""

    connection: str
    peer: str
    accepted: bool


@message
class Received:
    connection: str
    message: object


@message
class Closed:
    """The connection is gone, or could not be made. Bytes still under way are lost."""

    connection: str


@message
class Crashed:
    """The process is gone. What is volatile is forgotten here; what the page cache held survives (LR-3), unless the machine has lost its power (LR-4)."""

    power_lost: bool = False


@message
class Terminated:
    """The process is asked to end (SIGTERM). It says `Exit` when it is ready to go.

    within: how long a client may take to close; None: as long as it takes.
    """

    within: Micros | None = None


@message
class Restarted:
    """The process starts again."""


@message
class Paused:
    """The process is about to be frozen (SIGSTOP, a long collection):
    told at the last moment before, so that what had already happened to it can be accounted for.
    """


@message
class Resumed:
    """The process goes on. What arrived meanwhile follows, in order."""


@message
class Asked:
    """An administrator asks the controller, or the one broker that can do it. The connection is not simulated: what comes of it is in the facts."""

    request: object


Event = Wake | Opened | Received | Closed | Crashed | Terminated | Restarted | Paused | Resumed | Asked


# What a machine can ask for. Effects are carried out in the order returned; that order is a contract.


@message
class Open:
    """Connect to `peer`. The machine chooses the connection's name; it must never have been used before."""

    connection: str
    peer: str


@message
class Send:
    connection: str
    message: object


@message
class Close:
    connection: str


@message
class Note:
    """Remember this fact (a class of `ksim_models.facts`)."""

    fact: object


@message
class Rouse:
    """Another machine of the same process has something to do now."""

    machine: str


@message
class Exit:
    """The process ends by itself; its system closes the connections it still has."""


Effect = Open | Send | Close | Note | Exit | Rouse


class Dice(Protocol):
    """Chance, given to a machine: a function of what is drawn, not of how often something was drawn before."""

    def at(self, *what: str | int) -> float:
        """Uniform in [0, 1): the same for the same `what`, always."""
        ...


class Machine(Protocol):
    name: str

    @property
    def wake_at(self) -> Micros | None:
        """The next moment I have something to do by myself: computed, never set."""
        ...

    def handle(self, event: Event, now: Micros) -> Sequence[Effect]: ...
