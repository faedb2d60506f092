"""A disk that takes no more writes, beneath a broker that runs.

Linux: prlimit (RLIMIT_FSIZE 0: a write to any file fails with EFBIG), FS_IOC_SETFLAGS (an immutable file: a write fails with EPERM, also through a descriptor
that was open before). To Kafka both are an IOException, as a full or broken disk is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

GET_FLAGS, SET_FLAGS = 0x80086601, 0x40086602
IMMUTABLE = 0x10
FLAGS = struct.Struct("=ii")
NOT_LINUX = "how a write is made to fail is known for Linux only"
NOT_ROOT = "one of several log directories fails by its files being made immutable, which needs root and a file system that can (ext4, xfs, btrfs)"


def why_not(directories: int, place: Path) -> str:
    """Why a broker with so many log directories, somewhere beneath `place`, cannot lose one; "" where it can."""
    if sys.platform != "linux":
        return NOT_LINUX
    return NOT_ROOT if directories > 1 and not _can_freeze(place) else ""


def limit_writes(pid: int, *, to_none: bool) -> None:
    """Of a process, to whatever file; nothing where it is gone."""
    if sys.platform == "linux":
        with contextlib.suppress(ProcessLookupError):
            _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0 if to_none else most, most))


def freeze(folder: Path) -> None:
    """Nothing in it can be written, made or removed any more, folders first: nothing new comes into them meanwhile."""
    for path in _within(folder):
        _set(path, immutable=True)


def thaw(folder: Path) -> None:
    for path in _within(folder):
        with contextlib.suppress(OSError):
            _set(path, immutable=False)


def _within(folder: Path) -> Iterator[Path]:
    for place, _, files in os.walk(folder):
        yield Path(place)
        yield from (Path(place, name) for name in files)


def _set(path: Path, *, immutable: bool) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # Deleted by its broker meanwhile.
    try:
        flags = FLAGS.unpack(fcntl.ioctl(descriptor, GET_FLAGS, bytes(FLAGS.size)))[0]
        if immutable or flags & IMMUTABLE:
            fcntl.ioctl(descriptor, SET_FLAGS, FLAGS.pack(flags | IMMUTABLE if immutable else flags & ~IMMUTABLE, 0))
    finally:
        os.close(descriptor)


def _can_freeze(place: Path) -> bool:
    probe = place / f"can-freeze-{os.getpid()}"
    probe.touch()
    try:
        _set(probe, immutable=True)
        _set(probe, immutable=False)
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)
    return True
