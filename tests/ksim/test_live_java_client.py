"""The Java client's program: compiled once, kept, and started with room for its buffer. A script stands in for Java here; tests/live has the real one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ksim.live.errors import LiveError
from ksim.live.java_client import compile_client, java_command

COMPILES = """
while [ "$1" != -d ]; do shift; done
mkdir "$2"; echo "$4" > "$2/Client.class"; echo . >> "$(dirname "$0")/calls"
"""
HAS_NO_COMPILER = 'echo "java.lang.module.FindException: Module jdk.compiler not found" >&2; exit 1'
REFUSES = 'echo "Client.java:7: error: class not found" >&2; exit 1'


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ksim" / "client"


def java_that(does: str, folder: Path) -> str:
    java = folder / "java"
    java.write_text(f"#!/bin/sh\n{does}\n")
    java.chmod(java.stat().st_mode | stat.S_IXUSR)
    return str(java)


def jars(folder: Path) -> str:
    folder.mkdir()
    for name in ("kafka-clients.jar", "slf4j-api.jar"):
        (folder / name).touch()
    return str(folder / "*")


def test_the_program_is_compiled_once_and_kept(tmp_path: Path, cache: Path) -> None:
    java, classpath = java_that(COMPILES, tmp_path), jars(tmp_path / "jars")

    first = compile_client(java, classpath)
    assert compile_client(java, classpath) == first
    assert (tmp_path / "calls").read_text() == ".\n"
    assert (first / "Client.class").read_text().split(os.pathsep) == [
        str(tmp_path / "jars" / "kafka-clients.jar"),
        str(tmp_path / "jars" / "slf4j-api.jar") + "\n",
    ]
    assert {path.name for path in cache.iterdir()} == {first.name, "lock"}


def test_what_was_left_in_the_middle_is_removed(tmp_path: Path, cache: Path) -> None:
    (cache / ".new-0123").mkdir(parents=True)

    compile_client(java_that(COMPILES, tmp_path), jars(tmp_path / "jars"))
    assert not (cache / ".new-0123").exists()


@pytest.mark.parametrize(("java", "words"), [(HAS_NO_COMPILER, "install a JDK, 17 or newer"), (REFUSES, "Client.java:7: error: class not found")])
def test_a_java_that_cannot_compile_is_told(tmp_path: Path, java: str, words: str) -> None:
    with pytest.raises(LiveError, match=words):
        compile_client(java_that(java, tmp_path), jars(tmp_path / "jars"))


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()

    with pytest.raises(LiveError, match="set XDG_CACHE_HOME"):
        compile_client(java_that(COMPILES, tmp_path), jars(tmp_path / "jars"))


def test_the_heap_has_room_for_a_full_buffer(tmp_path: Path) -> None:
    assert "-Xmx192m" in java_command("java", "jars/*", tmp_path, buffer_memory=33_554_432)
    assert java_command("java", "jars/*", tmp_path)[-3:] == ["-cp", f"{tmp_path}{os.pathsep}jars/*", "Client"]
