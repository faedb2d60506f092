"""Versions are data: what one release of the client or of the brokers does differently, as named switches.

Kafka: the switchboards of the rule books (client 0.2, broker 0). A rule stands once in a machine and asks a switch where releases differ.
Default values, which differ too, are in `config`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ksim_models.broker_variants import (
    ElectionBackoff,
    HeartbeatRetry,
    ReassignmentNeeds,
    RegistrationLeavesIsr,
    election_backoff,
    reassignment_needs,
    registration_leaves_isr,
)

NEWEST = "4.3"

NEWEST_PATCHES = "2.8.2 3.0.2 3.1.2 3.2.3 3.3.2 3.4.1 3.5.2 3.6.2 3.7.2 3.8.1 3.9.2 4.0.2 4.1.2 4.2.0 4.3.0"
LAST_PATCH = {minor: int(patch) for minor, _, patch in (release.rpartition(".") for release in NEWEST_PATCHES.split())}
"""What a minor release by itself means: the newest patch that was out, and measured, when its rules were read."""

NEWER_PATCH = {"4.2": 1, "4.3": 1}
"""Out since then, and the same here: what these patches mend is none of the producer's, the brokers' and the controller's rules. They are to be written out."""

KAFKA_VERSIONS = tuple(LAST_PATCH)
OLDEST_BROKERS = "3.3"
"""The first release whose KRaft mode was for production."""

Release = tuple[int, int, int]


class IdempotenceRule(Enum):
    """How a client settles `enable.idempotence` (section 1.3 of the client's rule book)."""

    EXPLICIT_ONLY = "explicit-only"
    """2.8, 3.0.0, 3.1.0: only what the user wrote counts; the default of 3.0.0 and 3.1.0 is declared but not applied (KAFKA-13598)."""
    SILENTLY_OFF = "3.x"
    """3.0.1, 3.1.1, 3.2 to 3.9: on by default; a conflict switches the default off silently and is an error where the user asked for it."""
    IN_FLIGHT_ALWAYS_CHECKED = "4.x"
    """4.0: more than five in flight is an error unless idempotence is false in so many words."""


