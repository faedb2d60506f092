"""The brokers that librdkafka knows, a thread for each: which one is asked, and where a connection is made when there is none.

Kafka: rd_kafka_connect_any, rd_kafka_broker_any_usable, rd_kafka_broker_weight_usable, rd_kafka_metadata_refresh_topics in librdkafka.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ksim_models.librdkafka_broker_thread import BrokerThread, Request, State
from ksim_models.librdkafka_consumer_config import AnyLibrdkafkaConfig
from ksim_models.machine import Dice, Effect, Open
from ksim_models.messages import MetadataRequest
from ksim_models.units import LONG_AGO, MILLISECOND, NEVER, Micros, ms

BOOTSTRAP = "bootstrap/"
"""A bootstrap server is nobody's leader; it is given up as soon as metadata has named the brokers."""
LEARNED, LEAST_IDLE = 1_000, 600
"""What counts for a broker that is to be asked: that metadata named it, and that it was used in the last ten minutes, the later the better."""


class Brokers:
    def __init__(self, client: str, config: AnyLibrdkafkaConfig, bootstrap: Sequence[str], dice: Dice, born_at: Micros) -> None:
        self.client = client
        self.config = config
        self.dice = dice
        self.socket_timeout = ms(config.socket_timeout_ms)
        self.threads = {BOOTSTRAP + broker: BrokerThread(BOOTSTRAP + broker, broker, client, config, dice, born_at, learned=False) for broker in bootstrap}
        self.by_connection: dict[str, BrokerThread] = {}
        self.connections_made = 0
        self.choices = 0
        self.connect_any_interval = ms(max(11, min(config.reconnect_backoff_ms // 2, 1_000)))
        self.connected_any_at: Micros = LONG_AGO
        self.connect_any_at: Micros = NEVER
        """To be looked at again, for it was too soon."""

    def __iter__(self) -> Iterator[BrokerThread]:
        """A list of its own: brokers come and go meanwhile."""
        return iter(list(self.threads.values()))

    def get(self, broker: str) -> BrokerThread | None:
        return self.threads.get(broker)

    def is_up(self, broker: str) -> bool:
        thread = self.threads.get(broker)
        return thread is not None and thread.is_up

    @property
    def any_up(self) -> bool:
        return any(thread.is_up and not thread.is_logical for thread in self.threads.values())

    def learn(self, names: Sequence[str], now: Micros) -> list[BrokerThread]:
        """Those that metadata names. Returns the threads of those it does not name any more, the bootstrap servers' among them."""
        for name in names:
            if name not in self.threads:
                self.threads[name] = BrokerThread(name, name, self.client, self.config, self.dice, now, learned=True)
        if not any(thread.learned for thread in self.threads.values()):
            return []
        gone = [thread for thread in self.threads.values() if not thread.is_logical and (not thread.learned or thread.broker not in names)]
        for thread in gone:
            del self.threads[thread.name]
        return gone

    def meet(self, name: str, now: Micros) -> BrokerThread:
        """rd_kafka_broker_update: an answer named it, known or not."""
        if name not in self.threads:
            self.threads[name] = BrokerThread(name, name, self.client, self.config, self.dice, now, learned=True)
        return self.threads[name]

    def add_logical(self, name: str, now: Micros) -> BrokerThread:
        """rd_kafka_broker_add_logical: whose broker it is, is said later."""
        thread = self.threads[name] = BrokerThread(name, "", self.client, self.config, self.dice, now, learned=False)
        thread.is_logical = True
        return thread

    def choose(self, why: str, among: Sequence[BrokerThread]) -> BrokerThread:
        self.choices += 1
        return among[int(self.dice.at(why, self.client, self.choices) * len(among))]

    def connect_any(self, now: Micros) -> None:
        """Sparse connections: where there is none, one is made to any broker, rather one that was never tried."""
        if self.any_up:
            return
        if now - self.connected_any_at <= self.connect_any_interval:
            if self.connect_any_at == NEVER:
                self.connect_any_at = self.connected_any_at + self.connect_any_interval + MILLISECOND
            return
        self.connected_any_at = now
        idle = [thread for thread in self.threads.values() if thread.state is State.INIT and not thread.is_logical]
        choices = [thread for thread in idle if not thread.connects] or idle
        if choices:
            self.choose("connect-any", choices).try_connect(now)

    def connect(self, thread: BrokerThread, now: Micros, out: list[Effect]) -> None:
        self.connections_made += 1
        connection = f"{self.client}->{thread.broker}#{self.connections_made}"
        self.by_connection[connection] = thread
        thread.attempt(connection, now)
        out.append(Open(connection, thread.broker))

    def ask_for(self, topics: Sequence[str], now: Micros) -> None:
        """Metadata from a usable broker; where there is none, one is made usable."""
        thread = self.usable(now)
        if thread is None:
            self.connect_any(now)
        else:
            self.ask(thread, topics, now)

    def ask(self, thread: BrokerThread, topics: Sequence[str], now: Micros) -> None:
        thread.enqueue(Request(MetadataRequest(tuple(topics)), now + self.socket_timeout))

    def usable(self, now: Micros) -> BrokerThread | None:
        """The one to ask; a connection for one purpose only where there is no other."""
        best: list[BrokerThread] = []
        most = -1
        for thread in self.threads.values():
            if thread.is_up:
                weight = LEARNED * thread.learned + max(0, LEAST_IDLE - thread.is_idle_for(now))
                if weight > most:
                    best, most = [], weight
                if weight == most:
                    best.append(thread)
        if len(best) <= 1:
            return best[0] if best else None
        return self.choose("usable", best)
