"""The rules that `ksim.invariants` looks at, by their names, each with what Kafka excepts from it.

Kafka: INV-1 to INV-14 of the broker's rule book, section 13 (INV-10 to INV-12: `ksim.invariants_transactions`).
The TLA+ properties LeaderCompleteness, LeaderCandidateCompleteness, ReplicationQuorumSuperset, LogMatching, MetadataLogMatching, ConsistentRead,
MinIsrRecoveryQuorum and NoCommittedRecordLostGlobally (Vanlightly, kip-966 specification).
"""

from __future__ import annotations

from ksim.invariants import Committed, Invariants, Rule, Seen
from ksim.invariants_quorum import metadata_logs_match, never_two_leaders_in_one_epoch, the_leading_controller_has_all_that_was_committed
from ksim_models.broker import Broker
from ksim_models.elections import without_elr
from ksim_models.log import Log
from ksim_models.messages import ClearElrRecord, PartitionRecord, RecordBatch, RemoveTopicRecord, topic_of
from ksim_models.sequences import next_sequence


def offsets_are_in_order(cluster: Invariants) -> None:
    """INV-1: 0 <= log start <= last stable offset <= high watermark <= log end. Excepted: a machine without power has a file, and no offsets."""
    for broker, partition, log in cluster.replicas():
        offsets = log.log_start_offset, log.last_stable_offset, log.high_watermark, log.log_end_offset
        if broker.running and not 0 <= offsets[0] <= offsets[1] <= offsets[2] <= offsets[3]:
            cluster.broken("INV-1", f"{partition} on {broker.name}: {', '.join(map(str, offsets))}")


def a_leaders_high_watermark_only_rises(cluster: Invariants) -> None:
    """INV-2: within one epoch, on one broker, in one life of its process."""
    for broker, partition in cluster.leaders():
        replica = broker.replicas[partition]
        seen = cluster.seen.setdefault((broker.name, partition), Seen())
        key = broker.incarnation, replica.leader_epoch
        if seen.key == key and replica.log.high_watermark < seen.high_watermark:
            cluster.broken("INV-2", f"{partition} on {broker.name}: from {seen.high_watermark} back to {replica.log.high_watermark}")
        seen.key, seen.high_watermark = key, replica.log.high_watermark


def the_isr_of_a_leader_has_what_it_committed(cluster: Invariants) -> None:
    """INV-3. Excepted: power loss, unclean election; a member that has just started is not counted on before its leader has heard of it."""
    for broker, partition in cluster.current_leaders():
        leadership = broker.replicas[partition].leadership
        assert leadership is not None
        if is_excused(cluster, partition):
            continue
        high_watermark = broker.logs[partition].high_watermark
        for name in cluster.newest[partition].isr:
            log = cluster.log_of(name, partition)
            if name in leadership.committed and log is not None and log.log_end_offset < high_watermark and cluster.takes_part(name):
                cluster.broken("INV-3", f"{partition}: {name} is in sync and ends at {log.log_end_offset}, {broker.name} committed {high_watermark}")


def one_epoch_and_offset_is_one_batch(cluster: Invariants) -> None:
    """INV-4. Excepted: before 3.9.1 and 4.0 a late answer may bring batches of a newer epoch (KAFKA-18723).

    And a coordinator whose broker comes back from a power loss: from 3.4 on it leads by old metadata before the broker is let in, and writes,
    under the epoch of before, over what it lost (BrokerMetadataPublisher.onMetadataUpdate comes before BrokerServer.enableRequestProcessing).
    """
    for broker, partition, log in cluster.replicas():
        seen = _rewound(cluster, broker, partition, log)
        for batch in log.batches[seen.counted :]:
            known = cluster.written.setdefault((partition, batch.leader_epoch, batch.base_offset), batch)
            if known is not batch and known != batch and broker.profile.drops_newer_epoch_batches:
                if not (batch.payload and partition in cluster.cut_by_power_loss):
                    cluster.broken("INV-4", f"{partition} on {broker.name}: {batch} where another replica has {known}")
                cluster.excuse(partition, "a coordinator wrote over what a power loss had taken")
            _count_sequence(cluster, broker, partition, log, seen, batch)
        seen.counted = len(log.batches)
        seen.last = log.batches[-1] if log.batches else None


