"""Alert rules to rehearse: a metric that stands above, or below, a number for some time.

Kafka: its metrics' names; the rules are those of any monitoring. Not Kafka's: [[alert]] of scenario.md, section 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim.metrics_names import BROKER_NAMES, CONSUMER_NAMES, JAVA_NAMES, LIBRDKAFKA_NAMES, NAMES
from ksim.plan import AlertPlan, ProducerPlan
from ksim.problems import shown
from ksim.scenario_reading import Reading, Table, name_of
from ksim.scenario_shape import ALERT
from ksim.scenario_values import DURATION, FIGURE


def read_alerts(reading: Reading, content: object, producers: Sequence[ProducerPlan], *, consumers: bool = False) -> list[AlertPlan]:
    """consumers: there are some."""
    alerts = []
    for path, value in reading.array(("alert",), content):
        table = reading.table(path, value, ALERT)
        if table is not None and (alert := _alert(table, producers, consumers=consumers)) is not None:
            alerts.append(alert)
    return alerts


def _alert(table: Table, producers: Sequence[ProducerPlan], *, consumers: bool) -> AlertPlan | None:
    metric = _metric(table, producers, consumers=consumers)
    one = table.exactly_one("above", "below")
    limit = table.take("above", FIGURE) if table.has("above") else table.take("below", FIGURE)
    lasting = table.take("for", DURATION)
    if metric is None or limit is None or not one:
        return None
    return AlertPlan(metric, limit, table.has("above"), lasting or 0)


def _metric(table: Table, producers: Sequence[ProducerPlan], *, consumers: bool) -> str | None:
    here = [*(CONSUMER_NAMES if consumers else ()), *BROKER_NAMES]
    for names, dialect in ((LIBRDKAFKA_NAMES, "librdkafka"), (JAVA_NAMES, "java")):
        if any((producer.client == "librdkafka") == (dialect == "librdkafka") for producer in producers):
            here = [*names, *here]
    given = table.content.get("metric")
    if given is None:
        example = 'metric = "record-error-rate"'
        table.problem("", f"{name_of(table.path)}: metric is missing.", given="no metric", possible=example)
        return None
    if isinstance(given, str) and given in NAMES and given not in here:
        client = "librdkafka" if given in LIBRDKAFKA_NAMES else "the Java client"
        whose = f"{client}, and no producer here is one" if given not in CONSUMER_NAMES else "a consumer, and there is none here"
        table.problem("metric", f"{name_of(table.path)}: {given} is a metric of {whose}.", given=shown(given), names=here)
        return None
    return table.choose("metric", here, "a metric that has a series: Kafka's own names, without a group")
