"""Whether a batch of a transaction, or the marker of its end, may go into a partition: what a release asks of it.

Kafka: UnifiedLog.analyzeAndValidateProducerState, ProducerAppendInfo; KIP-890.
"""

from __future__ import annotations

from ksim_models.messages import RecordBatch
from ksim_models.producer_state import Answer, ProducerState
from ksim_models.producer_transactions import Verification
from ksim_models.profiles import BrokerProfile


def judge(
    producers: ProducerState, batch: RecordBatch, proof: Verification | None, profile: BrokerProfile, *, verifies: bool, strictly: bool
) -> tuple[Answer, int]:
    """proof: the guard under which the coordinator was asked. verifies: it is needed here. strictly: of a marker of transaction version 2."""
    if batch.marker is not None:
        return producers.judge_marker(batch, strictly=strictly), -1
    return producers.judge_transactional(
        batch,
        proof,
        needs_proof=verifies and (profile.verifies_offset_commits or not batch.payload),
        same_epoch=profile.open_transaction_has_epoch,
        epoch_first=profile.old_epoch_before_proof,
        strict_start=profile.strict_first_sequence,
    )
