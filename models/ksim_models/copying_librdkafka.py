"""The producer's half of a copying application whose producer is librdkafka's.

Not Kafka's: as `copying_producer`, which has the same session above the Java client's producer.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim_models.arrivals import Arrivals
from ksim_models.config import LibrdkafkaConfig
from ksim_models.copying_producer import CopyingProcess, CopyingSession
from ksim_models.librdkafka_transactional import CallingLibrdkafka
from ksim_models.machine import Dice, Effect, Event
from ksim_models.units import Micros


class CopyingLibrdkafka(CallingLibrdkafka):
    copying_session: CopyingSession

    def __init__(self, name: str, config: LibrdkafkaConfig, bootstrap: Sequence[str], workloads: Sequence[Arrivals], dice: Dice) -> None:
        self.process = CopyingProcess(workloads)
        super().__init__(name, config, bootstrap, workloads, dice)

    def _make_session(self) -> CopyingSession:
        self.copying_session = CopyingSession(self, self.client, self.process.copying)
        return self.copying_session

    def handle(self, event: Event, now: Micros) -> list[Effect]:
        return self.process.handle(self, event, now, super().handle)
