"""Which exchanges a frame fault counts, and which of those it hits: the same for the simulation and for real frames."""

from __future__ import annotations

from typing import Any

import pytest

from ksim.dice import Dice
from ksim.frame_triggers import Carried, FrameFault, fired
from ksim.plan import FaultPlan, FrameTrigger, Who
from ksim_models.errors import ErrorCode
from ksim_models.units import Micros, ms

P1, BROKER_1 = Who("machine", "p1"), Who("machine", "broker-1")


def fault(do: str = "lose-response", *, side: str = "request", at: Micros | None = None, duration: Micros | None = None, **values: Any) -> FrameFault:
    processed = values.pop("processed", False)
    trigger = FrameTrigger(api=values.pop("api", "Produce"), side=side, **values)
    error = ErrorCode.NOT_ENOUGH_REPLICAS if do == "answer" else None
    plan = FaultPlan(0, do, do, at, trigger, duration, error=error, processed=processed)
    return FrameFault(plan, trigger, Dice(1), lambda who, plan: (who.argument,))


def meets(one: FrameFault, now: Micros = 0, *, api: str = "Produce", connection: str = "p1->broker-1#1", carried: Carried = ((), ("t-0",))) -> bool:
    return one.fires(api, "p1", "broker-1", connection, lambda: carried, now)


def hits_of(one: FrameFault, exchanges: int = 12) -> list[int]:
    return [number for number in range(1, exchanges + 1) if meets(one)]


@pytest.mark.parametrize(
    ("filters", "hits"),
    [
        ({}, [1]),
        ({"nth": 3}, [3]),
        ({"nth": 3, "times": 4}, [3, 4, 5, 6]),
        ({"every": 5}, [5, 10]),
        ({"every": 5, "times": 1}, [5]),
        ({"probability": 1.0}, list(range(1, 13))),
        ({"probability": 1.0, "times": 2}, [1, 2]),
        ({"probability": 1.0, "nth": 11}, [11, 12]),
        ({"probability": 0.0}, []),
    ],
)
def test_exchanges_are_counted_from_one(filters: dict[str, Any], hits: list[int]) -> None:
    assert hits_of(fault(**filters)) == hits


def test_chance_is_a_function_of_seed_and_count() -> None:
    assert hits_of(fault(probability=0.3), 100) == hits_of(fault(probability=0.3), 100)
    assert 10 < len(hits_of(fault(probability=0.3), 100)) < 60


@pytest.mark.parametrize(
    ("filters", "is_met"),
    [
        ({"sender": P1}, True),
        ({"sender": Who("machine", "p2")}, False),
        ({"receiver": BROKER_1}, True),
        ({"receiver": Who("machine", "broker-2")}, False),
        ({"sender": P1, "receiver": BROKER_1, "side": "response"}, True),
        ({"sender": BROKER_1, "receiver": P1, "side": "response"}, False),
        ({"connection": "p1->broker-1#1"}, True),
        ({"connection": "p1->broker-1#2"}, False),
        ({"topic": "t"}, True),
        ({"topic": "u"}, False),
        ({"partition": "t-0"}, True),
        ({"partition": "t-1"}, False),
        ({"partition": "t-0", "topic": "u"}, False),
        ({"api": "Metadata"}, False),
    ],
)
def test_only_what_matches_every_filter_counts(filters: dict[str, Any], is_met: bool) -> None:
    assert meets(fault(**filters)) is is_met


def test_a_request_that_names_topics_only_is_found_by_its_topic_and_not_by_a_partition() -> None:
    assert meets(fault(topic="t"), carried=(("t",), ()))
    assert not meets(fault(partition="t-0"), carried=(("t",), ()))


def test_nothing_counts_before_its_time() -> None:
    late = fault(at=ms(100), after=ms(50))

    assert not meets(late, ms(149))
    assert late.seen == 0
    assert meets(late, ms(150))


def test_for_ends_it_that_long_after_its_first_hit() -> None:
    short = fault(every=1, duration=ms(10))

    assert [meets(short, ms(at)) for at in (100, 109, 110)] == [True, True, False]


def test_what_was_healed_hits_no_more_unless_it_still_owes_a_certain_hit() -> None:
    endless, owed = fault(every=1), fault(nth=2)
    for one in (endless, owed):
        meets(one)
        one.heal()

    assert not meets(endless)
    assert meets(owed)


@pytest.mark.parametrize(
    ("one", "deed"),
    [
        (fault("lose-request"), "lose-request"),
        (fault("lose-response"), None),
        (fault("hang"), "hang"),
        (fault("hang", side="response"), None),
        (fault("delay", side="response"), None),
        (fault("answer"), "lose-request"),
        (fault("answer", processed=True), None),
    ],
)
def test_what_a_fault_does_to_a_request_that_has_no_answer(one: FrameFault, deed: str | None) -> None:
    assert one.deed(answered=False) == deed
    assert one.deed(answered=True) == one.plan.do


def test_every_fault_counts_what_passes_whichever_strikes_first() -> None:
    first, second, of_responses = fault(nth=2), fault("hang", nth=3), fault("hang", side="response")
    found = [fired([first, second, of_responses], "Produce", "p1", "broker-1", "c", lambda: ((), ()), 0, responses=False) for _ in range(3)]

    assert found == [[], [first], [second]]
    assert (first.seen, second.seen, of_responses.seen) == (3, 3, 0)
