"""What each switch of a release means to whoever runs it: one plain sentence, where it comes from, and when it cannot matter.

Kafka: the KIPs and issues of its tracker. A switch of `profiles` without a sentence here is refused by a test.
"""

from __future__ import annotations

from dataclasses import dataclass

from ksim_models.broker_switches import BROKER_SWITCHES
from ksim_models.profiles import BrokerProfile, ClientProfile, IdempotenceRule
from ksim_models.switch import ProducerUse, Switch

NOT_SWITCHES = ("version", "release", "start_up_ms")


def _no_partitioner_class(use: ProducerUse) -> str:
    return "" if use.config.partitioner_class else "no partitioner.class is set"


def _without_idempotence(use: ProducerUse) -> str:
    return "" if use.config.enable_idempotence else "the producer is not idempotent"


def _not_transactional(use: ProducerUse) -> str:
    return "" if use.config.transactional_id else "no transactional.id is set"


def _without_answers(use: ProducerUse) -> str:
    return "acks=0: no answer is waited for" if use.config.acks == 0 else ""


def _without_retries(use: ProducerUse) -> str:
    return "retries=0: nothing is sent again" if use.config.retries == 0 else ""


def _batches_hold_bytes(use: ProducerUse) -> str:
    return "batch.size is not 0" if use.config.batch_size else ""


def _nothing_to_choose(use: ProducerUse) -> str:
    return "" if use.spreads else "every record has a key, a partition of its own choice, or a topic of one partition"


def _never_rebootstraps(use: ProducerUse) -> str:
    return "metadata.recovery.strategy is none" if use.config.metadata_recovery_strategy == "none" else ""


def _idempotence_is_written(use: ProducerUse) -> str:
    written = use.written.get("enable.idempotence", "").strip().lower()
    return f"enable.idempotence={written} is written, and no release disputes it" if written in ("true", "false") else ""


