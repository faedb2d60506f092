"""What a broker does to its logs from time to time: when each task runs, and what it does then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ksim_models.config import BrokerConfig, TopicConfig
from ksim_models.facts import LogStartMoved
from ksim_models.log import Log
from ksim_models.log_tasks import LogTasks, Task
from ksim_models.machine import Effect, Note
from ksim_models.messages import RecordBatch
from ksim_models.replica import Replica
from ksim_models.settings import LONG_MAX
from ksim_models.units import NEVER, Micros, s

DAY = s(86_400)
FOR_EVER: dict[str, Any] = {"retention_ms": -1, "retention_bytes": -1}


@pytest.mark.parametrize(
    ("every", "useful_from", "runs_at", "ran_at", "next_at"),
    [
        pytest.param(10, 0, 30, 30, 40, id="at first, whatever there was before"),
        pytest.param(10, 30, 30, 30, 40, id="at first, just in time"),
        pytest.param(10, 31, 40, 40, 50, id="the next run after that"),
        pytest.param(10, 40, 40, 79, 80, id="the runs that a frozen process missed are one"),
        pytest.param(10, 40, 40, 80, 90, id="and the one of that moment is among them"),
        pytest.param(0, 30, 30, 30, None, id="a period of nothing: once, at first (KafkaScheduler)"),
        pytest.param(0, 31, None, None, None, id="and then never again"),
    ],
)
def test_a_task_runs_where_it_would_find_something(every: int, useful_from: int, runs_at: int | None, ran_at: int | None, next_at: int | None) -> None:
    """From 30 s on."""
    task = Task(s(30), s(every))
    assert task.at == NEVER
    task.wanted_from(s(useful_from))
    assert task.at == (NEVER if runs_at is None else s(runs_at))
    task.wanted_from(s(1_000))
    assert task.at == (NEVER if runs_at is None else s(runs_at)), "it is wanted earlier already"
    if ran_at is not None:
        task.ran(s(ran_at))

    assert task.at == (NEVER if next_at is None else s(next_at))


def hosted(topic: dict[str, Any], *, booted_at: Micros = 0, long_ago: bool = False, **broker: Any) -> tuple[LogTasks, Replica]:
    """A broker with one log, whose segments hold two batches."""
    config = replace(TopicConfig(), segment_bytes=250, **topic)
    replica = Replica("t-0", Log(config=config), ("b1",), config, min_isr_capped=True)
    tasks = LogTasks("b1", replace(BrokerConfig(), **broker), {"t-0": replica}, booted_at, long_ago=long_ago)
    tasks.watch(replica.log, booted_at)
    return tasks, replica


def write(log: Log, *times: Micros, producer_id: int = -1) -> None:
    for at in times:
        log.append_as_leader(RecordBatch("t-0", "p1", range(1), 100, producer_id, 0, 0, max_timestamp=at), 0, at)
    log.advance_high_watermark(log.log_end_offset, times[-1])


def wake(tasks: LogTasks, now: Micros) -> tuple[list[Effect], list[str]]:
    out: list[Effect] = []
    told: list[str] = []
    tasks.wake(now, told.append, out)
    return out, told


ONCE_A_SECOND: dict[str, Any] = {"log_flush_scheduler_interval_ms": 1_000}


@pytest.mark.parametrize(
    ("topic", "broker", "wakes_at"),
    [
        pytest.param({}, {}, DAY, id="PS-50 producers may have been idle for a day before records are old for a week"),
        pytest.param(
            {}, {"producer_id_expiration_ms": 8 * 86_400_000}, 7 * DAY + s(30), id="retention.ms: a record is as old as that, and the next check comes"
        ),
        pytest.param({"retention_ms": 0}, {}, s(30), id="retention.ms=0: at the first check"),
        pytest.param(FOR_EVER | {"retention_bytes": 0}, {}, s(30), id="retention.bytes: at the first check"),
        pytest.param(FOR_EVER, {}, DAY, id="no retention"),
        pytest.param({"flush_ms": 0}, ONCE_A_SECOND, s(30), id="LR-1 flush.ms: at the first look"),
        pytest.param({"flush_ms": LONG_MAX}, ONCE_A_SECOND, DAY, id="LR-1 no flush.ms"),
        pytest.param({"flush_ms": 0}, {}, s(30), id="LR-1 log.flush.scheduler.interval.ms is endless: one look, 30 s after the start"),
        pytest.param({"flush_ms": 0}, {"long_ago": True}, DAY, id="LR-1 and that was long ago"),
        pytest.param({"flush_ms": 0}, ONCE_A_SECOND | {"long_ago": True, "booted_at": s(1)}, s(1), id="LR-1 who has been up for long looks at any moment"),
        pytest.param(FOR_EVER, {"producer_id_expiration_ms": 1_000, "booted_at": s(5)}, s(605), id="PS-50 the first check comes ten minutes after the start"),
    ],
)
def test_when_a_broker_looks_after_its_logs(topic: dict[str, Any], broker: dict[str, Any], wakes_at: Micros) -> None:
    """log.initial.task.delay.ms: 30 s after the start; producer.id.expiration.check.interval.ms: 10 minutes after it."""
    assert hosted(topic, **broker)[0].wake_at == wakes_at


@pytest.mark.parametrize(("flushed_at", "saved"), [(s(29), True), (s(29) + 1, False)])
def test_what_has_not_been_flushed_for_flush_ms_is_flushed(flushed_at: Micros, saved: bool) -> None:
    """LR-1: to the moment; and the next look comes a second later."""
    tasks, replica = hosted(FOR_EVER | {"flush_ms": 1_000}, **ONCE_A_SECOND)
    log = replica.log
    write(log, s(1))
    log.flush(flushed_at)
    write(log, flushed_at)
    assert wake(tasks, s(30) - 1) == ([], [])
    assert log.recovery_point == 1
    assert wake(tasks, s(30)) == ([], [])

    assert (log.recovery_point, log.flushed_at) == ((2, s(30)) if saved else (1, flushed_at))
    assert tasks.wake_at == s(31)


def test_what_was_never_flushed_is_flushed_flush_ms_after_the_beginning() -> None:
    """LR-1."""
    tasks, replica = hosted(FOR_EVER | {"flush_ms": 31_000}, **ONCE_A_SECOND)
    write(replica.log, s(1))
    for now, saved in ((s(30), 0), (s(31), 1)):
        wake(tasks, now)
        assert replica.log.recovery_point == saved


def test_old_segments_go_and_whoever_follows_hears_of_it() -> None:
    """retention.ms, log.retention.check.interval.ms: each replica deletes its own, and says where its log starts now."""
    tasks, replica = hosted({"retention_ms": 10_000}, log_retention_check_interval_ms=5_000)
    write(replica.log, *(s(second) for second in (18, 19, 20, 21, 22)))

    assert wake(tasks, s(30)) == ([Note(LogStartMoved("b1", "t-0", 2, "retention.ms"))], ["t-0"])
    assert tasks.wake_at == s(35)
    assert wake(tasks, s(35)) == ([Note(LogStartMoved("b1", "t-0", 5, "retention.ms"))], ["t-0"])
    assert wake(tasks, s(40)) == ([], []), "nothing is left"


@pytest.mark.parametrize(
    ("limit", "committed", "start"),
    [
        pytest.param(-1, 5, 0, id="no limit"),
        pytest.param(500, 5, 0, id="all that there is"),
        pytest.param(301, 5, 0, id="less would be left"),
        pytest.param(300, 5, 2, id="just as much is left"),
        pytest.param(99, 5, 4, id="two segments"),
        pytest.param(0, 5, 5, id="nothing stays, nor does the last one"),
        pytest.param(0, 4, 4, id="but for what is not committed"),
        pytest.param(0, 3, 2, id="a segment as a whole"),
    ],
)
def test_segments_go_while_retention_bytes_would_be_left(limit: int, committed: int, start: int) -> None:
    """UnifiedLog.deleteRetentionSizeBreachedSegments, deletableSegments: of 200, 200 and 100 bytes."""
    tasks, replica = hosted(FOR_EVER | {"retention_bytes": limit})
    write(replica.log, *(s(second) for second in range(5)))
    replica.log.high_watermark = committed
    effects, told = wake(tasks, s(30))

    assert effects == ([Note(LogStartMoved("b1", "t-0", start, "retention.bytes"))] if start else [])
    assert told == (["t-0"] if start else [])


def test_what_stands_before_the_log_start_is_deleted_at_the_next_check() -> None:
    """DeleteRecords moved it: nothing else would have been looked for."""
    tasks, replica = hosted(FOR_EVER, log_retention_check_interval_ms=5_000)
    write(replica.log, s(1), s(2), s(3))
    replica.log.move_start(2, s(32))
    assert tasks.wake_at == DAY
    tasks.start_moved(s(32))
    assert tasks.wake_at == s(35)

    assert wake(tasks, s(35)) == ([], []), "the log start stays"
    assert replica.log.segments[0].base_offset == 2


def test_idle_producers_are_forgotten_at_the_check() -> None:
    """PS-50: producer.id.expiration.ms after their newest record."""
    tasks, replica = hosted(FOR_EVER, producer_id_expiration_ms=600_000)
    assert tasks.wake_at == s(600)
    write(replica.log, 0, producer_id=7)
    write(replica.log, 1, producer_id=8)
    wake(tasks, s(600))

    assert list(replica.log.producers.entries) == [8]
    assert tasks.wake_at == s(1_200)
