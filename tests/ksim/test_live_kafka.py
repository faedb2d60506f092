"""Java, Maven and Kafka are found or fetched, or it is said what to install. Programs that answer as the real ones did stand in their place here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ksim.live.errors import LiveError
from ksim.live.kafka import find_java, find_maven, installed, installed_clients

NOT_FOUND = (
    "[ERROR] Failed to execute goal on project live: Could not resolve dependencies for project ksim:live:jar:1: The following artifacts could not be"
    " resolved: org.apache.kafka:kafka_2.13:jar:{version}: Could not find artifact org.apache.kafka:kafka_2.13:jar:{version} in central -> [Help 1]"
)
UNREACHABLE = (
    "[ERROR] Failed to execute goal on project live: Could not resolve dependencies for project ksim:live:jar:1: Failed to collect dependencies at"
    " org.apache.kafka:kafka_2.13:jar:4.3.0: Could not transfer artifact org.apache.kafka:kafka_2.13:pom:4.3.0 from/to central: Unknown host -> [Help 1]"
)

Place = Callable[[str, str], Path]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A machine with nothing on it but the programs that are placed."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "mkdir", "touch", "cat"):
        (programs / name).symlink_to(f"/bin/{name}" if Path(f"/bin/{name}").exists() else f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)

    def put(name: str, script: str) -> Path:
        path = programs / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    return put


def java(version: str) -> str:
    return f"echo 'openjdk version \"{version}\" 2025-04-15' >&2"


def maven(*published: str) -> str:
    """It says what it was asked for, and puts one jar where the release is among the published ones."""
    cases = "".join(
        f'*-Dkafka={version}\\ *) for last; do :; done; folder="${{last#-DoutputDirectory=}}"; mkdir -p "$folder"; touch "$folder/kafka-{version}.jar";;\n'
        for version in published
    )
    return f'case "$*" in\n{cases}*) cat <<END\n{NOT_FOUND.format(version="?")}\nEND\nexit 1;;\nesac'


def test_a_java_that_is_new_enough_is_found(place: Place) -> None:
    path = place("java", java("17.0.15"))

    assert find_java() == str(path)


def test_java_home_comes_first(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place("java", java("17.0.15"))
    other = tmp_path / "jdk" / "bin" / "java"
    other.parent.mkdir(parents=True)
    other.write_text(f"#!/bin/sh\n{java('21.0.1')}\n", encoding="utf-8")
    other.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))

    assert find_java() == str(other)


@pytest.mark.parametrize(("version", "told"), [("11.0.2", "Java 11"), ("1.8.0_392", "Java 8")])
def test_an_old_java_is_named_and_what_to_install(place: Place, version: str, told: str) -> None:
    place("java", java(version))

    with pytest.raises(LiveError, match=f"{told}, which is too old for Kafka 4: install a JDK, 17 or newer"):
        find_java()


def test_a_machine_without_java_is_told_what_to_install(place: Place) -> None:
    with pytest.raises(LiveError, match="no Java was found: install a JDK, 17 or newer"):
        find_java()


def test_a_machine_without_maven_is_told_what_to_install(place: Place) -> None:
    with pytest.raises(LiveError, match=r"no mvn was found.*install Maven"):
        find_maven()


def test_a_release_is_fetched_once(place: Place) -> None:
    place("java", java("17.0.15"))
    path = place("mvn", maven("4.3.0"))
    first = installed("4.3.0")
    path.unlink()

    assert installed("4.3.0") == first
    assert first.version == "4.3.0"
    assert first.classpath.endswith("brokers-4.3.0/kafka-4.3.0.jar")
    assert [entry.name for entry in first.jars.parent.glob(".new-*")] == []


def test_a_minor_release_is_its_newest_patch_that_is_published(place: Place) -> None:
    place("java", java("17.0.15"))
    place("mvn", maven("3.9.0", "3.9.1"))

    assert installed("3.9").version == "3.9.1"
    assert installed("3.9.0").version == "3.9.0"


def test_brokers_and_clients_of_a_release_are_apart(place: Place) -> None:
    place("java", java("17.0.15"))
    place("mvn", maven("4.3.0"))

    assert installed("4.3").jars != installed_clients("4.3").jars


def test_a_patch_that_is_not_published_is_refused_with_those_that_are_here(place: Place) -> None:
    place("java", java("17.0.15"))
    place("mvn", maven("3.9.1"))
    installed("3.9.1")

    with pytest.raises(LiveError, match=r"Maven has no Apache Kafka 3\.9\.2\. .*already on this machine: 3\.9\.1\."):
        installed("3.9.2")


def test_a_release_nobody_knows_is_refused_before_maven_is_asked(place: Place) -> None:
    with pytest.raises(LiveError, match=r'"4\.9" is not a Kafka release known here: choose one of'):
        installed("4.9")


def test_a_registry_that_cannot_be_reached_is_not_a_release_that_is_missing(place: Place) -> None:
    place("java", java("17.0.15"))
    place("mvn", f"cat <<END\n{UNREACHABLE}\nEND\nexit 1")

    with pytest.raises(LiveError, match=r"Apache Kafka 4\.3\.0 could not be fetched .*Could not transfer artifact"):
        installed("4.3")


def test_what_an_interrupted_fetch_left_is_not_taken_for_an_installation(place: Place, tmp_path: Path) -> None:
    place("java", java("17.0.15"))
    place("mvn", maven("4.3.0"))
    half = tmp_path / "cache" / "ksim" / "kafka" / "brokers-4.3.0"
    half.mkdir(parents=True)
    (half / "half.jar").touch()

    assert [jar.name for jar in installed("4.3.0").jars.glob("*.jar")] == ["kafka-4.3.0.jar"]
