"""Whatever strikes the controllers: one committed history, and an active controller whenever a majority lives and can talk."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ksim_models.units import ms, s
from quorum import LivingQuorum

RELEASES = ("3.3", "3.6", "3.7", "3.8", "3.9", "4.0", "4.1", "4.3")
DEEDS = ("crash", "power_off", "pause", "restart", "resume", "terminate", "cut", "mend")
blows = st.lists(st.tuples(st.integers(50, 4_000), st.sampled_from(DEEDS), st.integers(0, 4), st.integers(0, 4)), max_size=14)


def strike(quorum: LivingQuorum, deed: str, one: str, other: str, cuts: list[tuple[str, str]]) -> None:
    if deed == "cut" and one != other:
        quorum.loop.cut(one, other)
        cuts.append((one, other))
    elif deed == "mend" and cuts:
        quorum.loop.mend(*cuts.pop())
    elif deed not in ("cut", "mend"):
        getattr(quorum.loop, deed)(one)


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(RELEASES), st.sampled_from([3, 5]), st.integers(0, 1_000), blows)
def test_there_is_one_committed_history_and_in_the_end_an_active_controller(
    kafka: str, controllers: int, seed: int, blows: list[tuple[int, str, int, int]]
) -> None:
    """The first is what the invariants look at after every step: they end the run."""
    quorum = LivingQuorum(kafka, controllers=controllers, seed=seed, check_every=2)
    names, cuts = list(quorum.voters), list[tuple[str, str]]()
    quorum.until(0)
    for pause_ms, deed, one, other in blows:
        quorum.for_another(pause_ms)
        strike(quorum, deed, names[one % controllers], names[other % controllers], cuts)

    for cut in cuts:
        quorum.loop.mend(*cut)
    living = names[: controllers // 2 + 1]
    for name in names:
        quorum.loop.resume(name)
        if name in living:
            quorum.loop.restart(name)
        else:
            quorum.loop.crash(name)
    quorum.until(quorum.loop.now + s(30))

    assert quorum.active in living
    end = len(quorum.quorum.book.entries)
    quorum.until(quorum.loop.now + ms(1_500))
    assert len(quorum.quorum.book.entries) > end, "it goes on committing: no-op records at least"


@settings(deadline=None, max_examples=15)
@given(st.sampled_from(RELEASES), st.integers(0, 1_000), st.lists(st.tuples(st.integers(1, 9_000), st.integers(0, 2)), min_size=1, max_size=20))
def test_a_spurious_wake_of_a_controller_changes_no_fact(kafka: str, seed: int, wakes: list[tuple[int, int]]) -> None:
    woken, other = LivingQuorum(kafka, seed=seed), LivingQuorum(kafka, seed=seed, check_every=2)
    for at, number in wakes:
        woken.loop.call_at(ms(at) + 7, lambda name=f"controller-{number + 1}": woken.loop.wake(name))  # type: ignore[misc]
    for quorum in (woken, other):
        quorum.until(s(1))
        quorum.loop.crash("controller-1")
        quorum.until(s(14))

    assert woken.quorum.book.entries == other.quorum.book.entries
    assert list(woken.changes()) == list(other.changes())
