"""Processes and folders of a replay: whatever was started is ended, whatever was written is removed, however ksim ends.

Not Kafka's. A replay works in one folder, its workplace, and holds a lock on it as long as it lives. Whoever finds the lock free (the watchdog of that
replay at once, or any later replay) knows that its ksim is gone, ends what it left and removes the folder. A child is known by its pid together with the
moment of its start, or by the workplace that stands in its environment: never by its name.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO

import psutil

from ksim.live.disks import thaw
from ksim.live.errors import LiveError

MARK = "KSIM_LIVE_WORKPLACE"
"""In the environment of every child, and so of whatever it starts itself."""
POLL_S = 0.02
LOOKS = 6
LAST_LINES = 25
Handler = Callable[[int, FrameType | None], object] | int | None


class Child:
    """One process of a replay, leader of a session and a process group of its own."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path | None) -> None:
        self.name = name
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stdin(self) -> IO[bytes] | None:
        return self.process.stdin

    @property
    def stdout(self) -> IO[bytes] | None:
        return self.process.stdout

    @property
    def code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self.process.poll()

    @property
    def is_running(self) -> bool:
        return self.code is None

    def kill(self) -> None:
        """At once, whatever it has started included; works on a stopped process too."""
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    async def ended(self, timeout_s: float | None = None) -> int:
        """The exit code. TimeoutError when it still runs after so long."""
        async with asyncio.timeout(timeout_s):
            while self.code is None:
                await asyncio.sleep(POLL_S)
        assert self.code is not None
        return self.code

    def close_pipes(self) -> None:
        for pipe in (self.stdin, self.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def last_lines(self, count: int = LAST_LINES) -> str:
        """The end of its log, for a message to the user."""
        if self.log is None or not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])


