"""Retention: which segments at the beginning of a log are old or many enough to be deleted.

Kafka: LogManager.cleanupLogs, UnifiedLog.deleteOldSegments. Every replica does this by itself; a follower also goes along with its leader's log start.
"""

from __future__ import annotations

from ksim_models.log import Log
from ksim_models.units import Micros, ms


def clean_up(log: Log, now: Micros) -> str:
    """Delete what may go: what stands before the log start, then by size, then by age. Answers the setting that moved the log start, "" where none did."""
    before = log.log_start_offset
    _remove_before_start(log, now)
    why = ""
    if _remove_by_size(log, now) and log.log_start_offset > before:
        why, before = "retention.bytes", log.log_start_offset
    if _remove_by_age(log, now) and log.log_start_offset > before:
        why = "retention.ms"
    return why


def _remove_before_start(log: Log, now: Micros) -> None:
    count = 0
    for following in log.segments[1:]:
        if following.base_offset > log.log_start_offset:
            break
        count += 1
    if count:
        log.remove_segments(count, now)


def _remove_by_size(log: Log, now: Micros) -> bool:
    limit = log.config.retention_bytes
    too_much = log.size_bytes - limit
    count = 0
    if limit >= 0 and too_much >= 0:
        for segment in log.segments[: _committed(log)]:
            too_much -= segment.size_bytes
            if too_much < 0:
                break
            count += 1
    return _remove(log, count, now)


def _remove_by_age(log: Log, now: Micros) -> bool:
    limit = log.config.retention_ms
    count = 0
    if limit >= 0:
        for position in range(_committed(log)):
            batches = log.between(log.segments[position].base_offset, _end_of(log, position))
            if not batches or now - max(batch.max_timestamp for batch in batches) <= ms(limit):
                break
            count += 1
    return _remove(log, count, now)


def _remove(log: Log, count: int, now: Micros) -> bool:
    if count:
        log.remove_segments(count, now)
    return count > 0


def _committed(log: Log) -> int:
    """How many segments end at or below the high watermark: the others stay, whatever their age. An empty last one stays too."""
    count = 0
    for position, segment in enumerate(log.segments):
        if _end_of(log, position) > log.high_watermark or (segment is log.active and not segment.size_bytes):
            break
        count += 1
    return count


def _end_of(log: Log, position: int) -> int:
    return log.segments[position + 1].base_offset if position + 1 < len(log.segments) else log.log_end_offset
