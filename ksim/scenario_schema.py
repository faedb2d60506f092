"""The JSON Schema of a scenario file, for editors that complete and check TOML; made from the same table that the reader uses.

Not Kafka's. It is laxer than the reader: names, contradictions and Kafka's settings are checked by the reader alone.
"""

from __future__ import annotations

from ksim import scenario_shape as shapes
from ksim.metrics_names import NAMES
from ksim.plan import RECORD_FAULTS
from ksim.scenario_shape import Shape
from ksim.scenario_values import Schema

Object = dict[str, object]


def schema() -> Object:
    """As plain data, ready for `json.dumps`."""
    broker = _table(shapes.BROKER)
    cluster = _table(shapes.CLUSTER)
    cluster["patternProperties"] = {"^broker-[0-9]+$": broker}
    network = _table(
        shapes.NETWORK, latency=_latency(), links={"type": "array", "items": _table(shapes.LINK, needed=["from", "to", "latency"], latency=_latency())}
    )
    tables: Object = {
        "kafka": {"oneOf": [{"type": "string"}, _table(shapes.VERSIONS)]},
        "cluster": cluster,
        "topics": {"type": "object", "additionalProperties": _table(shapes.TOPIC)},
        "producers": {"type": "object", "additionalProperties": _table(shapes.PRODUCER)},
        "applications": {"type": "object", "additionalProperties": _table(shapes.APPLICATION, commit_every=_table(shapes.COMMIT_EVERY))},
        "consumers": {"type": "object", "additionalProperties": _table(shapes.CONSUMER)},
        "workload": {"type": "array", "minItems": 1, "items": _workload()},
        "fault": {"type": "array", "items": _fault()},
        "chaos": {"type": "array", "items": _chaos()},
        "network": network,
        "alert": {"type": "array", "items": _alert()},
        "expect": _expect(),
        "model": _table(shapes.MODEL),
        "tail": _table(shapes.TAIL),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A ksim scenario",
        **_table(shapes.SCENARIO, needed=["workload"], **tables),
    }


def _table(shape: Shape, needed: list[str] | None = None, **inner: object) -> Object:
    """A table that has these keys and no others; `inner` says more about some of them."""
    properties = {name: {**_inner(name, key.schema, inner), "description": key.about} for name, key in shape.items()}
    made: Object = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**made, "required": needed} if needed else made


def _inner(name: str, plain: Schema, inner: Object) -> Object:
    said = inner.get(name, plain)
    assert isinstance(said, dict)
    return {**said}


def _latency() -> Object:
    return {"oneOf": [{"type": ["string", "integer"]}, _table(shapes.LATENCY, needed=["median", "p99"])]}


def _workload() -> Object:
    table = _table(
        shapes.WORKLOAD,
        needed=["topic"],
        arrivals={"oneOf": [{"enum": ["steady", "poisson"]}, _table(shapes.ARRIVALS, needed=["burst", "every"])]},
        size={"oneOf": [{"type": ["integer", "string"]}, _table(shapes.RECORD_SIZE, needed=["mean"])]},
        key={"oneOf": [{"enum": ["none", "fixed"]}, _table(shapes.RECORD_KEY, needed=["distinct"])]},
        wait={"oneOf": [{"enum": ["none", "each"]}, {"type": "integer", "minimum": 1}]},
        transaction=_table(shapes.TRANSACTION, needed=["records"]),
        outbox=_table(shapes.OUTBOX, needed=["every"]),
        on_failure={"oneOf": [{"enum": ["report", "resend", "stop"]}, _table(shapes.BREAKER, needed=["open_after", "half_open"])]},
    )
    return {**table, "oneOf": [{"required": ["records"]}, {"required": ["for"]}]}


def _fault() -> Object:
    triggers = [_table(shapes.FRAME_TRIGGER, request={"enum": [*shapes.APIS]}, response={"enum": [*shapes.APIS]})]
    triggers += [_table(shape, needed=[kind]) for kind, shape in shapes.COUNT_TRIGGERS.items()]
    table = _table(shapes.FAULT, needed=["do"], do={"enum": [*shapes.FAULT_ARGUMENTS]}, when={"oneOf": triggers})
    of_a_record: Object = {"properties": {"do": {"enum": [*RECORD_FAULTS]}}}
    return {**table, "anyOf": [{"required": ["at"]}, {"required": ["when"]}, of_a_record]}


def _chaos() -> Object:
    mean = _table(shapes.MEAN, needed=["mean"])
    return {**_table(shapes.CHAOS, needed=["do", "every", "during"], do={"enum": [*shapes.CHAOS_DEEDS]}, every=mean, **{"for": mean})}


def _alert() -> Object:
    table = _table(shapes.ALERT, needed=["metric"], metric={"enum": [*NAMES]})
    return {**table, "oneOf": [{"required": ["above"]}, {"required": ["below"]}]}


def _expect() -> Object:
    number: Object = {"type": ["number", "string"]}
    names: Object = {name: number for name in shapes.EXPECTED_NAMES if name != "verdict"}
    names["verdict"] = {"type": "string"}
    return {"type": "object", "properties": {**names, "errors": {"type": "object"}}, "additionalProperties": False}
