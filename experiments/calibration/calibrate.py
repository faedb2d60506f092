"""What broker work costs on real Kafka: measured on three brokers of this machine, into results.json, README.md and figure.svg.

    python experiments/calibration/calibrate.py                   measure once more, keep the quietest measurement
    python experiments/calibration/calibrate.py --page            write page and figure from the results that are there

Each cost is the difference of two round trips on quiet connections, taken in turn, so that what else the machine does meets both alike.
The defaults of [model] are the medians, and a test holds them together.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import socket
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

from kio.index import load_request_schema
from kio.records.schema import NewRecordBatch, Record
from kio.records.writers import write_new_batch
from kio.static.primitive import Records, TZAwareMicros, i8, i16, i32, i64

from ksim import Scenario
from ksim.live.ask import NewTopic
from ksim.live.cluster import ClusterSpec, KraftCluster
from ksim.live.exchange import API_KEYS, Address, filled, request_frame, response_of
from ksim.live.kafka import JVM, Installation, find_java, installed
from ksim.live.processes import Workplace

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
PAGE = HERE / "README.md"
ROUNDS = 1_500
WARM_UP = 3_000
"""The JVM's compilers need some thousand requests."""
MOVES = 200
RECORD_BYTES = 100
SIZES = (1, 10, 100, 1000)
VERSIONS = {"api_versions": 3, "produce": 9, "fetch": 12, "metadata": 9, "alter_partition_reassignments": 0}
"""By names of topics, which is simpler; every broker from 3.3 on speaks them."""
ECHO = """
import socket, sys
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
connection, _ = listening.accept()
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
while frame := connection.recv(65536):
    connection.sendall(frame)
"""
COSTS: Mapping[str, tuple[str, str]] = {
    "request": ("produce-refused", "echo"),
    "append": ("produce-1", "produce-refused"),
    "fetch": ("fetch", "fetch-refused"),
    "flush": ("produce-flushed", "produce-1"),
}
"""Cost -> the round trip that holds it, and the one that holds all but it."""
SCENARIO = """
kafka = "{kafka}"
seed = 1
[topics.t]
[producers.p1]
[[workload]]
topic = "t"
records = 1
every = "1ms"
"""


class Compiled(Installation):
    """As brokers run for long: with the optimizing compiler, which our short-lived ones go without."""

    __slots__ = ()

    def command(self, main_class: str, *args: str, heap_mb: int = 256, properties: Mapping[str, str] | None = None, archive_to: str | None = None) -> list[str]:
        command = Installation.command(self, main_class, *args, heap_mb=heap_mb, properties=properties, archive_to=archive_to)
        return [part for part in command if part != "-XX:TieredStopAtLevel=1"]


class Caller:
    """One connection; a request goes out when the last answer is in."""

    def __init__(self, address: Address) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self, frame: bytes) -> tuple[int, int, bytes]:
        """When it left and when the answer was in (ns), and the answer."""
        began = time.perf_counter_ns()
        self.socket.sendall(frame)
        answer = self.socket.recv(65536)
        while len(answer) < 4 or len(answer) < 4 + struct.unpack_from(">i", answer)[0]:
            more = self.socket.recv(65536)
            if not more:
                raise EOFError("the broker closed the connection")
            answer += more
        return began, time.perf_counter_ns(), answer[4:]


def frame(api: str, content: Mapping[str, object]) -> bytes:
    key, version = API_KEYS[api], VERSIONS[api]
    return request_frame(filled(load_request_schema(key, version), content), key, version)


HELLO = frame("api_versions", {"client_software_name": "ksim", "client_software_version": "1"})


def batch(records: int) -> bytes:
    now = TZAwareMicros.parse(datetime.now(UTC))
    made = tuple(Record(attributes=i8(0), timestamp=now, offset=i64(number), key=None, value=b"x" * RECORD_BYTES, headers=()) for number in range(records))
    buffer = BytesIO()
    write_new_batch(buffer, NewRecordBatch(producer_id=i64(-1), producer_epoch=i16(-1), base_sequence=i32(-1), records=made, attributes=i16(0)))
    return buffer.getvalue()


