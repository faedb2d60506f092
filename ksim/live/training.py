"""A class archive per release and Java: made once by a broker that lives for a moment, and used by all that come after it.

Not Kafka's: the JDK's class data sharing (-XX:ArchiveClassesAtExit). It takes a third off the processor time that a broker needs to start. Without an
archive everything works, only later; so whatever goes wrong here is no error.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil

import javaproperties

from ksim.live.ask import Ask, NewTopic, Refused
from ksim.live.exchange import NoAnswer
from ksim.live.kafka import SERVER, STORAGE_TOOL, Installation
from ksim.live.ports import HOST, Ports
from ksim.live.processes import Workplace

TRAINING_S = 120.0
LOOK_S = 0.1
TOPIC = "training"


async def train(installation: Installation, workplace: Workplace) -> None:
    """Leaves `installation.archive` behind, empty where none could be made."""
    fresh = installation.archive.with_suffix(f".{secrets.token_hex(4)}")
    try:
        async with asyncio.timeout(TRAINING_S):
            await _live_for_a_moment(installation, workplace, str(fresh))
    except (TimeoutError, NoAnswer, Refused):
        fresh.unlink(missing_ok=True)
    if not fresh.exists():
        fresh.touch()
    fresh.replace(installation.archive)


async def _live_for_a_moment(installation: Installation, workplace: Workplace, archive: str) -> None:
    """Broker and controller in one process, so that the classes of both are loaded; a record goes through it."""
    folder, ports = workplace.folder / "training", Ports()
    folder.mkdir(exist_ok=True)
    broker, controller = ports.take(), ports.take()
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "log.dirs": str(folder / "data"),
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"CLIENT://{HOST}:{broker},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"CLIENT://{HOST}:{broker}",
        "inter.broker.listener.name": "CLIENT",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.cleaner.dedupe.buffer.size": "2097152",
    }
    file = folder / "training.properties"
    file.write_text(javaproperties.dumps(settings, timestamp=False), encoding="latin-1")
    children = []
    try:
        children.append(workplace.start("training", installation.command(STORAGE_TOOL, "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c", str(file))))
        await children[-1].ended()
        children.append(workplace.start("training", installation.command(SERVER, str(file), archive_to=archive)))
        ask = Ask({"broker-1": (HOST, broker)}, {"broker-1": 1})
        while children[-1].is_running and not await _is_up(ask):
            await asyncio.sleep(LOOK_S)
        await ask.create_topics("broker-1", [NewTopic(TOPIC, (("broker-1",),))])
        topic_id = (await ask.metadata("broker-1", [TOPIC])).topic_ids[TOPIC]
        await ask.append("broker-1", (TOPIC, 0), topic_id, b"w ")
        children[-1].terminate()
        await children[-1].ended()
    finally:
        for child in children:
            child.kill()
        ports.close()
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _is_up(ask: Ask) -> bool:
    try:
        return bool((await ask.metadata("broker-1", topics=())).brokers)
    except NoAnswer:
        return False
