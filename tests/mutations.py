"""Planted bugs: each takes one check out of the rules that Kafka needs, and some invariant must see it.

H-080 lists ten checks whose removal breaks an invariant of the TLA+ model; the others are planted so that every invariant of ours is seen to turn red.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ksim_models.elections import PartitionChange, PartitionChangeBuilder
from ksim_models.errors import ErrorCode
from ksim_models.following import Following
from ksim_models.image import Image
from ksim_models.isr import Leadership
from ksim_models.leading import Leading
from ksim_models.log import Log
from ksim_models.marker_writing import MarkerWriting
from ksim_models.messages import FetchedPartition, PartitionRecord
from ksim_models.parked import ParkedProduce
from ksim_models.producer_state import Answer, ProducerState
from ksim_models.producer_transactions import PartitionTransactions
from ksim_models.quorum_messages import VoteRequest
from ksim_models.raft import RaftVoter
from ksim_models.raft_log import RaftLog
from ksim_models.replica import Replica
from ksim_models.replication_control import ReplicationControl
from ksim_models.roles import Roles
from ksim_models.transaction_markers import Ending, TransactionMarkers
from ksim_models.transaction_messages import TxnMarker

Plant = Callable[[pytest.MonkeyPatch], None]


def around(owner: Any, name: str, wrap: Callable[..., Any]) -> Plant:
    """Plant `wrap(original, *arguments)` in the place of a method."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        original = getattr(owner, name)
        patch.setattr(owner, name, lambda *arguments, **named: wrap(original, *arguments, **named))

    return plant


def instead(owner: Any, name: str, other: Callable[..., Any] | property) -> Plant:
    return lambda patch: patch.setattr(owner, name, other)


def both(*plants: Plant) -> Plant:
    def plant_all(patch: pytest.MonkeyPatch) -> None:
        for plant in plants:
            plant(patch)

    return plant_all


# H-080: the ten checks.


def _may_expand(self: Leadership, name: str, high_watermark: int, *, of_the_epoch: bool, of_the_high_watermark: bool, known: bool = True) -> bool:
    end = self.followers[name].log_end_offset
    least = max(high_watermark if of_the_high_watermark else 0, self.epoch_start_offset if of_the_epoch else 0)
    return not self.in_flight and name not in self.maximal and (not known or end >= least)


def _received_whatever_the_epoch(self: Following, connection: str, response: Any, broker_epoch: int, now: int, out: list[Any]) -> None:
    fetcher = self.by_connection.get(connection)
    if fetcher is None:
        return
    fetcher.asked_at = None
    for fetched in response.partitions:
        replica = self.replicas.get(fetched.partition)
        if replica is not None and fetched.partition in fetcher.asked_epochs:
            wrong_place = fetched.batches and fetched.batches[0].base_offset != replica.log.log_end_offset
            self._take(fetcher, replica, replace_batches(fetched) if wrong_place else fetched, now, out)
    self._go_on(fetcher, broker_epoch, now, out)


def replace_batches(fetched: FetchedPartition) -> FetchedPartition:
    return replace(fetched, batches=())


def _append_anywhere(original: Any, self: Log, batch: Any, now: int = 0) -> None:
    """No look at the offset: what comes is put at the end."""
    original(self, replace(batch, base_offset=self.log_end_offset), now)


def _received_twice(original: Any, self: Following, fetcher: Any, replica: Replica, fetched: FetchedPartition, now: int, out: list[Any]) -> None:
    original(self, fetcher, replica, fetched, now, out)
    if fetched.batches and not fetched.error:
        original(self, fetcher, replica, fetched, now, out)


def _keep_what_followers_had(original: Any, self: Leadership, *arguments: Any) -> None:
    original(self, *arguments)
    for follower in self.followers.values():  # As if they had been reset to the log end: a new leader believes what it did not see.
        follower.log_end_offset = self.epoch_start_offset


def _welcome_any_incarnation(original: Any, self: ReplicationControl, state: Any, sender: str, item: Any) -> ErrorCode:
    found: ErrorCode = original(self, state, sender, item)
    return ErrorCode.NONE if found is ErrorCode.INELIGIBLE_REPLICA else found