def produce(topic: str, records: int, acks: int = 1) -> bytes:
    data = [{"name": topic, "topic_id": None, "partition_data": [{"index": 0, "records": Records(batch(records))}]}]
    return frame("produce", {"transactional_id": None, "acks": acks, "timeout": timedelta(seconds=10), "topic_data": data})


def fetch(topic: str) -> bytes:
    part = {"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1, "current_leader_epoch": -1, "last_fetched_epoch": -1, "log_start_offset": -1}
    content: dict[str, object] = {"replica_id": -1, "max_wait": timedelta(0), "min_bytes": 1, "max_bytes": 1_000_000, "isolation_level": 0}
    content |= {"session_id": 0, "session_epoch": -1, "forgotten_topics_data": (), "rack_id": "", "cluster_id": None}
    return frame("fetch", {**content, "topics": [{"topic": topic, "topic_id": uuid.UUID(int=0), "partitions": [part]}]})


def metadata(topic: str) -> bytes:
    content: dict[str, object] = {"topics": [{"name": topic, "topic_id": None}], "allow_auto_topic_creation": False}
    return frame("metadata", content | {"include_topic_authorized_operations": False, "include_cluster_authorized_operations": False})


def refused(api: str, answer: bytes) -> None:
    """A round trip that was an error measures nothing."""
    message: Any = response_of(answer, API_KEYS[api], VERSIONS[api])
    results = [one for topic in message.responses for one in (topic.partition_responses if api == "produce" else topic.partitions)]
    assert all(not one.error_code for one in results), results
    if api == "fetch":
        assert all(one.records for one in results), "it fetched nothing"


def round_trips(cluster: KraftCluster, echo: Address) -> dict[str, list[float]]:
    """Microseconds. All kinds in turn, each on its own connection, as producer and follower have their own."""
    leader = cluster.addresses["broker-1"]
    frames = {"echo": produce("nobody", 1), "api-versions": HELLO, "produce-refused": produce("nobody", 1), "fetch-refused": fetch("nobody")}
    frames |= {f"produce-{size}": produce("alone", size) for size in SIZES}
    frames |= {"produce-flushed": produce("flushed", 1), "produce-acks-all": produce("copied", 1, -1), "fetch": fetch("alone")}
    callers = {kind: Caller(echo if kind == "echo" else leader) for kind in frames}
    for kind, request in frames.items():
        if kind.startswith(("produce", "fetch")) and not kind.endswith("refused"):
            refused(kind.partition("-")[0], callers[kind].call(request)[2])
    for number in range(WARM_UP):
        for kind in frames:
            if number < 300 or kind not in ("produce-1000", "produce-flushed"):  # They take long, and their code is warm by then.
                callers[kind].call(frames[kind])
    found: dict[str, list[float]] = {kind: [] for kind in frames}
    order, dice = list(frames), random.Random(1)
    for _ in range(ROUNDS):
        dice.shuffle(order)  # What comes behind a flush finds colder caches.
        for kind in order:
            began, ended, _ = callers[kind].call(frames[kind])
            found[kind].append((ended - began) / 1000)
    return found


def told_order(answer: bytes) -> tuple[int, ...]:
    message: Any = response_of(answer, API_KEYS["metadata"], VERSIONS["metadata"])
    return tuple(message.topics[0].partitions[0].replica_nodes)


def propagation(cluster: KraftCluster, controller: Address) -> list[float]:
    """From when the controller has committed until a broker tells of it, in microseconds; the answers of both came half a round trip later.

    The order of a partition's replicas is changed, which moves nothing. The broker is asked again and again from the controller's answer on.
    """
    asker, broker = Caller(controller), Caller(cluster.addresses["broker-2"])
    question = metadata("copied")
    for _ in range(WARM_UP):
        before = broker.call(question)[2]
    found = []
    for number in range(MOVES):
        order = (1, 3, 2) if number % 2 == 0 else (1, 2, 3)
        content = {"timeout": timedelta(seconds=5), "topics": [{"name": "copied", "partitions": [{"partition_index": 0, "replicas": order}]}]}
        half = min(ended - began for began, ended, _ in (asker.call(HELLO) for _ in range(3))) / 2
        _, answered, _ = asker.call(frame("alter_partition_reassignments", content))
        deadline = time.monotonic() + 5
        while True:
            began, ended, answer = broker.call(question)
            if answer != before and told_order(answer) == order:
                break
            assert time.monotonic() < deadline, f"broker-2 never told of {order}"
        found.append(((began + ended) / 2 - (answered - half)) / 1000)
        before = answer
        time.sleep(0.05)
    return found


async def measure(version: str) -> dict[str, object]:
    with Workplace() as workplace:
        spec = ClusterSpec.of(Scenario.loads(SCENARIO.format(kafka=version)).plan())
        found = installed(version, workplace)
        installation = Compiled(found.version, found.java, found.jars)
        cluster = KraftCluster(spec, installation, workplace)
        cluster.links = [replace(link, listen_port=link.real_port) for link in cluster.links]  # No proxy between the brokers.
        echo = subprocess.Popen([sys.executable, "-c", ECHO], stdout=subprocess.PIPE)
        try:
            await cluster.start()
            await cluster.ready()
            everywhere = ("broker-1", "broker-2", "broker-3")
            await cluster.ask.create_topics(
                "broker-1",
                [
                    NewTopic("alone", (("broker-1",),)),
                    NewTopic("flushed", (("broker-1",),), (("flush.messages", "1"),)),
                    NewTopic("copied", (everywhere,), (("min.insync.replicas", "2"),)),
                ],
            )
            await asyncio.sleep(3)
            load = [os.getloadavg()[0]]
            assert echo.stdout is not None
            trips = await asyncio.to_thread(round_trips, cluster, ("127.0.0.1", int(echo.stdout.readline())))
            controller = next(link for link in cluster.links if link.kind == "controller")
            moves = await asyncio.to_thread(propagation, cluster, (controller.host, controller.real_port))
            load.append(os.getloadavg()[0])
        finally:
            echo.kill()
            echo.wait()
            await cluster.close()
    return summary(trips, moves) | about(installation.version, load)


def about(kafka: str, load: Sequence[float]) -> dict[str, object]:
    java = subprocess.run([find_java(), "-version"], capture_output=True, text=True, check=True).stderr.splitlines()[0]
    return {
        "date": date.today().isoformat(),
        "kafka": kafka,
        "java": java,
        "jvm": " ".join(part for part in ("-Xmx256m", *JVM) if part != "-XX:TieredStopAtLevel=1"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "load": [round(one, 2) for one in load],
    }


def cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def spread(values: Sequence[float]) -> dict[str, float]:
    placed = sorted(values)
    at = {name: placed[min(len(placed) - 1, int(share * len(placed)))] for name, share in (("p5", 0.05), ("median", 0.5), ("p95", 0.95))}
    return {"n": len(placed), **{name: round(value, 1) for name, value in at.items()}}


def summary(trips: Mapping[str, Sequence[float]], moves: Sequence[float]) -> dict[str, object]:
    """Differences are taken round by round: both round trips of one met the same machine."""
    costs = {cost: spread([more - less for more, less in zip(trips[with_it], trips[without], strict=True)]) for cost, (with_it, without) in COSTS.items()}
    return {"costs_us": costs | {"metadata": spread(moves)}, "round_trips_us": {kind: spread(values) for kind, values in trips.items()}}


def noise(measurement: Mapping[str, Any]) -> float:
    """How much else the machine had to do."""
    return float(max(measurement["load"]))


def page(results: Mapping[str, Any]) -> Iterator[str]:
    best = results["measurements"][0]
    yield "# What broker work costs"
    yield ""
    yield "Written by `python experiments/calibration/calibrate.py`: it starts three real brokers and a controller, and measures; the quietest time counts."
    yield "These are the defaults of `[model]` (`append`, `fetch`, `flush`, `request`, `metadata`); `tests/ksim/test_calibration.py` holds them together."
    yield "They say how much time which work takes on this machine, not how fast Kafka is: a simulated latency is no promise."
    yield ""
    yield f"Kafka {best['kafka']}, {best['java']}; {best['cpu']}, {best['cores']} cores, {best['machine']}; {best['date']}."
    state = "busy" if max(best["load"]) > best["cores"] else "quiet"
    yield f"JVM: `{best['jvm']}`."
    yield f"Load average {' to '.join(f'{one:g}' for one in best['load'])} on {best['cores']} cores, so the machine was {state}; brokers and client at nice"
    yield f"{best['nice']}. {len(results['measurements'])} measurements, below with their medians; the first is the quietest and counts."
    yield ""
    yield "| cost | is | n | p5 | median | p95 |"
    yield "|---|---|---|---|---|---|"
    for cost, of in best["costs_us"].items():
        yield f"| `{cost}` | {MEANING[cost]} | {of['n']:,} | {of['p5']:,} us | **{of['median']:,} us** | {of['p95']:,} us |"
    yield ""
    yield "| round trip | n | p5 | median | p95 |"
    yield "|---|---|---|---|---|"
    for kind, of in best["round_trips_us"].items():
        yield f"| {kind} | {of['n']:,} | {of['p5']:,} us | {of['median']:,} us | {of['p95']:,} us |"
    yield ""
    yield "![the round trips, and what they are made of](figure.svg)"
    yield ""
    yield "| measured on | load | " + " | ".join(best["costs_us"]) + " |"
    yield "|---" * (2 + len(best["costs_us"])) + "|"
    for one in results["measurements"]:
        medians = " | ".join(f"{of['median']:,} us" for of in one["costs_us"].values())
        yield f"| {one['date']} | {' to '.join(f'{load:g}' for load in one['load'])} | {medians} |"
    yield ""
    yield from (HERE / "limits.md").read_text(encoding="utf-8").rstrip().splitlines()


MEANING = {
    "request": "Produce to a topic that is not there, less a bare TCP echo of the same frame",
    "append": "Produce of one record, acks=1, one replica, less that to a topic that is not there",
    "fetch": "Fetch of one batch that is there, less Fetch of a topic that is not",
    "flush": "the same Produce with flush.messages=1, less that without",
    "metadata": "from the controller's answer until a broker's metadata tell of it",
}


def draw(measurement: Mapping[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "ksim"
    from matplotlib import pyplot

    trips = measurement["round_trips_us"]
    figure, axes = pyplot.subplots(figsize=(8, 4), layout="constrained")
    places = range(len(trips))
    medians = [of["median"] for of in trips.values()]
    below = [of["median"] - of["p5"] for of in trips.values()]
    above = [of["p95"] - of["median"] for of in trips.values()]
    axes.barh(places, medians, xerr=[below, above], color="#4c78a8", ecolor="#333333", capsize=3)
    axes.set_yticks(places, list(trips))
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("round trip, us: median, from p5 to p95")
    axes.set_title(f"Kafka {measurement['kafka']} on {measurement['cpu']}, {measurement['date']}")
    figure.savefig(path, metadata={"Date": None, "Creator": None})


def write(results: Mapping[str, Any]) -> None:
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text("\n".join(page(results)) + "\n", encoding="utf-8")
    draw(results["measurements"][0], HERE / "figure.svg")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kafka", default="4.3.0")
    parser.add_argument("--page", action="store_true", help="write page and figure from the results that are there")
    chosen = parser.parse_args(arguments)
    results: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"measurements": []}
    if not chosen.page:
        results["measurements"] = sorted([*results["measurements"], asyncio.run(measure(chosen.kafka))], key=noise)
    write(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
