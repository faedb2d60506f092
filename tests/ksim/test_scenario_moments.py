"""A fault that waits for a moment of a transaction that never comes is warned of."""

from __future__ import annotations

import pytest

from ksim.scenario import Scenario

HEAD = 'format = 1\ntitle = "a test"\nkafka = "4.3"\nseed = 7\n[topics.orders]\n[topics.payments]\n'
PLAIN = '[producers.feed]\n[[workload]]\nproducer = "feed"\ntopic = "orders"\nrecords = 20\nevery = "5ms"\n'
IN_TRANSACTIONS = PLAIN.replace("[producers.feed]\n", '[producers.feed]\nconfig.transactional.id = "f"\n') + 'transaction = {{ records = 5, end = "{}" }}\n'
COPY = """[producers.copier]
config.transactional.id = "copy-1"
[consumers.reader]
topics = ["orders"]
config.group.id = "copy"
config.isolation.level = "read_committed"
[applications.copy]
reads = "orders"
writes = "payments"
producer = "copier"
consumer = "reader"
commit_every = { records = 10 }
"""


def warnings_of(text: str, phase: str, who: str = "") -> list[str]:
    sender = f', from = "{who}"' if who else ""
    fault = f'[[fault]]\ndo = "pause"\nwho = "brokers"\nfor = "1s"\nwhen = {{ transaction = 2, phase = "{phase}"{sender} }}\n'
    return [note for note in Scenario.loads(HEAD + text + fault).plan().notes if "never strikes" in note]


@pytest.mark.parametrize(
    ("text", "phase", "who", "words", "possible"),
    [
        (PLAIN, "before-commit", "", "no producer of this scenario begins a transaction", ""),
        (PLAIN + COPY, "before-commit", "feed", "feed begins no transaction", "copier would"),
        (IN_TRANSACTIONS.format("commit"), "before-offsets", "", "before-offsets never comes", "before-commit"),
        (IN_TRANSACTIONS.format("commit") + COPY, "before-offsets", "feed", "only an application that reads", "before-abort"),
        (IN_TRANSACTIONS.format("abort"), "before-commit", "", "before-commit never comes", "before-abort"),
        (IN_TRANSACTIONS.format("abort"), "after-commit-sent", "", 'ends with "abort"', "before-abort"),
    ],
    ids=["nobody", "not this one", "no offsets", "no offsets of this one", "no commit", "no commit that is sent"],
)
def test_a_moment_that_never_comes_is_told_beforehand(text: str, phase: str, who: str, words: str, possible: str) -> None:
    (warning,) = warnings_of(text, phase, who)

    assert warning.startswith("warning: fault.0 never strikes: ")
    assert words in warning
    assert possible in warning


@pytest.mark.parametrize("phase", ["after-begin", "before-produce", "before-commit", "after-commit-sent", "before-abort"])
def test_what_a_workload_in_transactions_may_come_to_is_possible(phase: str) -> None:
    assert warnings_of(IN_TRANSACTIONS.format("commit"), phase) == []


@pytest.mark.parametrize("who", ["", "copier"])
def test_an_application_in_transactions_sends_offsets(who: str) -> None:
    assert warnings_of(PLAIN + COPY, "before-offsets", who) == []
