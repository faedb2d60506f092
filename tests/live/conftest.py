"""Real clusters for the tests of this folder: one per release, used by one test after another; skipped with the reason where there is no Kafka."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ksim.live.kafka import whats_missing
from live_stand import Stand


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if item.path.parent.name == "live"]
    missing = whats_missing() if here else None
    for item in here:
        item.add_marker(pytest.mark.live)
        if missing:
            item.add_marker(pytest.mark.skip(reason=missing))


@pytest.fixture(scope="session", params=["4.3.0", "3.9.1"])
def used(request: pytest.FixtureRequest) -> Iterator[Stand]:
    with Stand(request.param) as stand:
        yield stand


@pytest.fixture
def stand(used: Stand) -> Stand:
    """Every broker is up, and no topic is left of the test before."""
    used.reset()
    return used