def _rewound(cluster: Invariants, broker: Broker, partition: str, log: Log) -> Seen:
    """A log that was cut, at its end or at its beginning, is looked through again."""
    seen = cluster.seen.setdefault((broker.name, partition), Seen())
    count = seen.counted
    if count and not (count <= len(log.batches) and log.batches[count - 1] is seen.last):
        seen.counted, seen.last, seen.matched = 0, None, 0
        seen.sequences.clear()
    return seen


def _count_sequence(cluster: Invariants, broker: Broker, partition: str, log: Log, seen: Seen, batch: RecordBatch) -> None:
    """INV-9: in a log the sequences of one producer id and epoch follow each other without a gap.

    Excepted: the producer had been forgotten, because its last record is older than producer.id.expiration.ms or its records were removed (PS-13, PS-19).
    """
    if batch.producer_id < 0 or batch.marker is not None or batch.payload:  # What coordinators write has no sequence.
        return
    before = seen.sequences.get(batch.producer_id)
    seen.sequences[batch.producer_id] = batch
    if before is None or before.producer_epoch != batch.producer_epoch:
        return
    forgotten = before.next_offset <= log.log_start_offset or cluster.now - before.max_timestamp >= log.forget_producers_after
    if batch.base_sequence != next_sequence(before.base_sequence, len(before.records)) and not forgotten:
        cluster.broken("INV-9", f"{partition} on {broker.name}: {batch} behind {before}")


def one_leader_per_epoch(cluster: Invariants) -> None:
    """INV-5: two brokers may both take themselves for the leader, but never under one epoch."""
    for broker, partition in cluster.leaders():
        key = partition, broker.replicas[partition].leader_epoch
        if cluster.of_epoch.setdefault(key, broker.name) != broker.name:
            cluster.broken("INV-5", f"{partition}, epoch {key[1]}: {broker.name} and {cluster.of_epoch[key]}")


def isr_and_elr_are_sound(cluster: Invariants) -> None:
    """INV-7. Excepted: the leader of an unclean election was in neither; an empty ISR needs eligible leader replicas; a new minimum clears the ELR (KC-59),
    and a reassignment leaves in it whom it takes the replica from.
    """
    for record in cluster.newest.values():
        replicas, isr, elr = record.replicas, record.isr, record.elr
        sound = (
            all(name in replicas for name in isr)
            and (not record.leader or record.leader in isr)
            and (bool(isr) or cluster.brokers[0].profile.eligible_leader_replicas)
            and not any(name in elr for name in isr)
            and (len(isr) < cluster.min_isr(record.partition) or all(name not in replicas for name in elr) or cluster.minimum_altered)
        )
        if not sound:
            cluster.broken("INV-7", str(record))


def is_excused(cluster: Invariants, partition: str) -> bool:
    committed = cluster.committed.get(partition)
    return committed is not None and bool(committed.excused)


def _bound(cluster: Invariants, partition: str) -> Committed | None:
    """What must be there; None where nothing was committed, or where Kafka may have lost it."""
    committed = cluster.committed.get(partition)
    return committed if committed is not None and committed.end and not committed.excused else None


def the_leader_has_all_that_was_committed(cluster: Invariants) -> None:
    """LeaderCompleteness (and INV-8). Excepted: unclean election, and a power loss that took the last complete copy, or the last replica standing.

    A broker that has started is not counted before the controller has let it in: it believes old metadata (from 3.4 on it publishes what it has fetched
    before it is registered), and serves nobody (BrokerServer.startup: enableRequestProcessing comes behind setReadyToUnfence).
    """
    for broker, partition in cluster.current_leaders():
        committed = _bound(cluster, partition) if cluster.takes_part(broker.name) else None
        if committed is not None and broker.logs[partition].log_end_offset < committed.end:
            cluster.broken("LeaderCompleteness", f"{partition}: {broker.name} leads and ends at {broker.logs[partition].log_end_offset} of {committed.end}")