@dataclass(frozen=True, slots=True)
class ClientProfile:
    """One release of the Java producer."""

    version: str
    """As it was asked for, "3.9" or "3.9.1"."""
    release: Release
    idempotence_rule: IdempotenceRule
    exponential_backoff: bool
    """3.7 (KIP-580, A28, M2): the backoff doubles up to retry.backoff.max.ms, +-20 %; before, constant retry.backoff.ms without jitter."""
    backoff_is_capped: bool
    """3.7 (KIP-580, N7, N8): no wait is longer than its maximum; before, jitter could exceed it by 20 %, and an initial one above it held."""
    equivalent_response_backoff: bool
    """3.7 (M2): metadata that brings no change makes the next refresh wait longer."""
    new_epoch_skips_backoff: bool
    """3.6.1 (KAFKA-15415, A30): a higher leader epoch cancels the backoff of a retry."""
    any_epoch_change_skips_backoff: bool
    """3.6.1 and 3.7.0 only (KAFKA-16226, A30): so does a lower one, of a topic that was created again."""
    leader_hint_in_produce: bool
    """3.7 (KIP-951, M5): takes the new leader out of a produce response; a consumer out of that of a fetch."""
    request_timeout_is_timed_out: bool
    """3.5 (N4): a request time-out at the client is REQUEST_TIMED_OUT; before, NETWORK_EXCEPTION."""
    memory_kept_until_answer: bool
    """3.9.2, 4.0.2, 4.1.2, 4.2 (KAFKA-19012, A24): a batch that expired in flight keeps its memory until the request is answered."""
    uniform_sticky: bool
    """3.3 (KIP-794, A46): records without a key stick to a partition by bytes; before, until a new batch is needed (KIP-480, A47)."""
    asks_partitioner_once: bool
    """4.0 (A48): before, a partitioner class was told that its choice needs a new batch, and asked again."""
    round_robin_remembers: bool
    """3.9.2 (KAFKA-17632, A48): RoundRobinPartitioner, asked again, gives the same partition; before, it skipped one with every new batch."""
    splits_parts_in_halves: bool
    """4.2 (KAFKA-8350, A43): a part of a split batch that is still too large is halved; before, it was cut by batch.size again."""
    drains_each_node_from_its_own_place: bool
    """3.3 (KAFKA-13834, A31): a node's drain begins where its last one broke off; before, one place behind, and one place for all nodes."""
    expired_text_says_not_sent: bool
    """4.3 (A39): the text of an expiry says that no response came."""
    tells_records_apart: bool
    """3.0 (KAFKA-12548, S16): of a batch refused for some of its records each fails with an exception of its own; before, all with the same."""
    backoff_lasts_until_usable: bool
    """3.3 (KAFKA-13879, N7): the reconnect backoff begins anew when a connection can be used; before, when the other side had accepted it."""
    linger_returns: bool
    """2.8.1 (KAFKA-12870, A27): records of the next transaction linger again; before, none lingered once a transaction had been ended."""
    close_repeats_abort: bool
    """3.6.0 to 3.7.0 (KAFKA-16217, A51): close() tries over and over to abort a transaction that cannot be aborted, until its time is over."""
    memory_text_tells_pool: bool
    """3.1 (pull request 11378, A22): the text of a BufferExhaustedException says how much was asked for, and what there is."""
    batch_size_at_least_one: bool
    """3.3.2, 3.4 (section 0.2): batch.size = 0 counts as 1; with 3.3.0 and 3.3.1 a send without a key never returns."""
    authorization_errors_end_no_producer: bool
    """3.6 (KAFKA-14831, I1): after a refused InitProducerId what waits has failed, and the next turn asks for an id again; before, it was fatal."""
    id_mapping_error_is_fatal: bool
    """4.0 (I14): INVALID_PRODUCER_ID_MAPPING for a batch; before, it asked for a new epoch."""
    send_refuses_after_fatal_error: bool
    """3.1.1, 3.2 (A8, A11): send() of an idempotent producer throws; before, its records failed behind it."""
    flush_in_callback_throws: bool
    """4.1 (KAFKA-10790, A50): flush() inside a callback is a KafkaException; before, the I/O thread waited for itself (H-016)."""
    flush_waits_for_parts: bool
    """3.9.2, 4.0.2, 4.1.1, 4.2 (KAFKA-19479, A50): flush() waits for what a split batch became; before, it took the whole for complete."""
    metadata_timeout_has_cause: bool
    """3.9 (KAFKA-16965, A3): a send() that waited in vain for metadata names the last error of its topic."""
    metadata_timeout_names_partition: bool
    """3.9.1, 4.0 (KAFKA-8862, A3): it says that a partition is missing where the topic is known; before, that the topic is."""
    setup_time_out_ends_poll: bool
    """3.0.1, 3.1 (KAFKA-12762, N8): before, one of a leader's connection was noticed only when a poll ended for another reason."""
    throttle_extends_time_out: bool
    """3.8 (KAFKA-16083, N11): a request has as much longer as the broker throttled its connection; before, it timed out meanwhile (H-037)."""
    sequences_hear_only_the_first_failure: bool
    """3.6 (KAFKA-14884, I16, I17): and after the callbacks; before, ahead of them, and of a late error too: it could ask for another epoch."""
    tells_batches_apart_by_epoch: bool
    """3.0.2, 3.1.1, 3.2 (KAFKA-13794): before, the late answer of a batch let go of another one in flight that had its sequence in a newer epoch."""
    retries_more_errors: bool
    """3.3.2, 3.4 (KAFKA-14417): CONCURRENT_TRANSACTIONS for a batch, and whatever is retriable for InitProducerId (I1); before, few errors by name."""
    transactions_v2: bool
    """4.0 (KIP-890, T40): no requests of its own add partitions or offsets to a transaction, and every end brings another epoch."""
    illegal_steps_are_illegal_states: bool
    """3.1.1, 3.2 (KAFKA-13412, T1): a call out of its turn is an IllegalStateException; before, a KafkaException."""
    illegal_steps_poison: bool
    """3.6 (KAFKA-14831, T1): an illegal transition on the I/O thread is the end of the producer."""
    pins_timed_out_calls: bool
    """3.1.1, 3.2 (KAFKA-13412, T9): a call that timed out must be repeated before another one; before, the states decided."""
    failed_sends_abort: bool
    """3.2 (KAFKA-13418, A10): an error that send() itself finds makes the transaction one to be aborted; before, it could be committed without the record."""
    exhausted_retries_are_abortable: bool
    """4.1 (KIP-1050, T12): a batch that was tried in vain leaves a TransactionAbortableException behind."""
    failed_abort_is_fatal: bool
    """4.1 (KIP-1050): TRANSACTION_ABORTABLE for an abort; before, the abort failed and no other call was possible."""
    offset_commit_retries_all: bool
    """3.8 (KAFKA-16047, T25a): TxnOffsetCommit is sent again for whatever is retriable; before, for few errors by name."""
    transaction_errors_keep_their_names: bool
    """3.6 (KAFKA-14278, T25a): INVALID_TXN_STATE is fatal as itself, a fencing code for offsets as ProducerFencedException; before, as other exceptions."""
    topic_id_resets_epoch: bool
    """2.8.1, 3.0 (KAFKA-12257, M4): metadata of a topic with another id counts, however low its leader epochs; before, the client was stuck (H-090)."""
    unknown_topic_id_resets_epoch: bool
    """2.8.2, 3.0.1, 3.1 (KAFKA-13488, M4): also where the topic was not there for a while, so that its old id is forgotten."""
    produces_by_topic_id: bool
    """4.1 (KAFKA-10551, BP-16): Produce requests name topics by id."""
    rebootstraps: bool
    """3.8 (KIP-899, M6 i): knows metadata.recovery.strategy, so may return to the bootstrap list when no node is left."""
    rebootstraps_after_trigger: bool
    """4.0 (KIP-1102, M6 ii and iii): also after metadata.recovery.rebootstrap.trigger.ms without metadata, or when a broker demands it."""
    generation_in_subscription: bool
    """3.4 (KIP-792): a member says in which generation it got the partitions that it has; so a stable group begins anew where it joins again."""
    compares_claims: bool
    """3.4.1 (KAFKA-14639): a sticky leader holds claims of different generations against each other; before, those of older ones were none."""
    keeps_member_id: bool
    """3.2 (KAFKA-13419): ILLEGAL_GENERATION takes a member's generation only; before, its id too, and the group waited for the old one."""
    failed_sync_loses_partitions: bool
    """3.3.0, 3.3.1 (KAFKA-13891, taken back): a SyncGroup that another rebalance overtook takes the generation: a cooperative member loses everything."""
    reads_on_while_it_commits: bool
    """3.2.1, 3.2.2 (KAFKA-14196): an eager member reads on while it commits before it joins again; what it reads then is read again."""
    returns_while_it_commits: bool
    """3.2 (KAFKA-13310): poll() returns while a member commits before it joins again, so a cooperative one reads on; before, it waited for the answer."""
    commits_over_and_over: bool
    """3.2.0 (KAFKA-14024): a cooperative member commits with every poll() before it joins again, and is never done with it."""
    offset_fetch_retries_all: bool
    """3.9 (KAFKA-17279): OffsetFetch is sent again for whatever is retriable; before, only while the coordinator loads, or is another."""
    fetches_wait_for_positions: bool
    """4.2 (KAFKA-18376): a consumer of KIP-848 whose new partition has no committed offset to tell yet asks for no other records, and throws in the end."""
    metrics_keep_overlapping_windows: bool
    """3.8 (MINOR #15889, X1): a window of a rate or an average counts until its last event is too old; before, until its beginning is."""


