"""Facts as bytes: some twenty for each fact of the hot path, a line of JSON for every other.

Not Kafka's. What does not fit its field is written as JSON instead, so nothing is ever cut off.
Little-endian and without padding, so the bytes are the same on every platform.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from struct import Struct
from struct import error as DoesNotFit
from typing import Any

from ksim.lines import TABLES, HistoryError, fact_name, read_fact, write_line
from ksim_models.facts import OUTSIDE, Acked, Appended, FinalLog, HighWatermark, LoggedBatch, Offered, Replicated, Sent
from ksim_models.messages import Records
from ksim_models.units import Micros

# Every entry starts with its kind and the microseconds since the entry before it.
NAME, JSON, OFFERED, OFFERED_AT_TIMES, SENT, ACKED, APPENDED, REPLICATED, HIGH_WATERMARK, FINAL_LOG = range(10)
HEAD = Struct("<BI")
JSON_HEAD = Struct("<BIq")  # kind, bytes, at
OFFERED_ENTRY = Struct("<BIHIIII")  # producer, first record, records, since first_at, step
SENT_ENTRY = Struct("<BIHHIHHHB")  # producer, partition, first record, records, broker, connection, attempt
ACKED_ENTRY = Struct("<BIHHIHI")  # producer, partition, first record, records, offset + 1
APPENDED_ENTRY = Struct("<BIHHHIHIH")  # broker, partition, producer, first record, records, base offset, leader epoch
OFFSET_ENTRY = Struct("<BIHHI")  # broker, partition, offset
# partition, replica, leader, readable, log start, high watermark, last stable offset, log end, batches shared with the base, batches of its own:
FINAL_LOG_ENTRY = Struct("<BIHHBBIIIIII")
LOGGED = Struct("<IHHIHIHI")  # base offset, leader epoch, producer, first record, records, producer id + 1, producer epoch + 1, base sequence + 1
KINDS = ((False, ""), (True, ""), (True, "commit"), (True, "abort"))  # In the two highest bits of the producer id: transactional, marker.
LISTED = 0x80  # Added to a kind: the records do not follow each other, their numbers stand behind the entry.
IS_LISTED = 0xFFFFFFFF  # As the first record of a logged batch: the same.
MOST_NAMES = 0x10000
CHUNK = 1 << 20


class Names(dict[str, int]):
    """A number for each name, in the order of first use; the first use is written into the stream, so that the digest covers the name itself."""

    def __init__(self, stream: bytearray) -> None:
        super().__init__()
        self.stream = stream
        self.in_order: list[str] = []

    def __missing__(self, name: str) -> int:
        if len(self) == MOST_NAMES:
            raise DoesNotFit("no number is left")
        encoded = name.encode("utf-8", "surrogatepass")
        self.stream += HEAD.pack(NAME, len(encoded)) + encoded
        self.in_order.append(name)
        self[name] = number = len(self)
        return number


class PackedFacts:
    """A growing row of facts, each with its moment."""

    __slots__ = ("_at", "_bases", "_count", "_forget_at", "_forgotten", "_keep", "_names", "_stream", "source")

    def __init__(self, *, keep: bool) -> None:
        self.source = ""
        """The file this was read from."""
        self._stream = bytearray()
        self._names = Names(self._stream)
        self._at: Micros = 0
        self._count = 0
        self._keep = keep
        self._forget_at = sys.maxsize if keep else CHUNK
        self._forgotten = hashlib.sha256()
        self._bases: dict[str, tuple[int, int]] = {}
        """Per partition: where the batches of its first final log stand in the stream; the other replicas are told as differences from it."""

    def add(self, now: Micros, fact: object) -> None:
        pack = PACKERS.get(type(fact))
        self._count += 1
        if pack is not None:
            try:
                pack(self, now, fact)
            except (DoesNotFit, AttributeError):  # AttributeError: a tuple of records has no start.
                self._add_otherwise(now, fact)
        else:
            self._add_json(now, fact)
        if len(self._stream) > self._forget_at:
            self._forget()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[Micros, object]]:
        return self._select(None)

    def outside(self) -> Iterator[tuple[Micros, object]]:
        """What an outsider can see: all that `judge` reads."""
        return self._select(frozenset(OUTSIDE))

    @property
    def digest(self) -> str:
        sha = self._forgotten.copy()
        sha.update(self._stream)
        return f"sha256:{sha.hexdigest()}"

    @property
    def size_bytes(self) -> int:
        """What the facts take in memory."""
        return len(self._stream)

    # Writing one entry.

    def _offered(self, now: Micros, fact: Offered) -> None:
        records: Any = fact.records  # A tuple has neither start nor step: its AttributeError is caught in `add`, and a range pays nothing for it.
        if records.step != 1 or fact.times:
            self._offered_at_times(now, fact)
            return
        self._stream += OFFERED_ENTRY.pack(OFFERED, now - self._at, self._names[fact.producer], records.start, len(records), now - fact.first_at, fact.step)
        self._at = now

    def _offered_at_times(self, now: Micros, fact: Offered) -> None:
        records: Any = fact.records
        if records.step != 1 or len(fact.times) != len(records):
            raise DoesNotFit("only a range with a time for each record is packed")
        waited = _numbers([now - time for time in fact.times])
        head = (OFFERED_AT_TIMES, now - self._at, self._names[fact.producer], records.start, len(records), now - fact.first_at, fact.step)
        self._stream += OFFERED_ENTRY.pack(*head) + waited
        self._at = now

    def _sent(self, now: Micros, fact: Sent) -> None:
        records: Any = fact.records
        if records.step != 1:
            raise DoesNotFit("step")
        names = self._names
        head = SENT, now - self._at, names[fact.producer], names[fact.partition]
        self._stream += SENT_ENTRY.pack(*head, records.start, len(records), names[fact.broker], names[fact.connection], fact.attempt)
        self._at = now

    def _acked(self, now: Micros, fact: Acked) -> None:
        records: Any = fact.records
        if records.step != 1:
            raise DoesNotFit("step")
        names = self._names
        self._stream += ACKED_ENTRY.pack(ACKED, now - self._at, names[fact.producer], names[fact.partition], records.start, len(records), fact.offset + 1)
        self._at = now

    def _appended(self, now: Micros, fact: Appended) -> None:
        records: Any = fact.records
        if records.step != 1:
            raise DoesNotFit("step")
        names = self._names
        who = names[fact.broker], names[fact.partition], names[fact.producer]
        self._stream += APPENDED_ENTRY.pack(APPENDED, now - self._at, *who, records.start, len(records), fact.base_offset, fact.leader_epoch)
        self._at = now

    def _replicated(self, now: Micros, fact: Replicated) -> None:
        names = self._names
        self._stream += OFFSET_ENTRY.pack(REPLICATED, now - self._at, names[fact.broker], names[fact.partition], fact.log_end_offset)
        self._at = now

    def _high_watermark(self, now: Micros, fact: HighWatermark) -> None:
        names = self._names
        self._stream += OFFSET_ENTRY.pack(HIGH_WATERMARK, now - self._at, names[fact.broker], names[fact.partition], fact.offset)
        self._at = now

    def _final_log(self, now: Micros, fact: FinalLog) -> None:
        rows, listed = self._rows(fact.batches)
        base = self._bases.get(fact.partition)
        shared = 0 if listed or base is None else _shared(bytes(self._stream[base[0] : base[1]]), rows)
        own = rows[shared * LOGGED.size :]
        offsets = fact.log_start_offset, fact.high_watermark, fact.last_stable_offset, fact.log_end_offset
        head = self._names[fact.partition], self._names[fact.replica], fact.leader, fact.readable, *offsets, shared, len(own) // LOGGED.size
        self._stream += FINAL_LOG_ENTRY.pack(FINAL_LOG | (LISTED if listed else 0), now - self._at, *head) + own + listed
        self._at = now
        if base is None and own and not listed:
            self._bases[fact.partition] = len(self._stream) - len(own), len(self._stream)

    def _rows(self, batches: tuple[LoggedBatch, ...]) -> tuple[bytes, bytes]:
        """The batches of a log at a fixed width, and behind them the numbers of those whose records do not follow each other."""
        rows, listed = bytearray(), bytearray()
        for batch in batches:
            records = batch.records
            if isinstance(records, range) and records.step == 1 and records.start != IS_LISTED:
                first = records.start
            elif isinstance(records, tuple):
                first = IS_LISTED
                listed += _numbers(records)
            else:
                raise DoesNotFit("records")
            ids = batch.producer_id + 1, batch.producer_epoch + 1, batch.base_sequence + 1
            kind = batch.transactional, batch.marker
            if ids[0] >> 30 or kind not in KINDS:
                raise DoesNotFit("producer id, or kind")
            ids = ids[0] | KINDS.index(kind) << 30, *ids[1:]
            rows += LOGGED.pack(batch.base_offset, batch.leader_epoch, self._names[batch.producer], first, len(records), *ids)
        return bytes(rows), bytes(listed)

    def _add_otherwise(self, now: Micros, fact: Any) -> None:
        """What did not fit: records that do not follow each other are packed with a list of their numbers, the rest is JSON."""
        size = LISTABLE.get(type(fact))
        if size is None or type(fact.records) is not tuple:
            self._add_json(now, fact)
            return
        try:
            listed = _numbers(fact.records)
            PACKERS[type(fact)](self, now, dataclasses.replace(fact, records=range(len(fact.records))))
        except DoesNotFit:
            self._add_json(now, fact)
            return
        self._stream[-size] |= LISTED
        self._stream += listed

    def _add_json(self, now: Micros, fact: object) -> None:
        line = write_line(now, fact).encode("ascii")
        self._stream += JSON_HEAD.pack(JSON, len(line), now) + line
        self._at = now

    def _forget(self) -> None:
        if not self._bases:
            self._forgotten.update(self._stream)
            self._stream.clear()

    # Reading the entries.

    def _select(self, wanted: frozenset[type] | None) -> Iterator[tuple[Micros, Any]]:
        if not self._keep:
            raise HistoryError(self.source, 0, "this history was not kept, only its digest: record it with keep=True")
        stream, names = self._stream, self._names.in_order
        prefixes = tuple(f'{{"fact":"{fact_name(cls)}",'.encode() for cls in (TABLES if wanted is None else wanted))
        head = HEAD.unpack_from
        packed: list[Any] = [None] * 256  # By the byte that an entry begins with: looked up without a call.
        for kind, (cls, size, unpack) in PACKED.items():
            packed[kind] = size, unpack if wanted is None or cls in wanted else None
        bases: dict[str, tuple[LoggedBatch, ...]] = {}
        position, at, end = 0, 0, len(stream)
        while position < end:
            kind, number = head(stream, position)
            entry = packed[kind]
            if entry is not None:
                size, unpack = entry
                at += number
                if unpack is not None:
                    yield at, unpack(stream, names, position, at)
                position += size
            elif kind == NAME:
                position += HEAD.size + number
            elif kind == JSON:
                at = JSON_HEAD.unpack_from(stream, position)[2]
                position += JSON_HEAD.size
                if stream.startswith(prefixes, position):
                    yield read_fact(json.loads(stream[position : position + number].decode("ascii")))
                position += number
            elif kind == FINAL_LOG and wanted is not None and FinalLog not in wanted:
                at += number
                *_, own = FINAL_LOG_ENTRY.unpack_from(stream, position)
                position += FINAL_LOG_ENTRY.size + own * LOGGED.size
            else:
                at += number
                fact, position = self._long(kind, position, at, bases)
                if wanted is None or type(fact) in wanted:
                    yield at, fact

    def _long(self, kind: int, position: int, at: Micros, bases: dict[str, tuple[LoggedBatch, ...]]) -> tuple[object, int]:
        """An entry whose length is told by its fields, and where the next one begins."""
        stream, names = self._stream, self._names.in_order
        if kind in (FINAL_LOG, FINAL_LOG | LISTED):
            return self._unpack_final_log(kind, position, bases)
        _, size, unpack = PACKED[OFFERED if kind == OFFERED_AT_TIMES else kind & ~LISTED]
        fact = unpack(stream, names, position, at)
        numbers = Struct(f"<{len(fact.records)}I")
        listed = numbers.unpack_from(stream, position + size)
        if kind == OFFERED_AT_TIMES:
            fact = dataclasses.replace(fact, times=tuple(at - waited for waited in listed))
        else:
            fact = dataclasses.replace(fact, records=listed)
        return fact, position + size + numbers.size

    def _unpack_final_log(self, kind: int, position: int, bases: dict[str, tuple[LoggedBatch, ...]]) -> tuple[FinalLog, int]:
        """`bases`: the first log of each partition, unpacked in this reading: what the replicas share is unpacked once."""
        stream, names = self._stream, self._names.in_order
        _, _, number, replica, leader, readable, start, high_watermark, last_stable, end, shared, own = FINAL_LOG_ENTRY.unpack_from(stream, position)
        partition = names[number]
        position += FINAL_LOG_ENTRY.size
        stop = position + own * LOGGED.size
        batches = []
        for offset, epoch, producer, first, count, producer_id, producer_epoch, sequence in LOGGED.iter_unpack(stream[position:stop]):
            records: Records = range(first, first + count)
            if kind & LISTED and first == IS_LISTED:
                numbers = Struct(f"<{count}I")
                records = numbers.unpack_from(stream, stop)
                stop += numbers.size
            ids = (producer_id & 0x3FFFFFFF) - 1, producer_epoch - 1, sequence - 1
            batches.append(LoggedBatch(offset, epoch, names[producer], records, *ids, *KINDS[producer_id >> 30]))
        everything = bases[partition][:shared] + tuple(batches) if shared else tuple(batches)
        if position == self._bases.get(partition, (0, 0))[0]:
            bases[partition] = everything
        return FinalLog(partition, names[replica], bool(leader), bool(readable), start, high_watermark, last_stable, end, everything), stop


def _numbers(values: Sequence[int]) -> bytes:
    return Struct(f"<{len(values)}I").pack(*values)


def _shared(base: bytes, rows: bytes) -> int:
    """How many batches at the beginning are the same in both."""
    low, high = 0, min(len(base), len(rows)) // LOGGED.size
    while low < high:
        middle = (low + high + 1) // 2
        if base.startswith(rows[: middle * LOGGED.size]):
            low = middle
        else:
            high = middle - 1
    return low


def _unpack_offered(stream: bytearray, names: list[str], position: int, at: Micros) -> Offered:
    _, _, producer, first, count, waited, step = OFFERED_ENTRY.unpack_from(stream, position)
    return Offered(names[producer], range(first, first + count), at - waited, step)


def _unpack_sent(stream: bytearray, names: list[str], position: int, at: Micros) -> Sent:
    _, _, producer, partition, first, count, broker, connection, attempt = SENT_ENTRY.unpack_from(stream, position)
    return Sent(names[producer], names[partition], range(first, first + count), names[broker], names[connection], attempt)


def _unpack_acked(stream: bytearray, names: list[str], position: int, at: Micros) -> Acked:
    _, _, producer, partition, first, count, offset = ACKED_ENTRY.unpack_from(stream, position)
    return Acked(names[producer], names[partition], range(first, first + count), offset - 1)


def _unpack_appended(stream: bytearray, names: list[str], position: int, at: Micros) -> Appended:
    _, _, broker, partition, producer, first, count, offset, epoch = APPENDED_ENTRY.unpack_from(stream, position)
    return Appended(names[broker], names[partition], names[producer], range(first, first + count), offset, epoch)


def _unpack_replicated(stream: bytearray, names: list[str], position: int, at: Micros) -> Replicated:
    _, _, broker, partition, offset = OFFSET_ENTRY.unpack_from(stream, position)
    return Replicated(names[broker], names[partition], offset)


def _unpack_high_watermark(stream: bytearray, names: list[str], position: int, at: Micros) -> HighWatermark:
    _, _, broker, partition, offset = OFFSET_ENTRY.unpack_from(stream, position)
    return HighWatermark(names[broker], names[partition], offset)


PACKERS: dict[type, Callable[[PackedFacts, Micros, Any], None]] = {
    Offered: PackedFacts._offered,
    Sent: PackedFacts._sent,
    Acked: PackedFacts._acked,
    Appended: PackedFacts._appended,
    Replicated: PackedFacts._replicated,
    HighWatermark: PackedFacts._high_watermark,
    FinalLog: PackedFacts._final_log,
}
LISTABLE: dict[type, int] = {Sent: SENT_ENTRY.size, Acked: ACKED_ENTRY.size, Appended: APPENDED_ENTRY.size}
PACKED: dict[int, tuple[type, int, Callable[[bytearray, list[str], int, Micros], Any]]] = {
    OFFERED: (Offered, OFFERED_ENTRY.size, _unpack_offered),
    SENT: (Sent, SENT_ENTRY.size, _unpack_sent),
    ACKED: (Acked, ACKED_ENTRY.size, _unpack_acked),
    APPENDED: (Appended, APPENDED_ENTRY.size, _unpack_appended),
    REPLICATED: (Replicated, OFFSET_ENTRY.size, _unpack_replicated),
    HIGH_WATERMARK: (HighWatermark, OFFSET_ENTRY.size, _unpack_high_watermark),
}
