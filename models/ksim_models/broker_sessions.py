"""Broker sessions: who has not been heard of for too long, and when the controller will notice.

Kafka: BrokerHeartbeatManager; from 4.0 BrokerHeartbeatTracker and the task maybeFenceStaleBroker (KAFKA-17793). KC-2, KC-3, KC-13.
Most of the time for which a partition has no leader after its leader died is this one (KC-4).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ksim_models.profiles import BrokerProfile
from ksim_models.units import NEVER, Micros, ms

SCANS_PER_SESSION = 8  # Every 1125 ms of the usual 9 s.
NEXT_SCAN_AFTER_A_FIND: Micros = ms(10)
A_MOMENT: Micros = 1
"""The scans of a new controller begin just after the sessions: the eighth finds those that have heard nobody since (measured on 4.3.0: 10 of 10)."""


class BrokerSessions:
    """The last contact of every broker, under the epoch it has now. It lives in memory only."""

    __slots__ = ("_last_contact", "_profile", "_scan_from", "_timeout")

    def __init__(self, timeout: Micros, profile: BrokerProfile, last_contact: Mapping[str, Micros]) -> None:
        self._timeout = timeout
        self._profile = profile
        self._last_contact: dict[str, Micros] = dict(last_contact)
        self._scan_from: Micros = 0
        """A scan comes then, and one each period from then on."""

    def restart(self, unfenced: Iterable[str], now: Micros) -> None:
        """KC-3: every living broker gets a full new session. Simplified: 4.0 gave one to fenced brokers too, which only delays their restart."""
        self._last_contact = dict.fromkeys(unfenced, now)
        self._scan_from = now + A_MOMENT  # QuorumController.claim: first clusterControl.activate, then periodicControl.activate.

    def heard_of(self, broker: str, now: Micros) -> None:
        self._last_contact[broker] = now

    def is_valid(self, broker: str, now: Micros, *, fenced: bool) -> bool:
        """KC-13: valid until strictly after the time-out. Before 4.0 a fenced broker has no session; from then on only the last contact counts."""
        contact = self._last_contact.get(broker)
        if contact is None or (fenced and not self._profile.old_session_blocks_after_shutdown):
            return False
        return contact + self._timeout >= now

    def next_check(self, unfenced: Sequence[str]) -> Micros:
        """When the controller will find a stale session, if nobody is heard of before. Scans that would find nothing are not run."""
        if not unfenced:
            return NEVER
        ends = min(map(self._last_contact.__getitem__, unfenced)) + self._timeout
        if not self._profile.session_scan_in_slices:
            return ends
        if ends < self._scan_from:
            return self._scan_from
        period = self._timeout // SCANS_PER_SESSION
        return self._scan_from + ((ends - self._scan_from) // period + 1) * period

    def find_stale(self, unfenced: Sequence[str], now: Micros) -> str | None:
        """The broker to fence now, one at a time; from 4.0 the next one is looked for 10 ms later."""
        if self.next_check(unfenced) > now:
            return None
        if self._profile.session_scan_in_slices:
            self._scan_from = now + NEXT_SCAN_AFTER_A_FIND
        return min(unfenced, key=self._last_contact.__getitem__)
