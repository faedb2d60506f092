"""ksim: what becomes of every record? A deterministic simulator of Apache Kafka's producer and broker failure semantics.

Everything public is named here and loaded when it is first asked for, so that `import ksim` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ksim.comparison import Comparison, compare
    from ksim.explanation import explain
    from ksim.history import History
    from ksim.live.errors import LiveError
    from ksim.live.replays import Live, replay
    from ksim.problems import ScenarioError
    from ksim.runs import Run
    from ksim.scenario import Scenario
    from ksim.scenario_schema import schema
    from ksim.simulation import simulate
    from ksim.sweeps import sweep
    from ksim.verdict import judge

__all__ = [
    "Comparison",
    "History",
    "Live",
    "LiveError",
    "Run",
    "Scenario",
    "ScenarioError",
    "__version__",
    "compare",
    "explain",
    "judge",
    "replay",
    "schema",
    "show_versions",
    "simulate",
    "sweep",
]

HOMES = {
    "Comparison": "comparison",
    "History": "history",
    "Live": "live.replays",
    "LiveError": "live.errors",
    "Run": "runs",
    "Scenario": "scenario",
    "ScenarioError": "problems",
    "compare": "comparison",
    "explain": "explanation",
    "judge": "verdict",
    "replay": "live.replays",
    "schema": "scenario_schema",
    "simulate": "simulation",
    "sweep": "sweeps",
}
"""Public name -> the module it lives in."""
LIBRARIES = ("simpy", "numpy", "pydantic", "click", "rich", "javaproperties", "matplotlib", "pandas", "kio", "confluent-kafka", "psutil")


def __getattr__(name: str) -> object:
    if name not in HOMES:
        raise AttributeError(f"module 'ksim' has no attribute {name!r}")
    found: object = getattr(import_module(f"ksim.{HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def show_versions() -> str:
    """The versions of ksim, of Python and of the libraries that are installed, one per line: what a report of a mistake should hold."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    def installed(library: str) -> str:
        try:
            return version(library)
        except PackageNotFoundError:
            return "not installed"

    lines = [("ksim", __version__), ("python", platform.python_version()), ("system", platform.system()), *((name, installed(name)) for name in LIBRARIES)]
    return "\n".join(f"{name:<16}{text}" for name, text in lines)
