"""The application's threads, and the partition that records without a key stick to."""

from __future__ import annotations

from ksim_models.application import Sticky, Thread
from ksim_models.units import NEVER
from scripted import Calls


class Falling:
    """Dice that fall as they are told, by the ordinal of the draw."""

    def __init__(self, *draws: float) -> None:
        self.draws = draws

    def at(self, *what: str | int) -> float:
        return self.draws[int(what[-1])]


def test_a_thread_calls_send_when_its_time_comes_or_when_the_last_call_returned() -> None:
    calls = Calls(0)
    calls.times, calls.total = [10, 20], 2
    thread = Thread(0, calls)
    assert thread.next_time() == 10
    thread.next, thread.free_at = 1, 35
    assert thread.next_time() == 35
    thread.blocked_on = "memory"
    assert (thread.next_time(), thread.is_done) == (NEVER, False)
    thread.blocked_on, thread.next = "", 2
    assert (thread.next_time(), thread.is_done) == (NEVER, True)


def test_a_thread_that_waits_for_its_sends_calls_again_when_one_has_its_outcome() -> None:
    calls = Calls(0)
    calls.times, calls.total, calls.window = [10, 20], 2, 1
    thread = Thread(0, calls)
    thread.next, thread.outstanding = 1, 1

    assert thread.next_time() == NEVER
    thread.outstanding = 0
    assert thread.next_time() == 20
    assert not thread.steady, "its times depend on outcomes, so no range can be taken"


def test_the_sticky_partition_is_drawn_uniformly_and_may_be_the_same_again() -> None:
    """A46, A46a: without weights by queue size."""
    sticky = Sticky("p1", "t", Falling(0.0, 0.34, 0.99, 0.99))

    assert [sticky.switch(["t-0", "t-1", "t-2"]) for _ in range(4)] == ["t-0", "t-1", "t-2", "t-2"]


def test_it_sticks_for_batch_size_bytes_if_the_batch_is_full_then_and_for_twice_as_many_otherwise() -> None:
    """A46 (KIP-794)."""
    sticky = Sticky("p1", "t", Falling(0.0, 0.99, 0.0))
    choices = ["t-0", "t-1"]
    sticky.switch(choices)

    sticky.appended(999, 1000, last_is_full=True, choices=choices)
    assert sticky.partition == "t-0"
    sticky.appended(1, 1000, last_is_full=False, choices=choices)
    assert sticky.partition == "t-0"
    sticky.appended(1, 1000, last_is_full=True, choices=choices)
    assert sticky.partition == "t-1"
    sticky.appended(2000, 1000, last_is_full=False, choices=choices)
    assert sticky.partition == "t-0"
