"""The reader: a run's samples and facts turned into series, read once per step.

Kafka: a JMX scraper, in simulated time.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim.history import History
from ksim.metrics_brokers import read_brokers
from ksim.metrics_facts import samples_of_facts
from ksim.metrics_librdkafka import read_librdkafka
from ksim.metrics_samples import ClientSamples
from ksim.metrics_series import Line, Series, moments, one_after_another, read_client
from ksim.plan import Plan
from ksim_models.quantities import parse_duration_us
from ksim_models.units import MILLISECOND, Micros


def step_of(step: str | int) -> Micros:
    """ValueError for what is no duration of whole milliseconds above zero."""
    step_us = parse_duration_us(step)
    if step_us < MILLISECOND or step_us % MILLISECOND:
        raise ValueError(f"step = {step!r} is not possible: Kafka's clock has whole milliseconds, so choose at least 1ms.")
    return step_us


def read_series(plan: Plan, history: History, samples: Sequence[ClientSamples] | None, until: Micros, step: str | int) -> Series:
    step_us = step_of(step)
    at = moments(until, step_us)
    lines: list[Line] = []
    if samples is None:
        lines += [line for taken in samples_of_facts(plan, history) for line in read_client(taken, at)]
    else:
        for taken in samples:
            lines += read_librdkafka(taken, at) if taken.dialect == "librdkafka" else read_client(taken, at)
        lines = one_after_another(lines)
    lines += read_brokers(plan, history, at)
    return Series(tuple(lines), step_us // MILLISECOND, plan.title)
