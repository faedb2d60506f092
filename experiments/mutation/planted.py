"""A pytest plugin: the tests are collected once, and each planted bug gets a fork of this process in which the tests that reach it run, the quickest first.

`mutants.py` starts it. mutmut writes the mutants; the session that mutmut would start for each of them costs a hundred times what the tests cost.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from collections import defaultdict
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import Phase, settings
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state
from mutmut.utils.format_utils import mangled_name_from_mutant_name

CAUGHT, SURVIVED = 1, 0


@pytest.hookimpl(trylast=True)
def pytest_sessionstart() -> None:
    """A failure need not be made small here."""
    settings.register_profile("planted", settings.get_profile("ksim"), phases=(Phase.explicit, Phase.generate), database=None)
    settings.load_profile("planted")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    order = json.loads(Path("planted.json").read_text(encoding="utf-8"))
    reaching = _reaching(session.items)
    with open("fates.txt", "w", encoding="utf-8", buffering=1) as fates:
        for name in order["mutants"]:
            print(name, _fate(name, reaching[mangled_name_from_mutant_name(name)], order["seconds"]), file=fates)
    return True


def _reaching(items: list[pytest.Item]) -> dict[str, list[tuple[float, pytest.Item]]]:
    """Which tests come to which function, and how long each of them takes; all must pass as long as no bug is planted."""
    set_mutant_under_test("stats")
    reaching: defaultdict[str, list[tuple[float, pytest.Item]]] = defaultdict(list)
    for item in items:
        state()._stats.clear()
        began = time.process_time()
        assert _passes(item), f"{item.nodeid} fails without a planted bug"
        took = time.process_time() - began
        for function in state()._stats:
            reaching[function].append((took, item))
    for tests in reaching.values():
        tests.sort(key=lambda test: test[0])
    return reaching


def _passes(item: pytest.Item) -> bool:
    """Each test sets up and takes down what it needs: nothing is left for a next one."""
    return not any(report.failed for report in runtestprotocol(item, log=False, nextitem=None))


def _fate(name: str, tests: list[tuple[float, pytest.Item]], seconds: float) -> int:
    child = os.fork()
    if child == 0:
        set_mutant_under_test(name)
        os._exit(_first_to_catch(tests, seconds))
    _, status = os.waitpid(child, 0)
    return CAUGHT if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _first_to_catch(tests: list[tuple[float, pytest.Item]], seconds: float) -> int:
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    spent = 0.0
    for took, item in tests:
        spent += took
        if spent > seconds:
            break
        used = time.process_time()
        resource.setrlimit(resource.RLIMIT_CPU, (int(used + 10 * took) + 10, resource.RLIM_INFINITY))  # One that runs for ever is caught.
        if not _passes(item):
            return CAUGHT
    return SURVIVED
