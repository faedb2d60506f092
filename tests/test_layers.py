"""The arrows: which module may import which, read from the source and never from memory.

ARCHITECTURE.md draws the same layers; a module that has no layer here fails, since that is the moment to ask where it belongs.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"ksim": ROOT / "ksim", "ksim_models": ROOT / "models" / "ksim_models"}

# From the top down. A module imports from the rows below it; inside a row only where that makes no circle, and in a row of APART never.
# Of ksim every module is named; `scenario_faults` goes with `scenario`, its family. Of the rules the machines and the ground are named, all the rest are parts.
KSIM_LAYERS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("cli", "commands"),
    ("demo",),
    ("comparison",),
    ("report", "plots", "sweeps", "explanation"),
    ("table", "ledger"),
    ("statistics", "release_difference"),
    ("simulation", "live"),
    ("runs",),  # A run judges its own history when it is asked to.
    ("metrics",),
    ("verdict", "first_harm", "transcript"),
    ("world",),
    ("controllers",),
    ("faults", "frames", "invariants"),
    ("loop", "costs"),
    ("scenario", "frame_triggers", "frame_answers"),
    ("classification", "permitted", "exposure"),
    ("reading",),
    ("processing", "exposure_transactions"),
    ("population", "lives", "breakers", "atomicity", "chaos"),
    ("workload", "network", "history", "dice"),
    ("packed", "lines", "ranges", "collecting", "loop_connections"),
    ("calibration",),
    ("plan", "problems", "toml_lines", "metrics_names", "metrics_windows"),
)
PARTS = "the parts that the machines are made of"
MODEL_LAYERS: tuple[tuple[str, ...], ...] = (
    ("copying_librdkafka", "copying_librdkafka_consumer", "copying_partitions"),
    ("copying_producer", "copying_consumer"),
    ("librdkafka_transactional",),
    ("closing", "quorum_controller"),
    ("held_up", "active_controller"),
    ("producer", "librdkafka_producer", "broker", "controller", "txn_coordinator", "consumer", "librdkafka_consumer"),
    (PARTS,),
    ("facts",),
    ("consumer_facts", "coordination_facts"),
    ("messages",),
    (
        "machine",
        "config",
        "broker_config",
        "producer_config",
        "broker_keys",
        "coordinator_keys",
        "producer_keys",
        "idempotence_setting",
        "librdkafka_config",
        "librdkafka_keys",
        "librdkafka_consumer_config",
        "librdkafka_consumer_keys",
        "consumer_config",
        "consumer_keys",
    ),
    ("settings",),
    ("setting_names",),
    ("setting_values",),
    ("setting_types",),
    ("profiles", "broker_variants", "quantities", "units", "errors", "partitioner_names", "server_assignors"),
)
APART = frozenset({*MODEL_LAYERS[5], "simulation", "live"})
LAYERS = {"ksim": KSIM_LAYERS, "ksim_models": MODEL_LAYERS}

HISTORY_ALONE = frozenset(
    {
        "verdict",
        "metrics",
        "transcript",
        "classification",
        "permitted",
        "exposure",
        "exposure_transactions",
        "population",
        "lives",
        "atomicity",
        "processing",
        "reading",
    }
)
"""They read a history, wherever it comes from: a live one is judged by the same code."""
DRIVERS = frozenset({"loop", "faults", "frames", "invariants", "controllers", "world", "simulation", "live"})

ONLY_IN: Mapping[str, frozenset[str]] = {
    "simpy": frozenset({"loop"}),
    "random": frozenset({"dice"}),
}
"""What one module of ksim alone may import: the clock, and chance."""

IMPURE = frozenset(
    "asyncio concurrent datetime importlib io locale logging multiprocessing os pathlib random secrets select selectors "
    "shutil signal socket ssl subprocess sys tempfile threading time uuid".split()
)
"""Of the standard library: clock, chance, files, network, threads, and the machine it runs on. A rule that needs one is no rule of Kafka's."""
IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval", "__import__"})
LASTING_MATH = frozenset({"sqrt", "isqrt", "frexp", "ldexp", "floor", "ceil", "gcd", "lcm", "inf", "isfinite"})
"""Exact or correctly rounded everywhere; `log`, `exp` and `pow` differ between platforms in the last bit, and one bit is another history."""
DRAWING = [PACKAGES["ksim"] / f"{name}.py" for name in ("dice", "workload", "chaos", "network", "faults", "frame_triggers", "frames", "loop")]
EXCUSED = {("machine", "os")}  # The switch KSIM_FROZEN, read once, for tests.


