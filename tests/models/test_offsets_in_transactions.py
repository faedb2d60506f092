"""What goes with the offsets of sendOffsetsToTransaction: a member's place in its group, leader epochs of what was read (T29, KIP-320, KIP-447)."""

from __future__ import annotations

import pytest

from ksim_models.transaction_messages import TxnOffsetCommitRequest
from ksim_models.transaction_pending import Group
from scripted_transactions import Transactional

STATIC = Group("g", "m", 5, "static-1")


def last(client: Transactional) -> TxnOffsetCommitRequest:
    request = client.manager.queue[-1].message
    assert isinstance(request, TxnOffsetCommitRequest)
    return request


@pytest.mark.parametrize("v2", [False, True])
def test_offsets_go_with_their_leader_epochs_and_the_members_place_in_its_group(v2: bool) -> None:
    client = Transactional(v2=v2)
    client._do("start")
    client.manager.send_offsets({"t-0": 7, "t-1": 9}, STATIC, {"t-1": 3})
    if not v2:
        client.manager.remember_offsets(client.manager.queue[-1])  # AddOffsetsToTxn was answered.

    request = last(client)
    assert (request.offsets, request.epochs) == ((("t-0", 7), ("t-1", 9)), (-1, 3))
    assert (request.group, request.member, request.generation, request.instance) == ("g", "m", 5, "static-1")


def test_offsets_that_are_not_answered_yet_go_along_with_their_epochs() -> None:
    client = Transactional(v2=True)
    client._do("start")
    client.manager.send_offsets({"t-0": 7}, STATIC, {"t-0": 2})
    client.manager.send_offsets({"t-1": 9}, STATIC)

    request = last(client)
    assert (request.offsets, request.epochs) == ((("t-0", 7), ("t-1", 9)), (2, -1))