@dataclass(frozen=True, slots=True)
class BrokerProfile:
    """One release of brokers and controllers, in KRaft mode, on a freshly formatted cluster (VP-2)."""

    version: str
    release: Release
    min_isr_capped_by_replication: bool
    """3.7 (KAFKA-15583, BP-26): the effective minimum is min(min.insync.replicas, replication factor)."""
    hw_frozen_below_min_isr: bool
    """3.7 (KIP-966, RP-23): the high watermark stands still while the committed ISR is smaller than the minimum."""
    hw_waits_only_for_eligible: bool
    """3.6 (RP-22): a caught-up replica outside the ISR holds the high watermark back only if it could join."""
    epoch_bump_on_isr_shrink: bool
    """Before 3.6 (KAFKA-15021, KC-47): an ISR shrink raises the leader epoch."""
    broker_epoch_in_fetch: bool
    """3.5 (KIP-903): a follower's fetch and AlterPartition carry the broker epoch."""
    refuses_stale_fetches: bool
    """3.7 (KAFKA-15221, RP-12): a fetch of an older incarnation than this broker knows changes nothing; before, it counted for the high watermark."""
    eligible_leader_replicas: bool
    """4.1 (KIP-966, KC-50): on for clusters formatted by this release. 4.0 has it, off by default."""
    last_known_leader_needs_acceptable: bool
    """4.1 (KAFKA-19522, KC-55): the last known leader is elected only if it is alive; in 4.0 the test had no effect."""
    session_scan_in_slices: bool
    """4.0 (KAFKA-17793, KC-2): stale sessions are looked for every eighth of the session; before, one event at the session's end."""
    old_session_blocks_after_shutdown: bool
    """4.0 (KC-13): a restart soon after a controlled shutdown waits for the old session too."""
    parked_metadata_fetch_sees_commit: bool
    """4.1 (KIP-1166, KC-80): a parked metadata fetch is answered when the commit advances; before, up to 500 ms later."""
    leader_hint_in_produce: bool
    """3.7 (KIP-951, BP-14): NOT_LEADER_OR_FOLLOWER names the leader this broker knows."""
    drops_newer_epoch_batches: bool
    """3.9.1, 4.0.1, 4.1 (KAFKA-18723, RP-39): a follower ignores fetched batches of a newer epoch than its fetch had."""
    matches_epochs_of_fetches: bool
    """3.9.1, 4.0.1, 4.1 (KAFKA-18991, RP-38): a follower ignores the answer to a fetch of an older epoch; before, where leader and offset are the same, not."""
    clean_shutdown_epoch: bool
    """3.7 (KC-58): the clean-shutdown file carries the broker epoch, so that a registration can say "I stopped cleanly"."""
    demoted_while_shutting_down: bool
    """3.3.2 (KAFKA-14296): a broker that shuts down stops leading when the controller has given its partitions to others; before, it led on to the end."""
    retries_heartbeats_in_session: bool
    """3.3.2 (KAFKA-14392, KC-15): a heartbeat or registration waits half a session for its answer; before, controller.socket.timeout.ms."""
    deletes_strays_first: bool
    """3.7 (KAFKA-14616): a broker that starts deletes logs of deleted topics before it takes its roles; before, after it, with the role of a new topic."""
    reports_failed_directories: bool
    """3.7 (KIP-858): a broker tells the controller of a failed log directory; before, its replicas there stayed leaders and in sync."""
    exits_with_untold_directories: bool
    """3.8 (KAFKA-15649, BP-30): a broker that cannot tell the controller of a failed log directory for log.dir.failure.timeout.ms shuts down."""
    unclean_election_sweep: bool
    """3.9 (KC-44): from time to time leaders are elected where nobody leads and unclean election has been enabled since."""
    periodic_elections: bool
    """4.0 (KC-46): balancing leaders and unclean elections have their turn every interval; before, an interval after there was something to do."""
    check_quorum: bool
    """3.7 (KAFKA-15489, KC-86): an active controller from which no majority fetches resigns; before, it stayed until it heard of another."""
    pre_vote: bool
    """4.0 (KIP-996, KC-85): who hears no leader asks whether it would be elected before it takes a new epoch."""
    begin_quorum_epoch_repeats: bool
    """3.9: the leader of the controllers makes itself known to all of them every half fetch time-out; before, until each had answered."""
    voters_look_elsewhere: bool
    """3.9: a controller that cannot reach the leader asks another; before, it kept trying."""
    election_backoff: ElectionBackoff
    reassignment_needs: ReassignmentNeeds
    registration_leaves_isr: RegistrationLeavesIsr
    heartbeat_retry: HeartbeatRetry
    transaction_version: int
    """4.0 (KIP-890 part 2): 2 on clusters formatted by this release; a cluster's own, where the scenario says one. Before there was no such feature: 0."""
    verifies_transactions: bool
    """3.6 (KIP-890 part 1, PS-60): a leader asks the coordinator before the first batch of a transaction."""
    loads_only_when_elected: bool
    """3.8 (KAFKA-15468, TC-8): before, a transaction coordinator loaded its partition anew with every change of its ISR, and forgot what it was writing."""
    cancels_its_own_markers: bool
    """3.8 (KAFKA-16352, TC-53): an answer of an older coordinator epoch ends that one's sending; before, also what was sent for this id since then."""
    hides_lost_questions: bool
    """3.7.1 (KAFKA-16386, PS-65): a lost question to the coordinator is NOT_ENOUGH_REPLICAS, or COORDINATOR_LOAD_IN_PROGRESS; before, NETWORK_EXCEPTION."""
    verifies_offset_commits: bool
    """3.7 (PS-11): offsets of a transaction are tested too."""
    open_transaction_has_epoch: bool
    """4.0 (PS-11): a transaction that is open is the batch's own only in the batch's epoch."""
    old_epoch_before_proof: bool
    """3.9.2, 4.0.2, 4.1.2, 4.2 (KAFKA-19690, PS-11): an old epoch is INVALID_PRODUCER_EPOCH, not INVALID_TXN_STATE."""
    old_epoch_unasked: bool
    """4.1 (PS-62): a leader refuses an old epoch at once, without asking the coordinator."""
    strict_first_sequence: bool
    """4.1 (PS-13a): the first batch of a producer of transaction version 2 has sequence 0."""
    transaction_abortable: bool
    """3.8 (KIP-890, TC-33): a partition that is not in the transaction is TRANSACTION_ABORTABLE; before, INVALID_TXN_STATE."""
    pending_transition_first: bool
    """4.0 (TC-30): what a coordinator is writing is waited for before producer id and epoch are looked at."""
    fence_takes_two_epochs: bool
    """4.0.0 (KAFKA-19367, TC-24): fencing a transaction of version 2 raises the epoch twice."""
    remembers_failed_fence: bool
    """Up to 4.1 (TC-25): so does transaction version 2."""
    fence_changes_exhausted_id: bool
    """4.3 (KAFKA-20090, TC-43): a fence that uses up the epochs also changes the producer id; before, a transaction in the last epoch never ends."""
    writes_other_producer_ids: bool
    """4.3 (KAFKA-20310, TC-9): a coordinator that takes over knows the producer ids of before and after, with transaction version 1 or 2."""
    strict_marker_epoch: bool
    """4.2 (KIP-1228, KAFKA-19999, PS-31): a marker of transaction version 2 has a higher epoch than what it ends."""
    consumer_groups: bool
    """4.0 (KIP-848): groups of the consumer protocol. In 3.7 to 3.9 they were to be tried out only, and are refused here."""
    fenced_members_rejoin: bool
    """4.2 (KAFKA-19233): a member that was fenced joins again with epoch 0 at once; before, only when its session is over."""
    epoch_waits_for_revocations: bool
    """4.2 (KAFKA-19974): a member that has to give up more while it gives up keeps its epoch; before, that rose by one."""
    takes_its_own_for_free: bool
    """4.0.2, 4.1.2, 4.2 (KAFKA-19449): what comes back to the member that has just given it up is free at once; before, with its next heartbeat."""
    commits_by_partition_epoch: bool
    """4.3 (GC-10): a commit with an older member epoch counts for what the member has had since then."""
    paces_assignments: bool
    """4.3: at most one target of a group in group.consumer.assignment.interval.ms."""
    offsets_append_acks_1: bool
    """4.0 (GC-9): the group coordinator's appends need no minimum of the ISR."""
    start_up_ms: int
    """From the start of the process to its registration. Measured until electable (live-facts S5): 2.1-3.1 s with 4.3.0.
    3.9.1 took 6.2-10.6 s, but on a loaded machine: not taken for a rule."""