def whoever_may_be_elected_has_all_that_was_committed(cluster: Invariants) -> None:
    """LeaderCandidateCompleteness: every member of ISR and ELR that runs. Excepted: as above; who has just lost its power is no member once it is let in."""
    for partition, record in cluster.newest.items():
        committed = _bound(cluster, partition)
        for name in (*record.isr, *record.elr) if committed is not None else ():
            log = cluster.log_of(name, partition)
            if committed is not None and log is not None and log.log_end_offset < committed.end and cluster.takes_part(name):
                cluster.broken("LeaderCandidateCompleteness", f"{partition}: {name} may be elected and ends at {log.log_end_offset} of {committed.end}")


def what_the_leader_waits_for_covers_whoever_may_be_elected(cluster: Invariants) -> None:
    """ReplicationQuorumSuperset: the maximal ISR of the leader holds the controller's ISR and ELR, unless its own ISR is too small to commit anything.

    Excepted: a metadata record that repeats the partition epoch which the leader knows from the answer to its AlterPartition takes back what it has
    proposed since (RP-58); until the next record it does not wait for the replica that the controller has already let in. What is lost by that is Kafka's.
    """
    for broker, partition in cluster.current_leaders():
        leadership = broker.replicas[partition].leadership
        assert leadership is not None
        record = cluster.newest[partition]
        if not leadership.in_flight and leadership.maximal != leadership.committed:
            cluster.broken("ReplicationQuorumSuperset", f"{partition} on {broker.name}: nothing is asked, {leadership.maximal}, {leadership.committed}")
        wide = len(leadership.committed) >= broker.replicas[partition].min_isr
        if not wide or _covers(leadership.maximal, record):
            continue
        if leadership.partition_epoch < record.partition_epoch and (not leadership.in_flight or is_excused(cluster, partition)):
            cluster.excuse(partition, "a repeated record took back what the leader had proposed (RP-58)")
        else:
            cluster.broken("ReplicationQuorumSuperset", f"{partition}: {broker.name} waits for {leadership.maximal} only, of {record.isr} and {record.elr}")


def _covers(maximal: tuple[str, ...], record: PartitionRecord) -> bool:
    """Who is no replica any more is elected no more, even if it is left in the ELR."""
    return all(name in maximal for name in (*record.isr, *record.elr) if name in record.replicas)


def logs_match_as_far_as_they_are_committed(cluster: Invariants) -> None:
    """LogMatching and ConsistentRead (CV-11): below its own high watermark every replica has what was committed there, and it never changes.

    What lies before the start of its log nobody reads. Excepted: unclean election and the power losses above, until the replica has cut its log (RP-35).
    """
    for broker, partition, log in cluster.replicas():
        committed = _bound(cluster, partition)
        if committed is None or not broker.running:
            continue
        seen = _rewound(cluster, broker, partition, log)
        end = min(log.high_watermark, committed.end)
        replica = broker.replicas.get(partition)
        leads = replica is not None and replica.leadership is not None
        if replica is not None and leads and seen.led != (broker.incarnation, replica.leader_epoch):
            seen.led, seen.matched = (broker.incarnation, replica.leader_epoch), 0
        if log.high_watermark > committed.end:
            cluster.broken("LogMatching", f"{partition} on {broker.name}: high watermark {log.high_watermark}, and {committed.end} is committed")
        if end > seen.matched:
            start = max(seen.matched, log.log_start_offset, log.batches[0].base_offset if log.batches else end)
            mine, theirs = list(log.between(start, end)), _between(committed, start, end)
            if mine != theirs:
                name = "ConsistentRead" if leads else "LogMatching"
                cluster.broken(name, f"{partition} on {broker.name} has {mine[:3]} from {start} to {end}, and {theirs[:3]} was committed")
            seen.matched = end


def _between(committed: Committed, start: int, end: int) -> list[RecordBatch]:
    """A log may start in the middle of a batch."""
    return [batch for batch in committed.batches if start < end and batch.next_offset > start and batch.base_offset < end]


