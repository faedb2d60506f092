"""The Java client's program: compiled once for each Kafka version and kept, and how it is started.

Not Kafka's. Its sources stand beside this file; the compiler is the one in the JDK that runs it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ksim.live.errors import LiveError

SOURCES = tuple(Path(__file__).with_name(name) for name in ("Client.java", "Transactions.java", "Reading.java"))
BASE_HEAP_MB = 128
COMPILER = ("-m", "jdk.compiler/com.sun.tools.javac.Main", "--release", "17", "-XDstringConcat=inline")
"""Texts put together in plain code: the JVM's own way is slow when a line of code runs for the first time, which may be at time zero."""
JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto", "-XX:+DisplayVMOutputToStderr")


def compile_client(java: str, classpath: str) -> Path:
    """The folder with Client.class; blocks for a second or two when it is the first time. Safe beside others that do the same."""
    name = hashlib.sha256(b"".join(source.read_bytes() for source in SOURCES) + classpath.encode()).hexdigest()[:16]
    folder = cache_folder() / name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder.parent / "lock"):
            for stale in folder.parent.glob(".new-*"):
                shutil.rmtree(stale, ignore_errors=True)
            if not folder.exists():
                fresh = folder.parent / f".new-{secrets.token_hex(4)}"
                _compile(java, classpath, fresh)
                fresh.rename(folder)
    except OSError as error:
        raise LiveError(f"{folder.parent} cannot be used ({error.strerror}): set XDG_CACHE_HOME to a folder of your own.") from error
    return folder


def _compile(java: str, classpath: str, folder: Path) -> None:
    command = [java, *COMPILER, "-d", str(folder), "-cp", os.pathsep.join(_jars(classpath)), *map(str, SOURCES)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    said = (done.stderr + done.stdout).strip()
    if "jdk.compiler not found" in said:
        raise LiveError(f"{java} is a Java runtime without a compiler: install a JDK, 17 or newer.")
    if done.returncode != 0:
        raise LiveError(f"the Java client could not be compiled by {java}:\n{said}")


def _jars(classpath: str) -> list[str]:
    """The compiler, started in this way, does not know `FOLDER/*`."""
    return [str(jar) for entry in classpath.split(os.pathsep) for jar in (sorted(Path(entry[:-1]).glob("*.jar")) if entry.endswith("*") else [entry])]


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache") / "ksim" / "client"


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def java_command(java: str, classpath: str, classes: Path, *, buffer_memory: int = 0) -> list[str]:
    """`classes`: what `compile_client` answered. The heap has room for a full buffer of this client."""
    heap = BASE_HEAP_MB + 2 * buffer_memory // 2**20
    return [java, f"-Xmx{heap}m", *JVM, "-cp", f"{classes}{os.pathsep}{classpath}", "Client"]
