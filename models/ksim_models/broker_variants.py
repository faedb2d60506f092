"""Where releases of brokers and controllers differ in more than yes and no: what there is to choose from, and which release chose what.

Kafka: the switchboard of the broker's rule book (section 0). `profiles` bundles these with the plain switches.
"""

from __future__ import annotations

from enum import Enum


class RegistrationLeavesIsr(Enum):
    """When the registration of a broker also takes it out of the ISRs where others remain (KC-57)."""

    NO = "no"
    """Up to 3.7: ISR effects come from fencing only."""
    UNMATCHED = "unmatched"
    """3.8: when the previous broker epoch in the request is not the one registered."""
    NEW_INCARNATION = "new-incarnation"
    """3.9 and later: every new incarnation; with ELR on, an unclean one leaves the ELR too (KAFKA-18106)."""


class ReassignmentNeeds(Enum):
    """Who must be in the ISR before a reassignment is completed (KC-48)."""

    ADDED = "added"
    """Up to 3.7: those that are added."""
    ALL = "all"
    """3.8 to 4.2 (KAFKA-15665): all that the partition shall have."""
    ALL_WHERE_FEWER = "all-where-fewer"
    """4.3 (KAFKA-19975): those that are added; all, where fewer are added than removed."""


class HeartbeatRetry(Enum):
    """How a broker repeats a failed registration or heartbeat (KC-15)."""

    EXPONENTIAL = "exponential"
    """Up to 3.9.1, and 4.0.0: from 100 ms, doubled, capped by the session time-out; one request may last half of it."""
    FIXED = "fixed"
    """3.9.2, 4.0.1, 4.1 (KAFKA-19294): every broker.heartbeat.interval.ms, which limits the request too."""


class ElectionBackoff(Enum):
    """What a controller does that stood for election and lost (KC-85)."""

    PLAIN = "plain"
    """Up to 3.7: it waits 50 ms times a number below 2, 4, 8 ..., at most the setting; all alike may do so for ever (KAFKA-18345)."""
    JITTERED = "jittered"
    """3.8 to 4.0: with something on top of the most."""
    NONE = "none"
    """4.1 (KAFKA-18345): it waits for the rest of its election time."""


def registration_leaves_isr(release: tuple[int, int, int]) -> RegistrationLeavesIsr:
    if release < (3, 8, 0):
        return RegistrationLeavesIsr.NO
    return RegistrationLeavesIsr.UNMATCHED if release < (3, 9, 0) else RegistrationLeavesIsr.NEW_INCARNATION


def election_backoff(release: tuple[int, int, int]) -> ElectionBackoff:
    if release < (3, 8, 0):
        return ElectionBackoff.PLAIN
    return ElectionBackoff.JITTERED if release < (4, 1, 0) else ElectionBackoff.NONE


def reassignment_needs(release: tuple[int, int, int]) -> ReassignmentNeeds:
    if release < (3, 8, 0):
        return ReassignmentNeeds.ADDED
    return ReassignmentNeeds.ALL if release < (4, 3, 0) else ReassignmentNeeds.ALL_WHERE_FEWER
