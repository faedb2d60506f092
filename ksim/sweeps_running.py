"""Carrying out many runs: in this process, on all cores, or on whatever offers itself as an Executor.

Not Kafka's. A run is a function of plan and seed: one that is carried out twice does no harm, and where it is carried out shows nowhere.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from math import ceil

from ksim.ledger import Result
from ksim.plan import Plan
from ksim.problems import ScenarioError
from ksim.simulation import simulate
from ksim.sweeps_grid import seeded

CHUNK_S = 0.2  # Of work at once: handing it over costs about a millisecond.
FASTEST_GROWTH = 4
LENT_IN_FLIGHT = 64  # A lent executor may have any number of workers, and does not tell.
TRIES = 3

Task = tuple[int, Plan, int]
"""Number, plan, seed."""
Found = list[tuple[int, Result]]
Chunk = tuple[Found, float]
"""Results, and the seconds they took."""


def results(tasks: Sequence[Task], jobs: int, executor: Executor | None, new_pool: Callable[[int], Executor] | None = None) -> Iterator[Found]:
    """Every task's result, in the order in which they come. `new_pool`: for tests."""
    waiting = deque(tasks)
    if executor is not None:
        yield from _on_lent(executor, waiting, max(LENT_IN_FLIGHT, 2 * jobs))
    elif jobs == 1 or len(tasks) <= 1:
        yield from _here(waiting)
    else:
        yield from _on_own(new_pool or _new_pool, min(jobs, len(tasks)), waiting)


def carry_out(plan: Plan, seed: int) -> Result:
    """What one run found. A mistake of ours is a row that says so: it must not cost the rows of all other runs."""
    try:
        run = simulate(seeded(plan, seed))
        verdict, figures = run.verdict, run.metrics
        latencies = {f"ack_{name}_ms": figure for name, figure in figures.latency_ms.items()}
        errors = {f"errors.{name}": count for name, count in figures.errors.items()}
        told: Result = {"status": "done", "error": None, "verdict": verdict.verdict}
        return told | verdict.records | latencies | {"unavailable_ms": figures.unavailable_ms} | figures.metrics | errors | {"digest": run.history.digest}
    except ScenarioError as refusal:
        return {"status": "refused", "error": str(refusal)}
    except Exception as mistake:
        return {"status": "failed", "error": f"{type(mistake).__name__}: {mistake}"}


def _carry_out_chunk(tasks: Sequence[Task]) -> Chunk:
    began = time.perf_counter()
    found = [(number, carry_out(plan, seed)) for number, plan, seed in tasks]
    return found, time.perf_counter() - began


class _Pace:
    """How many runs make a chunk: from one upwards, as far as the clock says. It decides who computes a row and when, never what stands in it."""

    def __init__(self, largest: int | None = None) -> None:
        self.size = 1
        self.largest = largest

    def take(self, waiting: deque[Task]) -> list[Task]:
        return [waiting.popleft() for _ in range(min(self.size, len(waiting)))]

    def learn(self, runs: int, seconds: float) -> None:
        wanted = ceil(runs * CHUNK_S / max(seconds, 1e-6))
        self.size = max(1, min(wanted, runs * FASTEST_GROWTH, self.largest or wanted))


def _here(waiting: deque[Task]) -> Iterator[Found]:
    pace = _Pace()
    while waiting:
        found, seconds = _carry_out_chunk(pace.take(waiting))
        pace.learn(len(found), seconds)
        yield found


def _on_lent(executor: Executor, waiting: deque[Task], in_flight: int) -> Iterator[Found]:
    lost = yield from _until_broken(executor, waiting, in_flight, None)
    if lost:
        raise BrokenExecutor(f"the executor broke with {len(lost) + len(waiting)} runs still missing; a ledger keeps the others.")


def _on_own(new_pool: Callable[[int], Executor], jobs: int, waiting: deque[Task]) -> Iterator[Found]:
    """A worker may die (memory, a signal): the pool is made anew, and what was lost is tried again, run by run,
    until it is known which run kills its worker.
    """
    suspects: deque[Task] = deque()
    deaths: dict[int, int] = {}
    while waiting or suspects:
        pool = new_pool(jobs)
        try:
            _greet(pool)
            lost = yield from _until_broken(pool, suspects, 1, 1)
            for task in lost:
                deaths[task[0]] = deaths.get(task[0], 0) + 1
                if deaths[task[0]] < TRIES:
                    suspects.appendleft(task)
                else:
                    yield [(task[0], {"status": "failed", "error": f"the worker died {TRIES} times in this run"})]
            if not lost:
                suspects.extend((yield from _until_broken(pool, waiting, 2 * jobs, None)))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _until_broken(executor: Executor, waiting: deque[Task], in_flight: int, largest: int | None) -> Generator[Found, None, list[Task]]:
    """Until nothing waits any more, or until the executor broke: then what was on its way is handed back."""
    pace = _Pace(largest)
    running: dict[Future[Chunk], list[Task]] = {}
    lost: list[Task] = []
    while waiting or running:
        while waiting and not lost and len(running) < in_flight:
            tasks = pace.take(waiting)
            try:
                running[executor.submit(_carry_out_chunk, tasks)] = tasks
            except BrokenExecutor:
                lost += tasks
        if not running:
            break
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            tasks = running.pop(future)
            try:
                found, seconds = future.result()
            except BrokenExecutor:
                lost += tasks
                continue
            pace.learn(len(found), seconds)
            yield found
    return sorted(lost, key=lambda task: task[0])


def _new_pool(jobs: int) -> Executor:
    """`spawn`: the same on every system, and no half-copied threads."""
    return ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_begin_worker)


def _greet(pool: Executor) -> None:
    """A pool whose workers cannot even start would be made anew for ever."""
    try:
        pool.submit(os.getpid).result()
    except BrokenExecutor as broken:
        raise RuntimeError(
            'the worker processes cannot start. In a script, call sweep() below `if __name__ == "__main__":`, each worker imports the script; or use jobs=1.'
        ) from broken


def _begin_worker() -> None:
    """Ctrl-C is the sweep's to handle, not the worker's; and nobody computes for a sweep that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
