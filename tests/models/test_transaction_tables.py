"""The pages about the coordinator are drawn from its tables: what stands there is what the code does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ksim_models.coordinated_transaction import BEFORE, State
from ksim_models.errors import ErrorCode
from ksim_models.transaction_coordinator import END, END_WITH_EPOCHS, Answer
from ksim_models.transaction_states import LEGAL, Since

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "transaction-coordinator.md"


def diagram() -> Iterator[str]:
    yield "```mermaid"
    yield "stateDiagram-v2"
    for state, before in BEFORE.items():
        yield from (f"    {one.value} --> {state.value}" for one in before)
    yield "```"


def told(answer: Answer) -> str:
    return f"writes {answer.value}" if isinstance(answer, State) else "success" if answer is ErrorCode.NONE else answer.name


def ends() -> Iterator[str]:
    yield "| state | commit | abort |"
    yield "|---|---|---|"
    for state in dict.fromkeys(state for state, _ in END):
        yield f"| {state.value} | {told(END[state, True])} | {told(END[state, False])} |"


def ends_with_epochs() -> Iterator[str]:
    yield "| state | commit, epoch of before | commit, current epoch | abort, epoch of before | abort, current epoch |"
    yield "|---|---|---|---|---|"
    for state in dict.fromkeys(state for state, _, _ in END_WITH_EPOCHS):
        answers = [END_WITH_EPOCHS.get((state, commit, retried), ErrorCode.PRODUCER_FENCED) for commit in (True, False) for retried in (True, False)]
        yield f"| {state.value} | {' | '.join(map(told, answers))} |"


def test_the_diagram_and_the_tables_of_the_page_are_those_of_the_code() -> None:
    page = PAGE.read_text(encoding="utf-8")

    for block in (diagram(), ends(), ends_with_epochs()):
        assert "\n".join(block) in page


def test_every_state_can_be_reached_and_no_decision_is_taken_back() -> None:
    """INV-11: from PrepareCommit nothing leads but to CompleteCommit."""
    assert set(BEFORE) == set(State)
    assert [state for state, before in BEFORE.items() if State.PREPARE_COMMIT in before] == [State.COMPLETE_COMMIT]
    assert [state for state, before in BEFORE.items() if State.PREPARE_ABORT in before] == [State.COMPLETE_ABORT]


def states_of_the_producer() -> Iterator[str]:
    yield "```mermaid"
    yield "stateDiagram-v2"
    for target, sources in LEGAL.items():
        for source, since in sources.items():
            yield f"    {source.value} --> {target.value}" + (f" : since {since.value}" if since is not Since.ALWAYS else "")
    yield "    FATAL_ERROR : FATAL_ERROR, from anywhere, for good"
    yield "```"


def test_the_diagram_of_the_producer_is_drawn_from_its_table() -> None:
    page = (PAGE.parents[1] / "transactions.md").read_text(encoding="utf-8")

    assert "\n".join(states_of_the_producer()) in page
