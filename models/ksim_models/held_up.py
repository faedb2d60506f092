"""A producer whose callbacks call send() themselves, and may hold its I/O thread up.

Kafka: KafkaProducer.send inside Callback.onCompletion. Meanwhile nothing is read, sent or timed out; only the application's own threads go on.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.arrivals import Arrivals
from ksim_models.config import ProducerConfig
from ksim_models.machine import Crashed, Dice, Effect, Event, Wake
from ksim_models.on_failure import Reaction
from ksim_models.producer import Producer
from ksim_models.profiles import ClientProfile
from ksim_models.units import Micros


def calls_back(workload: Arrivals) -> bool:
    """Its records are sent again by their callbacks, and not by the thread that waits for each of them."""
    return workload.on_failure.reaction is Reaction.RESEND and workload.window != 1


class HeldUp(Producer):
    def __init__(self, name: str, profile: ClientProfile, config: ProducerConfig, bootstrap: Sequence[str], workloads: Sequence[Arrivals], dice: Dice) -> None:
        self.unread: list[Event] = []
        """What came while the I/O thread was held up."""
        super().__init__(name, profile, config, bootstrap, workloads, dice)

    def handle(self, event: Event, now: Micros) -> list[Effect]:
        if type(event) is Crashed:
            return super().handle(event, now)
        callbacks, out = self.sending.callbacks, list[Effect]()
        callbacks.release(now, out)
        if not callbacks.held and self.outcomes.unfinished:
            self.outcomes.finish_the_unfinished(now)
        events, self.unread = [*self.unread, event], []
        for place, next_event in enumerate(events):
            if callbacks.held:
                self.unread = [waiting for waiting in events[place:] if type(waiting) is not Wake]
                self.sending.take(now, out)
                break
            out += super().handle(next_event, now)
        if callbacks.held and self.alive:
            self.wake_at = min(callbacks.held_until, self.sending.wake_at(now, callbacks.held_until))
        return out

    def accumulator_holds(self) -> bool:
        return super().accumulator_holds() or bool(self.sending.callbacks.held)