def client_profile(version: str) -> ClientProfile:
    """The Java client of this release; "X.Y" is its last patch. ValueError for a release that is not known."""
    release = parse_release(version)
    return ClientProfile(
        version=version,
        release=release,
        idempotence_rule=_idempotence_rule(release),
        exponential_backoff=release >= (3, 7, 0),
        backoff_is_capped=release >= (3, 7, 0),
        equivalent_response_backoff=release >= (3, 7, 0),
        new_epoch_skips_backoff=release >= (3, 6, 1),
        any_epoch_change_skips_backoff=release in ((3, 6, 1), (3, 7, 0)),
        leader_hint_in_produce=release >= (3, 7, 0),
        request_timeout_is_timed_out=release >= (3, 5, 0),
        memory_kept_until_answer=_has_fix(release, (3, 9, 2), (4, 0, 2), (4, 1, 2), (4, 2, 0)),
        uniform_sticky=release >= (3, 3, 0),
        asks_partitioner_once=release >= (4, 0, 0),
        round_robin_remembers=release >= (3, 9, 2),
        splits_parts_in_halves=release >= (4, 2, 0),
        drains_each_node_from_its_own_place=release >= (3, 3, 0),
        expired_text_says_not_sent=release >= (4, 3, 0),
        tells_records_apart=release >= (3, 0, 0),
        backoff_lasts_until_usable=release >= (3, 3, 0),
        linger_returns=release >= (2, 8, 1),
        close_repeats_abort=(3, 6, 0) <= release <= (3, 7, 0),
        memory_text_tells_pool=release >= (3, 1, 0),
        batch_size_at_least_one=release >= (3, 3, 2),
        authorization_errors_end_no_producer=release >= (3, 6, 0),
        id_mapping_error_is_fatal=release >= (4, 0, 0),
        send_refuses_after_fatal_error=release >= (3, 1, 1),
        flush_in_callback_throws=release >= (4, 1, 0),
        flush_waits_for_parts=_has_fix(release, (3, 9, 2), (4, 0, 2), (4, 1, 1), (4, 2, 0)),
        metadata_timeout_has_cause=release >= (3, 9, 0),
        metadata_timeout_names_partition=release >= (3, 9, 1),
        setup_time_out_ends_poll=release >= (3, 0, 1),
        throttle_extends_time_out=release >= (3, 8, 0),
        sequences_hear_only_the_first_failure=release >= (3, 6, 0),
        tells_batches_apart_by_epoch=_has_fix(release, (3, 0, 2), (3, 1, 1), (3, 2, 0)),
        retries_more_errors=release >= (3, 3, 2),
        transactions_v2=release >= (4, 0, 0),
        illegal_steps_are_illegal_states=release >= (3, 1, 1),
        illegal_steps_poison=release >= (3, 6, 0),
        pins_timed_out_calls=release >= (3, 1, 1),
        failed_sends_abort=release >= (3, 2, 0),
        exhausted_retries_are_abortable=release >= (4, 1, 0),
        failed_abort_is_fatal=release >= (4, 1, 0),
        offset_commit_retries_all=release >= (3, 8, 0),
        transaction_errors_keep_their_names=release >= (3, 6, 0),
        topic_id_resets_epoch=_has_fix(release, (2, 8, 1), (3, 0, 0)),
        unknown_topic_id_resets_epoch=_has_fix(release, (2, 8, 2), (3, 0, 1), (3, 1, 0)),
        produces_by_topic_id=release >= (4, 1, 0),
        rebootstraps=release >= (3, 8, 0),
        rebootstraps_after_trigger=release >= (4, 0, 0),
        metrics_keep_overlapping_windows=release >= (3, 8, 0),
        generation_in_subscription=release >= (3, 4, 0),
        compares_claims=release >= (3, 4, 1),
        keeps_member_id=release >= (3, 2, 0),
        failed_sync_loses_partitions=release in ((3, 3, 0), (3, 3, 1)),
        reads_on_while_it_commits=(3, 2, 1) <= release <= (3, 2, 2),
        returns_while_it_commits=release >= (3, 2, 0),
        commits_over_and_over=release == (3, 2, 0),
        offset_fetch_retries_all=release >= (3, 9, 0),
        fetches_wait_for_positions=release >= (4, 2, 0),
    )


