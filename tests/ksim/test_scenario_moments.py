"""Moments of a transaction that never come are refused; those that may come are not."""

from __future__ import annotations

import pytest

from ksim.problems import ScenarioError
from ksim.scenario import Scenario
from ksim_models.config import Problem

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


def problems_of(text: str, phase: str, who: str = "") -> tuple[Problem, ...]:
    sender = f', from = "{who}"' if who else ""
    fault = f'[[fault]]\ndo = "pause"\nwho = "brokers"\nfor = "1s"\nwhen = {{ transaction = 2, phase = "{phase}"{sender} }}\n'
    try:
        Scenario.loads(HEAD + text + fault)
    except ScenarioError as error:
        return error.problems
    return ()


@pytest.mark.parametrize(
    ("text", "phase", "who", "words", "possible"),
    [
        (PLAIN, "before-commit", "", "no producer of this scenario begins a transaction", "transaction = { records = 10 }"),
        (PLAIN + COPY, "before-commit", "feed", "feed begins no transaction", "copier"),
        (IN_TRANSACTIONS.format("commit"), "before-offsets", "", "before-offsets never comes here", "before-commit"),
        (IN_TRANSACTIONS.format("commit") + COPY, "before-offsets", "feed", "only an application that reads", "before-abort"),
        (IN_TRANSACTIONS.format("abort"), "before-commit", "", "before-commit never comes here", "before-abort"),
        (IN_TRANSACTIONS.format("abort"), "after-commit-sent", "", 'ends with "abort"', "before-abort"),
    ],
    ids=["nobody", "not this one", "no offsets", "no offsets of this one", "no commit", "no commit that is sent"],
)
def test_a_moment_that_never_comes_is_refused(text: str, phase: str, who: str, words: str, possible: str) -> None:
    (problem,) = problems_of(text, phase, who)

    assert words in problem.message
    assert possible in problem.possible
    assert problem.origin.line == (HEAD + text).count("\n") + 5
    assert problem.given


@pytest.mark.parametrize("phase", ["after-begin", "before-produce", "before-commit", "after-commit-sent", "before-abort"])
def test_what_a_workload_in_transactions_may_come_to_is_possible(phase: str) -> None:
    assert problems_of(IN_TRANSACTIONS.format("commit"), phase) == ()


@pytest.mark.parametrize("who", ["", "copier"])
def test_an_application_in_transactions_sends_offsets(who: str) -> None:
    assert problems_of(PLAIN + COPY, "before-offsets", who) == ()


def test_a_mistake_in_the_producers_settings_is_told_alone() -> None:
    (problem,) = problems_of(IN_TRANSACTIONS.format("commit").replace('= "f"\n', '= "f"\nconfig.linger.ms = -1\n'), "before-commit")

    assert "linger.ms" in problem.message
