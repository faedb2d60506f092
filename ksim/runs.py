"""A run: what a simulation, or a replay on a live cluster, left behind.

Not Kafka's. Both roads end here, so that both are judged, reported, explained and drawn by the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields

from ksim import collecting
from ksim.chaos import written_out
from ksim.first_harm import harms
from ksim.history import History
from ksim.metrics import Metrics, measure
from ksim.metrics_alerts import LOOKED_AT_EVERY, Alarm, rehearse
from ksim.metrics_reading import read_series
from ksim.metrics_samples import ClientSamples
from ksim.metrics_series import Series
from ksim.plan import ConsumerPlan, Plan
from ksim.runs_html import as_html, headline
from ksim.verdict import Verdict, judge
from ksim_models.config import BrokerConfig, ProducerConfig, TopicConfig, topic_config
from ksim_models.quantities import parse_duration_us
from ksim_models.settings import LONG_MAX
from ksim_models.units import MILLISECOND, Micros


class Run:
    """The history of one run, its plan, and how long it took."""

    __slots__ = ("_again", "_alarms", "_metrics", "_samples", "_verdict", "events", "history", "plan", "simulated_us", "wall_ms")

    def __init__(
        self,
        plan: Plan,
        history: History,
        events: int,
        simulated_us: Micros,
        wall_ms: float,
        *,
        samples: list[ClientSamples] | None = None,
        again: Callable[[Plan], list[ClientSamples]] | None = None,
    ) -> None:
        """samples: what its clients' sensors were told, where they were listened to. again: a run of this plan that is listened to."""
        self.plan = plan
        self.history = history
        self.events = events
        self.simulated_us = simulated_us
        self.wall_ms = wall_ms
        self._verdict: Verdict | None = None
        self._metrics: Metrics | None = None
        self._samples = samples
        self._again = again
        self._alarms: tuple[Alarm, ...] | None = None

    def __repr__(self) -> str:
        return f"<Run: {headline(self.history.run)}, {self.verdict.verdict}>"

    def _repr_html_(self) -> str:
        return as_html(self.history.run, self.verdict, self.metrics, self.history.digest)

    @property
    def verdict(self) -> Verdict:
        """Judged when first asked for, from outside facts only."""
        if self._verdict is None:
            with collecting.seldom():
                self._verdict = judge(self.history)
        return self._verdict

    @property
    def metrics(self) -> Metrics:
        if self._metrics is None:
            self._metrics = measure(self.history)
        return self._metrics

    def series(self, step: str | int = "1s", *, read_on: str | int = 0) -> Series:
        """Every metric over time, as somebody sees them who reads them once per `step`, from time zero to the end of the run ("250ms"; a number is ms).

        read_on: and so long after its end, when nothing more happens. A run that was not measured along the way is simulated once more.
        Of a live run: what its facts tell.
        """
        if self._samples is None and self._again is not None:
            self._samples = self._again(self.plan)
        return read_series(self.plan, self.history, self._samples, self.simulated_us + parse_duration_us(read_on), step)

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """The rules of [[alert]]: when each would have fired, if at all."""
        rules = self.plan.alerts
        if not rules:
            return ()
        if self._alarms is None:
            series = self.series(LOOKED_AT_EVERY // MILLISECOND, read_on=-(-max(rule.lasting for rule in rules) // MILLISECOND))
            done = harms(self.history)
            self._alarms = tuple(rehearse(rules, series.lines, self.simulated_us, done[0] if done else None))
        return self._alarms


def run_line(plan: Plan, **how: object) -> dict[str, object]:
    """What a judge needs to know of a run: the scenario, what its [[chaos]] came to, the configuration in force. `how`: what a live run says otherwise."""
    names = [field.name for field in fields(ProducerConfig)]
    producers = {
        producer.name: {name.replace("_", "."): getattr(producer.config, name) for name in names} | {"client": producer.client} for producer in plan.producers
    }
    brokers = {broker.name: broker_settings(broker.config) for broker in plan.brokers}
    topics = {topic.name: _topic_settings(topic_config(topic.given, plan.brokers[0].config)) for topic in plan.topics}
    return {
        "scenario": plan.data,
        "title": plan.title,
        "seed": plan.seed,
        "how": "simulated",
        "kafka": plan.broker_version if plan.broker_version == plan.client_version else {"brokers": plan.broker_version, "clients": plan.client_version},
        "client": _one_or_each({producer.name: producer.client for producer in plan.producers}),
        "config": {"producers": producers, "topics": topics, "brokers": brokers, **_readers(plan)},
        **({"chaos": written_out(plan)} if plan.chaos else {}),
        **({"calibrated": plan.model.calibrated_on} if plan.model.calibrated_on else {}),
        **how,
    }


def _readers(plan: Plan) -> dict[str, object]:
    """Consumers and applications, where there are any."""
    consumers = {one.name: _of_a_reader(one) for one in plan.consumers}
    applications = {
        one.name: {"reads": one.reads, "writes": one.writes, "consumer": one.consumer, "producer": one.producer, "commit_every": one.commit_every}
        | ({"producers": dict(one.per_partition)} if one.per_partition else {})
        for one in plan.applications
    }
    return {name: table for name, table in (("consumers", consumers), ("applications", applications)) if table}


def _of_a_reader(plan: ConsumerPlan) -> dict[str, object]:
    config = plan.librdkafka or plan.config
    told = {field.name.replace("_", "."): getattr(config, field.name) for field in fields(config)}
    return told if plan.client == "java" else {"client": f"{plan.client} {plan.client_version}".strip(), **told}


def _topic_settings(config: TopicConfig) -> dict[str, object]:
    flush = {} if config.flush_messages == LONG_MAX else {"flush.messages": config.flush_messages}
    return replication_settings(config) | flush


def replication_settings(config: object) -> dict[str, object]:
    return _settings(config, ("min.insync.replicas", "unclean.leader.election.enable"))


def _settings(config: object, names: Iterable[str]) -> dict[str, object]:
    return {name: getattr(config, name.replace(".", "_")) for name in names}


def broker_settings(config: BrokerConfig) -> dict[str, object]:
    """What else bears on a verdict is named where it is not the default."""
    names = ("producer.id.expiration.ms", "transaction.partition.verification.enable")
    return replication_settings(config) | {name: value for name, value in _settings(config, names).items() if value != _settings(BrokerConfig(), names)[name]}


def _one_or_each(values: dict[str, str]) -> object:
    different = set(values.values())
    return different.pop() if len(different) == 1 else values
