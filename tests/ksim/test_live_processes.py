"""A workplace ends what was started in it and removes its folder, however its ksim ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from ksim.live.errors import LiveError
from ksim.live.processes import Child, Workplace, clear, end_leftovers, started, sweep

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
PATIENCE_S = 30
KSIM = """
import os, signal, sys, time
from pathlib import Path
from ksim.live.processes import Workplace
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # Who runs the tests under nohup has it ignored, and so would this process.
try:
    with Workplace(root=Path(sys.argv[1])) as workplace:
        child = workplace.start("sleeper", [sys.executable, "-c", "import time; time.sleep(600)"])
        {deed}
        print(workplace.folder, child.pid, workplace._watchdog.pid, flush=True)
        time.sleep(600)
finally:
    print("cleaned up", flush=True)
"""
GRANDCHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""


class Ksim:
    """Another ksim, with a workplace and a child in it."""

    def __init__(self, root: Path, deed: str = "") -> None:
        script = textwrap.dedent(KSIM).replace("{deed}", deed)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
        self.process = subprocess.Popen([sys.executable, "-c", script, str(root)], stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)
        assert self.process.stdout is not None
        folder, child, watchdog = self.process.stdout.readline().split()
        self.folder, self.child, self.watchdog = Path(folder), int(child), int(watchdog)

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Callable[..., Ksim]]:
    made: list[Ksim] = []

    def make(deed: str = "") -> Ksim:
        made.append(Ksim(tmp_path / "root", deed))
        return made[-1]

    yield make
    for ksim in made:
        ksim.close()
    if (tmp_path / "root").exists():
        sweep(tmp_path / "root")


def until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_the_end_of_the_block_ends_every_child_and_removes_the_folder(tmp_path: Path) -> None:
    with Workplace(root=tmp_path / "root") as workplace:
        folder = workplace.folder
        child = workplace.start("sleeper", SLEEP)
        workplace.start("stopped", SLEEP).pause()
        alive = child.is_running

    assert alive
    assert child.code == -signal.SIGKILL
    assert not folder.exists()


def test_an_exception_ends_every_child_too(tmp_path: Path) -> None:
    children: list[Child] = []

    def fail() -> None:
        with Workplace(root=tmp_path / "root") as workplace:
            children.append(workplace.start("sleeper", SLEEP))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert not runs(children[0].pid)
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["lock"]


def test_what_a_child_started_in_a_session_of_its_own_ends_with_it(tmp_path: Path) -> None:
    with Workplace(root=tmp_path / "root") as workplace:
        child = workplace.start("parent", [sys.executable, "-c", GRANDCHILD], stdout=subprocess.PIPE)
        assert child.stdout is not None
        grandchild = int(child.stdout.readline())
        alive = runs(grandchild)

    assert alive
    assert until(lambda: not runs(grandchild))


def test_the_marker_names_the_children_with_the_moment_of_their_start(tmp_path: Path) -> None:
    with Workplace(root=tmp_path / "root") as workplace:
        child = workplace.start("sleeper", SLEEP)
        marker = json.loads((workplace.folder / "marker.json").read_text(encoding="utf-8"))

    assert [(entry["name"], entry["pid"]) for entry in marker["children"]] == [("sleeper", child.pid)]
    assert marker["children"][0]["started"] is not None
    assert marker["ksim"] == {"pid": os.getpid(), "started": started(os.getpid())}


def test_what_a_child_says_is_kept_in_its_log(tmp_path: Path) -> None:
    with Workplace(root=tmp_path / "root") as workplace:
        for word in ("first", "second"):
            workplace.start("talker", [sys.executable, "-c", f"print('{word}')"]).process.wait(PATIENCE_S)
        child = workplace.start("talker", [sys.executable, "-c", "import sys; sys.exit('third')"])
        code = child.process.wait(PATIENCE_S)
        lines = child.last_lines(2)

    assert code == 1
    assert lines == "second\nthird"


def test_a_program_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with Workplace(root=tmp_path / "root") as workplace, pytest.raises(LiveError, match="broker-1 cannot be started: /nowhere/java: No such file"):
        workplace.start("broker-1", ["/nowhere/java"])


@pytest.mark.parametrize("deed", ["", "child.pause()"])
def test_the_watchdog_clears_up_after_a_ksim_that_was_killed(other: Callable[..., Ksim], deed: str) -> None:
    ksim = other(deed)
    alive = runs(ksim.child)

    ksim.end(signal.SIGKILL)

    assert alive
    assert until(lambda: not ksim.folder.exists())
    assert not runs(ksim.child)
    assert until(lambda: not runs(ksim.watchdog))


@pytest.mark.parametrize("deed", ["", "child.pause()", "(workplace.folder / 'marker.json').unlink()"])
def test_the_next_start_clears_up_where_the_watchdog_was_killed_too(other: Callable[..., Ksim], tmp_path: Path, deed: str) -> None:
    ksim = other(deed)
    os.kill(ksim.watchdog, signal.SIGKILL)
    ksim.end(signal.SIGKILL)
    left = runs(ksim.child) and ksim.folder.exists()

    with Workplace(root=tmp_path / "root"):
        cleared = not runs(ksim.child) and not ksim.folder.exists()

    assert left
    assert cleared


def test_a_ksim_that_lives_is_left_alone(other: Callable[..., Ksim], tmp_path: Path) -> None:
    ksim = other()

    with Workplace(root=tmp_path / "root"):
        pass

    assert runs(ksim.child)
    assert ksim.folder.exists()
    assert not clear(ksim.folder)


@pytest.mark.parametrize("deed", ["", "signal.signal(signal.SIGINT, signal.SIG_IGN)"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_replay_as_an_interrupt_does(other: Callable[..., Ksim], number: int, deed: str) -> None:
    ksim = other(deed)

    code = ksim.end(number)

    assert code in (-signal.SIGINT, 1)
    assert not runs(ksim.child)
    assert not ksim.folder.exists()
    assert ksim.process.stdout is not None
    assert ksim.process.stdout.read() == "cleaned up\n"


def test_a_pid_that_belongs_to_somebody_else_by_now_is_not_killed(tmp_path: Path) -> None:
    stranger = subprocess.Popen(SLEEP)
    try:
        marker = {"children": [{"name": "broker-1", "pid": stranger.pid, "started": "another boot:1"}]}
        (tmp_path / "marker.json").write_text(json.dumps(marker), encoding="utf-8")

        end_leftovers(tmp_path)

        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_marked_child_is_known_without_its_environment(tmp_path: Path) -> None:
    child = subprocess.Popen(SLEEP)
    marker = {"children": [{"name": "broker-1", "pid": child.pid, "started": started(child.pid)}]}
    (tmp_path / "marker.json").write_text(json.dumps(marker), encoding="utf-8")

    end_leftovers(tmp_path)

    assert not runs(child.pid)
    child.wait()


def test_nothing_is_started_when_all_is_being_ended(tmp_path: Path) -> None:
    with Workplace(root=tmp_path / "root") as workplace:
        pass

    with pytest.raises(LiveError, match="the replay is ending"):
        workplace.start("late", SLEEP)


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    root.chmod(0o777)

    with pytest.raises(LiveError, match="can be written by others"), Workplace(root=root):
        pass
