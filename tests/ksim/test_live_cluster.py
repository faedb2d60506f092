"""What a plan asks of real brokers: their settings, their ports, and whether a cluster that runs will do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ksim import Scenario
from ksim.live.cluster import ClusterSpec, KraftCluster
from ksim.live.kafka import Installation
from ksim.live.processes import Workplace

SCENARIO = """
format = 1
kafka  = "4.3"
seed   = 1
[cluster]
config.replica.lag.time.max.ms = 5000
config.offsets.topic.replication.factor = 1
config.listeners = "PLAINTEXT://elsewhere:9092"
[cluster.broker-2]
config.unclean.leader.election.enable = true
[topics.payments]
[producers.p1]
[[workload]]
topic   = "payments"
records = 1
every   = "1ms"
"""
SPEC = ClusterSpec.of(Scenario.loads(SCENARIO).plan())


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Callable[..., KraftCluster]]:
    made: list[KraftCluster] = []

    def make(spec: ClusterSpec = SPEC, version: str = "4.3.0") -> KraftCluster:
        made.append(KraftCluster(spec, Installation(version, "java", tmp_path), Workplace(root=tmp_path)))
        return made[-1]

    yield make
    for each in made:
        each._ports.close()


def test_a_broker_is_started_with_what_the_scenario_set_for_it(cluster: Callable[..., KraftCluster]) -> None:
    properties = {name: cluster().properties(name) for name in ("broker-1", "broker-2")}

    assert properties["broker-1"]["replica.lag.time.max.ms"] == "5000"
    assert "unclean.leader.election.enable" not in properties["broker-1"]
    assert properties["broker-2"]["unclean.leader.election.enable"] == "true"
    assert properties["broker-2"]["offsets.topic.replication.factor"] == "1"


def test_the_scenario_cannot_say_where_a_real_broker_listens(cluster: Callable[..., KraftCluster]) -> None:
    assert "elsewhere" not in cluster().properties("broker-1")["listeners"]


def test_controllers_have_the_settings_that_all_brokers_share(cluster: Callable[..., KraftCluster]) -> None:
    properties = cluster().properties("controller-1")

    assert properties["replica.lag.time.max.ms"] == "5000"
    assert "unclean.leader.election.enable" not in properties
    assert properties["process.roles"] == "controller"


def test_brokers_reach_each_other_and_the_controllers_through_links_only(cluster: Callable[..., KraftCluster]) -> None:
    one = cluster()
    links = {link.target: link for link in one.links}
    broker, controller = one.properties("broker-3"), one.properties("controller-1")

    assert broker["inter.broker.listener.name"] == "REPLICATION"
    assert f"REPLICATION://127.0.0.1:{links['broker-3'].listen_port}" in broker["advertised.listeners"]
    assert f"REPLICATION://127.0.0.1:{links['broker-3'].real_port}" in broker["listeners"]
    assert broker["controller.quorum.voters"] == f"101@127.0.0.1:{links['controller-1'].listen_port}"
    assert controller["listeners"] == f"CONTROLLER://127.0.0.1:{links['controller-1'].real_port}"
    assert controller["advertised.listeners"] == f"CONTROLLER://127.0.0.1:{links['controller-1'].listen_port}"


def test_clients_are_told_the_real_address_of_a_broker(cluster: Callable[..., KraftCluster]) -> None:
    one = cluster()
    properties = one.properties("broker-1")
    client = f"CLIENT://127.0.0.1:{one.addresses['broker-1'][1]}"

    assert properties["listeners"].startswith(client)
    assert properties["advertised.listeners"].startswith(client)


def test_controllers_before_3_9_advertise_nothing(cluster: Callable[..., KraftCluster]) -> None:
    assert "advertised.listeners" not in cluster(version="3.8.1").properties("controller-1")


def test_all_ports_of_a_cluster_differ(cluster: Callable[..., KraftCluster]) -> None:
    one = cluster(replace(SPEC, controllers=("controller-1", "controller-2", "controller-3")))
    ports = [port for _, port in one.addresses.values()] + [port for link in one.links for port in (link.listen_port, link.real_port)]

    assert len(set(ports)) == len(ports) == 3 + 3 * 2 + 3 * 2
    assert {one.ids[name] for name in one.controllers} == {101, 102, 103}


@pytest.mark.parametrize(
    ("other", "possible"),
    [
        (SPEC, True),
        (replace(SPEC, version="4.3.0"), True),
        (replace(SPEC, version="3.9.1"), False),
        (replace(SPEC, brokers=SPEC.brokers[:2]), False),
        (replace(SPEC, brokers=(SPEC.brokers[1], *SPEC.brokers[1:])), False),
        (replace(SPEC, controllers=("controller-1", "controller-2", "controller-3")), False),
        (replace(SPEC, features=(("transaction.version", 1),)), False),
    ],
)
def test_a_cluster_carries_what_asks_for_the_same_brokers(cluster: Callable[..., KraftCluster], other: ClusterSpec, possible: bool) -> None:
    assert cluster().can_carry(other) is possible
