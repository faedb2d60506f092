"""The application behind send(): it learns how its sends ended, in order, and does about a failure what its workload says.

Kafka: Callback.onCompletion (S18) and Future.get(). With `wait = "each"` the thread that called send() waits and sends again itself;
else it is the callback that sends again: on the I/O thread of the Java client, on the thread that serves the delivery reports of librdkafka.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ksim_models.application import OutboxThread, Thread
from ksim_models.machine import Effect
from ksim_models.on_failure import Reaction
from ksim_models.units import Micros

Kept = tuple[Thread, int]
"""Who sent a record, and its index in its workload."""


class Reactions:
    def __init__(self, threads: Sequence[Thread]) -> None:
        self.threads = threads
        self.wanted = any(thread.reacts for thread in threads)
        """Somebody does more than report: only then the outcomes of single records are looked at."""
        self.kept: dict[int, Kept] = {}
        """Per record without an outcome."""

    def sent(self, thread: Thread, number: int, index: int) -> None:
        if thread.reacts and number >= 0:
            self.kept[number] = self.threads[thread.index], index
            if isinstance(thread, OutboxThread):
                thread.handed_over(number, index)

    def succeeded(self, numbers: Iterable[int], now: Micros, out: list[Effect]) -> None:
        for number in numbers:
            kept = self.kept.pop(number, None)
            if kept is None:
                continue
            if kept[0].breaker is not None:
                kept[0].breaker.succeeded(number, out)
            elif isinstance(kept[0], OutboxThread):
                kept[0].ended(number, now, out, acked=True)

    def failed(self, number: int, now: Micros, out: list[Effect]) -> Kept | None:
        """Who sends this record again from the callback, now; None where nobody does."""
        kept = self.kept.pop(number, None)
        if kept is None:
            return None
        thread, index = kept
        if thread.on_failure.reaction is not Reaction.RESEND:
            self._note_failure(thread, number, now, out)
        elif thread.stopped:
            pass
        elif thread.waits_for_each:
            thread.again.append((number, index))
        else:
            return kept
        return None

    def refused(self, thread: Thread, number: int, now: Micros, out: list[Effect]) -> None:
        """send() itself said no. Such a record is not sent again: its send() has waited already, or would be refused for ever. A row of an outbox is."""
        if isinstance(thread, OutboxThread):
            thread.handed_over(number, thread.record)
        self._note_failure(thread, number, now, out)

    def _note_failure(self, thread: Thread, number: int, now: Micros, out: list[Effect]) -> None:
        if thread.on_failure.reaction is Reaction.STOP:
            thread.stopped = thread.gave_up = True
        elif thread.breaker is not None:
            thread.breaker.failed(number, now, out)
        elif isinstance(thread, OutboxThread):
            thread.ended(number, now, out, acked=False)
