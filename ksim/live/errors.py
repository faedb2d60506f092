"""What can go wrong around a live cluster, said to the person who asked for it.

Not Kafka's. A LiveError ends a replay with exit code 2: nothing was judged.
"""

from __future__ import annotations


class LiveError(Exception):
    """A message that says what happened and what to do next. Rebuilds from its args."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
