"""What must hold of a quorum of controllers: one leader per epoch, one metadata log, and nothing of it lost that was committed.

Kafka: KafkaRaftClient; the TLA+ properties MetadataLogMatching and LeaderCompleteness on the metadata log, and NeverTwoLeadersInSameEpoch
(Vanlightly's KRaft specification). A disk that is lost would be an exception; here none is.
"""

from __future__ import annotations

from ksim.invariants import Invariants
from ksim_models.quorum_controller import QuorumController


def metadata_logs_match(cluster: Invariants) -> None:
    """MetadataLogMatching: what a voter takes for committed is committed, by its epoch and content; and one offset of an epoch is one record everywhere."""
    committed = cluster.metadata
    for voter in cluster.voters:
        log, seen = voter.disk.log.entries, cluster.quorum_seen
        known = seen.matched.get(voter.name, 0)
        bound = voter.raft.high_watermark if voter.running else known
        if bound > len(committed) or len(log) < known:
            cluster.broken("MetadataLogMatching", f"{voter.name}: {len(log)} records, {bound} known to be committed of {len(committed)}; it was at {known}")
        if bound > known and log[known:bound] != committed[known:bound]:
            cluster.broken("MetadataLogMatching", f"{voter.name} has {log[known:bound][:3]} from {known} on, and {committed[known:bound][:3]} is committed")
        seen.matched[voter.name] = max(known, bound)
        _scan(cluster, voter)


def _scan(cluster: Invariants, voter: QuorumController) -> None:
    log, before = voter.disk.log.entries, cluster.quorum_seen.scanned.setdefault(voter.name, [])
    same = min(len(before), len(log))
    while same and before[same - 1] is not log[same - 1]:
        same -= 1
    del before[same:]
    for offset in range(same, len(log)):
        entry = log[offset]
        stands = cluster.quorum_seen.written.setdefault((entry.epoch, offset), entry)
        if stands != entry:
            cluster.broken("MetadataLogMatching", f"{voter.name} has {entry} at {offset}, and another has {stands}")
        before.append(entry)


def the_leading_controller_has_all_that_was_committed(cluster: Invariants) -> None:
    """LeaderCompleteness on the metadata log. Excepted: a leader of an older epoch, which has not heard of the newer one yet."""
    committed = cluster.metadata
    leading = [voter for voter in cluster.voters if voter.running and voter.raft.leads]
    if not leading:
        return
    leader = max(leading, key=lambda voter: voter.disk.epoch)
    if leader.disk.epoch < committed[-1].epoch:
        return
    key = leader.name, leader.disk.epoch
    known, log = cluster.quorum_seen.complete.get(key, 0), leader.disk.log.entries
    if log[known : len(committed)] != committed[known:]:
        cluster.broken("LeaderCompleteness", f"{leader.name} leads epoch {leader.disk.epoch} and lacks some of the {len(committed)} records that are committed")
    cluster.quorum_seen.complete[key] = len(committed)


def never_two_leaders_in_one_epoch(cluster: Invariants) -> None:
    """NeverTwoLeadersInSameEpoch: of the quorum."""
    for voter in cluster.voters:
        if voter.running and voter.raft.leads:
            other = cluster.quorum_seen.led.setdefault(voter.disk.epoch, voter.name)
            if other != voter.name:
                cluster.broken("NeverTwoLeadersInSameEpoch", f"{other} and {voter.name} lead epoch {voter.disk.epoch}")
