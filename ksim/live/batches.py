"""One batch as it stands in a log, whoever read it: from the dump tool, from a segment file or from a fetch answer.

Kafka: DefaultRecordBatch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from ksim.live.compressed import NotReadable, decompress
from ksim.live.errors import LiveError
from ksim.live.wire import BATCH_HEADER, COMPRESSION, CONTROL, TRANSACTIONAL, identities, varint
from ksim_models.facts import LoggedBatch
from ksim_models.messages import NO_SEQUENCE, Records

MARKERS = {0: "abort", 1: "commit"}
WARM = ""
"""The producer of a record that is outside every count."""

Identity = tuple[int, int]


@dataclass(slots=True)
class Batch:
    """`records`: offsets with what each record says it is (None: nothing of ours)."""

    base_offset: int
    last_offset: int
    leader_epoch: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    control: bool
    records: list[tuple[int, Identity | None]] = field(default_factory=list)
    transactional: bool = False
    marker: str = ""
    """Of a control batch: "commit" or "abort", once its record was read."""

    def logged(self, producers: Sequence[str]) -> list[LoggedBatch]:
        """As facts: one per run of offsets that follow each other, of one producer."""
        if self.marker:
            return [LoggedBatch(self.base_offset, self.leader_epoch, WARM, range(0), self.producer_id, self.producer_epoch, NO_SEQUENCE, True, self.marker)]
        facts = []
        for (producer, _), run in groupby(enumerate(self.records), key=lambda entry: (named(entry[1][1], producers), entry[1][0] - entry[0])):
            entries = [record for _, record in run]
            offset = entries[0][0]
            numbers = [own[1] if own is not None else place for place, (_, own) in enumerate(entries)]
            sequence = self.base_sequence + offset - self.base_offset if self.base_sequence != NO_SEQUENCE else NO_SEQUENCE
            whose = self.producer_id, self.producer_epoch, sequence, self.transactional
            facts.append(LoggedBatch(offset, self.leader_epoch, producer, packed(numbers), *whose))
        return facts

    def since(self, start: int) -> Batch:
        """Without what stands before the start of the log: nobody can read that, though the batch stands in the file whole."""
        return self if self.base_offset >= start else replace(self, records=[record for record in self.records if record[0] >= start], marker="")


def read_batch(data: bytes) -> Batch:
    """From its header; `with_records` reads the rest."""
    base, _, epoch, _, _, attributes, last, _, _, producer_id, producer_epoch, sequence, _ = BATCH_HEADER.unpack_from(data)
    transactional = bool(attributes & TRANSACTIONAL)
    return Batch(base, base + last, epoch, producer_id, producer_epoch, sequence, bool(attributes & CONTROL), transactional=transactional)


def with_records(batch: Batch, data: bytes) -> Batch:
    """`data`: the whole batch. NotReadable where it is compressed by something that cannot be undone here."""
    if batch.control:
        batch.marker = marker_of(content_of(data)) if batch.transactional else ""
    else:
        try:
            batch.records = list(enumerate(identities(content_of(data), count_of(data)), batch.base_offset))
        except IndexError as error:
            raise NotReadable(f"damaged: {error}") from error
    return batch


def marker_of(content: bytes) -> str:
    """Of the one record of a control batch: what its key says (EndTransactionMarker: version, type)."""
    _, at = varint(content, 0)  # Its length;
    _, at = varint(content, at + 1)  # behind the attributes the timestamp's delta,
    _, at = varint(content, at)  # the offset's delta,
    _, at = varint(content, at)  # the length of the key.
    return MARKERS.get(int.from_bytes(content[at + 2 : at + 4], "big"), "")


def content_of(data: bytes) -> bytes:
    """The records of a batch, uncompressed."""
    kind = int.from_bytes(data[21:23], "big") & COMPRESSION
    content = data[BATCH_HEADER.size :]
    return decompress(kind, content) if kind else content


def count_of(data: bytes) -> int:
    return int(BATCH_HEADER.unpack_from(data)[-1])


def batches_in(data: bytes) -> Iterator[tuple[Batch, bytes]]:
    """The whole batches of a fetch answer; what is cut off at its end is left out."""
    at = 0
    while len(data) - at >= BATCH_HEADER.size:
        size = 12 + int.from_bytes(data[at + 8 : at + 12], "big")
        if len(data) - at < size:
            return
        yield read_batch(data[at : at + size]), data[at : at + size]
        at += size


def packed(numbers: Sequence[int]) -> Records:
    """A range where the numbers follow each other, as in every history."""
    consecutive = all(number == numbers[0] + place for place, number in enumerate(numbers))
    return range(numbers[0], numbers[0] + len(numbers)) if consecutive else tuple(numbers)


def named(own: Identity | None, producers: Sequence[str]) -> str:
    if own is None:
        return WARM
    if own[0] >= len(producers):
        raise LiveError(f"a log holds record {own[0]}/{own[1]}, but there are only {len(producers)} producers: somebody else writes to our topic.")
    return producers[own[0]]
