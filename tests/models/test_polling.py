"""How long the I/O thread waits: the end of a poll, as the rest of the producer is told of it (N14)."""

from __future__ import annotations

import pytest

from ksim_models.polling import Poll
from ksim_models.units import NEVER, Micros, ms

LONG_AGO = -(2**60)


def poll(began_at: Micros = 0, *, timer_at: Micros = NEVER) -> Poll:
    """linger.ms = 5, request.timeout.ms = 100."""
    made = Poll(ms(5), ms(100))
    made.began_at, made.timer_at = began_at, timer_at
    return made


def test_a_poll_that_never_began_has_no_timer() -> None:
    made = Poll(ms(5), ms(100))

    assert made.timer_at == NEVER
    assert made.has_ended(LONG_AGO, 0), "whatever began so long ago is over"
    assert made.ends_at(LONG_AGO, 0) < LONG_AGO + ms(1_000)


@pytest.mark.parametrize(
    ("newest", "now", "ends"),
    [
        pytest.param(LONG_AGO, 0, ms(101), id="a millisecond past request.timeout.ms"),
        pytest.param(ms(20), ms(20), ms(25), id="or when the newest batch has lingered"),
        pytest.param(ms(20), ms(24), ms(25), id="if that is still to come"),
        pytest.param(ms(20), ms(25), ms(101), id="and not when it is past"),
        pytest.param(ms(97), ms(97), ms(101), id="nor when the poll ends first"),
        pytest.param(ms(96), ms(96), ms(101), id="or at the same moment"),
    ],
)
def test_when_a_poll_ends_whatever_else_happens(newest: Micros, now: Micros, ends: Micros) -> None:
    assert poll().ends_at(newest, now) == ends


@pytest.mark.parametrize(
    ("timer", "newest", "now", "ended"),
    [
        pytest.param(ms(50), LONG_AGO, ms(49), False, id="nothing has happened yet"),
        pytest.param(ms(50), LONG_AGO, ms(50), True, id="something falls due"),
        pytest.param(NEVER, ms(30), ms(30), True, id="a new batch wakes the thread"),
        pytest.param(NEVER, ms(30), ms(35), True, id="and its linger too"),
        pytest.param(NEVER, ms(30), ms(36), False, id="in between and later it sleeps"),
        pytest.param(NEVER, LONG_AGO, ms(100), False, id="request.timeout.ms is not yet over"),
        pytest.param(NEVER, LONG_AGO, ms(101), True, id="it is"),
        pytest.param(NEVER, ms(30), ms(101), False, id="a batch that came meanwhile had ended it, so it began anew when that lingered"),
        pytest.param(NEVER, ms(30), ms(135), False, id="and lasts"),
        pytest.param(NEVER, ms(30), ms(136), True, id="as long again"),
        pytest.param(NEVER, ms(99), ms(102), False, id="a batch whose linger still runs began it anew when it came"),
    ],
)
def test_whether_a_poll_has_ended(timer: Micros, newest: Micros, now: Micros, ended: bool) -> None:
    assert poll(timer_at=timer).has_ended(newest, now) is ended


def test_an_older_batch_moves_no_beginning_back() -> None:
    made = poll(ms(50))
    assert not made.has_ended(ms(10), ms(60))

    assert made.began_at == ms(50)


@pytest.mark.parametrize(("now", "began"), [(ms(32), ms(30)), (ms(35) + 1, ms(35))])
def test_a_batch_heard_of_late_is_where_the_present_wait_began(now: Micros, began: Micros) -> None:
    """Records are taken when they matter: that a batch came is learnt later."""
    made = poll()
    assert not made.has_ended(ms(30), now)

    assert made.began_at == began
