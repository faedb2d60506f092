"""How fast is a run? Ratios taken in one process, so that they hold on another machine; the page beside this file is written by it.

    python experiments/performance/bench.py

A bare callback is the unit: one slotted event through the stock SimPy Environment that schedules the next.
Runs are measured in processor time, so that neighbours on the machine count for little.
Where `make compiled` was run, another process measures the same with compiled rules; its unit is interpreted, too.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import compiled
import simpy

from ksim.history import History
from ksim.loop import NETWORK
from ksim.plan import Plan
from ksim.scenario import Scenario
from ksim.simulation import Run, Simulation, simulate
from ksim_models.facts import Sent

HERE = Path(__file__).parent
ROUNDS = 7

FAILOVER = """
format = 1
title  = "200 records, one every 5 ms; the leader crashes and is back at 12 s"
kafka  = "4.3"
seed   = 7
[topics.payments]
config.min.insync.replicas = 2
[producers.p1]
[[workload]]
topic = "payments"
records = 200
every = "5ms"
size = 100
[[fault]]
at = "495.8ms"
do = "crash"
who = "leader(payments-0)"
for = "11504.2ms"
"""

THROUGHPUT = """
format = 1
title  = "100,000 records of 100 B per second"
kafka  = "4.3"
seed   = 7
[topics.payments]
[producers.p1]
[[workload]]
topic = "payments"
records = {records}
rate = 100000
size = 100
"""

TENS = """
format = 1
title  = "Ten records every 10 ms"
kafka  = "4.3"
seed   = 7
[topics.payments]
[producers.p1]
{setting}
[[workload]]
topic = "payments"
records = 10000
arrivals = {{ burst = 10, every = "10ms" }}
size = 100
{end}
"""
TRANSACTIONAL = {"setting": 'config.transactional.id = "t"', "end": "transaction = { records = 10 }"}

MODEL = """
[model]
costs = "{}"
"""

PARTITIONS = """
format = 1
title  = "{partitions} partitions on {brokers} brokers"
kafka  = "4.3"
seed   = 7
[cluster]
brokers = {brokers}
[topics.payments]
partitions = {partitions}
replication = 3
[producers.p1]
[[workload]]
topic = "payments"
{workload}
size = 100
"""
LOAD = 'rate = 1000\nfor = "{minutes}min"'
IDLE = 'records = 1\nevery = "1ms"\nstart = "{minutes}min"'
"""One record when the time is over, since a scenario has to send something."""


def best(measure: Callable[[], float], rounds: int = ROUNDS) -> float:
    return min(measure() for _ in range(rounds))


class Bare:
    """As `ksim.loop.Happening`, and never compiled."""

    __slots__ = ("_ok", "callbacks", "what")

    def __init__(self, callback: Callable[[Bare], None], what: object) -> None:
        self.callbacks: object = (callback,)
        self._ok = True
        self.what = what


def bare_callback(count: int = 200_000) -> float:
    """Seconds for one."""
    environment = simpy.Environment()
    left = count

    def ring(_: Bare) -> None:
        nonlocal left
        left -= 1
        if left:
            environment.schedule(Bare(ring, None), NETWORK, 1)  # type: ignore[arg-type]

    environment.schedule(Bare(ring, None), NETWORK, 1)  # type: ignore[arg-type]
    began = time.process_time()
    environment.run()
    return (time.process_time() - began) / count


def plan_of(text: str) -> Plan:
    return Scenario.loads(text).plan()


def timed(plan: Plan) -> tuple[float, float, Run]:
    """Seconds for the run alone, seconds for judging it, and the run."""
    began = time.process_time()
    run = simulate(plan)
    ran = time.process_time()
    assert run.verdict.verdict
    return ran - began, time.process_time() - ran, run


def fastest(plan: Plan, rounds: int) -> tuple[float, float, Run]:
    return min((timed(plan) for _ in range(rounds)), key=lambda figures: figures[0])


def in_turn(plans: Sequence[Plan], rounds: int) -> list[tuple[float, float, Run]]:
    """The fastest of each, run one after the other again and again: what the machine is busy with meanwhile meets them all."""
    taken = [[timed(plan) for plan in plans] for _ in range(rounds)]
    return [min(column, key=lambda figures: figures[0]) for column in zip(*taken, strict=True)]


class Deaf(History):
    """Remembers nothing: the difference to a real history is what recording costs."""

    def add(self, now: int, fact: object) -> None:
        pass


def without_recording(plan: Plan) -> float:
    simulation = Simulation(plan)
    simulation.history = Deaf({})
    simulation.loop.note = lambda at, fact: None
    simulation._close_books = lambda: None  # type: ignore[method-assign]  # Its exposure reads the history.
    began = time.process_time()
    simulation.run()
    return time.process_time() - began


def with_recording(plan: Plan) -> float:
    simulation = Simulation(plan)
    simulation._close_books = lambda: None  # type: ignore[method-assign]
    began = time.process_time()
    simulation.run()
    return time.process_time() - began


def cluster_run(brokers: int, partitions: int, workload: str, minutes: int) -> float:
    """Seconds for the simulation of so many minutes; forming the cluster and reading its logs at the end included."""
    simulation = Simulation(plan_of(PARTITIONS.format(brokers=brokers, partitions=partitions, workload=workload.format(minutes=minutes))))
    began = time.process_time()
    simulation.run()
    return time.process_time() - began


def idle_minute(brokers: int, partitions: int) -> float:
    """One of the four by which a run of five minutes is longer than one of a single minute: what forms the cluster and closes the books is in both."""
    long, short = (best(lambda minutes=minutes: cluster_run(brokers, partitions, IDLE, minutes), 4) for minutes in (5, 1))  # type: ignore[misc]
    return (long - short) / 4


def partitions_cost() -> dict[str, float]:
    """Clusters of two sizes, idle and with 1,000 records a second."""
    whole = {brokers: best(lambda b=brokers, p=partitions: cluster_run(b, p, IDLE, 1), 3) for brokers, partitions in ((3, 100), (30, 1000))}  # type: ignore[misc]
    loaded = {brokers: best(lambda b=brokers, p=partitions: cluster_run(b, p, LOAD, 1), 2) for brokers, partitions in ((3, 100), (30, 1000))}  # type: ignore[misc]
    first = {partitions: best(lambda p=partitions: cluster_run(3, p, IDLE, 1), 5) for partitions in (10, 1000)}  # type: ignore[misc]
    return {
        "3 brokers, 100 partitions, a minute idle, s": whole[3],
        "3 brokers, 100 partitions, a minute of 1,000 records/s, s": loaded[3],
        "30 brokers, 1,000 partitions, a minute idle, s": whole[30],
        "30 brokers, 1,000 partitions, a minute of 1,000 records/s, s": loaded[30],
        "1,000 idle partitions against ten, 3 brokers, each further minute": idle_minute(3, 1000) / idle_minute(3, 10),
        "1,000 idle partitions against ten, 30 brokers, each further minute": idle_minute(30, 1000) / idle_minute(30, 10),
        "1,000 idle partitions against ten, 3 brokers, the first minute": first[1000] / first[10],
    }


def transactions_cost() -> dict[str, float]:
    """A thousand transactions of ten records, and the same records in a thousand batches."""
    (within, _, run), (without, _, plain) = in_turn([plan_of(TENS.format(**TRANSACTIONAL)), plan_of(TENS.format(setting="", end=""))], 5)
    return {
        "transactions of ten records, per second": 1000 / within,
        "transactions of ten records against plain batches of ten": within / without,
        "events of a transaction of ten records against a plain batch of ten": run.events / plain.events,
    }


def work_cost() -> dict[str, float]:
    """What it adds that brokers need time for their work (`[model] costs`): it is part of a message's delay, and no event of its own."""
    found = {}
    for name, scenario, rounds in (("failover run", FAILOVER, 4 * ROUNDS), ("throughput run", THROUGHPUT.format(records=100_000), ROUNDS)):
        (measured, _, _), (none, _, _) = in_turn([plan_of(scenario + MODEL.format(costs)) for costs in ("measured", "none")], rounds)
        found[f"{name}, with measured costs of broker work against none"] = measured / none
    return found


