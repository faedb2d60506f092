"""Retention: which segments at the beginning of a log are old or many enough to be deleted.

Kafka: LogManager.cleanupLogs, UnifiedLog.deleteOldSegments. Every replica does this by itself; a follower also goes along with its leader's log start.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

from ksim_models.log import Log, Segment
from ksim_models.units import Micros, ms


def clean_up(log: Log, now: Micros) -> str:
    """Delete what may go: what stands before the log start, then by size, then by age. Answers the setting that moved the log start, "" where none did."""
    why = ""
    for setting, count_of in (("", _before_start), ("retention.bytes", _too_large), ("retention.ms", _too_old)):
        before, count = log.log_start_offset, count_of(log, now)
        if count:
            log.remove_segments(count, now)
        if log.log_start_offset > before:
            why = setting
    return why


def _before_start(log: Log, now: Micros) -> int:
    return sum(1 for _ in takewhile(lambda following: following.base_offset <= log.log_start_offset, log.segments[1:]))


def _too_large(log: Log, now: Micros) -> int:
    limit = log.config.retention_bytes
    too_much = log.size_bytes - limit
    count = 0
    if limit >= 0:
        for segment, _ in _committed(log):
            too_much -= segment.size_bytes
            if too_much < 0:
                break
            count += 1
    return count


def _too_old(log: Log, now: Micros) -> int:
    limit = log.config.retention_ms
    count = 0
    if limit >= 0:
        for segment, end in _committed(log):
            if now - max(batch.max_timestamp for batch in log.between(segment.base_offset, end)) <= ms(limit):
                break
            count += 1
    return count


def _committed(log: Log) -> Iterator[tuple[Segment, int]]:
    """Segments that end at or below the high watermark, with their ends: the others stay, whatever their age. An empty one, the last, stays too."""
    return takewhile(lambda each: each[1] <= log.high_watermark and each[0].size_bytes, log.with_ends())
