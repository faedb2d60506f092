"""Apache Kafka as it is published, and the Java to run it: found, or fetched once into a cache folder.

Kafka: org.apache.kafka:kafka_2.13 and kafka-tools for brokers, kafka-clients alone for a client of another release; pom.xml beside this file.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import subprocess
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ksim.live.errors import LiveError
from ksim_models.profiles import parse_release

if TYPE_CHECKING:
    from ksim.live.processes import Workplace

SERVER = "kafka.Kafka"
STORAGE_TOOL = "kafka.tools.StorageTool"
OLDEST_JAVA = 17
POM = Path(__file__).with_name("pom.xml")
FETCHING_S = 900
COMPLETE = "complete"
"""A file beside the jars, so that a folder somebody copied halfway is not taken for an installation."""
NOT_FOUND = re.compile(r"Could not find artifact|was not found in|Failure to find")
UNREACHABLE = re.compile(r"Could not transfer|Cannot access|Unknown host|Connection refused|timed out|Network is unreachable", re.IGNORECASE)
GET_JAVA = f"install a JDK, {OLDEST_JAVA} or newer (Debian, Ubuntu: apt install openjdk-17-jdk-headless; macOS: brew install openjdk), or set JAVA_HOME"
GET_MAVEN = "install Maven (Debian, Ubuntu: apt install maven; macOS: brew install maven)"
JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto", "-Djava.awt.headless=true")
"""For a machine with few cores that runs many short-lived brokers: quick to start, little memory, no thread that is not needed."""
LOGGING = {
    "org.slf4j.simpleLogger.defaultLogLevel": "info",
    "org.slf4j.simpleLogger.showDateTime": "true",
    "org.slf4j.simpleLogger.dateTimeFormat": "HH:mm:ss.SSS",
    "org.slf4j.simpleLogger.showThreadName": "false",
}


@dataclass(frozen=True, slots=True)
class Installation:
    """Jars of one release, and a Java to run them."""

    version: str
    """Exactly: "4.3.0"."""
    java: str
    jars: Path

    @property
    def classpath(self) -> str:
        """Always in the same order: a class archive fits one class path only."""
        return os.pathsep.join(sorted(str(jar) for jar in self.jars.glob("*.jar")))

    @property
    def archive(self) -> Path:
        """The classes that a broker loads, as this Java maps them into memory (`ksim.live.training`); empty where that was not possible."""
        return self.jars / f"classes-{zlib.crc32(os.path.realpath(self.java).encode()):08x}.jsa"

    def command(self, main_class: str, *args: str, heap_mb: int = 256, properties: Mapping[str, str] | None = None, archive_to: str | None = None) -> list[str]:
        settings = [f"-D{key}={value}" for key, value in {**LOGGING, **(properties or {})}.items()]
        if archive_to is not None:
            settings.append(f"-XX:ArchiveClassesAtExit={archive_to}")
        elif self.archive.exists() and self.archive.stat().st_size:
            settings.append(f"-XX:SharedArchiveFile={self.archive}")
        return [self.java, f"-Xmx{heap_mb}m", *JVM, *settings, "-cp", self.classpath, main_class, *args]


def installed(version: str, workplace: Workplace | None = None) -> Installation:
    """Brokers and tools of a release; "4.3" is the newest patch of it that is known and published. Blocks while Maven works. LiveError says what is missing."""
    return _install("brokers", version, workplace)


def installed_clients(version: str, workplace: Workplace | None = None) -> Installation:
    """The producer and consumer of a release, without brokers."""
    return _install("clients", version, workplace)


def whats_missing() -> str | None:
    """What a replay on brokers of our own needs and this machine lacks; for tests to be skipped with."""
    absent = [package for module, package in (("kio", "kio"), ("psutil", "psutil"), ("confluent_kafka", "confluent-kafka")) if find_spec(module) is None]
    if absent:
        return f"{', '.join(absent)} not installed: pip install 'ksim-kafka[live]'"
    try:
        find_java()
        if not any(cache_folder().glob(f"brokers-*/{COMPLETE}")):
            find_maven()
    except LiveError as error:
        return error.message
    return None


def find_java() -> str:
    home = os.environ.get("JAVA_HOME")
    candidates = [*([str(Path(home, "bin", "java"))] if home else []), *([found] if (found := shutil.which("java")) else [])]
    too_old = []
    for java in candidates:
        version = _java_version(java)
        if version is not None and version >= OLDEST_JAVA:
            return java
        if version is not None:
            too_old.append(f"{java} is Java {version}")
    if too_old:
        raise LiveError(f"{', '.join(too_old)}, which is too old for Kafka 4: {GET_JAVA}.")
    raise LiveError(f"no Java was found: {GET_JAVA}.")


def find_maven() -> str:
    if found := shutil.which("mvn"):
        return found
    raise LiveError(f"no mvn was found, and Apache Kafka has to be fetched with it: {GET_MAVEN}.")


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache") / "ksim" / "kafka"


def _java_version(java: str) -> int | None:
    """17 for Java 17; None for what does not run (macOS has a java that only says that there is none)."""
    try:
        done = subprocess.run([java, "-version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    return int(found[1]) if found else None


def _install(what: str, version: str, workplace: Workplace | None) -> Installation:
    try:
        candidates = _candidates(version)
    except ValueError as error:
        raise LiveError(str(error)) from None
    java = find_java()
    for exact in candidates:
        jars = cache_folder() / f"{what}-{exact}"
        if (jars / COMPLETE).exists() or _fetch(what, exact, jars, workplace):
            return Installation(exact, java, jars)
    here = sorted(path.parent.name.removeprefix(f"{what}-") for path in cache_folder().glob(f"{what}-*/{COMPLETE}"))
    raise LiveError(
        f"Maven has no Apache Kafka {' or '.join(candidates)}. Name another patch or release"
        + (f"; already on this machine: {', '.join(here)}." if here else ", such as 4.3.0 or 3.9.1.")
    )


def _candidates(version: str) -> list[str]:
    """What a version may mean, best first: "3.9" is any patch of it, the newest known one preferred."""
    major, minor, last = parse_release(version)
    patches = range(last, -1, -1) if version.count(".") == 1 else (last,)
    return [f"{major}.{minor}.{patch}" for patch in patches]


def _fetch(what: str, exact: str, jars: Path, workplace: Workplace | None) -> bool:
    """False: there is no such release. One ksim at a time asks Maven; the jars appear all at once."""
    maven = find_maven()
    jars.parent.mkdir(parents=True, exist_ok=True)
    with _alone(jars.parent / "lock"):
        if (jars / COMPLETE).exists():
            return True
        for stale in jars.parent.glob(".new-*"):
            shutil.rmtree(stale, ignore_errors=True)
        fresh = jars.parent / f".new-{secrets.token_hex(4)}"
        command = [maven, "-B", "-q", "-f", str(POM), "-P", what, f"-Dkafka={exact}", "dependency:copy-dependencies", f"-DoutputDirectory={fresh}"]
        try:
            code, said = _run(command, workplace)
            if code == 0:
                (fresh / COMPLETE).touch()
                shutil.rmtree(jars, ignore_errors=True)
                fresh.rename(jars)
                return True
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    if NOT_FOUND.search(said) and not UNREACHABLE.search(said):
        return False
    reason = next((line for line in said.splitlines() if "[ERROR]" in line), said.strip()[-500:])
    raise LiveError(f"Apache Kafka {exact} could not be fetched with {maven} (exit code {code}): {reason}")


def _run(command: Sequence[str], workplace: Workplace | None) -> tuple[int, str]:
    """Exit code and everything said. Started in a workplace, so that Maven does not outlive us."""
    from ksim.live.processes import Workplace

    if workplace is None:
        with Workplace() as own:
            return _run(command, own)
    child = workplace.start("maven", command)
    deadline = time.monotonic() + FETCHING_S
    while child.is_running:
        if time.monotonic() > deadline:
            child.kill()
            raise LiveError(f"Maven did not finish in {FETCHING_S} s. Its last lines:\n{child.last_lines()}")
        time.sleep(0.1)
    assert child.code is not None
    return child.code, child.last_lines(200)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
