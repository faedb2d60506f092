"""Random chaos with every invariant looked at: `python experiments/chaos/chaos.py --seeds 0..999`.

Each seed is a cluster, a configuration, a workload and up to eight faults, drawn (`drawn.py`). A seed fails where an invariant does not hold,
something of ours breaks, an anomaly shows that the configuration does not allow, or replicas differ at the end of a run that grew quiet.
What fails is shrunk and printed as a scenario.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing import Pool
from pathlib import Path
from typing import Any, TypeVar

from ksim import Scenario, ScenarioError, simulate
from ksim.invariants import InvariantBroken
from ksim_models.facts import Ended, FinalLog

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from drawn import Drawing  # noqa: E402
from drawn_transactions import TransactionalDrawing  # noqa: E402

PAGE, RESULTS, COPIES = HERE / "README.md", HERE / "results.json", HERE / "read_process_write.json"
FOUND = (
    "seed 475: replicas that seemed to differ, because one log starts in the middle of a batch. The comparison was wrong, not the logs.",
    "seed 59: with `producer.id.expiration.ms` below the producer's delivery time-out a broker forgets whom it should know again (PS-50): "
    "duplicates that the verdict took for a bug. It names the setting now (`ksim.permitted`).",
    "seed 7: a transaction whose records retention deletes stays open until its marker comes (onLogStartOffsetIncremented). INV-10 did not know it.",
    "seed 8: with several controllers a broker that comes back leads by old metadata before it is let in. It serves nobody, and does not count as a leader.",
    "seed 2013: INV-12 mixed up several aborted transactions of one producer in one fetch; it looks, besides, whether a committed one is told of as aborted.",
    "seed 3043: a late error between two transactions ended the simulation. Up to 3.5 it ends the handling of that answer (Sender.failBatch).",
    "seed 1021 of read_process_write.py: a coordinator that dies when its last record is replicated tells nobody; INV-11 reads the log of its successor now.",
    "seed 34: a follower that comes back in the leader's epoch, and before the start of the leader's log, was not refused (OFFSET_OUT_OF_RANGE).",
    "seed 4075: records of a committed transaction whose marker a power loss took are hidden; the verdict knows that Kafka allows it.",
    "seeds 391, 575, 859: a marker that is answered by an error nobody expects ended the simulation; Kafka writes it into a log, and the transaction stays.",
    "seeds 112, 471: INV-9 took a producer for known by the age of the batch that comes, not of its last one (PS-13).",
    "seed 521: a leader that was killed remembers the last batch of each producer alone, so an idempotent one doubles what was in flight before (PS-52). "
    "Real Kafka does so, too (killed-leader-remembers-one in experiments/agreement); the verdict names it.",
    "seeds 889, 3726, 6614, 8430, 9953: without idempotence a record that failed may stand behind later ones: what a closed connection still carries "
    "is served. The verdict knows it now, also with one request in flight.",
    "seed 3422: a batch that expires in flight and is then answered by an error counts as failed for good, so an idempotent client raises its epoch and "
    "doubles what was in flight behind it (Sender.completeBatch). The verdict names it.",
    "seed 2519: a coordinator on a broker that comes back, and leads by old metadata, wrote markers into its own partitions before the controller let it in; "
    "its own port is as closed to it as to others.",
    "seeds 1225, 5353: such a coordinator appends to its own log all the same, under the epoch of before: where a power loss had taken the end of that log "
    "two replicas differ in one epoch and offset, and nobody sees it (onMetadataUpdate comes before enableRequestProcessing). INV-4 allows it by name.",
    "seeds 994, 2270, 2758, 4084, 6078: ReplicationQuorumSuperset took min.insync.replicas as it was at the start, and not as it was altered.",
    "seeds 2305, 7701, 8175, 8537: INV-11 did not know when a power loss has taken a decision from the last replica of the transaction log.",
    "seed 9918: LogMatching compared a log that starts in the middle of a batch with one that does not.",
    "seed 5253: a repeated record may take back what a leader proposed, and the leader ask for more meanwhile (RP-58).",
    "these twenty, from 889 on, are all that failed when the seeds 0..9999 were run in one go; behind the mends they were run again, and hold.",
    "seed 2527 of read_process_write.py (the only harm of 10,000): offsets of an aborted transaction that no coordinator was ever sent "
    "stay in the Java client (TransactionManager.pendingTxnOffsetCommits is cleared by answers only), and go with the next transaction's: 92 inputs twice, "
    "with every exactly-once setting, also of 4.3. Played on a cluster of 4.3.0: t-copy-stale-offsets in experiments/agreement.",
    "seed 5170 of read_process_write.py: a transactional thread that falls asleep behind an overdue request looked at it in the past.",
    "seed 21983 (this one and the next are all that failed of 20000..26699, on later code): a follower that has forgotten its producers and cuts off "
    "a marker does not know that the transaction is open again (isEmptyBeforeTruncation in UnifiedLog.rebuildProducerState). INV-10 allows it by name.",
    "seed 25268: without idempotence a record stood in the log twice, and DeleteRecords took the first copy: the second is behind later records. "
    "The verdict names it.",
    "what is stopped after 10 s: clients up to 4.1 that split a batch into itself until delivery.timeout.ms, as Kafka does (H-012, A45); "
    "and two in which an application asked in vain for ever: a run without an end, which has one now.",
    "read on from there: what an administrator does on the way, an unclean election or an altered setting, is part of what the verdict allows.",
)
EVERY = (1, 5, 13, 29)
"""How often the invariants are looked at, in steps: by the seed, so that some runs are seen in every detail and many runs are seen at all."""
SHRINKS_AT_MOST = 120
PATIENCE_SECONDS = 10
"""Of one run, in processor time: what takes longer is counted apart ("too long") and shown; such a run says nothing."""

Result = TypeVar("Result")


class TooLong(BaseException):
    pass


def _stop(number: int, frame: object) -> None:
    raise TooLong


def check(data: dict[str, Any], every: int) -> tuple[str, str]:
    """The verdict, or the kind of failure and what it says."""
    signal.signal(signal.SIGVTALRM, _stop)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE_SECONDS)
        run = simulate(Scenario(**data), check_every=every)
        told = run.verdict
    except TooLong:
        return "too long", f"more than {PATIENCE_SECONDS} s"
    except ScenarioError as error:
        return "refused", str(error)
    except InvariantBroken as error:
        return "invariant", str(error)
    except Exception as error:  # Whatever it is, it is ours.
        return "internal", f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    for anomaly in told.anomalies:
        if not anomaly.allowed:
            return "not allowed", f"{anomaly.count} {anomaly.name}: {anomaly.witness}"
    if [fact.quiet for _, fact in run.history.of(Ended)] == [True]:
        logs: dict[str, FinalLog] = {}
        for log in [log for _, log in run.history.of(FinalLog) if log.readable]:
            first = logs.setdefault(log.partition, log)
            if (log.log_end_offset, common(first, log)) != (first.log_end_offset, common(log, first)):
                return "replicas differ", f"{log.partition}: {first} and {log}"
    return told.verdict, ""


def common(log: FinalLog, other: FinalLog) -> list[tuple[int, str, int]]:
    """Its records where both logs have some: one may have kept more of its beginning, and a log may start in the middle of a batch."""
    start = max(log.log_start_offset, other.log_start_offset)
    offsets = [(batch.base_offset + place, batch.producer, record) for batch in log.batches for place, record in enumerate(batch.records)]
    return [entry for entry in offsets if entry[0] >= start]


VERDICTS = ("held", "violated", "inconclusive")


def smaller(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The same with one thing less, the largest things first."""
    for name in ("fault", "workload"):
        for index in range(len(data[name])) if len(data[name]) > (name == "workload") else ():
            yield data | {name: [entry for position, entry in enumerate(data[name]) if position != index]}
    for kind in ("topics", "producers"):
        used = {entry["topic" if kind == "topics" else "producer"] for entry in data["workload"]}
        for name in data[kind] if len(data[kind]) > 1 else ():
            if name not in used and name + "-" not in json.dumps(data["fault"]) and f'"{name}"' not in json.dumps(data["fault"]):
                yield data | {kind: {other: value for other, value in data[kind].items() if other != name}}
        for name, table in data[kind].items():
            for setting in table["config"]:
                yield data | {kind: data[kind] | {name: table | {"config": {key: value for key, value in table["config"].items() if key != setting}}}}
    settings = data["cluster"]["config"]
    for setting in settings:
        yield data | {"cluster": data["cluster"] | {"config": {key: value for key, value in settings.items() if key != setting}}}
    if "model" in data:
        yield {key: value for key, value in data.items() if key != "model"}
    for index, workload in enumerate(data["workload"]):
        if workload["records"] > 1:
            yield data | {
                "workload": [entry | {"records": entry["records"] // 2} if index == position else entry for position, entry in enumerate(data["workload"])]
            }


def shrink(data: dict[str, Any], fails: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    tries = 0
    going = True
    while going:
        going = False
        for candidate in smaller(data):
            tries += 1
            if tries > SHRINKS_AT_MOST:
                return data
            if fails(candidate):
                data, going = candidate, True
                break
    return data


def toml(data: dict[str, Any]) -> str:
    """A scenario as a file."""
    return "".join(f"{name} = {_inline(value)}\n" for name, value in data.items())


def _inline(value: Any) -> str:
    match value:
        case dict():
            return "{ " + ", ".join(f"{json.dumps(key)} = {_inline(inner)}" for key, inner in value.items()) + " }" if value else "{}"
        case list():
            return "[" + ", ".join(map(_inline, value)) + "]"
        case _:
            return json.dumps(value)


def drawn(seed: int) -> dict[str, Any]:
    """The scenario of this seed."""
    return (TransactionalDrawing if seed % 2 else Drawing)(seed).scenario()


def one(seed: int) -> tuple[str, str]:
    """What became of this seed, and what there is to tell of it."""
    data, every = drawn(seed), EVERY[seed % len(EVERY)]
    kind, what = check(data, every)
    told = "" if kind in VERDICTS else f"seed {seed}: {kind}: {what[:2000]}"
    if told and kind not in ("refused", "too long"):
        least = shrink(data, lambda candidate: check(candidate, every)[0] == kind)
        told += f"\nshrunk: {check(least, every)[1][:2000]}\n{toml(least)}"
    return kind, told


def of_each(do: Callable[[int], Result], seeds: range, jobs: int, minutes: float) -> Iterator[tuple[int, Result]]:
    """What `do` makes of each seed, in their order, until the minutes are over (0: all of them)."""
    began = time.monotonic()
    with Pool(jobs) as pool:
        for seed, result in zip(seeds, pool.imap(do, seeds, chunksize=4), strict=True):
            yield seed, result
            if seed % 100 == 0:
                print(f"at seed {seed}", file=sys.stderr, flush=True)
            if minutes and time.monotonic() - began > 60 * minutes:
                return


def page(results: dict[str, Any], copies: dict[str, Any]) -> str:
    """results: of this command; copies: of read_process_write.py."""
    counts = results["counts"]
    failed = sum(count for kind, count in counts.items() if kind not in (*VERDICTS, "too long"))
    lines = [
        "# Random chaos, with every invariant looked at",
        "",
        "Clusters of one to five brokers and one to three controllers, releases 3.3 to 4.3, clients 2.8 to 4.3 and librdkafka,",
        "drawn settings, topics, racks, and up to eight drawn faults:",
        "crashes, power losses, pauses, shutdowns, cuts, slow and reset links, lost, late, hanging and fabricated frames,",
        "full, broken and slow disks, slow processors, elections, reassignments, altered settings, deleted records, topics made anew.",
        "Every other scenario has transactions: transactional producers that may fence each other, consumers, groups,",
        "applications that read, process and write, transaction.version 0 to 2; faults strike coordinators, the clients' processes,",
        "moments of a transaction, and requests of every kind.",
        "Every run is looked at after every, every fifth, thirteenth or twenty-ninth step with all invariants (`ksim run --check`);",
        "an anomaly that the configuration does not allow, replicas that differ at a quiet end, and any error of ours count as failures, too.",
        "",
        "```sh",
        results["command"],
        "```",
        "",
        f"| seeds | held | violated, as the configuration allows | inconclusive | stopped after {PATIENCE_SECONDS} s | failed |",
        "|---|---|---|---|---|---|",
        f"| {results['seeds']}: {sum(counts.values()):,} | {' | '.join(f'{counts.get(verdict, 0):,}' for verdict in (*VERDICTS, 'too long'))} | {failed:,} |",
        "",
        "*Inconclusive*: nothing forbidden was seen, and some drawn fault touched nothing, or the run ended at its limit.",
        "A failing seed is shrunk and printed as a scenario file; what is found is mended together with its smallest test",
        "([test_found_by_chaos.py](../../tests/properties/test_found_by_chaos.py)). Found this way",
        "(the numbers are those of the drawing of that day; more seeds were run than the table's, in pieces, while what they found was mended):",
        "",
        *(f"- {found}" for found in FOUND),
        *_copies(copies),
    ]
    return "\n".join(lines) + "\n"


def _copies(results: dict[str, Any]) -> Iterator[str]:
    yield from (
        "",
        "## Read, process, write, struck at drawn moments",
        "",
        "An application (or two of one group) reads a topic, writes one record for each to another, and commits offsets in its transactions,",
        "with everything that exactly-once asks for; half of the inputs come in transactions, some aborted.",
        "One to four faults strike its process, the coordinators, leaders, links, or single frames of every transactional request.",
        "Some of the applications are zombies: they stand still until their group has given their partitions away, and go on.",
        "Some give up early (request.timeout.ms = 1000), and a request of theirs arrives when they have gone on.",
        "`python experiments/chaos/read_process_write.py --seeds ... --write`.",
        "",
        f"Seeds {results['seeds']}:",
        "",
        "| Kafka | transaction.version | applications | seeds | each input once | not finished | struck, as transaction.version < 2 allows | harm |",
        "|---|---|---|---|---|---|---|---|",
    )
    for row, counts in results["counts"].items():
        release, group = row.split()
        harm = sum(count for kind, count in counts.items() if kind not in ("once", "not finished", "allowed"))
        cells = (counts.get(kind, 0) for kind in ("once", "not finished", "allowed"))
        version = {"4.0": 1, "4.3": 2}.get(release, "none")
        yield f"| {release} | {version} | {group} | {sum(counts.values()):,} | {' | '.join(f'{cell:,}' for cell in cells)} | {harm:,} |"
    yield from (
        "",
        "*Not finished*: nothing torn, lost or doubled, and inputs left at the end of the run: the application was fenced once more behind its last restart,",
        "and nobody starts it again, as with Kafka (876, 1926, 5344, 6124, 7616, 9542),",
        "or an answer to its JoinGroup never came, for which it waits five minutes (3050, 9284).",
        "*Harm*: seed 2527, which is Kafka's own (above).",
        "*Struck*: a request of one transaction came in the next, or when it was over, and both have the same epoch: part of a transaction is visible,",
        "aborted records were read, inputs were skipped or doubled, or a TxnOffsetCommit that nobody ends keeps the group from reading on (seed 225, 3.6).",
        "Where the verdict on the records does not name transaction.version itself, the same with these requests lost instead of late is clean.",
        "",
        "### Why each setting is needed",
        "",
        f"The same scenarios with one setting weakened, {results['weakened'][0]['seeds']:,} seeds each (`--weakened`);",
        "the last column counts those of the seeds that show it which do so with the setting as it should be.",
        "The witness is a seed: `read_process_write.py --show-weakened N SEED` prints its scenario.",
        "",
        "| N | weakened | Kafka | applications | what shows | seeds that show it | the first | with the setting |",
        "|---|---|---|---|---|---|---|---|",
    )
    for number, one in enumerate(results["weakened"]):
        release, group = one["row"]
        first = "none" if one["first"] is None else one["first"]
        share = f"{one['shown']} ({100 * one['shown'] / one['seeds']:.1f} %)"
        yield f"| {number} | {one['setting']} | {release} | {group} | {one['what']} | {share} | {first} | {one['sound']} |"
    yield ""
    yield "A directed scenario of each is in [what a transaction survives](../transactions/README.md#why-each-setting-is-needed)."


def write_page() -> None:
    if not COPIES.exists():
        return
    results, copies = (json.loads(path.read_text(encoding="utf-8")) for path in (RESULTS, COPIES))
    PAGE.write_text(page(results, copies), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0..99", help="both ends included")
    parser.add_argument("--minutes", type=float, default=0, help="stop after so long, wherever it is")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes share the seeds")
    parser.add_argument("--write", action="store_true", help="write the results and the page")
    parser.add_argument("--show", action="store_true", help="print the scenarios, run nothing")
    chosen = parser.parse_args()
    first, _, last = chosen.seeds.partition("..")
    seeds = range(int(first), int(last or first) + 1)
    if chosen.show:
        print(*(toml(drawn(seed)) for seed in seeds), sep="\n", end="")
        return 0
    counts: Counter[str] = Counter()
    done = seeds[0]
    for seed, (kind, told) in of_each(one, seeds, chosen.jobs, chosen.minutes):
        done = seed
        counts[kind] += 1
        if told:
            print(told, flush=True)
    print(f"{first}..{done}: " + ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
    if chosen.write:
        span = f"{first}..{done}"
        results = {"command": f"python experiments/chaos/chaos.py --seeds {span}", "seeds": span, "counts": dict(sorted(counts.items()))}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        write_page()
    return int(any(kind not in VERDICTS for kind in counts))


if __name__ == "__main__":
    sys.exit(main())