def brokers_believe_what_the_controller_wrote(cluster: Invariants) -> None:
    """MetadataLogMatching: a broker's image is a beginning of the controller's log."""
    log = cluster.controller.metadata_log
    for broker in cluster.brokers:
        known = cluster.learned[broker.name]
        offset = broker.membership.metadata_offset
        if not broker.running or broker.given_records:
            continue
        if known.incarnation != broker.incarnation:
            known.incarnation, known.offset = broker.incarnation, 0
            known.partitions = {}
        if offset > len(log):
            cluster.broken("MetadataLogMatching", f"{broker.name} is at {offset} of {len(log)}")
        for record in log[known.offset : offset]:
            if isinstance(record, PartitionRecord):
                known.partitions[record.partition] = record
            elif isinstance(record, RemoveTopicRecord):
                known.partitions = {name: kept for name, kept in known.partitions.items() if topic_of(name) != record.topic}
            elif isinstance(record, ClearElrRecord):
                known.partitions.update(without_elr(known.partitions, record.topic))
        known.offset = offset
        if broker.image.partitions != known.partitions:
            cluster.broken("MetadataLogMatching", f"{broker.name} believes {broker.image.partitions}, and the log says {known.partitions}")


def somebody_is_left_to_recover_from(cluster: Invariants) -> None:
    """MinIsrRecoveryQuorum: with neither ISR nor ELR the last known leader is remembered.

    Excepted: Kafka remembers one, not min.insync.replicas (KC-50), and a new minimum forgets that one too (KC-59).
    """
    for record in cluster.newest.values():
        if not record.isr and not record.elr and len(record.last_known_elr) != 1 and not cluster.minimum_altered:
            cluster.broken("MinIsrRecoveryQuorum", str(record))


def nothing_committed_is_gone_everywhere(cluster: Invariants) -> None:
    """NoCommittedRecordLostGlobally. Excepted: every replica that had it lost its power; unclean election; the last replica standing."""
    for partition in cluster.newest:
        committed = _bound(cluster, partition)
        if committed is not None and not any(
            log.log_end_offset >= committed.end
            and (log.log_start_offset >= committed.end or committed.batches[-1] in log.between(committed.end - 1, committed.end))
            for _, name, log in cluster.replicas()
            if name == partition
        ):
            cluster.broken("NoCommittedRecordLostGlobally", f"{partition}: {committed.end} was committed, and no replica has it")


def a_replica_knows_what_is_open_in_its_log(cluster: Invariants) -> None:
    """INV-10."""
    for broker, partition, log in cluster.replicas():
        cluster.transactions.look(broker, partition, log)


RULES: dict[str, Rule] = {
    "INV-1": offsets_are_in_order,
    "INV-2": a_leaders_high_watermark_only_rises,
    "INV-3": the_isr_of_a_leader_has_what_it_committed,
    "INV-4, INV-9": one_epoch_and_offset_is_one_batch,
    "INV-5": one_leader_per_epoch,
    "INV-7": isr_and_elr_are_sound,
    "INV-10": a_replica_knows_what_is_open_in_its_log,
    "NoCommittedRecordLostGlobally": nothing_committed_is_gone_everywhere,
    "LeaderCompleteness, INV-8": the_leader_has_all_that_was_committed,
    "LeaderCandidateCompleteness": whoever_may_be_elected_has_all_that_was_committed,
    "ReplicationQuorumSuperset": what_the_leader_waits_for_covers_whoever_may_be_elected,
    "LogMatching, ConsistentRead": logs_match_as_far_as_they_are_committed,
    "MetadataLogMatching": brokers_believe_what_the_controller_wrote,
    "MetadataLogMatching, of controllers": metadata_logs_match,
    "LeaderCompleteness, of controllers": the_leading_controller_has_all_that_was_committed,
    "NeverTwoLeadersInSameEpoch": never_two_leaders_in_one_epoch,
    "MinIsrRecoveryQuorum": somebody_is_left_to_recover_from,
}
"""INV-6 and INV-11 to INV-14 are about what happens, not about a state: `ksim.invariants` follows them."""
