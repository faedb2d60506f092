"""Vectors of the transactional client: the normal flow (section 4 of the client's vectors)."""

from __future__ import annotations

from ksim_models.errors import ErrorCode
from ksim_models.transaction_states import State
from scripted_transactions import Transactional


def test_a_basic_transaction_pv_100() -> None:
    client = Transactional()
    client.init()
    client.begin()
    client.send(0)
    assert client.waiting() == ["AddPartitions"]
    client.reply("AddPartitions")
    assert client.waiting() == ["Produce"]
    offsets = client.offsets(t_1=1)
    client.answer(offset=0)
    assert client.waiting() == ["AddOffsets"]
    client.reply("AddOffsets")
    assert client.waiting() == ["FindCoordinator"]
    client.reply("FindCoordinator")
    assert client.waiting() == []
    client.pass_by(100)
    assert client.waiting() == ["TxnOffsetCommit"]
    assert client.result(offsets) == "pending"
    client.reply("TxnOffsetCommit")
    assert client.result(offsets) == "done"
    commit = client.call("commit")
    assert client.waiting() == ["EndTxn"]
    assert client.asked("EndTxn").committed
    client.reply("EndTxn")
    assert client.result(commit) == "done"
    assert client.manager.state is State.READY
    assert client.ended() == [([0], "acked")]


def test_a_transaction_of_version_2_pv_103_pv_104() -> None:
    client = Transactional(v2=True)
    client.init()
    assert client.manager.is_v2
    client.begin()
    client.send(0)
    assert client.waiting() == ["Produce"]
    client.answer(offset=0)
    offsets = client.offsets(t_1=1)
    assert client.waiting() == ["FindCoordinator"]
    client.reply("FindCoordinator")
    client.pass_by(100)
    assert client.waiting() == ["TxnOffsetCommit"]
    client.reply("TxnOffsetCommit")
    assert client.result(offsets) == "done"
    abort = client.call("abort")
    client.reply("EndTxn")
    assert client.result(abort) == "done"
    assert client.manager.epoch == 2


def test_concurrent_transactions_pv_116() -> None:
    client = Transactional()
    client.init()
    client.begin()
    client.send(0)
    client.reply("AddPartitions", ErrorCode.CONCURRENT_TRANSACTIONS)
    client.pass_by(19.9)
    assert client.waiting() == []
    client.pass_by(0.1)
    assert client.waiting() == ["AddPartitions"]