def _welcome_any_partition_epoch(original: Any, self: ReplicationControl, state: Any, sender: str, item: Any) -> ErrorCode:
    found: ErrorCode = original(self, state, sender, replace(item, partition_epoch=state.partition_epoch))
    return found


def _eligible_whoever_it_was(self: Image, broker: str, broker_epoch: int) -> bool:
    return True


def _epochs_not_looked_at(original: Any, self: Leading, replica: Replica, session: Any, position: Any) -> ErrorCode:
    found: ErrorCode = original(self, replica, session, position)
    return ErrorCode.NONE if found in (ErrorCode.NOT_LEADER_OR_FOLLOWER,) and replica.leadership is not None else found


def _followed_anew(original: Any, self: Roles, record: PartitionRecord, now: int, out: list[Any]) -> None:
    original(self, record, now, out)
    replica = self.replicas[record.partition]
    if replica.leadership is None and record.leader:
        self._follow(replica, record, True, now, out)


# The others: one for each invariant.


def _built(change: Callable[[PartitionChangeBuilder, PartitionChange], PartitionRecord]) -> Plant:
    def build(original: Any, self: PartitionChangeBuilder) -> PartitionChange | None:
        found: PartitionChange | None = original(self)
        return None if found is None else PartitionChange(change(self, found), found.unclean)

    return around(PartitionChangeBuilder, "build", build)


def _elect_anybody(self: PartitionChangeBuilder, isr: tuple[str, ...], elr: tuple[str, ...], replicas: tuple[str, ...]) -> tuple[str, bool]:
    return next((name for name in reversed(replicas) if self.is_acceptable(name)), ""), False


def _step_back(original: Any, self: Log, to: int, now: int) -> None:
    original(self, to if to % 10 else to - 5, now)


def _beyond_the_end(original: Any, self: Log, *arguments: Any) -> None:
    original(self, *arguments)
    self.high_watermark = self.log_end_offset + 1


def _forget_all(original: Any, self: Log, *arguments: Any) -> None:
    self.start_anew_at(0)
    original(self, *arguments)


def _another_content(original: Any, self: Log, offset: int, limit_bytes: int) -> Any:
    return tuple(
        replace(batch, producer="somebody else") if batch.base_offset <= 50 < batch.next_offset else batch for batch in original(self, offset, limit_bytes)
    )


def _at_once(self: Leading, partition: str, required: int, parked: ParkedProduce) -> None:
    parked.settle(partition, ErrorCode.NONE)


def _the_wrong_way_round(original: Any, self: ParkedProduce) -> Any:
    response = original(self)
    return replace(response, results=tuple(reversed(response.results)))


def _deaf(original: Any, self: Image, records: Any) -> Any:
    return original(self, [record for record in records if not (isinstance(record, PartitionRecord) and record.partition_epoch % 2)])


def _narrow(self: Leadership, name: str) -> None:
    self.expanding, self.in_flight = name, True


def _proposed_with_it(original: Any, self: Leadership) -> tuple[str, ...]:
    found: tuple[str, ...] = original(self)
    return (*found, self.expanding) if self.expanding and self.expanding not in found else found


def _rewritten_by_its_leader(original: Any, self: Leading, replica: Replica) -> None:
    if replica.leader_epoch > 0 and replica.log.batches:
        replica.log.batches[0] = replace(replica.log.batches[0], producer="somebody else")
    original(self, replica)


def _fits(self: RaftVoter, request: VoteRequest) -> bool:
    return self.log.is_up_to_date(request.last_epoch, request.end_offset)


def _of_the_leader_alone(original: Any, self: RaftVoter) -> Any:
    self.ends = dict.fromkeys(self.ends, self.log.end_offset)
    return original(self)


def _still_open(original: Any, self: PartitionTransactions, producer_id: int, marker_offset: int, *, aborted: bool) -> None:
    first = self.open[producer_id]
    original(self, producer_id, marker_offset, aborted=aborted)
    self.open[producer_id] = first


def _the_other_way(original: Any, self: MarkerWriting, marker: TxnMarker, *rest: Any) -> None:
    original(self, replace(marker, committed=not marker.committed), *rest)


def _at_the_first_answer(original: Any, self: TransactionMarkers, ending: Ending, now: int, out: list[Any]) -> None:
    ending.waiting_for.clear()
    original(self, ending, now, out)


