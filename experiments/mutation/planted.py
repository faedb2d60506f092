"""A pytest plugin: the tests are collected once, and each planted bug gets a fork of this process in which the tests that reach it run.

The one that caught the last bug goes first, then the quickest. `mutants.py` starts it. mutmut writes the mutants; the session that mutmut would start
for each of them costs a hundred times what the tests cost.
"""

from __future__ import annotations

import gc
import json
import mmap
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from _pytest.outcomes import Skipped
from hypothesis import Phase, settings
from mutmut.mutation import trampoline
from mutmut.utils.format_utils import CLASS_NAME_SEPARATOR, mangled_name_from_mutant_name, orig_function_and_class_names_from_key

CAUGHT, SURVIVED = 1, 0
ORIGINAL = "__mutmut_orig"


@pytest.hookimpl(trylast=True)
def pytest_sessionstart() -> None:
    """A failure need not be made small here."""
    settings.register_profile("planted", settings.get_profile("ksim"), phases=(Phase.explicit, Phase.generate), database=None)
    settings.load_profile("planted")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    order = json.loads(Path("planted.json").read_text(encoding="utf-8"))
    reaching = _reaching(session.items)
    for owner, method, original in _methods():
        setattr(owner, method, original)  # From here on nobody asks at each call which mutant it is.
    gc.freeze()
    caught_by = mmap.mmap(-1, 8)
    with open("fates.txt", "w", encoding="utf-8", buffering=1) as fates:
        for name in order["mutants"]:
            tests = reaching[mangled_name_from_mutant_name(name)]
            fate = _fate(name, tests, order["seconds"], caught_by)
            if tests and fate == CAUGHT:  # The neighbour of this mutant probably falls to the same test: it goes first.
                tests.insert(0, tests.pop(int.from_bytes(caught_by[:8], "little")))
            print(name, fate, file=fates)
    return True


def _reaching(items: list[pytest.Item]) -> dict[str, list[tuple[float, pytest.Item]]]:
    """Which tests come to which function, and how long each of them takes; those that fail as long as no bug is planted catch nothing."""
    hits: set[str] = set()
    trampoline.record_trampoline_hit = lambda name, caller=None: hits.add(name)  # mutmut's own looks at its settings at each call.
    trampoline.set_mutant_under_test("stats")
    reaching: defaultdict[str, list[tuple[float, pytest.Item]]] = defaultdict(list)
    for item in items:
        hits.clear()
        began = time.process_time()
        if not _passes(item):  # It would catch whatever is planted.
            print(f"{item.nodeid} fails without a planted bug: left out", file=sys.stderr)
            continue
        took = time.process_time() - began
        for function in hits:
            reaching[function].append((took, item))
    for tests in reaching.values():
        tests.sort(key=lambda test: test[0])
    trampoline.set_mutant_under_test("")
    return reaching


def _methods() -> Iterator[tuple[type, str, Callable[..., Any]]]:
    """Class, name, and what stood there before mutmut came."""
    for module in [module for name, module in sys.modules.items() if name.startswith("ksim_models.")]:
        for owner in [thing for thing in vars(module).values() if isinstance(thing, type) and thing.__module__ == module.__name__]:
            for name, function in list(vars(owner).items()):
                if name.endswith(ORIGINAL) and callable(function):
                    yield owner, orig_function_and_class_names_from_key(name)[0], function


def _plant(name: str) -> None:
    module, _, mutant = name.rpartition(".")
    if CLASS_NAME_SEPARATOR in mutant:
        method, owner = orig_function_and_class_names_from_key(mutant)
        assert owner is not None
        there = getattr(sys.modules[module], owner)
        if callable(vars(there)[mutant]):
            setattr(there, method, vars(there)[mutant])
            return
    trampoline.set_mutant_under_test(name)


def _passes(item: pytest.Item) -> bool:
    """Each test sets up and takes down what it needs: nothing is left for a next one. No report is made: that would cost more than the test."""
    try:
        item._initrequest()  # type: ignore[attr-defined]  # As runtestprotocol does: fixtures are made anew.
        try:
            item.session._setupstate.setup(item)
            item.runtest()
        finally:
            item.session._setupstate.teardown_exact(None)
    except Skipped:
        return True
    except BaseException:
        return False
    return True


def _fate(name: str, tests: list[tuple[float, pytest.Item]], seconds: float, caught_by: mmap.mmap) -> int:
    child = os.fork()
    if child == 0:
        _plant(name)
        os._exit(_first_to_catch(tests, seconds, caught_by))
    _, status = os.waitpid(child, 0)
    return CAUGHT if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _first_to_catch(tests: list[tuple[float, pytest.Item]], seconds: float, caught_by: mmap.mmap) -> int:
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    spent = 0.0
    for place, (took, item) in enumerate(tests):
        spent += took
        if spent > seconds:
            break
        caught_by[:8] = place.to_bytes(8, "little")
        signal.setitimer(signal.ITIMER_PROF, 1 + 10 * took)  # Of processor time. One that runs for ever is caught.
        if not _passes(item):
            return CAUGHT
    return SURVIVED
