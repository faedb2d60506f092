"""What every test run shares: property tests that can be repeated, and stories that can be rewritten.

One commit is tested with the same examples everywhere; `--explore` (`make explore`) draws new ones, from a seed that is printed,
so that `--hypothesis-seed=N` draws these again. What it finds becomes a test that names its example.
"""

from __future__ import annotations

import secrets

import pytest
from hypothesis import HealthCheck, settings
from xdist.workermanage import WorkerController

import ksim.simulation

# A simulation takes as long as it takes: a slow machine must not turn a true property red.
settings.register_profile("ksim", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("ksim"), max_examples=2_000)
settings.load_profile("ksim")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--check-every",
        type=int,
        default=7,
        help="every simulation is looked at after every so-manyth step for Kafka's invariants (1: after each, a bit slower; 0: never; default 7)",
    )
    parser.addoption("--explore", action="store_true", help="property tests draw new examples; without it, those of seed 0")
    parser.addoption("--rewrite", action="store_true", help="write the stories of tests/stories anew; review the difference before you commit it")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Every simulation runs checked: after every 7th step, as each would make the simulations two to three times as slow, and rules compare what stays.

    One seed for the whole run: chosen here, before Hypothesis' own plugin looks for it; a worker of xdist takes the one it was handed."""
    ksim.simulation.always_check_every = config.getoption("--check-every")
    if config.getoption("--hypothesis-seed", None) is None:
        handed: dict[str, str] = getattr(config, "workerinput", {})
        drawn = secrets.randbelow(2**32) if config.getoption("--explore") else 0
        config.option.hypothesis_seed = handed["hypothesis_seed"] if handed else str(drawn)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    """xdist: a worker reads the command line again and so loses what was chosen after it."""
    node.workerinput["hypothesis_seed"] = node.config.getoption("--hypothesis-seed")


def pytest_report_header(config: pytest.Config) -> str:
    return f"hypothesis: --hypothesis-seed={config.getoption('--hypothesis-seed')}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Once more at the end, where the reader of a failure looks (`-q` shows no header)."""
    if terminalreporter.stats.get("failed"):
        terminalreporter.write_line(f"To draw the same examples again: --hypothesis-seed={config.getoption('--hypothesis-seed')}")
