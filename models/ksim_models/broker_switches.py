"""What each switch of a broker's release means to whoever runs it: one plain sentence, where it comes from, and when it cannot matter.

Kafka: the KIPs and issues of its tracker. A switch of `profiles` without a sentence here is refused by a test.
"""

from __future__ import annotations

from ksim_models.broker_variants import ElectionBackoff, HeartbeatRetry, ReassignmentNeeds, RegistrationLeavesIsr
from ksim_models.switch import Switch, TopicUse


def _minimum_fits(use: TopicUse) -> str:
    return "min.insync.replicas is no larger than the number of replicas" if use.config.min_insync_replicas <= use.replicas else ""


def _minimum_is_one(use: TopicUse) -> str:
    return "min.insync.replicas is 1" if use.config.min_insync_replicas == 1 else ""


def _one_replica(use: TopicUse) -> str:
    return "there is one replica, and nobody follows it" if use.replicas == 1 else ""


def _one_controller(use: TopicUse) -> str:
    return "there is one controller" if use.controllers == 1 else ""


def _no_transactions(use: TopicUse) -> str:
    return "" if use.in_transactions else "no transaction and no group has to do with this topic"


BROKER_SWITCHES = (
    Switch(
        "min_isr_capped_by_replication",
        "A min.insync.replicas larger than the number of replicas",
        {False: "refuses every write with acks=all", True: "counts as the number of replicas"},
        "KAFKA-15583",
        idle_topic=_minimum_fits,
    ),
    Switch(
        "hw_frozen_below_min_isr",
        "The high watermark, while fewer replicas than min.insync.replicas are in sync,",
        {False: "moves on, so acks=1 records of a lone leader are shown to consumers", True: "stands still"},
        "KIP-966",
        idle_topic=_minimum_is_one,
    ),
    Switch(
        "hw_waits_only_for_eligible",
        "The high watermark",
        {False: "waits for every replica that keeps up, also for one that may not join the ISR", True: "waits only for replicas that could join the ISR"},
        "KAFKA-15021",
        idle_topic=_one_replica,
    ),
    Switch(
        "epoch_bump_on_isr_shrink",
        "The leader epoch, when the ISR shrinks,",
        {False: "stays", True: "rises, so that clients and followers ask for metadata"},
        "KAFKA-15021",
        idle_topic=_one_replica,
    ),
    Switch(
        "broker_epoch_in_fetch",
        "A follower that was restarted meanwhile",
        {False: "can be taken into the ISR for what it had before", True: "is told from its former self by its broker epoch"},
        "KIP-903",
        idle_topic=_one_replica,
    ),
    Switch(
        "refuses_stale_fetches",
        "A fetch that a follower sent before it was restarted",
        {False: "counts, as if the follower still had what it had then", True: "changes nothing"},
        "KAFKA-15221",
        idle_topic=_one_replica,
    ),
    Switch(
        "eligible_leader_replicas",
        "A replica that left the ISR at min.insync.replicas",
        {False: "is elected only uncleanly", True: "is remembered as eligible, and may be elected without loss"},
        "KIP-966",
        idle_topic=_one_replica,
    ),
    Switch(
        "last_known_leader_needs_acceptable",
        "The last known leader of a partition without ISR",
        {False: "is not looked at, or elected even while it is away (4.0)", True: "is elected when it is alive"},
        "KAFKA-19522",
        idle_topic=_one_replica,
    ),
    Switch(
        "session_scan_in_slices",
        "A broker that fell silent",
        {False: "is fenced at the end of its session", True: "is fenced up to an eighth of broker.session.timeout.ms after the end of its session"},
        "KAFKA-17793",
    ),
    Switch(
        "old_session_blocks_after_shutdown",
        "A broker that is started again at once after a controlled shutdown",
        {False: "is registered at once", True: "waits until its old session has ended"},
        "KAFKA-17793",
    ),
    Switch(
        "parked_metadata_fetch_sees_commit",
        "What the controller decided",
        {False: "reaches the brokers up to 500 ms later", True: "reaches the brokers when it is committed"},
        "KIP-1166",
    ),
    Switch(
        "leader_hint_in_produce",
        "A broker that does not lead the partition any more",
        {False: "only refuses the request", True: "names the new leader in its refusal"},
        "KIP-951",
    ),
    Switch(
        "drops_newer_epoch_batches",
        "A follower that is sent batches of a leader epoch newer than it asked with",
        {False: "appends them, and its log may differ from the leader's", True: "drops them and asks again"},
        "KAFKA-18723",
        idle_topic=_one_replica,
    ),
    Switch(
        "matches_epochs_of_fetches",
        "A follower that is told where its log parted from the leader's, by the answer to a fetch of an older leader epoch",
        {False: "may cut off what is committed", True: "drops it and asks again"},
        "KAFKA-18991",
        idle_topic=_one_replica,
    ),
    Switch(
        "deletes_strays_first",
        "A broker that was away while a topic was deleted and created again",
        {False: "has no replica of the new topic until something else happens to its partition", True: "begins to follow at once"},
        "KAFKA-14616",
        idle_topic=_one_replica,
    ),
    Switch(
        "demoted_while_shutting_down",
        "A broker that shuts down",
        {False: "stays leader to its end, though others have taken over", True: "leaves office once others have taken over"},
        "KAFKA-14296",
        idle_topic=_one_replica,
    ),
    Switch(
        "retries_heartbeats_in_session",
        "A broker whose heartbeat hangs",
        {False: "waits 30 s for its answer, and is fenced meanwhile", True: "repeats it within its session"},
        "KAFKA-14392",
    ),
    Switch(
        "reports_failed_directories",
        "A broker that loses one of several log directories",
        {False: "stays leader of what stood there, and fails every request for it", True: "says so to the controller, which moves what stood there"},
        "KIP-858",
    ),
    Switch(
        "exits_with_untold_directories",
        "A broker that lost a log directory and cannot reach the controller",
        {False: "stays up", True: "leaves after log.dir.failure.timeout.ms"},
        "KAFKA-15649",
    ),
    Switch(
        "unclean_election_sweep",
        "Unclean election that is enabled while nobody leads a partition",
        {False: "waits until something else happens to it", True: "has its turn within unclean.leader.election.interval.ms"},
        "KAFKA-12670",
        idle_topic=_one_replica,
    ),
    Switch(
        "periodic_elections",
        "Leadership that could go back to the preferred replica",
        {
            False: "waits for leader.imbalance.check.interval.seconds from then on",
            True: "has its turn every leader.imbalance.check.interval.seconds since the controller became active",
        },
        "KAFKA-17793",
        idle_topic=_one_replica,
    ),
    Switch(
        "reassignment_needs",
        "A reassignment",
        {
            ReassignmentNeeds.ADDED: "is complete when the added replicas are in sync",
            ReassignmentNeeds.ALL: "is complete when all replicas that stay are in sync",
            ReassignmentNeeds.ALL_WHERE_FEWER: "is complete when the added replicas are in sync, and where fewer come than go all that stay",
        },
        "KAFKA-15665, KAFKA-19975",
    ),
    Switch(
        "clean_shutdown_epoch",
        "A broker that comes back",
        {False: "cannot say whether it stopped cleanly", True: "says so with the broker epoch in its clean-shutdown file"},
        "KAFKA-15582",
    ),
    Switch(
        "registration_leaves_isr",
        "A broker that registers anew",
        {
            RegistrationLeavesIsr.NO: "stays in its ISRs unless it was fenced",
            RegistrationLeavesIsr.UNMATCHED: "leaves its ISRs where it did not stop cleanly and others remain",
            RegistrationLeavesIsr.NEW_INCARNATION: "leaves its ISRs where others remain",
        },
        "KAFKA-18106",
        idle_topic=_one_replica,
    ),
    Switch(
        "heartbeat_retry",
        "A broker whose heartbeat failed",
        {
            HeartbeatRetry.EXPONENTIAL: "repeats it after 100 ms, then ever later",
            HeartbeatRetry.FIXED: "repeats it every broker.heartbeat.interval.ms",
        },
        "KAFKA-19294",
    ),
    Switch(
        "transaction_version",
        "A freshly formatted cluster",
        {
            0: "lets every transaction of a producer have the same epoch",
            1: "lets every transaction of a producer have the same epoch",
            2: "gives every transaction an epoch of its own, so that nothing late can reach the next one",
        },
        "KIP-890",
        idle_topic=_no_transactions,
    ),
    Switch(
        "verifies_transactions",
        "A partition's leader",
        {False: "takes transactional records that the coordinator knows nothing of", True: "asks the coordinator before the first record of a transaction"},
        "KIP-890",
        idle_topic=_no_transactions,
    ),
    Switch(
        "loads_only_when_elected",
        "A transaction coordinator, when the ISR of its partition changes,",
        {False: "begins anew from the log, and never answers whose request it was writing", True: "stays as it is"},
        "KAFKA-15468",
        idle_topic=_no_transactions,
    ),
    Switch(
        "cancels_its_own_markers",
        "A transaction that is ending while an answer to markers of an older coordinator epoch comes",
        {False: "stays undecided for its producer until the next coordinator", True: "ends"},
        "KAFKA-16352",
        idle_topic=_no_transactions,
    ),
    Switch(
        "hides_lost_questions",
        "A leader whose question to the coordinator is lost with its connection",
        {False: "answers NETWORK_EXCEPTION, which ends older producers that commit offsets", True: "answers an error after which every producer tries again"},
        "KAFKA-16386",
        idle_topic=_no_transactions,
    ),
    Switch(
        "verifies_offset_commits",
        "The leader of a partition of __consumer_offsets",
        {False: "takes a transaction's offsets unasked", True: "asks the coordinator before the first offsets of a transaction"},
        "KAFKA-15449",
        idle_topic=_no_transactions,
    ),
    Switch(
        "open_transaction_has_epoch",
        "An open transaction of an older epoch",
        {False: "lets records of a newer epoch in without asking the coordinator", True: "is another one: the coordinator is asked"},
        "KAFKA-14563",
        idle_topic=_no_transactions,
    ),
    Switch(
        "old_epoch_before_proof",
        "A transactional record of an old epoch",
        {False: "is refused as not part of a transaction, which ends the producer", True: "is refused for its epoch, which ends the transaction only"},
        "KAFKA-19690",
        idle_topic=_no_transactions,
    ),
    Switch(
        "old_epoch_unasked",
        "A leader that is sent the first record of a transaction in an old epoch",
        {False: "asks the coordinator all the same", True: "refuses it at once"},
        "KAFKA-18042",
        idle_topic=_no_transactions,
    ),
    Switch(
        "strict_first_sequence",
        "The first record of a producer that a partition does not know",
        {False: "may have any sequence number", True: "has sequence number 0, under transaction version 2"},
        "KAFKA-18202",
        idle_topic=_no_transactions,
    ),
    Switch(
        "transaction_abortable",
        "A coordinator that is asked for a partition that is not in the transaction",
        {False: "answers INVALID_TXN_STATE", True: "answers TRANSACTION_ABORTABLE"},
        "KAFKA-15265",
        idle_topic=_no_transactions,
    ),
    Switch(
        "pending_transition_first",
        "A coordinator that is writing a change of a transaction",
        {False: "looks at producer id and epoch of a request first", True: "lets every request wait first"},
        "KIP-890",
        idle_topic=_no_transactions,
    ),
    Switch(
        "fence_takes_two_epochs",
        "Fencing a producer with an open transaction of version 2",
        {False: "takes one epoch", True: "takes two epochs"},
        "KAFKA-19367",
        idle_topic=_no_transactions,
    ),
    Switch(
        "remembers_failed_fence",
        "A coordinator that could not write the fence of a transaction of version 2",
        {False: "begins anew", True: "remembers it, without effect"},
        "KAFKA-19367",
        idle_topic=_no_transactions,
    ),
    Switch(
        "fence_changes_exhausted_id",
        "A fence that uses up the last epoch of a producer id",
        {False: "leaves the producer id until the next initTransactions", True: "changes the producer id with it"},
        "KAFKA-20090",
        idle_topic=_no_transactions,
    ),
    Switch(
        "writes_other_producer_ids",
        "A coordinator that takes over while a producer changes its producer id",
        {False: "has only the old one, and the producer is refused with the new one", True: "has both"},
        "KAFKA-20310",
        idle_topic=_no_transactions,
    ),
    Switch(
        "strict_marker_epoch",
        "A leader that is sent a marker with the epoch of the open transaction itself",
        {False: "writes it, so that a late marker may end the next transaction", True: "refuses it, under transaction version 2"},
        "KAFKA-19999",
        idle_topic=_no_transactions,
    ),
    Switch(
        "offsets_append_acks_1",
        "An offset commit while __consumer_offsets has too few replicas in sync",
        {False: "is refused, and nothing is written", True: "fails after offsets.commit.timeout.ms, and takes effect later"},
        "KIP-848",
        idle_topic=_no_transactions,
    ),
    Switch(
        "check_quorum",
        "An active controller from which no majority fetches any more",
        {False: "stays until it hears of another", True: "makes way for another"},
        "KAFKA-15489",
        idle_topic=_one_controller,
    ),
    Switch(
        "begin_quorum_epoch_repeats",
        "An active controller",
        {False: "makes itself known to the others until each has answered", True: "repeats so all the time"},
        "KIP-853",
        idle_topic=_one_controller,
    ),
    Switch(
        "voters_look_elsewhere",
        "A controller that cannot reach the active one",
        {False: "tries on", True: "asks another who it is"},
        "KIP-853",
        idle_topic=_one_controller,
    ),
    Switch(
        "pre_vote",
        "A controller that hears no active one",
        {False: "begins an epoch and asks to be elected", True: "asks first whether it would be, so that one that was away deposes nobody"},
        "KIP-996",
        idle_topic=_one_controller,
    ),
    Switch(
        "election_backoff",
        "A controller that stood for election and lost",
        {
            ElectionBackoff.PLAIN: "waits so long that several may lose for ever, all alike",
            ElectionBackoff.JITTERED: "waits, each for another time",
            ElectionBackoff.NONE: "waits for the rest of its election time",
        },
        "KAFKA-18345",
        idle_topic=_one_controller,
    ),
    Switch(
        "consumer_groups",
        "A broker that is asked for the group protocol consumer",
        {False: "refuses", True: "assigns the partitions itself"},
        "KIP-848",
    ),
    Switch(
        "fenced_members_rejoin",
        "A member of the consumer protocol that was fenced and joins again",
        {False: "is refused until its session is over", True: "is let in at once"},
        "KAFKA-19233",
        idle_topic=_no_transactions,
    ),
    Switch(
        "epoch_waits_for_revocations",
        "The epoch of a member that has to give up more partitions while it gives up some",
        {False: "rises by one, so that what it commits meanwhile may be refused", True: "stays"},
        "KAFKA-19974",
        idle_topic=_no_transactions,
    ),
    Switch(
        "takes_its_own_for_free",
        "A member that is to have again what it has just given up",
        {False: "gets it with its next heartbeat", True: "gets it at once"},
        "KAFKA-19449",
        idle_topic=_no_transactions,
    ),
    Switch(
        "commits_by_partition_epoch",
        "A group of the consumer protocol",
        {False: "refuses a commit with an older member epoch", True: "takes a commit with an older member epoch for what the member has had since then"},
        "KIP-1251",
    ),
    Switch(
        "paces_assignments",
        "A group of the consumer protocol",
        {False: "gets a new target with every change of its members", True: "gets at most one new target in group.consumer.assignment.interval.ms"},
        "KAFKA-20291",
    ),
)
