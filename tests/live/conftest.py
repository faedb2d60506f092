"""Real Kafka for the tests that need it: one cluster for all that can share it, or a reason why there is none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ksim import Live
from ksim.live.kafka import whats_missing

VERSION = "4.3.0"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test in here is marked, and skipped where Java, Maven or a library is missing."""
    here = [item for item in items if "tests/live/" in item.path.as_posix()]
    missing = whats_missing() if here else None
    for item in here:
        item.add_marker(pytest.mark.live)
        if missing is not None:
            item.add_marker(pytest.mark.skip(reason=missing))


@pytest.fixture(scope="session")
def live() -> Iterator[Live]:
    with Live(f"kraft:{VERSION}") as live:
        yield live
