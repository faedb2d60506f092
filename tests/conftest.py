"""What every test run shares: property tests that can be repeated.

Hypothesis chooses new examples in every run; the seed it began from is printed, so that `--hypothesis-seed=N` draws the same ones again.
"""

from __future__ import annotations

import secrets

import pytest
from hypothesis import HealthCheck, settings

# A simulation takes as long as it takes: a slow machine must not turn a true property red.
settings.register_profile("ksim", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("ksim"), max_examples=2_000)
settings.load_profile("ksim")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """One seed for the whole run: chosen here, before Hypothesis' own plugin looks for it, and handed by xdist to every worker with the other options."""
    if config.getoption("--hypothesis-seed", None) is None:
        config.option.hypothesis_seed = str(secrets.randbelow(2**32))


def pytest_report_header(config: pytest.Config) -> str:
    return f"hypothesis: --hypothesis-seed={config.getoption('--hypothesis-seed')}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Once more at the end, where the reader of a failure looks (`-q` shows no header)."""
    if terminalreporter.stats.get("failed"):
        terminalreporter.write_line(f"To draw the same examples again: --hypothesis-seed={config.getoption('--hypothesis-seed')}")
