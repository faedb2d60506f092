"""Batches of records in bytes, as a broker writes them: for the tests of what reads them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime

from kio.records.schema import NewRecordBatch, Record
from kio.records.writers import write_new_batch
from kio.static.primitive import TZAwareMicros, i8, i16, i32, i64

NOW = TZAwareMicros.parse(datetime(2026, 1, 1, tzinfo=UTC))


def batch(values: Sequence[bytes], *, base: int = 0, epoch: int = 0, producer_id: int = -1, sequence: int = -1, attributes: int = 0) -> bytes:
    records = tuple(Record(attributes=i8(0), timestamp=NOW, offset=i64(place), key=None, value=value, headers=()) for place, value in enumerate(values))
    new = NewRecordBatch(
        producer_id=i64(producer_id),
        producer_epoch=i16(0 if producer_id >= 0 else -1),
        partition_leader_epoch=i32(epoch),
        base_sequence=i32(sequence),
        records=records,
        attributes=i16(attributes),
    )
    buffer = io.BytesIO()
    write_new_batch(buffer, new)
    return base.to_bytes(8, "big") + buffer.getvalue()[8:]


def numbered(*numbers: int, base: int = 0, epoch: int = 0, producer: int = 0) -> bytes:
    """Records of one producer of a plan."""
    return batch([f"{producer}/{number} ".encode() for number in numbers], base=base, epoch=epoch)


def marker(*, commit: bool, base: int = 0, epoch: int = 0, producer_id: int = 0, producer_epoch: int = 0) -> bytes:
    """A control batch that ends a transaction; its key: version 0, type."""
    record = Record(attributes=i8(0), timestamp=NOW, offset=i64(0), key=(1 if commit else 0).to_bytes(4, "big"), value=(0).to_bytes(6, "big"), headers=())
    new = NewRecordBatch(
        producer_id=i64(producer_id),
        producer_epoch=i16(producer_epoch),
        partition_leader_epoch=i32(epoch),
        base_sequence=i32(-1),
        records=(record,),
        attributes=i16(0x30),
    )
    buffer = io.BytesIO()
    write_new_batch(buffer, new)
    return base.to_bytes(8, "big") + buffer.getvalue()[8:]