PLANTED: dict[str, Plant] = {
    # H-080
    "H-080 broker incarnation": both(instead(Image, "is_isr_eligible", _eligible_whoever_it_was), around(Leading, "_fetch_error", _epochs_not_looked_at)),
    "H-080 reset of follower state": both(around(Leadership, "__init__", _keep_what_followers_had), around(Leadership, "lead_again", _keep_what_followers_had)),
    "H-080 follower's end is known": instead(
        Leadership, "may_expand", lambda self, name, hw: _may_expand(self, name, hw, of_the_epoch=True, of_the_high_watermark=True, known=False)
    ),
    "H-080 at the high watermark": instead(
        Leadership, "may_expand", lambda self, name, hw: _may_expand(self, name, hw, of_the_epoch=True, of_the_high_watermark=False)
    ),
    "H-080 at the epoch's start": instead(
        Leadership, "may_expand", lambda self, name, hw: _may_expand(self, name, hw, of_the_epoch=False, of_the_high_watermark=True)
    ),
    "H-080 added again without a higher epoch": around(Roles, "_take_role", _followed_anew),
    "H-080 fetch offset": both(around(Log, "append_as_follower", _append_anywhere), around(Following, "_take", _received_twice)),
    "H-080 epoch of a fetch response": instead(Following, "received", _received_whatever_the_epoch),
    "H-080 broker epoch in AlterPartition": both(
        around(ReplicationControl, "_refusal", _welcome_any_incarnation), instead(Image, "is_isr_eligible", _eligible_whoever_it_was)
    ),
    "H-080 partition epoch in AlterPartition": around(ReplicationControl, "_refusal", _welcome_any_partition_epoch),
    # The others
    "a high watermark beyond the end": around(Log, "come_back", _beyond_the_end),
    "a high watermark that steps back": around(Log, "advance_high_watermark", _step_back),
    "commits what nobody else has": instead(Leadership, "committable", lambda self, leader_end, *_: leader_end),
    "the same offset, another batch": around(Log, "read", _another_content),
    "an election without a new epoch": _built(lambda self, found: replace(found.state, leader_epoch=self.partition.leader_epoch)),
    "a change without a new partition epoch": _built(lambda self, found: replace(found.state, partition_epoch=self.partition.partition_epoch)),
    "a leader outside the ISR": _built(lambda self, found: replace(found.state, isr=tuple(name for name in found.state.isr if name != found.state.leader))),
    "no sequence is judged": instead(ProducerState, "judge", lambda self, batch: (Answer.APPEND, -1)),
    "anybody is elected": instead(PartitionChangeBuilder, "_elect", _elect_anybody),
    "acknowledged before it is committed": instead(Leading, "_wait_for_commit", _at_once),
    "answers in the wrong order": around(ParkedProduce, "response", _the_wrong_way_round),
    "a follower that does not cut": instead(Replica, "diverges", lambda self, epoch, offset: None),
    "a new leader that rewrites its log": around(Leading, "watch", _rewritten_by_its_leader),
    "a broker deaf to every other record": around(Image, "apply", _deaf),
    "nobody is remembered": instead(PartitionChangeBuilder, "_last_known_elr", lambda self, leader: ()),
    "a crash that empties the disk": around(Log, "come_back", _forget_all),
    "a controller that votes as often as it is asked": instead(RaftVoter, "_may_have_vote", _fits),
    "a controller that votes for whoever asks": instead(RaftLog, "is_up_to_date", lambda self, last_epoch, end_offset: True),
    "a controller that counts no majority": around(RaftVoter, "_advance", _of_the_leader_alone),
    "a controller that keeps what its leader does not have": instead(RaftLog, "diverges", lambda self, offset, last_epoch: None),
    "a marker that ends nothing": around(PartitionTransactions, "end", _still_open),
    "a marker that says the opposite": around(MarkerWriting, "_append", _the_other_way),
    "complete at the first marker": around(TransactionMarkers, "_maybe_done", _at_the_first_answer),
    "nobody is told of what was aborted": instead(Log, "aborted", lambda self, start, end: ()),
    "readers go as far as the high watermark": instead(Log, "last_stable_offset", property(lambda self: self.high_watermark)),
    "proposed and not waited for": both(instead(Leadership, "propose_expand", _narrow), around(Leadership, "proposed_isr", _proposed_with_it)),
}
