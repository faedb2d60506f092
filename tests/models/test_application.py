"""The application's threads."""

from __future__ import annotations

from ksim_models.application import Thread
from ksim_models.units import NEVER
from scripted import Calls


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
