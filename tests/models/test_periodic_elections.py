"""Elections that the controller holds from time to time: when."""

from __future__ import annotations

from ksim_models.periodic_elections import PeriodicElection
from ksim_models.units import NEVER, Micros


class Held:
    """Every 100."""

    def __init__(self, *, on_a_grid: bool) -> None:
        self.work = False
        self.at: list[Micros] = []
        self.election = PeriodicElection(100, on_a_grid, lambda: self.work, self.at.append)


def test_from_4_0_on_turns_follow_the_start_of_the_controller() -> None:
    """KC-44, KC-46 (PeriodicTaskControlManager): one that would find nothing is not waited for, and those that a frozen process missed are one."""
    held = Held(on_a_grid=True)
    assert held.election.wake_at == NEVER, "it is not active"
    held.election.begin(5)
    held.election.look(7)
    assert held.election.wake_at == NEVER, "there is nothing to do"
    held.work = True
    held.election.look(8)
    assert held.election.wake_at == 105
    for now, wakes_at in ((104, 105), (105, 205), (430, 505), (505, 605)):
        held.election.turn(now)
        assert held.election.wake_at == wakes_at

    assert held.at == [105, 430, 505]


def test_before_4_0_a_turn_comes_an_interval_after_there_was_something_to_do() -> None:
    """KC-44, KC-46 (maybeScheduleNextBalancePartitionLeaders)."""
    held = Held(on_a_grid=False)
    held.election.begin(5)
    held.election.look(7)
    held.work = True
    assert held.election.wake_at == NEVER, "nobody has looked since"
    for now in (9, 20, 108):
        held.election.look(now)
        held.election.turn(now)
        assert held.election.wake_at == 109
    held.election.turn(110)
    assert held.election.wake_at == NEVER
    held.election.look(110)
    assert held.election.wake_at == 210
    held.election.begin(150)

    assert (held.at, held.election.wake_at) == ([110], NEVER), "another controller: it has to look first"
