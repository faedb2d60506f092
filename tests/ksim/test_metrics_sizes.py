"""The bytes of a request on the wire, held against an encoder of Kafka's protocol that somebody else wrote."""

from __future__ import annotations

import io
import uuid
from typing import Any

import pytest

from ksim.metrics_sizes import RequestSizes
from ksim_models.messages import ApiVersionsRequest, InitProducerIdRequest, MetadataRequest, ProduceRequest, RecordBatch
from ksim_models.profiles import parse_release

pytest.importorskip("kio", reason="the extra `live` has it")


def encoded(api_key: int, version: int, client_id: str, **fields: Any) -> int:
    from kio.index import load_request_schema
    from kio.serial import entity_writer

    schema: Any = load_request_schema(api_key, version)
    header: Any = schema.__header_schema__
    buffer = io.BytesIO()
    entity_writer(header)(buffer, header(request_api_key=api_key, request_api_version=version, correlation_id=1, client_id=client_id))
    entity_writer(schema)(buffer, schema(**fields))
    return 4 + len(buffer.getvalue())


def parts(api_key: int, version: int) -> Any:
    from kio.index import load_request_schema

    return __import__(load_request_schema(api_key, version).__module__, fromlist=["x"])


def produce(sizes: dict[str, int]) -> ProduceRequest:
    return ProduceRequest(-1, 30_000, tuple(RecordBatch(partition, "p1", range(1), size) for partition, size in sizes.items()))


@pytest.mark.parametrize(("client", "brokers", "version"), [("2.8", "3.3", 9), ("4.3", "3.9", 11), ("3.9", "4.3", 11)])
@pytest.mark.parametrize("sizes", [{"payments-0": 170}, {"payments-0": 100, "payments-1": 16_384, "a.b-0": 127}], ids=["one", "three"])
def test_a_produce_request_that_names_its_topics(client: str, brokers: str, version: int, sizes: dict[str, int]) -> None:
    module = parts(0, version)
    topics: dict[str, list[Any]] = {}
    for partition, size in sizes.items():
        topic, _, number = partition.rpartition("-")
        topics.setdefault(topic, []).append(module.PartitionProduceData(index=int(number), records=bytes(size)))
    data = tuple(module.TopicProduceData(name=name, partition_data=tuple(of)) for name, of in topics.items())
    from datetime import timedelta

    expected = encoded(0, version, "p1", transactional_id=None, acks=-1, timeout=timedelta(seconds=30), topic_data=data)

    assert RequestSizes("p1", parse_release(client), parse_release(brokers)).of(produce(sizes)) == expected


def test_a_produce_request_of_4_1_names_its_topics_by_sixteen_bytes() -> None:
    """KIP-516: whatever the name's length; the same but for the name and its length."""
    sizes = {"a-topic-with-a-name-of-thirty-2-0": 100}
    by_name, by_id = (RequestSizes("p1", parse_release(release), parse_release("4.3")).of(produce(sizes)) for release in ("4.0", "4.1"))

    assert by_name - by_id == 1 + len("a-topic-with-a-name-of-thirty-2") - 16


@pytest.mark.parametrize("topics", [(), ("payments",), ("payments", "orders")])
def test_a_metadata_request(topics: tuple[str, ...]) -> None:
    module = parts(3, 12)
    data = tuple(module.MetadataRequestTopic(topic_id=uuid.UUID(int=0), name=name) for name in topics)
    expected = encoded(3, 12, "producer-1", topics=data, allow_auto_topic_creation=True, include_topic_authorized_operations=False)

    assert RequestSizes("producer-1", (4, 3, 0), (4, 3, 0)).of(MetadataRequest(topics)) == expected


def test_an_api_versions_request_carries_the_name_and_the_version_of_the_client() -> None:
    expected = encoded(18, 3, "p1", client_software_name="apache-kafka-java", client_software_version="3.9.2")

    assert RequestSizes("p1", parse_release("3.9"), (4, 3, 0)).of(ApiVersionsRequest()) == expected


def test_an_init_producer_id_request() -> None:
    from datetime import timedelta

    expected = encoded(22, 4, "p1", transactional_id=None, transaction_timeout=timedelta(0), producer_id=-1, producer_epoch=-1)

    assert RequestSizes("p1", (4, 3, 0), (4, 3, 0)).of(InitProducerIdRequest()) == expected
