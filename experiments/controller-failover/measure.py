"""How long nobody is the active controller, on real Kafka and in the simulation, when the machine of the active one dies: into results.json and README.md.

    python experiments/controller-failover/measure.py                        both releases, ten deaths each, and the simulation
    python experiments/controller-failover/measure.py --versions 4.3.0 --deaths 3
    python experiments/controller-failover/measure.py --page                 simulate and write the page, with what was measured before

With the active controller its machine loses a broker that leads a partition: kill -9 of both. What the two controllers that are left do is read from
their logs; a broker is asked who leads the partition. No proxy stands between the nodes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from ksim import Scenario, simulate
from ksim.live.ask import NewTopic
from ksim.live.cluster import ClusterSpec, KraftCluster
from ksim.live.errors import LiveError
from ksim.live.exchange import NoAnswer
from ksim.live.kafka import installed
from ksim.live.processes import Workplace
from ksim_models.facts import Became, ControllerChanged, Fault

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
PAGE = HERE / "README.md"
SCENARIO = Scenario.load(HERE / "scenario.toml")
VERSIONS = ("3.9.1", "4.3.0")
DEATHS = 10
SEEDS = 100
LONGEST_S = 60.0
LOOK_S = 0.02
TOPIC = "t"
EVENTS = {
    "patience ends": re.compile(r"due to fetch timeout"),
    "stands": re.compile(r"Completed transition to CandidateState"),
    "leads": re.compile(r"Completed transition to Leader"),
    "active": re.compile(r"[Bb]ecoming the active controller"),
}
CLOCK = re.compile(r"\b(\d\d:\d\d:\d\d\.\d\d\d)\b")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", default=",".join(VERSIONS))
    parser.add_argument("--deaths", type=int, default=DEATHS)
    parser.add_argument("--page", action="store_true", help="measure nothing on real Kafka")
    chosen = parser.parse_args(arguments)
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for version in () if chosen.page else chosen.versions.split(","):
        with Workplace() as workplace:
            deaths = asyncio.run(_measured(version, chosen.deaths, workplace))
        results[version] = {"date": date.today().isoformat(), "deaths": deaths}
    for version in results:
        results[version]["simulated"] = [_simulated(version, seed) for seed in range(1, SEEDS + 1)]
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text("\n".join(_page(results)) + "\n", encoding="utf-8")
    return 0


# Real Kafka.


async def _measured(version: str, deaths: int, workplace: Workplace) -> list[dict[str, Any]]:
    cluster = KraftCluster(ClusterSpec.of(SCENARIO.plan(), version=version), await asyncio.to_thread(installed, version, workplace), workplace)
    cluster.links = [replace(link, listen_port=link.real_port) for link in cluster.links]
    dice = random.Random(1)
    try:
        await cluster.start()
        await cluster.ready()
        await cluster.ask.create(cluster.brokers[0], [NewTopic(TOPIC, (("broker-1", "broker-2", "broker-3"),), (("min.insync.replicas", "2"),))])
        found = []
        for _ in range(deaths):
            await asyncio.sleep(5 + dice.random())  # Whenever it comes between two heartbeats and two fetches.
            found.append(await _death(cluster))
            print(f"{version}: {found[-1]}", file=sys.stderr, flush=True)
        return found
    finally:
        await cluster.close()


async def _death(cluster: KraftCluster) -> dict[str, Any]:
    controller = await cluster.active_controller()
    leader = await _leader(cluster, cluster.brokers)
    if controller is None or not leader:
        raise LiveError("nobody is the active controller, or nobody leads the partition")
    others = [name for name in cluster.controllers if name != controller]
    logs = {name: _log_of(cluster, name) for name in others}
    read = {name: path.stat().st_size for name, path in logs.items()}
    survivors = [name for name in cluster.brokers if name != leader]
    died = time.time()
    cluster.crash(controller)
    cluster.crash(leader)
    while not await _leader(cluster, survivors, not_from=leader):
        if time.time() - died > LONGEST_S:
            raise LiveError(f"nobody leads after {LONGEST_S:g} s")
        await asyncio.sleep(LOOK_S)
    moved = time.time() - died
    events = sorted((at - died, name, what) for name in others for at, what in _events(logs[name], read[name], died))
    for name in (controller, leader):
        await cluster.restart(name)
    await cluster.ready()
    async with asyncio.timeout(LONGEST_S):
        while len((await cluster.ask.metadata(survivors[0], [TOPIC])).partitions[TOPIC, 0].isr) < len(cluster.brokers):
            await asyncio.sleep(LOOK_S)
    ends = [at for at, _, what in events if what == "patience ends"]
    return {
        "controller_s": round(next(at for at, _, what in events if what == "active"), 3),
        "leader_s": round(moved, 3),
        "elections": sum(what == "stands" for _, _, what in events),
        "apart_ms": round(1000 * (ends[1] - ends[0])) if len(ends) > 1 else None,
        "events": [[round(at, 3), name, what] for at, name, what in events],
    }


async def _leader(cluster: KraftCluster, asked: Sequence[str], not_from: str = "") -> str:
    """Who leads the partition, as any of these brokers says; "": nobody else."""
    for broker in asked:
        try:
            state = (await cluster.ask.metadata(broker, [TOPIC])).partitions[TOPIC, 0]
        except NoAnswer:
            continue
        if state.leader and state.leader != not_from:
            return state.leader
    return ""


def _log_of(cluster: KraftCluster, name: str) -> Path:
    log = cluster.children[name].log
    assert log is not None
    return log


def _events(log: Path, start: int, died: float) -> Iterator[tuple[float, str]]:
    midnight = datetime.fromtimestamp(died).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
    with log.open(encoding="utf-8", errors="replace") as lines:
        lines.seek(start)
        for line in lines:
            clock = CLOCK.search(line)
            what = next((name for name, pattern in EVENTS.items() if pattern.search(line)), None)
            if clock and what:
                hours, minutes, seconds = clock.group(1).split(":")
                at = midnight + 3600 * int(hours) + 60 * int(minutes) + float(seconds)
                yield at if at > died - 43_200 else at + 86_400, what


# The simulation.


def _simulated(version: str, seed: int) -> dict[str, Any]:
    moment = f"{6_000 + 13 * seed}ms"  # Anywhere between two heartbeats and two fetches, as on the cluster.
    history = simulate(SCENARIO.at("fault.0.at", moment).override([], kafka=version), seed=seed).history
    died = next(at for at, fact in history.of(Fault) if fact.phase == "begin")
    active = next(at for at, fact in history.of(ControllerChanged) if at > died and fact.state == "active")
    moved = next(at for at, fact in history.of(Became) if at > died and fact.role == "leader" and fact.partition == f"{TOPIC}-0")
    elections = next(fact.epoch for at, fact in history.of(ControllerChanged) if at > died and fact.state == "active") - 1
    return {"controller_s": (active - died) / 1e6, "leader_s": (moved - died) / 1e6, "split": elections > 1}


# The page.


def _page(results: dict[str, Any]) -> Iterator[str]:
    yield "# How long is nobody the active controller?"
    yield ""
    yield "Written by `python experiments/controller-failover/measure.py`. Three controllers and three brokers run on one machine; the active controller"
    yield "and the broker that leads a partition are killed together (kill -9), ten times on each release, at any moment between two heartbeats."
    yield "The simulation is `scenario.toml` with a hundred seeds, its fault at a hundred moments."
    yield ""
    yield "Seconds from the death until another controller is active, and until another broker knows that it leads: smallest, median, largest."
    yield ""
    yield "| release | | deaths | first vote split | active controller | the rest, until a leader |"
    yield "|---|---|---|---|---|---|"
    for version, row in sorted(results.items()):
        deaths = [{**death, "split": death["elections"] > 1} for death in row["deaths"]]
        for name, found in ((f"real Kafka, {row['date']}", deaths), ("simulated", row["simulated"])):
            controller = [one["controller_s"] for one in found]
            rest = [one["leader_s"] - one["controller_s"] for one in found]
            yield f"| {version} | {name} | {len(found)} | {sum(one['split'] for one in found)} | {_spread(controller)} | {_spread(rest)} |"
    yield ""
    yield from (HERE / "why.md").read_text(encoding="utf-8").rstrip().split("\n")


def _spread(values: Sequence[float]) -> str:
    return f"{min(values):.2f} / **{statistics.median(values):.2f}** / {max(values):.2f}"


if __name__ == "__main__":
    sys.exit(main())
