"""What a broker remembers of its clocks while only replication goes on."""

from pathlib import Path

import pytest

from ksim import Scenario
from ksim.simulation import Simulation
from ksim_models.broker import Broker
from ksim_models.machine import Effect, Event
from ksim_models.units import Micros

AGREEMENT = Path(__file__).parents[2] / "experiments" / "agreement" / "scenarios"


class AskedTwice:
    """A broker, and after each event the question whether it would say the same if it looked at every clock."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.name = broker.name
        self.remembered = 0

    @property
    def wake_at(self) -> Micros | None:
        self.remembered += not self.broker.stirred
        at = self.broker.wake_at
        self.broker.stirred = True
        assert self.broker.wake_at == at
        return at

    def handle(self, event: Event, now: Micros) -> list[Effect]:
        return self.broker.handle(event, now)


@pytest.mark.parametrize("file", sorted(AGREEMENT.glob("*.toml")), ids=lambda file: file.stem)
def test_replication_and_plain_appends_move_no_clock_of_a_broker_but_those_of_leading_and_following(file: Path) -> None:
    simulation = Simulation(Scenario.load(str(file)).plan(), check_every=0)
    watched = [AskedTwice(broker) for broker in simulation.brokers]
    for broker in watched:
        simulation.loop.cells[broker.name].machine = broker

    simulation.run()

    assert sum(broker.remembered for broker in watched) > 0
