"""A disk that takes no more writes: for one process, or for one folder; and as it was afterwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ksim.live import disks
from ksim.live.processes import remove

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason=disks.NOT_LINUX)

WRITER = """
import signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # As the Java machine does.
with open(sys.argv[1], "wb", buffering=0) as file:
    for _ in sys.stdin:
        try:
            file.write(b"x")
            print("written", flush=True)
        except OSError as error:
            print(error.strerror, flush=True)
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "log")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def written(process: subprocess.Popen[str]) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[Path]:
    if why := disks.why_not(2, tmp_path):
        pytest.skip(why)
    folder = tmp_path / "data"
    (folder / "payments-0").mkdir(parents=True)
    (folder / "payments-0" / "log").write_bytes(b"")
    yield folder
    disks.thaw(folder)


def test_a_process_whose_writes_are_limited_cannot_write_and_can_again(writer: subprocess.Popen[str]) -> None:
    before = written(writer)
    disks.limit_writes(writer.pid, to_none=True)
    meanwhile = written(writer)
    disks.limit_writes(writer.pid, to_none=False)

    assert [before, meanwhile, written(writer)] == ["written", "File too large", "written"]


def test_a_process_that_is_gone_is_no_matter(writer: subprocess.Popen[str]) -> None:
    writer.kill()
    writer.wait()

    disks.limit_writes(writer.pid, to_none=True)


def test_in_a_frozen_folder_nothing_is_written_not_even_through_a_file_that_is_open(frozen: Path) -> None:
    with (frozen / "payments-0" / "log").open("ab", buffering=0) as file:
        disks.freeze(frozen)
        with pytest.raises(PermissionError):
            file.write(b"x")
        with pytest.raises(PermissionError):
            (frozen / "checkpoint").touch()
        disks.thaw(frozen)

        assert file.write(b"x") == 1


def test_a_frozen_folder_that_a_killed_ksim_left_is_removed(frozen: Path) -> None:
    disks.freeze(frozen)
    remove(frozen.parent)

    assert not frozen.exists()


def test_where_files_cannot_be_frozen_a_broker_loses_its_only_directory_all_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(disks, "_can_freeze", lambda place: False)

    assert disks.why_not(1, tmp_path) == ""
    assert disks.why_not(2, tmp_path) == disks.NOT_ROOT
