"""The compiled rules are the rules: `make compiled` changes no byte of a history."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from loading import load

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "performance" / "compiled.py"
compiled = load(SCRIPT)

DIGESTS = """
import ksim_models.producer
from ksim import Scenario, simulate
from ksim.scenario import names

print(ksim_models.producer.__file__.endswith(".py"))
for name in names():
    for changes in ({}, {"kafka": "3.2"}, {"client": "librdkafka"}):
        try:
            scenario = Scenario.load(name).override([], **changes)
            print(name, changes, simulate(scenario, seed=3).history.digest)
        except Exception as refusal:
            print(name, changes, type(refusal).__name__, refusal)
"""


def digests(environment: dict[str, str]) -> list[str]:
    told = subprocess.run([sys.executable, "-c", DIGESTS], check=True, stdout=subprocess.PIPE, env=environment, text=True)
    return told.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.skipif(compiled.why_not() != "", reason=compiled.why_not())
def test_compiled_rules_write_the_same_histories() -> None:
    plain, fast = digests({**os.environ, "PYTHONPATH": ""}), digests(compiled.environment())

    assert (plain[0], fast[0]) == ("True", "False")
    assert fast[1:] == plain[1:]
    assert sum("sha256:" in line for line in fast) > 40


def test_without_a_compiler_the_build_says_what_it_needs() -> None:
    ended = subprocess.run([sys.executable, str(SCRIPT)], stderr=subprocess.PIPE, env={**os.environ, "CC": "no-such-compiler"}, text=True, check=False)

    assert ended.returncode == 1
    assert ended.stderr.startswith("make compiled needs a C compiler, and there is no `no-such-compiler` here.")


def test_a_message_is_compiled_as_a_plain_dataclass_and_keeps_its_slots_where_it_is_not() -> None:
    source = "from __future__ import annotations\n\nfrom ksim_models.machine import message\n\n\n@message\nclass Received:\n    message: object\n"

    assert "@dataclass(unsafe_hash=True)\nclass Received:\n    message: Any\n" in compiled.rewritten(source, compiled=True)
    assert "from typing import Any\n" in compiled.rewritten(source, compiled=True)
    assert "@dataclass(unsafe_hash=True, slots=True)\nclass Received:\n    message: object\n" in compiled.rewritten(source, compiled=False)


@pytest.mark.parametrize(
    ("decorator", "without"),
    [
        ("@dataclass(frozen=True, slots=True)", "@dataclass(frozen=True)"),
        ("@dataclass(slots=True, eq=False)", "@dataclass(eq=False)"),
        ("@dataclass(slots=True)", "@dataclass()"),
    ],
)
def test_slots_are_left_out_wherever_they_stand(decorator: str, without: str) -> None:
    assert compiled.rewritten(f"{decorator}\nclass A:\n    a: int\n", compiled=True) == f"{without}\nclass A:\n    a: int\n"