class Workplace:
    """A context: the folder of one replay, and the processes started in it.

    SIGTERM and SIGHUP end the block as Ctrl-C does, by KeyboardInterrupt, so that whatever stands around it cleans up as well.
    """

    def __init__(self, *, root: Path | None = None) -> None:
        self.root = root or home()
        self.folder = self.root
        self.children: list[Child] = []
        self._held: list[int] = []
        self.is_open = False
        """From the beginning of the block until everything is being ended; a thread that waits for something gives up then."""
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._handlers: dict[int, Handler] = {}

    def __enter__(self) -> Workplace:
        own_folder(self.root)
        with _lock(self.root / "lock"):
            sweep(self.root)
            self.folder = self.root / secrets.token_hex(4)
            self.folder.mkdir(mode=0o700)
            self._held.append(_take(self.folder / "lock"))
            self._write_marker()
            self.is_open = True
        self._watch_signals()
        try:
            self._watchdog = self._start_watchdog()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
        stdout: int | None = None,
        log: bool = True,
    ) -> Child:
        """stdin, stdout: as for Popen (subprocess.PIPE); what is not piped goes to the log, logs/NAME.log, which is continued where there is one."""
        if not self.is_open:
            raise LiveError(f"{name} is not started any more: the replay is ending.")
        path = self.folder / "logs" / f"{name}.log" if log else None
        environment = {**os.environ, **(env or {}), MARK: str(self.folder)}
        with contextlib.ExitStack() as files:
            sink: IO[bytes] | int = subprocess.DEVNULL
            if path is not None:
                path.parent.mkdir(exist_ok=True)
                sink = files.enter_context(path.open("ab"))
            try:
                process = subprocess.Popen(
                    command, env=environment, cwd=self.folder, stdin=stdin, stdout=sink if stdout is None else stdout, stderr=sink, start_new_session=True
                )
            except OSError as error:
                raise LiveError(f"{name} cannot be started: {command[0]}: {error.strerror}.") from error
        child = Child(name, process, path)
        for ended in [other for other in self.children if not other.is_running]:
            ended.close_pipes()
            self.children.remove(ended)
        self.children.append(child)
        self._write_marker()
        return child

    def close(self) -> None:
        """Ends everything and removes the folder. A second call does nothing."""
        self.is_open = False
        for child in self.children:
            child.kill()
        for child in self.children:
            child.process.wait()
            child.close_pipes()
        self.children = []
        if self.folder != self.root:
            end_leftovers(self.folder)
            remove(self.folder)
        for held in self._held:
            os.close(held)
        self._held = []
        if self._watchdog is not None:
            assert self._watchdog.stdin is not None
            self._watchdog.kill()  # Nothing is left to be watched.
            self._watchdog.wait()
            self._watchdog.stdin.close()
            self._watchdog = None
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _write_marker(self) -> None:
        """Whom the next start, or the watchdog, has to end: pids with the moments of their start."""
        marker = {
            "ksim": {"pid": os.getpid(), "started": started(os.getpid())},
            "children": [{"name": child.name, "pid": child.pid, "started": started(child.pid)} for child in self.children],
        }
        fresh = self.folder / "marker.new"
        fresh.write_text(json.dumps(marker), encoding="utf-8")
        fresh.replace(self.folder / "marker.json")

    def _start_watchdog(self) -> subprocess.Popen[bytes]:
        """It holds the reading end of a pipe, whose other end closes when this process ends, by whatever cause."""
        command = [sys.executable, "-m", "ksim.live.watchdog", str(self.folder)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
        return subprocess.Popen(
            command, env=environment, cwd=self.root, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def _watch_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            with contextlib.suppress(ValueError):  # Not the main thread: whoever runs us there must see to it.
                if signal.getsignal(number) != signal.SIG_IGN:  # nohup stays nohup.
                    self._handlers[number] = signal.signal(number, self._strike)

    def _strike(self, number: int, frame: FrameType | None) -> None:
        if not callable(signal.getsignal(signal.SIGINT)):
            raise KeyboardInterrupt  # A job in the background of a script ignores Ctrl-C.
        signal.raise_signal(signal.SIGINT)  # Which asyncio.run turns into an orderly end.


def home() -> Path:
    return Path(tempfile.gettempdir()) / f"ksim-live-{os.getuid()}"


def own_folder(path: Path) -> None:
    """Made for this user alone, or LiveError: others could put a file in our way in a shared temp folder."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise LiveError(f"{path} belongs to somebody else or can be written by others: remove it, or set TMPDIR to a folder of your own.")


def sweep(root: Path) -> list[Path]:
    """Ends and removes what replays left whose ksim is gone. Returns their folders."""
    gone = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        if clear(folder):
            gone.append(folder)
    return gone


def clear(folder: Path) -> bool:
    """Ends and removes one workplace, unless its ksim lives."""
    try:
        held = _take(folder / "lock")
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return False  # Somebody else cleared it meanwhile.
    try:
        end_leftovers(folder)
        remove(folder)
    finally:
        os.close(held)
    return True


def end_leftovers(folder: Path) -> None:
    """Kills what was started in this workplace and still runs, and whatever those started."""
    marked = _marked(folder)
    quiet = 0
    for _ in range(LOOKS):  # Somebody may start one more while we look; who is just being started shows no environment for a moment.
        found = [process for process in psutil.process_iter() if process.pid != os.getpid() and _belongs(process, folder, marked)]
        quiet = 0 if found else quiet + 1
        if quiet == 2:
            return
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.resume()
                process.kill()
        psutil.wait_procs(found, timeout=5)
        time.sleep(POLL_S)


def remove(folder: Path) -> None:
    """The lock goes last: as long as it is there, the rest can be found again."""
    for _ in range(3):
        for path in [path for path in folder.iterdir() if path.name != "lock"] if folder.exists() else []:
            if path.is_dir() and not path.is_symlink():
                thaw(path)
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def started(pid: int) -> str | None:
    """When a process started, as a text that no other process with this pid will have. None: there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip() + ":" + fields[19]
    except (OSError, IndexError):
        pass
    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return None


def _belongs(process: psutil.Process, folder: Path, marked: dict[int, str]) -> bool:
    try:
        if process.pid in marked and started(process.pid) == marked[process.pid]:
            return bool(process.status() != psutil.STATUS_ZOMBIE)
        return bool(process.environ().get(MARK) == str(folder))
    except psutil.Error:
        return False  # Gone, or another user's.


def _marked(folder: Path) -> dict[int, str]:
    try:
        children = json.loads((folder / "marker.json").read_text(encoding="utf-8"))["children"]
        return {child["pid"]: child["started"] for child in children}
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # Killed before it was written; the environment tells as well.


def _take(path: Path) -> int:
    """An exclusive lock that falls with this process. BlockingIOError: somebody has it."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Waits for its turn: one ksim at a time makes a workplace or looks for leftovers."""
    deadline = time.monotonic() + 60
    while True:
        try:
            held = _take(path)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise LiveError(f"another ksim has held {path} for a minute: end it, or set TMPDIR to another folder.") from None
            time.sleep(POLL_S)
    try:
        yield
    finally:
        os.close(held)
