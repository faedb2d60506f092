"""How long the producer's I/O thread waits: it notices the time-outs of requests only when a poll ends (N14).

Kafka: Sender.sendProducerData, NetworkClient.poll; the wakeup at the end of KafkaProducer.doSend.
"""

from __future__ import annotations

from ksim_models.units import LONG_AGO, MILLISECOND, NEVER, Micros


class Poll:
    """The present wait. A wake of the machine that Java's thread does not have leaves it alone."""

    __slots__ = ("began_at", "is_busy", "linger", "longest", "timer_at")

    def __init__(self, linger: Micros, request_timeout: Micros) -> None:
        self.linger = linger
        self.longest = request_timeout + MILLISECOND
        """No poll lasts longer than request.timeout.ms."""
        self.began_at: Micros = LONG_AGO
        self.timer_at: Micros = NEVER
        """When something falls due: a batch, a retry, metadata, a connection that may be tried again."""
        self.is_busy = False
        """A node is ready, and what is due there may not go yet (A33): the thread turns without a pause (S5), so nothing is noticed late."""

    def ends_at(self, newest_batch_at: Micros, now: Micros) -> Micros:
        """Whatever else happens; the newest batch is looked at when it has lingered, too."""
        if self.is_busy:
            return now
        lingered = newest_batch_at + self.linger
        ends = self.began_at + self.longest
        return lingered if now < lingered < ends else ends

    def has_ended(self, newest_batch_at: Micros, now: Micros) -> bool:
        """A new batch wakes the thread; it may be heard of late, for records are taken when they matter."""
        lingered = newest_batch_at + self.linger
        if self.is_busy or self.timer_at <= now or now in (newest_batch_at, lingered):
            return True
        self.began_at = max(self.began_at, lingered if lingered < now else newest_batch_at)
        return self.began_at + self.longest <= now
