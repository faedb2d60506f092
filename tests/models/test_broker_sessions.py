"""Broker sessions: when a silent broker is fenced, seen through the controller; KC-2 and KC-3. The vectors BV-232 and BV-233 are in tests/kafka."""

from __future__ import annotations

import pytest

from ksim_models.config import BrokerConfig
from ksim_models.machine import Crashed, Restarted
from ksim_models.units import ms, s
from lone_controller import LoneController, fenced_at, heartbeat_of


def test_before_4_0_a_silent_broker_is_fenced_when_its_session_ends() -> None:
    """KC-2: the commit follows 25 ms later."""
    cluster = LoneController("3.9", first_contact={"1": -ms(1_500), "2": s(60), "3": s(60)})

    cluster.until(s(20))

    assert fenced_at(cluster) == [("1", ms(7_500 + 25))]


@pytest.mark.parametrize(
    ("last_contact_ms", "found_ms"),
    [
        pytest.param(-1, 9_000, id="just after"),
        pytest.param(0, 10_125, id="the longest wait"),
        pytest.param(-1_500, 7_875, id="between"),
        pytest.param(-7_875, 2_250, id="stale at the first scan, found by the second"),
    ],
)
def test_from_4_0_a_silent_broker_is_found_by_the_next_scan(last_contact_ms: int, found_ms: int) -> None:
    """KC-2: a scan every 1125 ms, stale strictly after the time-out, so 9.0 to 10.1 s after the last heartbeat."""
    cluster = LoneController("4.3", first_contact={"1": ms(last_contact_ms), "2": s(60), "3": s(60)})

    cluster.until(s(20))

    assert fenced_at(cluster) == [("1", ms(found_ms + 25))]


def test_from_4_0_one_scan_fences_one_broker_and_the_next_comes_10_ms_later() -> None:
    """KC-2."""
    config = BrokerConfig(controller_quorum_append_linger_ms=0)
    cluster = LoneController("4.3", config=config, first_contact={"1": -2, "2": -2, "3": s(60)})

    cluster.until(s(9))
    cluster.tell(heartbeat_of(cluster, "3"))
    cluster.until(ms(9_020))

    assert fenced_at(cluster) == [("1", s(9)), ("2", ms(9_010))]


def test_a_heartbeat_gives_a_full_new_session_and_no_scan_is_run_for_nothing() -> None:
    """KC-2."""
    cluster = LoneController("4.3")
    cluster.until(s(8))
    assert cluster.controller.wake_at == ms(10_125)

    for broker in ("1", "2", "3"):
        cluster.tell(heartbeat_of(cluster, broker))

    assert cluster.controller.wake_at == ms(18_000)  # 8 s + 9 s, and on to the next scan.


@pytest.mark.parametrize(("version", "first_fenced"), [("3.9", ms(21_025)), ("4.3", ms(21_025) + 1)])
def test_a_restarted_controller_gives_every_living_broker_a_full_new_session(version: str, first_fenced: int) -> None:
    """KC-3: it restarts at 12 s, and its scans are counted from just after that, so the eighth finds them (measured on 4.3.0: 10 of 10)."""
    cluster = LoneController(version)
    cluster.until(s(8))

    cluster.tell(Crashed())
    cluster.until(s(12))
    cluster.tell(Restarted())
    cluster.until(s(20))
    assert fenced_at(cluster) == []

    cluster.until(s(23))
    assert [broker for broker, _ in fenced_at(cluster)] == ["1", "2", "3"]
    assert fenced_at(cluster)[0] == ("1", first_fenced)
