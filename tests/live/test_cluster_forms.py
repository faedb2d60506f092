"""Clusters of other shapes: several controllers, brokers that do not start, a ksim that is killed in the middle."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ksim.live.cluster import ClusterSpec, KraftCluster
from ksim.live.errors import LiveError
from ksim_models.facts import PartitionChanged
from live_stand import Stand

pytestmark = pytest.mark.slow  # `make live ARGS="-m live"` runs these too.

KSIM = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from live_stand import Stand
with Stand("4.3.0") as stand:
    stand.cluster.pause("broker-2")
    print(stand.workplace.folder, *(child.pid for child in stand.cluster.children.values()), flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def three() -> Iterator[Stand]:
    with Stand("4.3.0", controllers=3) as stand:
        yield stand


def test_another_controller_takes_over_when_the_active_one_dies(three: Stand) -> None:
    async def story() -> tuple[str, str, list[PartitionChanged]]:
        await three.create_topics()
        watchers = await three.watch()
        first = watchers.active_controller()
        three.cluster.crash(first)
        while (second := await three.cluster.active_controller()) in (None, first):
            await asyncio.sleep(0.1)
        three.cluster.crash("broker-1")
        while watchers.leader_of("payments-0") != "broker-2":
            await asyncio.sleep(0.05)
        await three.cluster.restart(first)
        await three.cluster.restart("broker-1")
        await three.cluster.ready()
        await watchers.stop()
        assert second is not None
        return first, second, [fact for _, fact in three.book.facts if isinstance(fact, PartitionChanged) and fact.partition == "payments-0"]

    first, second, changes = three.run(story())

    assert first != second
    assert {first, second} <= set(three.cluster.controllers)
    assert (changes[0].leader, changes[0].leader_epoch) == ("broker-2", 1)
    assert len([change for change in changes if change.leader_epoch == 1 and change.why == "fenced broker-1"]) == 1, "told once, although two logs were read"


def test_a_broker_that_does_not_start_is_shown_with_its_last_lines(three: Stand) -> None:
    spec = ClusterSpec("4.3.0", (("broker-1", (("num.io.threads", "0"),)),), ("controller-1",))

    async def story() -> str:
        cluster = KraftCluster(spec, three.cluster.installation, three.workplace)
        try:
            await cluster.start()
            await cluster.ready()
        except LiveError as error:
            return error.message
        finally:
            await cluster.close()
        return ""

    said = three.run(story())

    assert "num.io.threads" in said
    assert "4.3.0" in said


def test_nothing_is_left_of_a_cluster_whose_ksim_was_killed_while_a_broker_was_stopped(three: Stand) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    tests = str(Path(__file__).parents[1])
    ksim = subprocess.Popen([sys.executable, "-c", KSIM, tests], stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    assert ksim.stdout is not None
    folder, *pids = ksim.stdout.readline().split()
    alive = [psutil.pid_exists(int(pid)) for pid in pids]
    ksim.send_signal(signal.SIGKILL)
    ksim.wait()
    ksim.stdout.close()
    deadline = time.monotonic() + 30
    while Path(folder).exists() and time.monotonic() < deadline:
        time.sleep(0.05)

    assert alive == [True] * 4
    assert not Path(folder).exists()
    assert [pid for pid in pids if psutil.pid_exists(int(pid))] == []


@pytest.mark.parametrize("release", ["3.3", "3.7"])
def test_brokers_of_older_releases_run_too(release: str) -> None:
    with Stand(release) as stand:

        async def story() -> list[object]:
            await stand.create_topics()
            return await stand.produce(range(3))

        assert stand.run(story()) == [0, 1, 2]