def imports_of(source: str, package: str, modules: frozenset[str], inside: str = "") -> Iterator[tuple[int, str]]:
    """Every import of `source` as (line, dotted name): `from ksim import dice` is ksim.dice where that is a module.

    Imports inside functions and under TYPE_CHECKING count. `inside` is the folder below the package that a relative import starts from, dotted.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                here = [package, *inside.split(".")] if inside else [package]
                origin = ".".join([*here[: len(here) - node.level + 1], *([origin] if origin else [])])
            for alias in node.names:
                if (origin, alias.name) == (package, "__version__"):
                    continue  # A plain text that is there before anything else is loaded.
                yield node.lineno, f"{origin}.{alias.name}" if origin in PACKAGES and (origin != package or alias.name in modules) else origin
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""
            if called in {"import_module", "__import__"}:
                yield node.lineno, node.args[0].value


def rank_of(module: str, layers: tuple[tuple[str, ...], ...]) -> int | None:
    """The row of a module, 0 at the top; of `scenario_faults` that of `scenario`. None: it has none."""
    ranks = {name: rank for rank, row in enumerate(layers) for name in row}
    return ranks.get(module, ranks.get(PARTS, ranks.get(module.partition("_")[0])))


def wrong_arrows(package: str, module: str, source: str, modules: frozenset[str], inside: str = "") -> list[str]:
    """What is wrong with the imports of one module; `module` is its first name below the package (live/proxy.py is part of live)."""
    layers = LAYERS[package]
    rank = 0 if module == "__init__" else rank_of(module, layers)
    if rank is None:
        return [f"{package}.{module} has no layer: give it one in tests/test_layers.py"]
    wrong = []
    for line, name in imports_of(source, package, modules, inside):
        top, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        why = None
        if top == package and target == "":
            # The package itself is the public interface, the top of everything; only the command line may stand on it.
            if module not in {"__init__", "__main__"}:
                why = f"reaches up to the public interface of {package}"
        elif top == package and target != module and module != "__init__":
            below = rank_of(target, layers)
            if below is None:
                why = f"imports {name}, which has no layer"
            elif module in HISTORY_ALONE and target in DRIVERS:
                why = f"needs a history only, not {target}"
            elif below < rank:
                why = f"reaches up to {target}"
            elif below == rank and (module in APART or target in APART):
                why = f"imports {target}, which stands beside it and must stay apart"
        elif package == "ksim_models":
            if top == "ksim":
                why = "imports ksim: the arrow goes the other way"
            elif top != package and top not in sys.stdlib_module_names and top != "__future__":
                why = f"imports {top}: the rules need the standard library only"
            elif top in IMPURE and (module, top) not in EXCUSED:
                why = f"imports {top}: the rules have no clock, no chance of their own and no I/O"
        elif module not in ONLY_IN.get(top, {module}):
            why = f"imports {top}: only {', '.join(sorted(ONLY_IN[top]))} may"
        if why:
            wrong.append(f"{package}.{module}, line {line}: {why}")
    return wrong


def impure_calls(source: str) -> list[str]:
    """Calls of built-in functions that read or write the world, as "line 3: print"."""
    return [
        f"line {node.lineno}: {node.func.id}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS
    ]


def fleeting_math(source: str) -> list[str]:
    """What is taken from `math` that may differ from one platform to the next, as "line 3: log"."""
    tree = ast.parse(source)
    named = [(node.lineno, alias.name) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "math" for alias in node.names]
    named += [
        (node.lineno, node.attr) for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "math"
    ]
    return [f"line {line}: {name}" for line, name in sorted(named) if name not in LASTING_MATH]


def circle_in(arrows: Mapping[str, frozenset[str]]) -> list[str]:
    """Some circle of imports, first module repeated at its end; [] where there is none."""
    finished: set[str] = set()

    def walk(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in finished:
            return []
        for target in sorted(arrows.get(module, frozenset())):
            if found := walk(target, [*path, module]):
                return found
        finished.add(module)
        return []

    for module in sorted(arrows):
        if found := walk(module, []):
            return found
    return []


def modules_of(package: str) -> frozenset[str]:
    folder = PACKAGES[package]
    return frozenset(path.stem for path in folder.glob("*.py")) - {"__init__"} | frozenset(path.parent.name for path in folder.glob("*/__init__.py"))


def sources_of(package: str) -> list[tuple[str, str, Path]]:
    """Every file of a package as (module, folder below the package, path)."""
    folder = PACKAGES[package]
    found = []
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        found.append((parts[0], ".".join(parts[:-1]), path))
    return found


def arrows_of(package: str) -> dict[str, frozenset[str]]:
    arrows: dict[str, set[str]] = {}
    for module, inside, path in sources_of(package):
        if module == "__init__":
            continue
        names = (name for _, name in imports_of(path.read_text(encoding="utf-8"), package, modules_of(package), inside))
        targets = {name.split(".")[1] for name in names if name.startswith(f"{package}.")}
        arrows.setdefault(module, set()).update(targets - {module})
    return {module: frozenset(targets) for module, targets in arrows.items()}


FILES = [pytest.param(package, module, inside, path, id=str(path.relative_to(ROOT))) for package in PACKAGES for module, inside, path in sources_of(package)]


@pytest.mark.parametrize(("package", "module", "inside", "path"), FILES)
def test_every_module_imports_only_from_the_layers_below_it(package: str, module: str, inside: str, path: Path) -> None:
    source = path.read_text(encoding="utf-8")

    assert wrong_arrows(package, module, source, modules_of(package), inside) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_imports_itself_in_a_circle(package: str) -> None:
    arrows = arrows_of(package)

    assert arrows, "no module was read"
    assert circle_in(arrows) == []


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for _, _, path in sources_of("ksim_models")])
def test_the_rules_read_and_write_nothing(path: Path) -> None:
    assert impure_calls(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem) for path in [*DRAWING, *(path for _, _, path in sources_of("ksim_models"))] if path.exists()]
)
def test_the_same_draw_is_the_same_number_on_every_platform(path: Path) -> None:
    assert fleeting_math(path.read_text(encoding="utf-8")) == []


def test_the_verdict_reads_only_what_an_outsider_can_see() -> None:
    facts = (PACKAGES["ksim_models"] / "facts.py").read_text(encoding="utf-8")
    internal = {
        element.id
        for node in ast.walk(ast.parse(facts))
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "INTERNAL" and isinstance(node.value, ast.Tuple)
        for element in node.value.elts
        if isinstance(element, ast.Name)
    }
    tree = ast.parse((PACKAGES["ksim"] / "verdict.py").read_text(encoding="utf-8"))
    named = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    named |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}

    assert internal, "facts.INTERNAL was not found"
    assert named & (internal | {"INTERNAL"}) == set()


# A checker that never turns red is worthless: each wrong arrow below must be found.

SOME_KSIM = frozenset({"cli", "sweeps", "verdict", "simulation", "live", "loop", "scenario", "dice", "history"})
SOME_MODELS = frozenset({"producer", "broker", "isr", "machine", "messages", "units"})


@pytest.mark.parametrize(
    ("package", "module", "line", "complaint"),
    [
        ("ksim_models", "isr", "import ksim.dice", "the arrow goes the other way"),
        ("ksim_models", "isr", "from ksim import dice", "the arrow goes the other way"),
        ("ksim_models", "isr", "import simpy", "standard library only"),
        ("ksim_models", "isr", "import numpy as np", "standard library only"),
        ("ksim_models", "isr", "import random", "no chance of their own"),
        ("ksim_models", "isr", "from time import monotonic", "no clock"),
        ("ksim_models", "isr", "def now():\n    import datetime", "no clock"),
        ("ksim_models", "isr", "import os", "no I/O"),
        ("ksim_models", "isr", "import os.path", "no I/O"),
        ("ksim_models", "isr", "from pathlib import Path", "no I/O"),
        ("ksim_models", "isr", "import ksim_models.broker", "reaches up to broker"),
        ("ksim_models", "isr", "from ksim_models import broker", "reaches up to broker"),
        ("ksim_models", "isr", "from .broker import Broker", "reaches up to broker"),
        ("ksim_models", "isr", "from . import broker", "reaches up to broker"),
        ("ksim_models", "broker", "from ksim_models.producer import Producer", "must stay apart"),
        ("ksim_models", "units", "from ksim_models.machine import message", "reaches up to machine"),
        ("ksim", "quorum", "", "has no layer"),
        ("ksim", "scenario", "import ksim.quorum", "which has no layer"),
        ("ksim", "scenario_faults", "from ksim.loop import Loop", "reaches up to loop"),
        ("ksim_models", "messages", "from ksim_models.isr import expand", "reaches up to isr"),
        ("ksim", "scenario", "import simpy", "only loop may"),
        ("ksim", "simulation", "from simpy.core import Environment", "only loop may"),
        ("ksim", "simulation", "from importlib import import_module\nimport_module('simpy')", "only loop may"),
        ("ksim", "loop", "import random", "only dice may"),
        ("ksim", "verdict", "from ksim.loop import Loop", "needs a history only"),
        ("ksim", "verdict", "def judge():\n    from ksim import simulation", "needs a history only"),
        ("ksim", "scenario", "from ksim.verdict import judge", "reaches up to verdict"),
        ("ksim", "scenario", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ksim.cli import main", "reaches up to cli"),
        ("ksim", "live", "from ksim.simulation import simulate", "must stay apart"),
        ("ksim", "scenario", "from ksim import simulate", "the public interface"),
        ("ksim", "scenario", "import ksim", "the public interface"),
    ],
)
def test_a_planted_wrong_import_is_found(package: str, module: str, line: str, complaint: str) -> None:
    found = wrong_arrows(package, module, line, SOME_KSIM if package == "ksim" else SOME_MODELS)

    assert len(found) == 1
    assert complaint in found[0]


def test_a_wrong_import_in_a_subfolder_is_found() -> None:
    found = wrong_arrows("ksim", "live", "from .proxy import Proxy\nfrom ..simulation import simulate", SOME_KSIM, inside="live")

    assert found == ["ksim.live, line 2: imports simulation, which stands beside it and must stay apart"]


@pytest.mark.parametrize(
    ("package", "module", "line"),
    [
        ("ksim_models", "machine", "import os"),
        ("ksim_models", "broker", "from ksim_models.isr import expand\nfrom ksim_models.units import ms\nfrom collections import deque"),
        ("ksim", "loop", "import simpy"),
        ("ksim", "dice", "from random import Random"),
        ("ksim", "cli", "from ksim import sweeps\nfrom ksim.verdict import judge\nimport click"),
        ("ksim", "__init__", "from ksim.cli import main"),
        ("ksim", "history", "from ksim import __version__"),
        ("ksim", "verdict", "from ksim.history import History\nfrom ksim_models.facts import Acked"),
    ],
)
def test_a_right_import_is_left_alone(package: str, module: str, line: str) -> None:
    assert wrong_arrows(package, module, line, SOME_KSIM if package == "ksim" else SOME_MODELS) == []


def test_a_planted_circle_of_imports_is_found() -> None:
    arrows = {"log": frozenset({"isr"}), "isr": frozenset({"replica"}), "replica": frozenset({"log"}), "units": frozenset[str]()}

    assert circle_in(arrows) == ["isr", "replica", "log", "isr"]


def test_a_planted_print_in_the_rules_is_found() -> None:
    assert impure_calls("def handle():\n    print('here')") == ["line 2: print"]


@pytest.mark.parametrize("source", ["import math\nmath.log(2)", "x = 1\nfrom math import exp"])
def test_a_planted_logarithm_is_found(source: str) -> None:
    assert fleeting_math(source) == [f"line 2: {'log' if 'log' in source else 'exp'}"]