def broker_profile(version: str) -> BrokerProfile:
    """The brokers of this release, or those of 3.3 for an older one. ValueError for a release that is not known."""
    release = parse_release(version)
    if release < (3, 3, 0):
        version, release = OLDEST_BROKERS, parse_release(OLDEST_BROKERS)
    return BrokerProfile(
        version=version,
        release=release,
        min_isr_capped_by_replication=release >= (3, 7, 0),
        hw_frozen_below_min_isr=release >= (3, 7, 0),
        hw_waits_only_for_eligible=release >= (3, 6, 0),
        epoch_bump_on_isr_shrink=release < (3, 6, 0),
        broker_epoch_in_fetch=release >= (3, 5, 0),
        refuses_stale_fetches=release >= (3, 7, 0),
        eligible_leader_replicas=release >= (4, 1, 0),
        last_known_leader_needs_acceptable=release >= (4, 1, 0),
        session_scan_in_slices=release >= (4, 0, 0),
        old_session_blocks_after_shutdown=release >= (4, 0, 0),
        parked_metadata_fetch_sees_commit=release >= (4, 1, 0),
        leader_hint_in_produce=release >= (3, 7, 0),
        drops_newer_epoch_batches=_has_fix(release, (3, 9, 1), (4, 0, 1), (4, 1, 0)),
        matches_epochs_of_fetches=_has_fix(release, (3, 9, 1), (4, 0, 1), (4, 1, 0)),
        clean_shutdown_epoch=release >= (3, 7, 0),
        demoted_while_shutting_down=release >= (3, 3, 2),
        retries_heartbeats_in_session=release >= (3, 3, 2),
        deletes_strays_first=release >= (3, 7, 0),
        reports_failed_directories=release >= (3, 7, 0),
        exits_with_untold_directories=release >= (3, 8, 0),
        unclean_election_sweep=release >= (3, 9, 0),
        periodic_elections=release >= (4, 0, 0),
        check_quorum=release >= (3, 7, 0),
        pre_vote=release >= (4, 0, 0),
        begin_quorum_epoch_repeats=release >= (3, 9, 0),
        voters_look_elsewhere=release >= (3, 9, 0),
        election_backoff=election_backoff(release),
        reassignment_needs=reassignment_needs(release),
        registration_leaves_isr=registration_leaves_isr(release),
        transaction_version=2 if release >= (4, 0, 0) else 0,
        verifies_transactions=release >= (3, 6, 0),
        loads_only_when_elected=release >= (3, 8, 0),
        cancels_its_own_markers=release >= (3, 8, 0),
        hides_lost_questions=release >= (3, 7, 1),
        verifies_offset_commits=release >= (3, 7, 0),
        open_transaction_has_epoch=release >= (4, 0, 0),
        old_epoch_before_proof=_has_fix(release, (3, 9, 2), (4, 0, 2), (4, 1, 2), (4, 2, 0)),
        old_epoch_unasked=release >= (4, 1, 0),
        strict_first_sequence=release >= (4, 1, 0),
        transaction_abortable=release >= (3, 8, 0),
        pending_transition_first=release >= (4, 0, 0),
        fence_takes_two_epochs=release == (4, 0, 0),
        remembers_failed_fence=release < (4, 2, 0),
        fence_changes_exhausted_id=release >= (4, 3, 0),
        writes_other_producer_ids=release >= (4, 3, 0),
        strict_marker_epoch=release >= (4, 2, 0),
        consumer_groups=release >= (4, 0, 0),
        fenced_members_rejoin=release >= (4, 2, 0),
        epoch_waits_for_revocations=release >= (4, 2, 0),
        takes_its_own_for_free=_has_fix(release, (4, 0, 2), (4, 1, 2), (4, 2, 0)),
        commits_by_partition_epoch=release >= (4, 3, 0),
        paces_assignments=release >= (4, 3, 0),
        offsets_append_acks_1=release >= (4, 0, 0),
        heartbeat_retry=HeartbeatRetry.FIXED if _has_fix(release, (3, 9, 2), (4, 0, 1), (4, 1, 0)) else HeartbeatRetry.EXPONENTIAL,
        start_up_ms=2_500,
    )


