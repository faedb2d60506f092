"""However ksim ends, nothing that it started goes on and nothing that it wrote is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ksim.live.processes import MARK, home

WITHIN_S = 60.0


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A temp folder of its own, so that other replays on the machine are not mistaken for leftovers."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


def start(place: Path, *words: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "TMPDIR": str(place)}
    return subprocess.Popen([sys.executable, "-m", "ksim", *words], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def children(place: Path) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            mark = process.environ().get(MARK, "")
        except psutil.Error:
            continue
        if mark.startswith(str(place)) and process.status() != psutil.STATUS_ZOMBIE:
            found.append(" ".join(process.cmdline())[-60:])
    return found


def eventually(what: Callable[[], bool]) -> bool:
    """Waits for other processes, which nobody here drives."""
    end = time.monotonic() + WITHIN_S
    while not what() and time.monotonic() < end:
        time.sleep(0.1)
    return what()


def is_clean(place: Path) -> bool:
    return not children(place) and not [folder for root in place.iterdir() for folder in root.iterdir() if folder.is_dir()]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("nodes", [1, 5], ids=["while it starts", "while it runs"])
def test_whenever_and_however_a_replay_is_ended_nothing_is_left(place: Path, how: signal.Signals, nodes: int) -> None:
    """With `pause` in the scenario: brokers may be frozen when the end comes."""
    scenario = place / "frozen.toml"
    scenario.write_text(
        'format = 1\nkafka = "4.3"\nseed = 1\n[topics.t]\n[producers.p1]\n[[workload]]\ntopic = "t"\nrecords = 1000\nevery = "20ms"\n'
        '[[fault]]\nat = "0ms"\ndo = "pause"\nwho = "followers(t-0)"\nfor = "20s"\n'
    )
    replay = start(place, "replay", str(scenario), "--cluster", "kraft:4.3.0")
    assert eventually(lambda: len(children(place)) >= nodes or replay.poll() is not None)
    assert replay.poll() is None

    replay.send_signal(how)
    replay.wait(WITHIN_S)
    scenario.unlink()

    assert eventually(lambda: is_clean(place)), children(place)


def test_the_workplace_is_in_the_systems_temp_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)

    assert home().is_relative_to(place)
