"""A quorum of controllers in the loop of a simulation: verbs for the tests of elections, commits and fail-over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ksim import Scenario
from ksim.controllers import Quorum
from ksim.simulation import Simulation
from ksim_models.facts import ControllerChanged
from ksim_models.quorum_controller import QuorumController
from ksim_models.units import Micros, ms


class LivingQuorum:
    """A cluster with several controllers, played up to a moment; the faults are inflicted by the test."""

    def __init__(self, kafka: str = "4.1", *, controllers: int = 3, seed: int = 1, records: int = 1, check_every: int = 1, **cluster: Any) -> None:
        data: dict[str, Any] = {
            "kafka": kafka,
            "seed": seed,
            "cluster": {"brokers": 3, "controllers": controllers, **cluster},
            "topics": {"t": {"replication": 3, "config": {"min.insync.replicas": 2}}},
            "workload": [{"topic": "t", "records": records, "every": "100 ms"}],
        }
        self.simulation = Simulation(Scenario(**data).plan(), check_every=check_every)
        self.loop = self.simulation.loop
        quorum = self.simulation.controllers
        assert isinstance(quorum, Quorum)
        self.quorum = quorum
        self.voters = {voter.name: voter for voter in quorum.voters}

    def until(self, at: Micros) -> None:
        """All that happens up to this moment."""
        over: list[bool] = []
        self.loop.call_at(at, lambda: over.append(True))
        self.loop.may_end = True
        self.loop.run(lambda: bool(over))

    def for_another(self, ms_: int) -> None:
        self.until(self.loop.now + ms(ms_))

    @property
    def active(self) -> str:
        return self.quorum.active()

    @property
    def leader(self) -> QuorumController:
        return self.voters[self.active]

    @property
    def others(self) -> list[str]:
        return [name for name in self.voters if name != self.active]

    def changes(self) -> Iterator[tuple[Micros, ControllerChanged]]:
        for at, fact in self.simulation.history.of(ControllerChanged):
            assert isinstance(fact, ControllerChanged)
            yield at, fact

    @contextmanager
    def isolated(self, name: str) -> Iterator[None]:
        """From the other controllers, in both directions."""
        paths = [path for other in self.voters if other != name for path in ((name, other), (other, name))]
        for path in paths:
            self.loop.cut(*path)
        yield
        for path in paths:
            self.loop.mend(*path)
