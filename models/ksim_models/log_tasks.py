"""What a broker does to its logs from time to time: flush what flush.ms asks for, delete what is old, forget idle producers.

Kafka: LogManager.startup with its scheduled tasks (kafka-log-flusher, kafka-log-retention), UnifiedLog's producer expiry check.
A task that could not find anything to do yet is not run: the moments at which it does something are Kafka's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ksim_models.config import BrokerConfig
from ksim_models.facts import LogStartMoved
from ksim_models.log import Log
from ksim_models.machine import Effect, Note
from ksim_models.replica import Replica
from ksim_models.retention import clean_up
from ksim_models.settings import LONG_MAX
from ksim_models.units import NEVER, Micros, ms

INITIAL_DELAY: Micros = ms(30_000)
"""log.initial.task.delay.ms: after a start nothing of this happens for so long."""


class Task:
    """Runs at `first`, and then every `every`; runs that would find nothing are left out."""

    __slots__ = ("at", "every", "first")

    def __init__(self, first: Micros, every: Micros) -> None:
        self.first = first
        self.every = every or NEVER
        self.at: Micros = NEVER

    def wanted_from(self, useful_from: Micros) -> None:
        """There will be something to find from then on."""
        runs = max(0, -(-(useful_from - self.first) // self.every))
        if runs == 0 or self.every < NEVER:
            self.at = min(self.at, self.first + runs * self.every)

    def ran(self, now: Micros) -> None:
        """Runs that a frozen process has missed follow at once, and find nothing more: they are left out too."""
        self.at = self.at + ((now - self.at) // self.every + 1) * self.every if self.every < NEVER else NEVER


class LogTasks:
    def __init__(self, broker: str, config: BrokerConfig, replicas: Mapping[str, Replica], booted_at: Micros, *, long_ago: bool) -> None:
        """long_ago: the broker has been up for longer than anybody knows, so the first runs are over."""
        first = booted_at if long_ago else booted_at + INITIAL_DELAY
        self.broker = broker
        self.replicas = replicas
        self.flusher = Task(first, _period(config.log_flush_scheduler_interval_ms))
        self.retention = Task(first, _period(config.log_retention_check_interval_ms))
        check = _period(config.producer_id_expiration_check_interval_ms)
        self.expiry = Task(booted_at + check, check)
        self.forget_after = ms(config.producer_id_expiration_ms)
        self.flusher_is_over = long_ago and self.flusher.every == NEVER
        self.wake_at: Micros = NEVER

    def _next_wake(self) -> Micros:
        return min(self.flusher.at, self.retention.at, self.expiry.at)

    def watch(self, log: Log, now: Micros) -> None:
        """Hosted from now on. No record is older than time zero, so nothing is too old before."""
        config = log.config
        if config.flush_ms < LONG_MAX and not self.flusher_is_over:
            self.flusher.wanted_from(now)
        if config.retention_bytes >= 0:
            self.retention.wanted_from(now)
        if config.retention_ms >= 0:
            self.retention.wanted_from(max(now, ms(config.retention_ms) + 1))
        self.expiry.wanted_from(max(now, self.forget_after))
        self.wake_at = self._next_wake()

    def start_moved(self, now: Micros) -> None:
        """There may be a segment before the log start now."""
        self.retention.wanted_from(now)
        self.wake_at = self._next_wake()

    def wake(self, now: Micros, tell: Callable[[str], None], out: list[Effect]) -> None:
        """tell: a partition's log start moved, so its followers hear of it."""
        if now < self.wake_at:
            return
        if self.flusher.at <= now:
            self.flusher.ran(now)
            for log in self._logs():
                if now - log.flushed_at >= ms(log.config.flush_ms):
                    log.flush(now)
        if self.retention.at <= now:
            self.retention.ran(now)
            for partition, replica in self.replicas.items():
                if why := clean_up(replica.log, now):
                    out.append(Note(LogStartMoved(self.broker, partition, replica.log.log_start_offset, why)))
                    tell(partition)
        if self.expiry.at <= now:
            self.expiry.ran(now)
            for log in self._logs():
                log.producers.expire(now, self.forget_after)
        self.wake_at = self._next_wake()

    def _logs(self) -> list[Log]:
        return [replica.log for replica in self.replicas.values()]


def _period(every_ms: int) -> Micros:
    return NEVER if every_ms >= LONG_MAX // 1000 else ms(every_ms)
