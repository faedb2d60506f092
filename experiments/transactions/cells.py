"""The cells of the matrix: what goes wrong at which moment of a transaction, as the text of a scenario.

`python experiments/transactions/matrix.py --write` writes those texts anew. What each predicts is not taken from a run: it is the promise of exactly-once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
SCENARIOS = HERE / "scenarios"

JAVA, LIBRDKAFKA = "java", "librdkafka"
PROTOCOLS = {"tv1": '"3.9"', "tv2": '"4.3"'}
"""Transactions before KIP-890 part 2, and with it: by the release, which formats its cluster so."""
RELEASES = {"tv1": "3.9", "tv2": "4.3"}
"""What librdkafka, which speaks TV1 with every broker, is tried with."""
PHASES = {
    "init": "initTransactions()",
    "begin": "behind beginTransaction()",
    "add": "a partition is added",
    "produce": "a batch is written",
    "add-offsets": "the group is added",
    "offsets": "offsets are sent",
    "commit": "before commitTransaction()",
    "markers": "the commit has been asked for",
    "abort": "before abortTransaction()",
}
FAULTS = {
    "client-crash": "client crash",
    "coordinator-crash": "coordinator crash",
    "leader-crash": "partition leader crash",
    "lost-request": "lost request",
    "lost-response": "lost response",
    "time-out": "time-out",
    "zombie": "zombie",
    "zombie-per-partition": "zombie, a producer per partition",
}
ONLY_TV1 = ("add", "add-offsets")

CLUSTER = """\
[cluster]
config.transaction.state.log.num.partitions = 3
config.offsets.topic.num.partitions = 3
config.transaction.abort.timed.out.transaction.cleanup.interval.ms = 500
config.group.initial.rebalance.delay.ms = 0
"""
AUDITOR = """\
[consumers.auditor]
topics = ["payments"]
config.isolation.level = "read_committed"
config.auto.offset.reset = "earliest"
"""
READER = """\
config.group.id = "copy"
config.isolation.level = "read_committed"
config.auto.offset.reset = "earliest"
config.enable.auto.commit = false
"""
SESSION = """\
config.session.timeout.ms = 6000
config.heartbeat.interval.ms = 1000
"""
COPIES = """\
reads    = "orders"
writes   = "payments"
producer = "{prefix}copier"
consumer = "{prefix}reader"
commit_every = {{ records = 20 }}
"""
COPY = f"""\
[topics.orders]
assignment = [[3, 1, 2]]
[topics.payments]
assignment = [[2, 3, 1]]

[producers.feed]
[producers.copier]
config.transactional.id = "copy-1"
{{timeout}}
[consumers.reader]
{READER}{SESSION}
{AUDITOR}
[[workload]]
producer = "feed"
topic    = "orders"
records  = 300
every    = "10ms"

[applications.copy]
{COPIES}{{many}}"""
ANOTHER = f"""
[producers.{{prefix}}copier]
config.transactional.id = "{{id}}"

[consumers.{{prefix}}reader]
{READER}{{session}}
[applications.{{name}}]{{why}}
{COPIES}{{many}}"""
WHY_SPARE = "              # takes over what the group takes from the other"
SPARE = ANOTHER.format(name="spare", prefix="spare-", id="copy-2", session=SESSION, why=WHY_SPARE, many="")
MANY = 'producers = "per-partition"\n'
SPARE_MANY = ANOTHER.format(name="spare", prefix="spare-", id="copy-1", session=SESSION, why=WHY_SPARE, many=MANY)
"""Of one prefix: the transactional.id belongs to the partition, and fences whoever had it before."""
WHY_TWIN = "               # the same transactional.id: whoever initializes last fences the other"
TWIN = ANOTHER.format(name="twin", prefix="twin-", id="copy-1", session="", why=WHY_TWIN, many="")
PLAIN = f"""\
[topics.payments]
assignment = [[2, 3, 1]]

[producers.p1]
config.transactional.id = "copy-1"
{{timeout}}
{AUDITOR}
[[workload]]
producer    = "p1"
topic       = "payments"
records     = 200
every       = "10ms"
transaction = {{{{ records = 10, abort_every = 4, think = "50ms" }}}}
"""
SUCCESSOR = """
[producers.p2]
config.transactional.id = "copy-1"

