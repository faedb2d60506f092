"""What Kafka's own dump tool prints becomes batches of named records. The lines were printed by 4.3.0 and 3.9.1."""

from __future__ import annotations

import pytest

from ksim.live.dump import parse
from ksim.live.errors import LiveError
from ksim_models.facts import LoggedBatch

HEAD = """Dumping /tmp/data/payments-0/00000000000000000000.log
Log starting offset: 0
"""
PLAIN = """baseOffset: 0 lastOffset: 2 count: 3 baseSequence: -1 lastSequence: -1 producerId: -1 producerEpoch: -1 partitionLeaderEpoch: 0 \
isTransactional: false isControl: false deleteHorizonMs: OptionalLong.empty \
position: 0 CreateTime: 1795790538704 size: 128 magic: 2 compresscodec: none crc: 1255496632 isvalid: true
| offset: 0 CreateTime: 1795790538704 keySize: -1 valueSize: 7 sequence: -1 headerKeys: [] payload: 0/0 ...
| offset: 1 CreateTime: 1795790538704 keySize: 5 valueSize: 7 sequence: -1 headerKeys: [] key: key-1 payload: 0/1 ...
| offset: 2 CreateTime: 1795790538704 keySize: 5 valueSize: 2 sequence: -1 headerKeys: [0/2] key: key-1 payload: ..
"""
IDEMPOTENT = """baseOffset: 3 lastOffset: 5 count: 3 baseSequence: 7 lastSequence: 9 producerId: 1000 producerEpoch: 2 partitionLeaderEpoch: 4 \
isTransactional: false isControl: false deleteHorizonMs: OptionalLong.empty \
position: 128 CreateTime: 1795790538741 size: 116 magic: 2 compresscodec: zstd crc: 993869370 isvalid: true
| offset: 3 CreateTime: 1795790538741 keySize: -1 valueSize: 7 sequence: 7 headerKeys: [] payload: 1/8 ...
| offset: 4 CreateTime: 1795790538741 keySize: -1 valueSize: 7 sequence: 8 headerKeys: [] payload: 1/6 ...
| offset: 5 CreateTime: 1795790538741 keySize: -1 valueSize: 7 sequence: 9 headerKeys: [] payload: 1/7 ...
"""
MARKER = """baseOffset: 6 lastOffset: 6 count: 1 baseSequence: -1 lastSequence: -1 producerId: 1000 producerEpoch: 2 partitionLeaderEpoch: 4 \
isTransactional: true isControl: true deleteHorizonMs: OptionalLong.empty \
position: 244 CreateTime: 1795790538800 size: 78 magic: 2 compresscodec: none crc: 993869371 isvalid: true
| offset: 6 CreateTime: 1795790538800 keySize: 4 valueSize: 6 sequence: -1 headerKeys: [] endTxnMarker: ABORT coordinatorEpoch: 0
"""
WARM = """baseOffset: 7 lastOffset: 7 count: 1 baseSequence: -1 lastSequence: -1 producerId: -1 producerEpoch: -1 partitionLeaderEpoch: 4 \
isTransactional: false isControl: false deleteHorizonMs: OptionalLong.empty \
position: 322 CreateTime: 1795790538900 size: 70 magic: 2 compresscodec: none crc: 993869372 isvalid: true
| offset: 7 CreateTime: 1795790538900 keySize: -1 valueSize: 4 sequence: -1 headerKeys: [] payload: w ..
"""
SEGMENT = "/tmp/data/payments-0/00000000000000000000.log"
PRODUCERS = ["p1", "p2"]


def logged(text: str) -> list[LoggedBatch]:
    return [fact for batch in parse(text.splitlines(keepends=True))[SEGMENT].batches for fact in batch.logged(PRODUCERS)]


def test_a_batch_names_its_records_by_value_or_by_header() -> None:
    assert logged(HEAD + PLAIN) == [LoggedBatch(0, 0, "p1", range(3), -1, -1, -1)]


def test_a_batch_keeps_the_order_of_its_records_and_who_sent_it() -> None:
    assert logged(HEAD + IDEMPOTENT) == [LoggedBatch(3, 4, "p2", (8, 6, 7), 1000, 2, 7)]


def test_a_control_batch_moves_the_end_of_the_log_and_tells_how_a_transaction_ended() -> None:
    log = parse((HEAD + IDEMPOTENT + MARKER).splitlines())[SEGMENT]

    assert log.end == 7
    assert [batch.control for batch in log.batches] == [False, True]
    assert log.batches[1].logged(PRODUCERS) == [LoggedBatch(6, 4, "", range(0), 1000, 2, -1, True, "abort")]


def test_a_warm_up_record_has_no_producer() -> None:
    assert logged(HEAD + WARM) == [LoggedBatch(7, 4, "", range(1), -1, -1, -1)]


def test_an_empty_segment_begins_where_its_name_says() -> None:
    log = parse(["Dumping /tmp/data/payments-0/00000000000000000012.log\n", "Log starting offset: 12\n"])["/tmp/data/payments-0/00000000000000000012.log"]

    assert (log.start, log.end, log.batches) == (12, 12, [])


def test_a_gap_left_by_compaction_splits_a_batch() -> None:
    without_the_second = "".join(line for line in (HEAD + PLAIN).splitlines(keepends=True) if "offset: 1 " not in line)

    assert logged(without_the_second) == [LoggedBatch(0, 0, "p1", range(1), -1, -1, -1), LoggedBatch(2, 0, "p1", range(2, 3), -1, -1, -1)]


def test_a_record_of_nobody_in_the_plan_is_not_passed_over() -> None:
    with pytest.raises(LiveError, match="1/8, but there are only 1 producers"):
        parse((HEAD + IDEMPOTENT).splitlines())[SEGMENT].batches[0].logged(["p1"])
