"""The Java client's program: compiled once for each Kafka version and kept, and how it is started.

Not Kafka's. `Client.java` stands beside this file; the compiler is the one in the JDK that runs it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import subprocess
from pathlib import Path

from ksim.live.errors import LiveError

SOURCE = Path(__file__).with_name("Client.java")
BASE_HEAP_MB = 128


def compile_client(java: str, classpath: str) -> Path:
    """The folder with Client.class; blocks for a second or two when it is the first time. Safe beside others that do the same."""
    source = SOURCE.read_bytes()
    name = hashlib.sha256(source + classpath.encode()).hexdigest()[:16]
    folder = cache() / name
    if folder.exists():
        return folder
    fresh = cache() / f"{name}.{secrets.token_hex(4)}"
    fresh.mkdir(parents=True)
    try:
        command = [
            java,
            "-m",
            "jdk.compiler/com.sun.tools.javac.Main",
            "-XDstringConcat=inline",
            "-d",
            str(fresh),
            "-cp",
            os.pathsep.join(_jars(classpath)),
            str(SOURCE),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = (done.stderr + done.stdout).strip()
        if "jdk.compiler not found" in said:
            raise LiveError(f"{java} is a Java runtime without a compiler: install a JDK, 17 or newer.")
        if done.returncode != 0:
            raise LiveError(f"the Java client could not be compiled by {java}:\n{said}")
        try:
            fresh.rename(folder)
        except OSError:
            if not folder.exists():  # Somebody else was faster: theirs is as good.
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _jars(classpath: str) -> list[str]:
    """The compiler, started in this way, does not know `FOLDER/*`."""
    return [str(jar) for entry in classpath.split(os.pathsep) for jar in (sorted(Path(entry[:-1]).glob("*.jar")) if entry.endswith("*") else [entry])]


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ksim" / "client"


def java_command(java: str, classpath: str, classes: Path, *, buffer_memory: int = 0) -> list[str]:
    """`classes`: what `compile_client` answered. The heap has room for a full buffer of this client."""
    heap = BASE_HEAP_MB + 2 * buffer_memory // 2**20
    flags = [f"-Xmx{heap}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-XX:+DisplayVMOutputToStderr"]
    return [java, *flags, "-cp", f"{classes}{os.pathsep}{classpath}", "Client"]
