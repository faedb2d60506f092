"""The watchdog of a workplace: waits until its ksim is gone, by whatever cause, and ends what it left.

Not Kafka's. Started as `python -m ksim.live.watchdog FOLDER` with a pipe from ksim on its standard input, which says nothing and closes when ksim ends.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

from ksim.live.processes import POLL_S, clear


def main(folder: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    deadline = time.monotonic() + 10
    while folder.exists() and not clear(folder) and time.monotonic() < deadline:
        time.sleep(POLL_S)  # The lock falls a moment after the pipe.


if __name__ == "__main__":
    main(Path(sys.argv[1]))