[[workload]]                      # the same transactional.id, some seconds later: it fences the one that stands still
producer    = "p2"
topic       = "payments"
records     = 100
every       = "10ms"
start       = "6s"
transaction = { records = 10 }
"""

CALLS = {
    "init": "InitProducerId",
    "add": "AddPartitionsToTxn",
    "produce": "Produce",
    "add-offsets": "AddOffsetsToTxn",
    "offsets": "TxnOffsetCommit",
    "commit": "EndTxn",
    "markers": "WriteTxnMarkers",
    "abort": "EndTxn",
}
MOMENTS = {
    "begin": '{ transaction = 4, phase = "after-begin" }',
    "produce": '{ appended = 68, partition = "payments-0" }',
    "offsets": '{ transaction = 4, phase = "before-offsets" }',
    "commit": '{ transaction = 4, phase = "before-commit" }',
    "markers": '{ transaction = 4, phase = "after-commit-sent" }',
    "abort": '{ transaction = 8, phase = "before-abort" }',
}
"""The others have none: their request is held up, and the fault strikes meanwhile."""
WHO = {"client-crash": "copy", "coordinator-crash": "coordinator(copy-1)", "leader-crash": "leader(payments-0)", "time-out": "copy"} | dict.fromkeys(
    ("zombie", "zombie-per-partition"), "copy"
)
LASTS = {"client-crash": "1s", "coordinator-crash": "5s", "leader-crash": "5s", "time-out": "4s"} | dict.fromkeys(("zombie", "zombie-per-partition"), "15s")

TIMEOUT = "config.transaction.timeout.ms = 2000\n"
"""Where it is to strike; else it is the default of a minute."""
AGAIN = 'name = "started again"\nat   = "20s"\ndo   = "crash"\nwho  = "copy"\nfor  = "1s"\n'

PROMISE = ("lost", "torn", "aborted_read", "hidden", "duplicated")
PROMISE_END_TO_END = ("processed_twice", "skipped", "unprocessed")
SURPRISES = {
    "librdkafka waits for a group coordinator that is gone": "where the broker that it remembers as the group's coordinator is no longer in the metadata, its"
    " thread has ended; send_offsets_to_transaction waits for that connection, and asks again only when another one comes or goes: for minutes, on a quiet"
    " cluster until topic.metadata.refresh.interval.ms (five) brings the broker back. The transaction is aborted by its time-out meanwhile.",
    "librdkafka watches its session itself": "where a coordinator is away for longer than `session.timeout.ms` its member id is given up without a word of the"
    " broker; the offsets of the call at hand come too late (UNKNOWN_MEMBER_ID), are aborted, and read again.",
    "librdkafka's messages have no longer than the transaction": "`message.timeout.ms` is `transaction.timeout.ms` at most, so what is late fails with"
    " _MSG_TIMED_OUT, and the commit requires an abort; where the coordinator has aborted meanwhile that is refused, which is fatal on both releases.",
    "A time-out looks like fencing": "the coordinator aborts what lasts too long and raises the epoch: there is no newer producer,"
    " and the application is told of one (H-126)."
    " With TV1 that is the end of it; with TV2 it is not where the abort comes first: the coordinator takes an abort of the epoch before for a repetition.",
    "A time-out before the offsets is fatal with TV2, too": "TxnOffsetCommit's handler takes INVALID_PRODUCER_EPOCH for PRODUCER_FENCED.",
    "A zombie is fenced by its group, not by its transaction": "its transactional.id is its own; the generation"
    " that comes with the offsets is over (KIP-447, GC-3).",
    "A zombie with a producer per partition does not live on": "the new owner's initTransactions() has fenced its producer for good, and the application ends;"
    " with KIP-447 it aborts, and works on as what its group makes of it.",
    "A request that was lost is never noticed": "each is repeated"
    ", and each may be: the coordinator knows a repetition (T20 to T24), the leader a sequence (PS-10).",
    "A crash behind beginTransaction() touches nothing": "it sends nothing; the transaction begins for the coordinator with the first partition.",
    "A late AddPartitionsToTxn harms nobody": "no transaction lasts while the coordinator does not know of it.",
}

WEAKENED = (
    (
        '`isolation.level = "read_uncommitted"` of the reader',
        "it processes inputs that were aborted",
        "weakened/read-uncommitted.toml",
        "weakened/read-committed.toml",
    ),
    (
        "no `transactional.id`: offsets are committed behind a flush",
        "a crash between the two: inputs twice",
        "weakened/without-transactional-id.toml",
        "weakened/with-transactional-id.toml",
    ),
    (
        "`enable.auto.commit = true`: offsets outside the transaction",
        "a crash: inputs are skipped",
        "../hazards/scenarios/h-150-auto-commit-skips.toml",
        "weakened/with-transactional-id.toml",
    ),
    (
        "`group_metadata = false` with one producer per process",
        "a zombie commits offsets of a partition that is another's: inputs twice",
        "weakened/without-group-metadata.toml",
        "scenarios/tv2-begin-zombie.toml",
    ),
    (
        "the same, where a producer per partition fences it",
        "as above",
        "weakened/without-group-metadata.toml",
        "scenarios/tv2-begin-zombie-per-partition.toml",
    ),
    (
        "`transaction.version` below 2",
        "a late commit strikes the next transaction: torn",
        "../hazards/scenarios/h-122-tv1-late-commit-3.9.toml",
        "../hazards/scenarios/h-122-tv2-late-commit-4.3.toml",
    ),
    (
        "`transaction.partition.verification.enable = false`",
        "a late batch: readers get no further",
        "../hazards/scenarios/h-123-verification-off-3.9.toml",
        "../hazards/scenarios/h-123-late-produce-is-refused-3.9.toml",
    ),
    (
        '`auto.offset.reset = "latest"`',
        "what came before the group is skipped",
        "../hazards/scenarios/h-151-latest.toml",
        "../hazards/scenarios/h-151-earliest.toml",
    ),
)
"""Setting, what breaks, the witness, and the same with the setting as it should be."""


@dataclass(frozen=True, slots=True)
class Cell:
    protocol: str
    phase: str
    fault: str
    client: str = JAVA

    @property
    def path(self) -> Path:
        if self.client == JAVA:
            return SCENARIOS / f"{self.protocol}-{self.phase}-{self.fault}.toml"
        return SCENARIOS / self.client / f"{RELEASES[self.protocol]}-{self.phase}-{self.fault}.toml"

    @property
    def label(self) -> str:
        return self.protocol.upper() if self.client == JAVA else RELEASES[self.protocol]

    @property
    def copies(self) -> bool:
        """An application that reads, makes, and writes; else a producer with a workload, which aborts every fourth transaction."""
        return self.phase != "abort"

    @property
    def has_many(self) -> bool:
        return self.fault == "zombie-per-partition"

    @property
    def is_zombie(self) -> bool:
        return self.fault.startswith("zombie")

    @property
    def nothing(self) -> str:
        """Why there is no such cell; "" where there is one."""
        if self.client != JAVA and self.has_many:
            return "with the Java client only"
        if self.client == JAVA and self.protocol == "tv2" and self.phase in ONLY_TV1:
            return "no such request (T40)"
        if not self.copies and self.has_many:
            return "it reads nothing"
        if self.phase == "init" and self.has_many:
            return "nothing is open yet"
        if self.phase == "begin" and self.fault in ("lost-request", "lost-response"):
            return "nothing is sent"
        return ""


FATAL = {
    *(Cell("tv1", phase, "time-out") for phase in ("produce", "add-offsets", "offsets", "commit")),
    Cell("tv2", "offsets", "time-out"),
    *(Cell("tv1", phase, "time-out", LIBRDKAFKA) for phase in ("produce", "commit")),
    *(Cell("tv2", phase, "time-out", LIBRDKAFKA) for phase in ("produce", "offsets", "commit")),
}
"""The producer is of no use any more and the application ends: somebody has to start it again."""
STANDS_STILL = {Cell(protocol, "produce", "coordinator-crash", LIBRDKAFKA) for protocol in PROTOCOLS}
"""send_offsets_to_transaction does not return until something else makes or breaks a connection: here too somebody has to start it again."""
OF_LIBRDKAFKA = {
    "[producers.feed]\n": "[producers.feed]\nconfig.enable.idempotence = true\n",
    "[consumers.auditor]\n": '[consumers.auditor]                # of no group, which librdkafka has not\nclient = "java"\n',
}
"""Where its defaults are others, and where it is not the one to ask."""


def cells(client: str = JAVA) -> Iterator[Cell]:
    for protocol in PROTOCOLS:
        for phase in PHASES:
            for fault in FAULTS:
                yield Cell(protocol, phase, fault, client)


def text(cell: Cell) -> str:
    """The whole scenario."""
    with_whom = "" if cell.client == JAVA else "librdkafka, "
    what = f"{PHASES[cell.phase]}: {FAULTS[cell.fault]} ({with_whom}{cell.label})"
    parts = [f'format = 1\ntitle  = "{what}"\nkafka  = {PROTOCOLS[cell.protocol]}\nclient = "{cell.client}"\nseed   = 7\n', CLUSTER]
    parts.append((COPY if cell.copies else PLAIN).format(timeout=TIMEOUT if cell.fault == "time-out" else "", prefix="", many=MANY if cell.has_many else ""))
    if cell.has_many:
        parts.append(SPARE_MANY)
    elif cell.fault == "zombie":
        parts.append(TWIN if cell.phase == "init" else SPARE if cell.copies else SUCCESSOR)
    again = [AGAIN] if cell in FATAL | STANDS_STILL else []
    parts += [f"[[fault]]\n{fault}" for fault in [*_faults(cell), *again]]
    parts.append(_expect(cell))
    whole = "\n".join(part.strip("\n") + "\n" for part in parts)
    if cell.client == JAVA:
        return whole
    for java, own in OF_LIBRDKAFKA.items():
        whole = whole.replace(java, own)
    return whole


def _faults(cell: Cell) -> list[str]:
    fault, phase = cell.fault, cell.phase
    if fault in ("lost-request", "lost-response"):
        return [f'when = {_frame(cell)}\ndo   = "lose-{fault[5:]}"\n']
    if fault == "time-out" and phase in CALLS and phase not in ("commit", "abort", "offsets"):
        return [f'when = {_frame(cell)}\ndo   = "delay"\nby   = "4s"\n']
    if fault == "zombie" and phase == "init":
        return []
    strike = f'do   = "{"crash" if fault.endswith("crash") else "pause"}"\nwho  = "{_who(cell)}"\nfor  = "{LASTS[fault]}"\n'
    if phase in MOMENTS:
        moment = MOMENTS[phase]
        if cell.is_zombie and cell.copies:  # The spare one works until the group has let the other in.
            moment = moment.replace("68", "150") if phase == "produce" else moment.replace(" }", f', from = "{_copier(cell)}" }}')
        return [f"when = {moment}\n{strike}"]
    at, by = ("300ms", "500ms") if phase == "init" else ("2s", "1s")
    return [f'name = "held up"\nwhen = {_frame(cell)}\ndo   = "delay"\nby   = "{by}"\n', f'at   = "{at}"\n{strike}']


def _frame(cell: Cell) -> str:
    """Its request, in the fourth transaction or so."""
    sender = "" if cell.phase == "markers" else f', from = "{_copier(cell) if cell.copies else "p1"}"'
    which = (
        ""
        if cell.phase == "init"
        else ', after = "1500ms"'
        if cell.fault.endswith("crash") or cell.is_zombie
        else f", nth = {8 if cell.phase == 'abort' else 4}"
    )
    return f'{{ request = "{CALLS[cell.phase]}"{sender}{which} }}'


def _copier(cell: Cell) -> str:
    return "copier-orders-0" if cell.has_many else "copier"


def _who(cell: Cell) -> str:
    who = WHO[cell.fault]
    return "p1" if who == "copy" and not cell.copies else who


def _expect(cell: Cell) -> str:
    promised = dict.fromkeys(PROMISE, 0)
    if cell.copies:
        promised |= {"processed_once": 300} | dict.fromkeys(PROMISE_END_TO_END, 0)
    return "[expect]\n" + "".join(f"{name} = {count}\n" for name, count in promised.items())