CLIENT_SWITCHES = (
    Switch(
        "idempotence_rule",
        "A producer",
        {
            IdempotenceRule.EXPLICIT_ONLY: "is idempotent only where that is written (enable.idempotence=true, or transactional.id)",
            IdempotenceRule.SILENTLY_OFF: "is idempotent by default, and without a word is not where acks, retries or the requests in flight do not go with it",
            IdempotenceRule.IN_FLIGHT_ALWAYS_CHECKED: "is idempotent by default, without a word is not where acks or retries do not go with it,"
            " and is refused with more than five requests in flight",
        },
        "KIP-679, KAFKA-13598",
        _idempotence_is_written,
    ),
    Switch(
        "exponential_backoff",
        "The wait before a retry, and before metadata is asked for again,",
        {False: "is retry.backoff.ms each time", True: "doubles from retry.backoff.ms to retry.backoff.max.ms, spread by 20 %"},
        "KIP-580",
    ),
    Switch(
        "backoff_is_capped",
        "The longest wait before a reconnect, and for a connection to be set up,",
        {False: "may exceed its maximum by 20 %", True: "is its maximum"},
        "KIP-580",
    ),
    Switch(
        "equivalent_response_backoff",
        "A client whose metadata did not change when it asked",
        {False: "asks again after retry.backoff.ms", True: "waits longer each time before it asks again"},
        "KIP-580",
    ),
    Switch(
        "new_epoch_skips_backoff",
        "A retry for which a newer leader is known",
        {False: "waits for its backoff nevertheless", True: "is sent at once"},
        "KAFKA-15415",
        _without_retries,
    ),
    Switch(
        "any_epoch_change_skips_backoff",
        "A retry for which a lower leader epoch is known, as its topic was created again,",
        {False: "waits for its backoff", True: "is sent at once"},
        "KAFKA-16226",
        _without_retries,
    ),
    Switch(
        "leader_hint_in_produce",
        "A client whose leader has moved",
        {False: "learns of the new one by asking for metadata", True: "takes the new one out of the refusal"},
        "KIP-951",
        _without_answers,
    ),
    Switch(
        "request_timeout_is_timed_out",
        "A request that got no answer within request.timeout.ms",
        {False: "fails with NETWORK_EXCEPTION (NetworkException)", True: "fails with REQUEST_TIMED_OUT (TimeoutException)"},
        "KAFKA-14317",
        _without_answers,
    ),
    Switch(
        "transactions_v2",
        "A transactional producer",
        {
            False: "adds partitions and offsets to its transactions by requests of their own, and keeps its epoch from one to the next",
            True: "lets the brokers add what it writes, and has another epoch after every transaction, where the cluster has transaction.version 2",
        },
        "KIP-890",
        _not_transactional,
    ),
    Switch(
        "illegal_steps_are_illegal_states",
        "A call that is not possible in the state of the transaction",
        {False: "throws a KafkaException", True: "throws an IllegalStateException"},
        "T1",
        _not_transactional,
    ),
    Switch(
        "illegal_steps_poison",
        "A step that the producer's I/O thread takes where the state of the transaction does not allow it",
        {False: "is logged", True: "is the end of the producer"},
        "KAFKA-14831",
        _not_transactional,
    ),
    Switch(
        "pins_timed_out_calls",
        "After initTransactions, commitTransaction or abortTransaction has timed out, another call",
        {False: "is possible where the state of the transaction allows it", True: "throws until the same one has been repeated"},
        "KAFKA-13412",
        _not_transactional,
    ),
    Switch(
        "failed_sends_abort",
        "A transaction in which send() itself failed",
        {False: "can be committed without that record", True: "can only be aborted"},
        "KAFKA-13418",
        _not_transactional,
    ),
    Switch(
        "exhausted_retries_are_abortable",
        "A transaction in which a batch was tried in vain",
        {False: "ends with the last error as the reason", True: "ends with a TransactionAbortableException as the reason"},
        "KIP-1050",
        _not_transactional,
    ),
    Switch(
        "failed_abort_is_fatal",
        "TRANSACTION_ABORTABLE as the answer to an abort",
        {False: "leaves the producer without any call that is possible", True: "is a fatal error"},
        "KIP-1050",
        _not_transactional,
    ),
    Switch(
        "offset_commit_retries_all",
        "An error for the offsets of a transaction",
        {False: "is tried again if it is one of few by name", True: "is tried again if it is retriable"},
        "KAFKA-16047",
        _not_transactional,
    ),
    Switch(
        "transaction_errors_keep_their_names",
        "INVALID_TXN_STATE for partitions or offsets of a transaction",
        {False: "is fatal as a KafkaException", True: "is fatal as an InvalidTxnStateException"},
        "KAFKA-14278",
        _not_transactional,
    ),
    Switch(
        "topic_id_resets_epoch",
        "A client whose topic was deleted and created again",
        {False: "stays with the leader that had the highest epoch", True: "takes the leader of the new topic"},
        "KAFKA-12257",
    ),
    Switch(
        "unknown_topic_id_resets_epoch",
        "A client that was told meanwhile that its topic is not there",
        {False: "stays with the leader that had the highest epoch", True: "takes the leader of the new topic"},
        "KAFKA-13488",
    ),
    Switch(
        "produces_by_topic_id",
        "A record for a topic that was deleted and created again",
        {False: "may be written into the new topic at once", True: "fails with UNKNOWN_TOPIC_ID until the client knows the new topic"},
        "KAFKA-10551",
    ),
    Switch(
        "memory_kept_until_answer",
        "The memory of a batch that expired in flight",
        {False: "is free at once, so another batch may overwrite what is still being sent", True: "is free when its request is answered or lost"},
        "KAFKA-19012",
    ),
    Switch(
        "uniform_sticky",
        "A producer that chooses the partition of a record without key",
        {False: "changes it with each new batch", True: "changes it after batch.size bytes"},
        "KIP-794",
        _nothing_to_choose,
    ),
    Switch(
        "drains_each_node_from_its_own_place",
        "A request that has no room for the next partition's batch",
        {False: "may leave that partition out the next time too, for as long as others have something", True: "begins with that partition the next time"},
        "KAFKA-13834",
    ),
    Switch(
        "expired_text_says_not_sent",
        "The text of the exception for a batch that expired",
        {False: "says how long ago the batch was made", True: "says also that it was not sent, or not answered"},
        "KAFKA-17019",
    ),
    Switch(
        "tells_records_apart",
        "A record in a batch that was refused for another record",
        {False: "fails with the same exception as that one", True: "fails with an exception of its own"},
        "KAFKA-12548",
        _without_answers,
    ),
    Switch(
        "backoff_lasts_until_usable",
        "The wait before a reconnect",
        {False: "is short again as soon as a broker's port has answered", True: "is longer each time until a broker itself has answered"},
        "KAFKA-13879",
    ),
    Switch(
        "linger_returns",
        "A record of the second transaction, or of a later one,",
        {False: "is sent without lingering", True: "waits as long as in the first"},
        "KAFKA-12870",
        _not_transactional,
    ),
    Switch(
        "close_repeats_abort",
        "close() with a transaction open that cannot be aborted",
        {False: "leaves the transaction as it is", True: "tries for as long as it was given time"},
        "KAFKA-16217",
        _not_transactional,
    ),
    Switch(
        "memory_text_tells_pool",
        "The text of the exception for a send() that waited for memory in vain",
        {False: "says how long it waited", True: "says also how much it wanted, and what there was"},
        "pull request 11378",
    ),
    Switch(
        "batch_size_at_least_one",
        "With batch.size=0 a send() without a key",
        {False: "never returns (3.3.0 and 3.3.1) or makes a batch of each record", True: "makes a batch of each record"},
        "KAFKA-14303",
        _batches_hold_bytes,
    ),
    Switch(
        "authorization_errors_end_no_producer",
        "A producer whose producer id was refused for want of authorization",
        {False: "is of no use any more", True: "fails what waits, and asks again"},
        "KAFKA-14831",
        _without_idempotence,
    ),
    Switch(
        "setup_time_out_ends_poll",
        "A connection to a leader that is not set up within its time-out",
        {False: "is given up when something else wakes the client, or after request.timeout.ms", True: "is given up at once"},
        "KAFKA-12762",
    ),
    Switch(
        "throttle_extends_time_out",
        "A request whose connection the broker throttles",
        {False: "times out at request.timeout.ms all the same", True: "has as much more time as it was throttled"},
        "KAFKA-16083",
    ),
    Switch(
        "sequences_hear_only_the_first_failure",
        "A late error for a batch that has failed already",
        {False: "may ask for another producer epoch", True: "is heard by nobody"},
        "KAFKA-14884",
        _without_idempotence,
    ),
    Switch(
        "tells_batches_apart_by_epoch",
        "A late answer to a batch whose sequence another one has in a newer epoch",
        {False: "makes the client lose sight of the other one, which then may wait in vain and expire", True: "changes nothing for the other one"},
        "KAFKA-13794",
        _without_idempotence,
    ),
    Switch(
        "retries_more_errors",
        "A producer whose producer id was refused with a retriable error",
        {False: "asks again after few of them, and is of no use after the others", True: "asks again"},
        "KAFKA-14417",
        _without_idempotence,
    ),
    Switch(
        "id_mapping_error_is_fatal",
        "A producer that is told INVALID_PRODUCER_ID_MAPPING",
        {False: "fails the batch and raises its epoch", True: "is of no use any more"},
        "KAFKA-18019",
        _without_idempotence,
    ),
    Switch(
        "send_refuses_after_fatal_error",
        "A send() after a fatal error of an idempotent producer",
        {False: "is taken, and its record fails later", True: "throws"},
        "KAFKA-13782",
        _without_idempotence,
    ),
    Switch(
        "rebootstraps",
        "A client that knows no live broker any more",
        {False: "tries the brokers that it has learnt for ever", True: "may return to bootstrap.servers (metadata.recovery.strategy)"},
        "KIP-899",
        _never_rebootstraps,
    ),
    Switch(
        "rebootstraps_after_trigger",
        "A client without metadata for metadata.recovery.rebootstrap.trigger.ms",
        {False: "keeps to the brokers that it has learnt", True: "returns to bootstrap.servers"},
        "KIP-1102",
        _never_rebootstraps,
    ),
    Switch(
        "asks_partitioner_once",
        "A partitioner class whose choice needs a new batch",
        {False: "is told so and asked again", True: "is asked once"},
        "KAFKA-18295",
        _no_partitioner_class,
    ),
    Switch(
        "round_robin_remembers",
        "A record for which RoundRobinPartitioner is asked twice",
        {False: "skips a partition", True: "gets the same partition again"},
        "KAFKA-17632",
        _no_partitioner_class,
    ),
    Switch(
        "splits_parts_in_halves",
        "A part of a split batch that is still too large for the broker",
        {False: "is cut by batch.size again", True: "is cut into halves"},
        "KAFKA-8350",
    ),
    Switch("flush_in_callback_throws", "A flush() inside a callback", {False: "waits for itself for ever", True: "throws a KafkaException"}, "KAFKA-10790"),
    Switch(
        "flush_waits_for_parts",
        "A flush() during which a batch was too large for the broker and was split",
        {False: "returns before its records have their outcomes", True: "waits for the parts"},
        "KAFKA-19479",
    ),
    Switch(
        "metadata_timeout_has_cause",
        "A send() that waited in vain for metadata",
        {False: "fails with a TimeoutException alone", True: "fails with a TimeoutException that names the last error of its topic"},
        "KAFKA-16965",
    ),
    Switch(
        "metadata_timeout_names_partition",
        "The text of the exception for a send() to a partition that its topic does not have",
        {False: "says that the topic is not known", True: "says that the partition is not"},
        "KAFKA-8862",
    ),
    Switch(
        "metrics_keep_overlapping_windows",
        "A window of a rate or an average in the client's metrics",
        {False: "counts until its beginning is too old", True: "counts until its last event is too old"},
        "pull request 15889",
    ),
    Switch(
        "generation_in_subscription",
        "A consumer that joins its group again",
        {False: "says which partitions it has", True: "says in which generation it got them, so that an old claim is known for one"},
        "KIP-792",
    ),
    Switch(
        "compares_claims",
        "A leader that assigns partitions so that they stay where they are",
        {False: "never looks at a claim from an older generation", True: "keeps one from an older generation too, where there is no newer"},
        "KAFKA-14639",
    ),
    Switch(
        "keeps_member_id",
        "A consumer whose generation its group does not know any more",
        {False: "gives up its member id too, so that the group waits for one that never comes", True: "keeps its member id"},
        "KAFKA-13419",
    ),
    Switch(
        "failed_sync_loses_partitions",
        "A cooperative consumer whose SyncGroup was overtaken by another rebalance",
        {False: "keeps what it has", True: "gives up all its partitions as lost"},
        "KAFKA-13891",
    ),
    Switch(
        "reads_on_while_it_commits",
        "An eager consumer that commits before it joins its group again",
        {False: "waits for its answer before it reads on", True: "takes more records meanwhile, which are read again"},
        "KAFKA-14196",
    ),
    Switch(
        "returns_while_it_commits",
        "A cooperative consumer that commits before it joins its group again",
        {False: "waits for its answer before it reads on", True: "takes more records meanwhile"},
        "KAFKA-13310",
    ),
    Switch(
        "commits_over_and_over",
        "A cooperative consumer that commits by itself",
        {False: "is in its group again when its offsets are committed", True: "is put out of its group: it commits with every poll() and does not join again"},
        "KAFKA-14024",
    ),
    Switch(
        "offset_fetch_retries_all",
        "A consumer that asks for committed offsets and is told an error that is retriable",
        {False: "fails, unless the coordinator loads or is another", True: "asks again"},
        "KAFKA-17279",
    ),
    Switch(
        "fetches_wait_for_positions",
        "A consumer of group.protocol=consumer whose group cannot say yet where a new partition is to be read from",
        {
            False: "takes records of its other partitions all the same",
            True: "takes none of its other partitions either, and throws a TimeoutException after default.api.timeout.ms",
        },
        "KAFKA-18376",
    ),
)


@dataclass(frozen=True, slots=True)
class Differing:
    """A switch that two releases have in different positions."""

    switch: Switch
    sentence: str


def differing(one: ClientProfile | BrokerProfile, other: ClientProfile | BrokerProfile) -> list[Differing]:
    """The switches that two profiles of one kind have in different positions, in the order of the table."""
    assert type(one) is type(other)
    table = CLIENT_SWITCHES if isinstance(one, ClientProfile) else BROKER_SWITCHES
    releases = one.version, other.version
    positions = [(switch, getattr(one, switch.name), getattr(other, switch.name)) for switch in table]
    return [Differing(switch, switch.sentence(before, after, releases)) for switch, before, after in positions if before != after]
