"""What broker work costs: how long a request is handled, records are appended, flushed and read, and metadata applied.

Not Kafka's: the rules answer at once, and the network delivers a message when the work it asks for is done. A connection is worked off in order,
as a broker takes one request of it at a time (BP-1); connections do not wait for each other, as they do in Kafka where all num.io.threads are busy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from ksim.plan import CPU, DISK, Costs
from ksim_models.broker import Broker
from ksim_models.messages import FetchResponse, MetadataFetchResponse, ProduceRequest, RecordBatch
from ksim_models.settings import LONG_MAX
from ksim_models.units import Micros

NO_COSTS = Costs(0, 0, 0, 0, 0)


class Work:
    """Of the brokers and controllers of one simulation."""

    def __init__(self, costs: Costs, brokers: Mapping[str, Broker], controllers: tuple[str, ...]) -> None:
        self._usual = costs
        self._brokers = brokers
        self._costs = dict.fromkeys((*brokers, *controllers), costs)
        self._factors: dict[tuple[str, str], Fraction] = {}
        self._unflushed: dict[tuple[str, str], int] = {}
        """Records since flush.messages struck last, per broker and partition, as far as they have been sent."""

    def takes(self, path: tuple[str, str], asks: bool, message: object) -> Micros:
        """What must be done until this message, from the first of the two to the second, counts as received. asks: it is a request, else an answer."""
        if asks and type(message) is not ProduceRequest:
            return self._costs[path[1]].request
        if type(message) is FetchResponse:  # The leader has read it, the follower appends it: all batches of a partition at once.
            read = appended = 0
            for partition in message.partitions:
                if partition.batches:
                    read = self._costs[path[0]].fetch
                    if path[1] in self._brokers:  # A consumer's own work costs nothing here.
                        appended += self._append(path[1], partition.partition, partition.batches)
            return read + appended
        if type(message) is ProduceRequest:
            took = self._costs[path[1]].request
            for batch in message.batches:
                took += self._append(path[1], batch.partition, (batch,))
            return took
        if type(message) is MetadataFetchResponse and message.records:
            return self._costs[path[1]].metadata
        return 0

    def _append(self, broker: str, partition: str, batches: Sequence[RecordBatch]) -> Micros:
        """UnifiedLog.append flushes before it returns once flush.messages records stand unflushed. Simplified: counted when they are sent."""
        costs, log = self._costs[broker], self._brokers[broker].logs.get(partition)
        if log is None or log.config.flush_messages == LONG_MAX:
            return costs.append
        waiting = self._unflushed.get((broker, partition), 0) + sum([len(batch.records) for batch in batches])
        strikes = waiting >= log.config.flush_messages
        self._unflushed[broker, partition] = 0 if strikes else waiting
        return costs.append + costs.flush if strikes else costs.append

    def slow_down(self, name: str, part: str, factor: Fraction) -> None:
        """All that this part of the machine does takes so many times as long as now."""
        self._factors[name, part] = self._factors.get((name, part), Fraction(1)) * factor
        disk, cpu = self._factors.get((name, DISK), Fraction(1)), self._factors.get((name, CPU), Fraction(1))
        usual = self._usual
        self._costs[name] = Costs(
            append=int(usual.append * disk),
            fetch=int(usual.fetch * cpu),
            flush=int(usual.flush * disk),
            request=int(usual.request * cpu),
            metadata=int(usual.metadata * cpu),
        )
