"""Read, process, write with exactly-once settings, struck at drawn moments: `python experiments/chaos/read_process_write.py --seeds 0..9999`.

Each seed is one of the eight rows (four releases, one application or two in a group), its faults drawn: the application's process, coordinators, leaders,
links, single frames. A seed fails where an input is lost, torn or doubled, or a reader is given what was aborted. --weakened SEEDS takes the settings away,
one at a time, and counts the seeds that show why each is needed.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ksim import Run, Scenario, ScenarioError, simulate
from ksim.invariants import InvariantBroken

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import chaos  # noqa: E402

RESULTS = HERE / "read_process_write.json"
ROWS = tuple((release, group) for release in ("3.6", "3.9", "4.0", "4.3") for group in (1, 2))
"""4.0 is formatted with transaction.version 1, 4.3 with 2; the releases before know no other than 0 and 1."""
FRAMES = {
    **dict.fromkeys(("AddPartitionsToTxn", "AddOffsetsToTxn", "TxnOffsetCommit", "EndTxn", "InitProducerId", "WriteTxnMarkers", "FindCoordinator"), 1),
    **dict.fromkeys(("JoinGroup", "SyncGroup", "OffsetFetch", "Fetch"), 1),
    "Produce": 3,
}
LATE = {"EndTxn": 4, "Produce": 3, "TxnOffsetCommit": 1, "AddPartitionsToTxn": 1, "AddOffsetsToTxn": 1}
"""What may arrive in the next transaction, after its sender has given it up."""
PHASES = ("after-begin", "before-produce", "before-offsets", "before-commit", "after-commit-sent")
PROMISE = ("lost", "torn", "aborted_read", "hidden", "duplicated")
END_TO_END = ("processed_twice", "skipped")


def drawn(seed: int, row: tuple[str, int] | None = None) -> dict[str, Any]:
    """The scenario of this seed, with everything that exactly-once asks for."""
    draw = random.Random(f"read-process-write {seed}")
    release, group = row or ROWS[seed % len(ROWS)]
    copiers = range(group)
    partitions = draw.choice((1, 2))
    settled: dict[str, Any] = {"transaction.abort.timed.out.transaction.cleanup.interval.ms": 500, "group.initial.rebalance.delay.ms": 0}
    settled |= {"transaction.state.log.num.partitions": 2, "offsets.topic.num.partitions": 2, "min.insync.replicas": 2}
    reader = {"group.id": "copies", "isolation.level": "read_committed", "auto.offset.reset": "earliest", "enable.auto.commit": False}
    member = {"session.timeout.ms": 6_000, "heartbeat.interval.ms": 1_000, "max.poll.records": draw.choice((3, 500))}
    writer: dict[str, Any] = {"transaction.timeout.ms": draw.choice((3_000, 60_000, 60_000)), "linger.ms": 0}
    gives_up_early = draw.random() < 0.6
    if gives_up_early:
        writer |= {"request.timeout.ms": 1_000, "delivery.timeout.ms": draw.choice((1_000, 3_000))}
    every, most = draw.choice(((20, 60), (80, 120), (80, 120), (80, 120), (300, 50)))
    feed: dict[str, Any] = {"producer": "feed", "topic": "orders", "records": draw.randint(20, most), "every": f"{every}ms"}
    data: dict[str, Any] = {
        "title": f"read-process-write {seed}",
        "kafka": release,
        "client": "java",
        "seed": seed,
        "cluster": {"brokers": 3, "config": settled} | ({"features": {"transaction.version": 1}} if release == "4.0" else {}),
        "topics": {"orders": {"partitions": partitions}, "payments": {"partitions": draw.choice((1, 2, 6))}},
        "producers": {"feed": {"config": {"linger.ms": 0}}} | {f"copier-{one}": {"config": {"transactional.id": f"copy-{one}"} | writer} for one in copiers},
        "consumers": {f"reader-{one}": {"config": reader | member} for one in copiers}
        | {"auditor": {"topics": ["payments"], "config": {"isolation.level": "read_committed", "auto.offset.reset": "earliest"}}},
        "applications": {
            f"copy-{one}": {
                "reads": "orders",
                "writes": "payments",
                "producer": f"copier-{one}",
                "consumer": f"reader-{one}",
                "commit_every": {"records": draw.choice((1, 5, 40, 40))},
            }
            for one in copiers
        },
        "workload": [feed],
        "network": {"latency": draw.choice(("500us", "2ms", "20ms"))},
        "tail": {"limit": "60s"},
        "model": {"costs": "none"},
    }
    if draw.random() < 0.5:  # What is read has aborted transactions in it.
        data["producers"]["feed"]["config"]["transactional.id"] = "feed"
        feed["transaction"] = {"records": draw.randint(1, 6), "abort_every": 3, "think": draw.choice(("1ms", "100ms"))}
    faults = [_fault(draw, group, partitions) for _ in range(draw.randint(1, 3))]
    faults += [_late(draw, draw.randrange(group)) for _ in range(gives_up_early)]
    data["fault"] = [{"name": str(index)} | fault for index, fault in enumerate(faults)]
    again = {"do": "crash", "at": "75s", "for": "1s"}  # Who has ended has to be started again, behind what hangs for 30 s, and twice.
    data["fault"] += [{"name": f"again-{one}", "who": f"copy-{one}"} | again for one in copiers]
    return data


def _fault(draw: random.Random, group: int, partitions: int) -> dict[str, Any]:
    which = draw.randrange(group)
    application = f"copy-{which}"
    partition = draw.choice((f"orders-{draw.randrange(partitions)}", "payments-0"))
    coordinator = draw.choice((f"coordinator({application})", "coordinator(copies)"))
    lasts = f"{draw.choice((50, 500, 2_000, 9_000, 9_000)) + draw.randrange(500)}ms"
    fault: dict[str, Any]
    match draw.choice(("process", "process", "process", "zombie", "coordinator", "leader", "cut", "frame", "frame")):
        case "zombie":  # Its group gives its partitions to another, and then it goes on.
            when = {"transaction": draw.randint(1, 6), "phase": draw.choice(PHASES), "from": f"copier-{which}"}
            return {"do": "pause", "who": application, "for": f"{draw.randrange(7_000, 16_000)}ms", "when": when}
        case "process":
            fault = {"do": draw.choice(("crash", "crash", "pause", "pause", "shutdown")), "who": application, "for": lasts}
        case "coordinator":
            fault = {"do": draw.choice(("crash", "pause", "shutdown")), "who": coordinator, "for": lasts}
        case "leader":
            fault = {"do": draw.choice(("crash", "pause", "shutdown")), "who": f"leader({partition})", "for": lasts}
        case "cut":
            ends = [application, draw.choice((coordinator, f"leader({partition})", "brokers"))]
            fault = {"do": "cut", "between": ends, "one_way": draw.random() < 0.3, "for": lasts}
        case _:
            do = draw.choice(("lose-request", "lose-response", "delay", "hang"))
            api = draw.choice([api for api, weight in FRAMES.items() for _ in range(weight)])
            fault = {"do": do, "when": {"request": api, "nth": draw.randint(1, 15), "times": draw.choice((1, 1, 2))}}
            return fault | ({"by": lasts} if do == "delay" else {})
    if draw.random() < 0.6:
        return fault | {"when": {"transaction": draw.randint(1, 6), "phase": draw.choice(PHASES), "from": f"copier-{which}"}}
    return fault | {"at": f"{draw.randrange(1_000, 6_000)}ms"}


def _late(draw: random.Random, which: int) -> dict[str, Any]:
    """A request comes when its sender has given it up, and has gone on."""
    api = draw.choice([api for api, weight in LATE.items() for _ in range(weight)])
    by = draw.randrange(1_100, draw.choice((2_000, 3_500, 9_000)))
    return {"do": "delay", "by": f"{by}ms", "when": {"request": api, "nth": draw.choice((1, 1, 2, 3, 5, 8)), "from": f"copier-{which}"}}


@dataclass(frozen=True, slots=True)
class Outcome:
    kind: str
    """"once", "allowed" (as transaction.version < 2 allows), "not finished", "harm", or what broke."""
    harm: tuple[str, ...] = ()
    because: str = ""


def check(data: Mapping[str, Any], every: int = 0) -> Outcome:
    try:
        run = simulate(Scenario(**data), check_every=every)
        return outcome(run)
    except ScenarioError as error:
        return Outcome("refused", because=str(error))
    except InvariantBroken as error:
        return Outcome("invariant", because=str(error))
    except Exception as error:  # Whatever it is, it is ours.
        return Outcome("internal", because=f"{type(error).__name__}: {error}")


def one(seed: int) -> Outcome:
    return judged(drawn(seed), chaos.EVERY[seed // len(ROWS) % len(chaos.EVERY)])


def judged(data: Mapping[str, Any], every: int = 0) -> Outcome:
    """`check`, and whether transaction.version < 2 explains it: a frame that came late did it, for had it been lost, each input would be processed once."""
    found = check(data, every)
    if found.kind not in ("harm", "not finished") or data["kafka"] == "4.3":
        return found
    late = [fault for fault in data["fault"] if fault["do"] == "delay"]
    lost = [{name: value for name, value in fault.items() if name != "by"} | {"do": "lose-request"} if fault in late else fault for fault in data["fault"]]
    if late and check({**data, "fault": lost}).kind == "once":
        because = f"transaction.version < 2: not where what is late is lost instead; {found.because}"
        return Outcome("allowed", found.harm or ("unprocessed",), because)
    return found


def outcome(run: Run) -> Outcome:
    verdict = run.verdict
    harm = [name for name in PROMISE if verdict.records[name]]
    unfinished = False
    for one in verdict.processing:
        harm += [name for name in END_TO_END if getattr(one, name)]
        unfinished = unfinished or bool(one.unprocessed)
    allowed = [anomaly for anomaly in verdict.anomalies if anomaly.name in PROMISE and anomaly.allowed]
    if not harm:
        return Outcome("not finished" if unfinished else "once")
    if allowed and {anomaly.name for anomaly in verdict.anomalies if anomaly.name in PROMISE} == {anomaly.name for anomaly in allowed}:
        return Outcome("allowed", tuple(harm), allowed[0].because)
    seen = [f"{anomaly.name}: {anomaly.witness}" for anomaly in verdict.anomalies] + [str(one.as_data()) for one in verdict.processing]
    return Outcome("harm", tuple(harm), "; ".join(seen))


# The settings, taken away one at a time.


def _of_applications(data: dict[str, Any], kind: str, setting: str, value: Any) -> None:
    for one in data["applications"].values():
        config = data[kind][one["consumer" if kind == "consumers" else "producer"]]["config"]
        if value is None:
            config.pop(setting, None)
        else:
            config[setting] = value


def _without_ids(data: dict[str, Any]) -> None:
    _of_applications(data, "producers", "transactional.id", None)
    _of_applications(data, "producers", "transaction.timeout.ms", None)
    rest = json.dumps(data["fault"])
    for one in data["applications"]:
        rest = rest.replace(f"coordinator({one})", "coordinator(copies)")
    data["fault"] = json.loads(rest)
    for fault in data["fault"]:  # Without transactions there are no moments of one.
        if "transaction" in fault.get("when", {}):
            fault["at"] = f"{1_500 + 300 * fault.pop('when')['transaction']}ms"


def _without_group_metadata(data: dict[str, Any]) -> None:
    for one in data["applications"].values():
        one["group_metadata"] = False


def _cluster(data: dict[str, Any], name: str, value: Any) -> None:
    data["cluster"]["config"][name] = value


def _not_idempotent(data: dict[str, Any]) -> None:
    data["workload"][0].pop("transaction", None)
    data["producers"]["feed"]["config"] = {"linger.ms": 0, "enable.idempotence": False}


def _version_one(data: dict[str, Any]) -> None:
    data["cluster"]["features"] = {"transaction.version": 1}


@dataclass(frozen=True, slots=True)
class Weakened:
    setting: str
    row: tuple[str, int]
    weaken: Callable[[dict[str, Any]], None]
    shows: tuple[str, ...]
    """Any of these harms is what the setting is there for."""
    what: str


WEAKENED = (
    Weakened("`transactional.id`: none, offsets are committed behind a flush", ("4.3", 1), _without_ids, ("processed_twice",), "inputs take effect twice"),
    Weakened(
        '`isolation.level = "read_uncommitted"` of the reader',
        ("4.3", 1),
        lambda data: _of_applications(data, "consumers", "isolation.level", "read_uncommitted"),
        ("aborted_read", "skipped"),
        "inputs that were aborted are processed",
    ),
    Weakened(
        "`enable.auto.commit = true` of the reader",
        ("4.3", 1),
        lambda data: _of_applications(data, "consumers", "enable.auto.commit", True) or _of_applications(data, "consumers", "auto.commit.interval.ms", 200),
        ("skipped", "processed_twice"),
        "inputs are skipped",
    ),
    Weakened("offsets without the group's generation (KIP-447)", ("4.3", 2), _without_group_metadata, ("processed_twice",), "a zombie processes them again"),
    Weakened(
        '`auto.offset.reset = "latest"` of the reader',
        ("4.3", 1),
        lambda data: _of_applications(data, "consumers", "auto.offset.reset", "latest"),
        ("skipped",),
        "what came before the group is skipped",
    ),
    Weakened("`enable.idempotence = false` of who writes the input", ("4.3", 1), _not_idempotent, ("duplicated",), "the input itself is doubled"),
    Weakened(
        "`transaction.version = 1`", ("4.3", 1), _version_one, ("torn", "aborted_read", "lost", "processed_twice", "skipped"), "what is late strikes the next"
    ),
    Weakened(
        "`transaction.partition.verification.enable = false`",
        ("3.9", 1),
        lambda data: _cluster(data, "transaction.partition.verification.enable", False),
        ("hidden", "torn", "aborted_read", "processed_twice"),
        "a late batch opens a transaction that nobody ends, or that another's marker ends",
    ),
)


def weakened(one: Weakened, seed: int) -> dict[str, Any]:
    data = copy.deepcopy(drawn(seed, one.row))
    one.weaken(data)
    return data


def shows(one: Weakened, seed: int) -> bool:
    return bool({*check(weakened(one, seed)).harm} & {*one.shows})


def shows_numbered(number: int, seed: int) -> bool:
    return shows(WEAKENED[number], seed)


def why_needed(seeds: range, jobs: int) -> list[dict[str, Any]]:
    """Per setting: how many of these seeds show what it is for, the first of them, and how many show it with the setting as it should be."""
    found: list[dict[str, Any]] = []
    for number, one in enumerate(WEAKENED):
        with_it = [seed for seed, it_shows in chaos.of_each(partial(shows_numbered, number), seeds, jobs, 0) if it_shows]
        sound = sum(bool({*check(drawn(seed, one.row)).harm} & {*one.shows}) for seed in with_it)
        found.append({"setting": one.setting, "row": list(one.row), "what": one.what, "seeds": len(seeds), "shown": len(with_it), "sound": sound})
        found[-1]["first"] = with_it[0] if with_it else None
        print(found[-1], flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="", help="both ends included")
    parser.add_argument("--weakened", default="", help="seeds for each setting that is taken away, both ends included")
    parser.add_argument("--minutes", type=float, default=0, help="stop after so long, wherever it is")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes share the seeds")
    parser.add_argument("--write", action="store_true", help="add the results to those written, and write the page")
    parser.add_argument("--show", type=int, metavar="SEED", help="print its scenario, run nothing")
    parser.add_argument("--show-weakened", type=int, nargs=2, metavar=("N", "SEED"), help="the same, with setting N weakened")
    chosen = parser.parse_args()
    if chosen.show is not None or chosen.show_weakened:
        print(chaos.toml(drawn(chosen.show) if chosen.show is not None else weakened(WEAKENED[chosen.show_weakened[0]], chosen.show_weakened[1])))
        return 0
    results: dict[str, Any] = {}
    bad = 0
    if chosen.seeds:
        first, _, last = chosen.seeds.partition("..")
        counts: dict[str, Counter[str]] = {}
        done = int(first)
        for seed, found in chaos.of_each(one, range(done, int(last or first) + 1), chosen.jobs, chosen.minutes):
            done = seed
            release, group = ROWS[seed % len(ROWS)]
            counts.setdefault(f"{release} {group}", Counter())[found.kind] += 1
            if found.kind not in ("once", "allowed", "not finished"):
                bad += 1
                print(f"seed {seed}: {found}", flush=True)
            elif found.kind != "once":
                print(f"seed {seed}: {found.kind} {found.harm} {found.because}", flush=True)
        print(f"{first}..{done}", {row: dict(sorted(of.items())) for row, of in sorted(counts.items())})
        results["seeds"] = f"{first}..{done}"
        results["counts"] = {row: dict(sorted(of.items())) for row, of in sorted(counts.items())}
    if chosen.weakened:
        first, _, last = chosen.weakened.partition("..")
        results["weakened"] = why_needed(range(int(first), int(last or first) + 1), chosen.jobs)
    if chosen.write:
        results = (json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}) | results
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        if {*results} >= {"seeds", "counts", "weakened"}:
            chaos.write_page()
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
