"""Tidiness is a test: nothing half done, nothing swollen, nothing that holds on one machine only.

The shape is TigerBeetle's `src/tidy.zig`.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import core

ROOT = Path(__file__).resolve().parents[1]
LINES_MAX = 450
"""A ratchet: it may only go down."""
NOT_OURS = {"LICENSE"}
BUILT = {"__pycache__", "build", "dist"}
GENERATED = {".svg", ".png", ".ipynb", ".jsonl"}

# Written in two halves, so that this file does not find itself.
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|NotImplemented" + r"Error)\b")
REGISTRY = re.compile(
    r"(?:pypi" + r"\.org|python" + r"hosted\.org|repo\." + r"maven|repo1\." + r"maven|registry\." + r"npmjs|conda\." + r"anaconda)", re.IGNORECASE
)
MACHINE_PATH = re.compile(r"(?<![\w./~$)}<>-])/(?:work|root|home|Users)(?:/|\b(?![\w-]))")


def tracked_files() -> list[Path]:
    """What git tracks and what it would: new files count at once. Without git (an unpacked archive) everything that is neither hidden nor built."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        names = [path.relative_to(ROOT) for path in ROOT.rglob("*")]
        listed = [str(name) for name in names if not any(part.startswith(".") or part in BUILT for part in name.parts)]
    return sorted({path for name in listed if name and (path := ROOT / name).is_file()})


def texts() -> Iterator[tuple[str, str]]:
    for path in tracked_files():
        if path.name in NOT_OURS or path.suffix in {".png"}:
            continue
        yield str(path.relative_to(ROOT)), path.read_bytes().decode("utf-8", errors="replace")


def hits(pattern: re.Pattern[str], name: str, text: str) -> list[str]:
    return [f"{name}:{text.count(chr(10), 0, hit.start()) + 1}: {hit.group()}" for hit in pattern.finditer(text)]


def python_files(*folders: str) -> list[Path]:
    return [path for path in tracked_files() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders]


def names_of_tests(source: str) -> list[str]:
    return [node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")]


def is_a_sentence(name: str) -> bool:
    """At least three words after `test_`."""
    words = [word for word in name.removeprefix("test_").split("_") if word]
    return name.startswith("test_") and len(words) >= 3


def test_nothing_is_left_half_done() -> None:
    found = [hit for name, text in texts() for hit in hits(UNFINISHED, name, text)]

    assert found == []


def test_no_file_names_a_package_registry() -> None:
    found = [hit for name, text in texts() for hit in hits(REGISTRY, name, text)]

    assert found == []


def test_no_file_names_a_folder_of_one_machine() -> None:
    found = [hit for name, text in texts() for hit in hits(MACHINE_PATH, name, text)]

    assert found == []


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in python_files("ksim", "models")])
def test_no_module_swells(path: Path) -> None:
    length = len(path.read_text(encoding="utf-8").splitlines())

    assert length <= LINES_MAX, f"{length} lines: one idea per file, this is more than one"


def test_every_module_begins_by_saying_its_idea() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in python_files("ksim", "models", "tests", "experiments")
        if not (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").strip()
    ]

    assert silent == []


def test_the_name_of_every_test_is_a_sentence() -> None:
    tests = [(path.relative_to(ROOT), name) for path in python_files("tests") for name in names_of_tests(path.read_text(encoding="utf-8"))]
    short = [f"{path}: {name}" for path, name in tests if not is_a_sentence(name)]

    assert len(tests) > 50, "hardly any test was read"
    assert short == []


def test_every_worker_draws_from_the_seed_that_is_printed(pytestconfig: pytest.Config) -> None:
    printed = getattr(pytestconfig, "workerinput", {}).get("hypothesis_seed") or pytestconfig.getoption("--hypothesis-seed")

    assert str(core.global_force_seed) == printed


def test_no_folder_of_tests_is_a_package() -> None:
    """A package tests/ksim or tests/kafka would shadow the real one."""
    packages = [str(path.relative_to(ROOT)) for path in python_files("tests") if path.name == "__init__.py"]

    assert packages == []


def test_every_text_file_ends_with_one_line_feed() -> None:
    ragged = [
        name for name, text in texts() if Path(name).suffix not in GENERATED and text and (not text.endswith("\n") or text.endswith("\n\n") or "\r" in text)
    ]

    assert ragged == []


# Each check must be able to turn red.


@pytest.mark.parametrize("text", ["# TO" + "DO: later", "raise NotImplemented" + "Error", "x = 1  # FIX" + "ME", "XX" + "X"])
def test_an_unfinished_line_is_found(text: str) -> None:
    assert hits(UNFINISHED, "a.py", f"first\n{text}") == [f"a.py:2: {text.replace('# ', '').split(':')[0].split()[-1]}"]


@pytest.mark.parametrize("text", ["--index-url https://pypi" + ".org/simple", "https://files.python" + "hosted.org/x", "https://repo." + "maven.apache.org"])
def test_the_name_of_a_registry_is_found(text: str) -> None:
    assert len(hits(REGISTRY, "requirements.txt", text)) == 1


@pytest.mark.parametrize("text", ["see /wo" + "rk/main", "`/ro" + "ot/x`", 'open("/ho' + 'me/me/file")', "cd /Us" + "ers/me", "(/wo" + "rk)"])
def test_a_folder_of_one_machine_is_found(text: str) -> None:
    assert len(hits(MACHINE_PATH, "a.md", text)) == 1


@pytest.mark.parametrize("text", ["client/work/x", "~/work", "$HOME/work", "read/work balance", "/homepage", "</root>", "https://a.example/home"])
def test_a_path_that_holds_everywhere_is_left_alone(text: str) -> None:
    assert hits(MACHINE_PATH, "a.md", text) == []


def test_a_name_of_two_words_is_no_sentence() -> None:
    assert not is_a_sentence("test_shrink")
    assert not is_a_sentence("test_isr_shrink")
    assert is_a_sentence("test_isr_shrinks_alone")
    assert names_of_tests("class Tests:\n    def test_isr(self): ...\ndef helper(): ...") == ["test_isr"]
