"""Sequence numbers: they count records, and go on from 0 after 2147483647.

Kafka: DefaultRecordBatch.incrementSequence, used by client and broker alike (I5, PS-18).
"""

from __future__ import annotations

LAST_SEQUENCE = 2**31 - 1


def next_sequence(sequence: int, count: int) -> int:
    """The sequence number `count` records behind `sequence`."""
    return (sequence + count) & LAST_SEQUENCE
