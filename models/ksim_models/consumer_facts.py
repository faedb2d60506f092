"""Facts about consumers and the applications above them: what was read, what came of it, and which offsets were committed.

Part of `facts`. All of them are outside facts: a live application can tell them too.
"""

from __future__ import annotations

from ksim_models.machine import message
from ksim_models.messages import Records


@message
class Processed:
    """An application has read these records of `producer` (from `base_offset` on) and made of each in turn one of `writer`'s records `made`, to send.

    One that crashed, or gave up in the middle, makes the numbers it had not handed to send() once more, of other inputs maybe: the later fact counts.
    """

    application: str
    partition: str
    base_offset: int
    producer: str
    records: Records
    writer: str
    made: Records


@message
class Read:
    """A consumer's application was given these records by poll(); the first stands at `base_offset`."""

    consumer: str
    partition: str
    producer: str
    records: Records
    base_offset: int


@message
class CommittedOffset:
    """A commit of offsets by a consumer, or (`transaction` > 0) with a producer's transaction, has an outcome: `error` is empty where it succeeded."""

    client: str
    group: str
    offsets: tuple[tuple[str, int], ...]
    error: str = ""
    transaction: int = 0


@message
class PollFailed:
    """poll() or a commit threw this at a consumer's application, which ends with it."""

    consumer: str
    error: str
    message: str