def history_bytes(plan: Plan) -> float:
    """What the history of a run occupies, per batch."""
    run = simulate(plan)
    facts = list(run.history)
    batches = sum(type(fact) is Sent for _, fact in facts)
    tracemalloc.start()
    copy = History(run.history.run)
    for at, fact in facts:
        copy.add(at, fact)
    occupied, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return occupied / batches


def command_ratio() -> float:
    """`ksim --help` against a bare `import click`, whole processes, in turn."""
    ours, theirs = [], []
    for _ in range(5):
        for found, arguments in ((ours, ["-m", "ksim", "--help"]), (theirs, ["-c", "import click"])):
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            found.append(time.perf_counter() - began)
    return min(ours) / min(theirs)


def measure() -> dict[str, float]:
    unit = best(bare_callback)
    failover, judged, run = fastest(plan_of(FAILOVER), 4 * ROUNDS)
    long_plan, short_plan = plan_of(THROUGHPUT.format(records=1_000_000)), plan_of(THROUGHPUT.format(records=100_000))
    long, long_judged, long_run = fastest(long_plan, 5)
    short, short_judged, _ = fastest(short_plan, 2 * ROUNDS)
    batches = sum(1 for _ in long_run.history.of(Sent))
    pairs = [(with_recording(short_plan), without_recording(short_plan)) for _ in range(2 * ROUNDS)]
    recorded, unrecorded = (min(column) for column in zip(*pairs, strict=True))
    return {
        "bare callback, us": unit * 1e6,
        "failover run, bare callbacks": (failover + judged) / unit,
        "failover run, ms": (failover + judged) * 1e3,
        "failover run, events": float(run.events),
        "throughput run, records per second": 1_000_000 / long,
        "throughput run, events per batch": long_run.events / batches,
        "one event, bare callbacks (throughput)": long / long_run.events / unit,
        "one event, bare callbacks (failover)": failover / run.events / unit,
        "recording, share of a run": (recorded - unrecorded) / recorded,
        "judging, share of a run": long_judged / long,
        "ten times the records, times the time": (long + long_judged) / (short + short_judged),
        "history, bytes per batch": history_bytes(short_plan),
        **work_cost(),
        **transactions_cost(),
        **partitions_cost(),
        "ksim --help, times import click": command_ratio(),
    }


