"""A listening socket that is open, refuses, or swallows; and the pipe behind it: late, held, in order."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from ksim.live.doors import Door
from ksim.live.errors import LiveError
from ksim.live.pipes import MOST_HELD, Close, Pipe

PATIENCE_S = 20


class Knocking:
    """Non-blocking connections to a door, closed at the end."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def knock(self, port: int) -> socket.socket:
        knocker = self._stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        knocker.setblocking(False)
        knocker.connect_ex(("127.0.0.1", port))
        return knocker


def how_it_stands(knocker: socket.socket) -> str:
    error = knocker.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        return "refused"
    try:
        knocker.getpeername()
    except OSError:
        return "unanswered"
    return "connected"


def with_door(story: Callable[[Door, Knocking, asyncio.Queue[socket.socket]], Any]) -> None:
    async def told() -> None:
        taken: asyncio.Queue[socket.socket] = asyncio.Queue()
        with ExitStack() as stack:
            door = Door(asyncio.get_running_loop(), lambda found: taken.put_nowait(stack.enter_context(found)))
            stack.callback(door.close)
            await story(door, Knocking(stack), taken)

    asyncio.run(told())


def test_an_open_door_hands_over_whoever_comes() -> None:
    async def story(door: Door, street: Knocking, taken: asyncio.Queue[socket.socket]) -> None:
        knocker = street.knock(door.port)
        found = await asyncio.wait_for(taken.get(), PATIENCE_S)

        assert found.getpeername() == knocker.getsockname()

    with_door(story)


@pytest.mark.skipif(sys.platform != "linux", reason="a listener can be silenced on Linux only")
def test_a_door_whose_broker_is_gone_refuses_and_opens_again() -> None:
    async def story(door: Door, street: Knocking, taken: asyncio.Queue[socket.socket]) -> None:
        street.knock(door.port)
        stays = await asyncio.wait_for(taken.get(), PATIENCE_S)
        door.refuse()

        assert how_it_stands(street.knock(door.port)) == "refused"
        assert stays.fileno() > 0

        door.welcome()
        knocker = street.knock(door.port)

        assert (await asyncio.wait_for(taken.get(), PATIENCE_S)).getpeername() == knocker.getsockname()

    with_door(story)


@pytest.mark.skipif(sys.platform != "linux", reason="a queue that is full is silent on Linux")
def test_a_swallowing_door_answers_nothing_and_nobody_of_ours_is_handed_over_afterwards() -> None:
    async def story(door: Door, street: Knocking, taken: asyncio.Queue[socket.socket]) -> None:
        door.swallow()
        lost = street.knock(door.port)

        assert how_it_stands(lost) == "unanswered"

        door.answer_again()
        knocker = street.knock(door.port)

        assert (await asyncio.wait_for(taken.get(), PATIENCE_S)).getpeername() == knocker.getsockname()
        assert taken.empty()

    with_door(story)


@pytest.mark.skipif(sys.platform != "linux", reason="a queue that is full is silent on Linux")
def test_a_black_hole_stays_one_when_the_broker_behind_it_dies_and_refuses_afterwards() -> None:
    async def story(door: Door, street: Knocking, taken: asyncio.Queue[socket.socket]) -> None:
        door.swallow()
        door.refuse()

        assert how_it_stands(street.knock(door.port)) == "unanswered"

        door.answer_again()

        assert how_it_stands(street.knock(door.port)) == "refused"

        door.swallow()

        assert how_it_stands(street.knock(door.port)) == "unanswered"

    with_door(story)


def test_who_came_before_the_cut_is_handed_over() -> None:
    async def story(door: Door, street: Knocking, taken: asyncio.Queue[socket.socket]) -> None:
        knocker = street.knock(door.port)
        door.swallow()

        assert taken.get_nowait().getpeername() == knocker.getsockname()

    with_door(story)


def test_a_port_that_is_taken_is_named() -> None:
    async def story(door: Door, street: Knocking, taken: asyncio.Queue[socket.socket]) -> None:
        with pytest.raises(LiveError, match=str(door.port)):
            Door(asyncio.get_running_loop(), lambda found: None, door.port)

    with_door(story)


def test_two_doors_have_two_ports() -> None:
    async def story(door: Door, street: Knocking, taken: asyncio.Queue[socket.socket]) -> None:
        other = Door(asyncio.get_running_loop(), lambda found: None)
        other.close()

        assert other.port != door.port

    with_door(story)


# Pipes, on a clock that is set by hand.