def parse_release(version: str) -> Release:
    """The release that a version names: "3.9" is (3, 9, 2); "3.9.1" is itself. ValueError, with what is possible, for anything else."""
    minor, patch = ".".join(version.split(".")[:2]), version.split(".")[2:]
    if minor in LAST_PATCH:
        last, newest = LAST_PATCH[minor], NEWER_PATCH.get(minor, LAST_PATCH[minor])
        major, number = (int(part) for part in minor.split("."))
        if not patch:
            return major, number, last
        if len(patch) == 1 and patch[0] in {str(known) for known in range(newest + 1)}:
            return major, number, int(patch[0])
        if len(patch) == 1:
            raise ValueError(f'"{version}" is not a Kafka release known here: of {minor} there are {minor}.0 to {minor}.{newest}; "{minor}" is {minor}.{last}.')
    raise ValueError(f'"{version}" is not a Kafka release known here: choose one of {", ".join(KAFKA_VERSIONS)}, or a patch of one of them such as "3.9.1".')


def _has_fix(release: Release, *fixed_in: Release) -> bool:
    """A fix that came with a patch of several branches: present from that patch on within the branch, and after the last branch."""
    return any(release[:2] == first[:2] and release >= first for first in fixed_in) or release >= fixed_in[-1]


def _idempotence_rule(release: Release) -> IdempotenceRule:
    if release < (3, 0, 1) or release == (3, 1, 0):
        return IdempotenceRule.EXPLICIT_ONLY
    return IdempotenceRule.SILENTLY_OFF if release < (4, 0, 0) else IdempotenceRule.IN_FLIGHT_ALWAYS_CHECKED