AIMS: dict[str, tuple[str, float]] = {
    "failover run, bare callbacks": ("<=", 16_000),
    "throughput run, records per second": (">=", 1_500_000),
    "throughput run, events per batch": ("<=", 8),
    "one event, bare callbacks (throughput)": ("<=", 20),
    "one event, bare callbacks (failover)": ("<=", 20),
    "recording, share of a run": ("<=", 0.25),
    "judging, share of a run": ("<=", 0.15),
    "ten times the records, times the time": ("<=", 10.5),
    "history, bytes per batch": ("<=", 200),
    "transactions of ten records against plain batches of ten": ("<=", 3),
    "30 brokers, 1,000 partitions, a minute idle, s": ("<", 1),
    "1,000 idle partitions against ten, 3 brokers, each further minute": ("<=", 2),
    "ksim --help, times import click": ("<=", 4),
}


def shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def judged(name: str, value: float) -> str:
    """Does it meet its aim?"""
    operator, limit = AIMS[name]
    met = value >= limit if operator == ">=" else value <= limit
    return "met" if met else f"falls short by a factor of {max(value / limit, limit / value):.2f}"


def page(figures: dict[str, float], compiled_figures: dict[str, float]) -> str:
    """The second column is empty where nothing is compiled."""
    lines = [
        "# How fast is a run?",
        "",
        "Written by `make bench`: ratios within one process, in processor time, best of several rounds.",
        "A *bare callback* is one slotted event through the stock SimPy Environment that schedules the next.",
        "*Compiled*: the same after `make compiled`.",
        f"CPython {platform.python_version()}, {platform.machine()}.",
        "",
        "| figure | measured | compiled | aim | | compiled |",
        "|---|---|---|---|---|---|",
    ]
    for name, value in figures.items():
        other = compiled_figures.get(name)
        aim = " ".join((AIMS[name][0], f"{AIMS[name][1]:,g}")) if name in AIMS else ""
        verdicts = [judged(name, figure) if name in AIMS and figure is not None else "" for figure in (value, other)]
        lines.append(f"| {name} | {shown(value)} | {'' if other is None else shown(other)} | {aim} | {verdicts[0]} | {verdicts[1]} |")
    return "\n".join([*lines, "", (HERE / "in_the_way.md").read_text(encoding="utf-8").rstrip(), ""])


def measure_compiled() -> dict[str, float]:
    """By another process, which finds the compiled packages first; nothing where there are none."""
    lacking = compiled.why_not()
    if lacking:
        print(f"Not measured with compiled rules: {lacking}", file=sys.stderr)
        return {}
    told = subprocess.run([sys.executable, __file__, "--figures"], check=True, stdout=subprocess.PIPE, env=compiled.environment())
    figures: dict[str, float] = json.loads(told.stdout)
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figures", action="store_true", help="print the figures of this process as JSON, and write no page")
    chosen = parser.parse_args(arguments)
    figures = measure()
    if chosen.figures:
        print(json.dumps(figures))
        return
    compiled_figures = measure_compiled()
    results = {"python": platform.python_version(), "machine": platform.machine(), "figures": figures, "compiled": compiled_figures}
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    text = page(figures, compiled_figures)
    (HERE / "README.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