class HandClock:
    """As much of an event loop as a pipe needs."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[[], None]) -> HandClock:
        self.calls.append((when, call))
        return self

    def cancel(self) -> None:
        self.calls.clear()

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due, self.calls = [call for when, call in self.calls if when <= self.now], [(when, call) for when, call in self.calls if when > self.now]
        for call in due:
            call()


class Far:
    """The transport at either end."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.closed = ""
        self.reading = True
        self.pauses: list[bool] = []

    def write(self, data: bytes) -> None:
        self.got.append(data)

    def is_closing(self) -> bool:
        return bool(self.closed)

    def close(self) -> None:
        self.closed = "orderly"

    def abort(self) -> None:
        self.closed = "reset"

    def get_extra_info(self, name: str) -> None:
        return None

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False
        self.pauses.append(True)

    def resume_reading(self) -> None:
        self.reading = True
        self.pauses.append(False)


class Line:
    def __init__(self, latency_us: int = 0) -> None:
        self.clock = HandClock()
        self.latency_us = latency_us
        self.arrived: list[str] = []
        loop: Any = self.clock
        self.pipe = Pipe(loop, lambda: self.latency_us, lambda: self.arrived.append("close"))
        self.near, self.far = Far(), Far()
        ends: Any = (self.near, self.far)
        self.pipe.source, self.pipe.out = ends


def test_without_latency_bytes_go_at_once() -> None:
    line = Line()
    line.pipe.send(b"a")

    assert line.far.got == [b"a"]
    assert line.clock.calls == []


def test_what_stands_behind_a_late_frame_is_late_too() -> None:
    line = Line()
    line.pipe.send(b"late", 100_000)
    line.pipe.send(b"next")
    line.clock.advance(0.0999)

    assert line.far.got == []

    line.clock.advance(0.0002)

    assert line.far.got == [b"late", b"next"]


def test_frames_of_one_moment_keep_their_order() -> None:
    line = Line(1000)
    for number in range(100):
        line.pipe.send(bytes([number]))
    line.clock.advance(0.002)

    assert line.far.got == [bytes([number]) for number in range(100)]


def test_a_close_comes_behind_what_was_sent_before_it() -> None:
    line = Line(1000)
    line.pipe.send(b"last")
    line.pipe.send(Close.ORDERLY)

    assert (line.far.got, line.far.closed) == ([], "")

    line.clock.advance(0.002)

    assert (line.far.got, line.far.closed, line.arrived) == ([b"last"], "orderly", ["close"])


def test_a_cut_holds_bytes_and_closes_until_it_is_mended() -> None:
    line = Line()
    line.pipe.cut()
    line.pipe.send(b"a")
    line.pipe.send(Close.RESET)

    assert (line.far.got, line.far.closed) == ([], "")

    line.pipe.mend()

    assert (line.far.got, line.far.closed) == ([b"a"], "reset")


def test_what_was_under_way_when_the_cut_came_still_arrives() -> None:
    line = Line(1000)
    line.pipe.send(b"a")
    line.pipe.cut()
    line.pipe.send(b"b")
    line.clock.advance(1)

    assert line.far.got == [b"a"]


def test_a_hang_lets_nothing_through_but_the_close() -> None:
    line = Line()
    line.pipe.dead = True
    line.pipe.send(b"a")
    line.pipe.send(Close.ORDERLY)

    assert (line.far.got, line.far.closed) == ([], "orderly")


def test_a_connection_broken_off_in_a_cut_forgets_what_was_held() -> None:
    line = Line()
    line.pipe.cut()
    line.pipe.send(b"a")
    line.pipe.forget()
    line.pipe.send(Close.ORDERLY)
    line.pipe.mend()

    assert (line.far.got, line.far.closed) == ([], "orderly")


def test_a_narrow_line_carries_one_frame_after_the_other() -> None:
    line = Line()
    line.pipe.bandwidth = 0.001  # 1,000 bytes a second.
    line.pipe.send(bytes(100))
    line.pipe.send(bytes(100))
    line.clock.advance(0.15)

    assert len(line.far.got) == 1

    line.clock.advance(0.1)

    assert len(line.far.got) == 2


def test_a_pipe_does_not_hold_without_bound() -> None:
    line = Line()
    line.pipe.cut()
    line.pipe.send(bytes(MOST_HELD - 1))

    assert line.near.pauses == []

    line.pipe.send(b"..")

    assert line.near.pauses == [True]

    line.pipe.mend()

    assert line.near.pauses == [True, False]


def test_a_receiver_that_does_not_keep_up_stops_the_sender() -> None:
    line = Line()
    line.pipe.block(blocked=True)

    line.pipe.block(blocked=False)

    assert line.near.pauses == [True, False]
