"""Documentation that runs: every example of every page is executed, and what it prints is what the page says.

The shape is SimPy's `docs/conftest.py`: an example that is not run is a rumour.

In a Markdown page
  console   `$ command` lines are run by bash, in order, in a folder of the page's own; what stands below must be what they print (both streams).
            A line of `...` stands for any lines, `...` inside a line for any text. An exit status other than a verdict's (0, 1, 4) must be shown by
            `$ echo $?`. `make` runs in the checkout, in the environment that runs the tests.
  python    runs, all blocks of a page in one namespace; with `>>>` what it prints is compared.
  title="NAME" after the language makes the block a file NAME for the blocks below.
  sh        is only read. Its `make` targets must exist.
"""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
VERDICTS = {0, 1, 4}
FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<info>[^`\n]*)\n(?P<body>.*?)^(?P=indent)(?P=ticks)`* *$", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r'\btitle="([^"]+)"')
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")
LONGEST_SECONDS = 300


@dataclass(frozen=True)
class Block:
    line: int
    """Of the first line inside the fence, from 1."""
    language: str
    title: str
    body: str


@dataclass(frozen=True)
class Command:
    line: int
    text: str
    wanted: str


WHERE = ("*.md", "docs/**/*.md", "models/*.md", "experiments/**/*.md", "notebooks/*.md")
PAGES = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in sorted({path for pattern in WHERE for path in ROOT.glob(pattern)})]


def blocks_of(page: str) -> list[Block]:
    found = []
    for fence in FENCE.finditer(page):
        info = fence["info"].strip()
        title = TITLE.search(info)
        indent = len(fence["indent"])
        body = "".join(line[indent:] if line[:indent].isspace() else line for line in fence["body"].splitlines(keepends=True))
        found.append(Block(page.count("\n", 0, fence.start("body")) + 1, info.split(" ")[0].lower() if info else "", title[1] if title else "", body))
    return found


def commands_of(block: Block) -> list[Command]:
    """`$ ` begins a command, `> ` continues it."""
    commands: list[Command] = []
    for number, line in enumerate(block.body.splitlines(), block.line):
        if line.startswith("$ "):
            commands.append(Command(number, line[2:], ""))
        elif not commands:
            raise AssertionError(f'line {number}: a console block begins with "$ command", not with {line!r}')
        elif line.startswith("> ") and not commands[-1].wanted:
            commands[-1] = Command(commands[-1].line, f"{commands[-1].text}\n{line[2:]}", "")
        else:
            commands[-1] = Command(commands[-1].line, commands[-1].text, f"{commands[-1].wanted}{line}\n")
    assert commands, f"line {block.line}: a console block without a command"
    return commands


def agrees(wanted: str, printed: str) -> bool:
    """Whether `printed` is what the page says. Blanks at the end of a line, and empty lines at the end, do not count."""
    pattern = ""
    for line in wanted.rstrip().splitlines():
        if line.strip() == "...":
            pattern += r"(?:[^\n]*\n)*"
        else:
            pattern += "[^\n]*".join(re.escape(part) for part in line.rstrip().split("...")) + r"\n"
    lines = [line.rstrip() for line in printed.rstrip().splitlines()]
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None


def runnable(command: str) -> str:
    """`make demo` of a reader is `make demo` here, but in the environment that is already there."""
    words = command.split()
    if words[:1] != ["make"]:
        return command
    assert not {"test", "docs"} & set(words), f"{command}: would run these tests from within these tests. Show it in an sh block"
    here = os.path.relpath(sys.prefix, ROOT)  # Relative: make takes no target with a space in its name.
    return f'make --no-print-directory -C "{ROOT}" DEV="{here}" DEMO="{here}" --old-file="{here}/ready" ' + " ".join(words[1:])


def environment() -> dict[str, str]:
    """As a reader's terminal would be, but plain and narrow, whatever the terminal that runs the tests is like."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV_", "COLUMNS", "LINES", "MAKE", "MFLAGS", "KSIM_"))}
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "NO_COLOR": "1",
        "TERM": "dumb",
        "COLUMNS": "120",
        "LC_ALL": "C.UTF-8",
        "PYTHONUTF8": "1",
    }


def run_console(block: Block, folder: Path) -> list[str]:
    """The complaints about one console block: one shell for all of its commands, so `cd`, variables and `$?` carry over."""
    commands = commands_of(block)
    mark = "-- end of command --"
    script = "".join(f"{runnable(command.text)}\nksim_status=$?; printf '\\n{mark} %d\\n' $ksim_status; (exit $ksim_status)\n" for command in commands)
    bash = shutil.which("bash")
    assert bash, "bash is needed to run the examples"
    done = subprocess.run(
        [bash, "-c", script],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=LONGEST_SECONDS,
        check=False,
        text=True,
        encoding="utf-8",
    )
    pieces = re.split(rf"\n{mark} (\d+)\n", done.stdout)
    complaints = []
    for index, command in enumerate(commands):
        if 2 * index + 1 >= len(pieces):
            complaints.append(f"line {command.line}: $ {command.text}\nwas not reached; before it:\n{pieces[-1]}")
            break
        printed, status = pieces[2 * index], int(pieces[2 * index + 1])
        if not agrees(command.wanted, printed):
            complaints.append(f"line {command.line}: $ {command.text}\n--- the page says\n{command.wanted}--- it prints\n{printed}")
        shown = index + 1 < len(commands) and commands[index + 1].text.strip() == "echo $?"
        if status not in VERDICTS and not shown:
            complaints.append(f"line {command.line}: $ {command.text}\nends with exit status {status}, and no `$ echo $?` below shows it:\n{printed}")
    return complaints


def run_python(block: Block, name: str, namespace: dict[str, object]) -> list[str]:
    if not block.body.lstrip().startswith(">>>"):
        exec(compile("\n" * (block.line - 1) + block.body, name, "exec"), namespace)
        return []
    said: list[str] = []
    example = doctest.DocTestParser().get_doctest(block.body, namespace, f"line {block.line}", name, block.line - 1)
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append, clear_globs=False)
    namespace.update(example.globs)
    return said


def run_page(text: str, name: str, folder: Path) -> list[str]:
    """Every block of a page, top to bottom. What does not hold comes back as complaints; a Python block that raises, raises."""
    namespace: dict[str, object] = {"__name__": "__page__"}
    complaints = []
    for block in blocks_of(text):
        if block.title:
            target = folder / block.title
            assert target.resolve().is_relative_to(folder.resolve()), f"{block.title} leaves the page's folder"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.body, encoding="utf-8")
        if block.language == "console":
            complaints += run_console(block, folder)
        elif block.language in {"python", "pycon"}:
            complaints += run_python(block, name, namespace)
    return complaints


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_is_what_happens(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    complaints = run_page(page.read_text(encoding="utf-8"), str(page.relative_to(ROOT)), tmp_path)

    assert complaints == [], "\n\n".join(complaints)


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_on_a_page_exists(page: Path) -> None:
    blocks = [block for block in blocks_of(page.read_text(encoding="utf-8")) if block.language in {"sh", "bash", "console"}]
    lines = [line.removeprefix("$ ").partition("#")[0].split() for block in blocks for line in block.body.splitlines()]
    named = {word for words in lines if words[:1] == ["make"] for word in words[1:] if word.isalpha()}

    assert named <= make_targets()


@pytest.mark.parametrize("page", PAGES)
def test_every_link_within_the_project_leads_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = [target.partition("#")[0] for target in LINK.findall(text) if "://" not in target and not target.startswith(("#", "mailto:"))]

    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_first_page_shows_its_two_commands_and_what_they_print() -> None:
    blocks = blocks_of((ROOT / "README.md").read_text(encoding="utf-8"))
    consoles = [block for block in blocks if block.language == "console"]
    read = "\n".join(block.body for block in blocks if block.language in {"sh", "console"})

    assert "make demo" in read
    assert "make test" in read
    assert any(len(command.wanted.splitlines()) >= 5 for block in consoles for command in commands_of(block)), "no real output is shown"


# A checker that never turns red is worthless.


def page_with(console: str) -> str:
    return f"Some words.\n\n```console\n{console}\n```\n"


@pytest.mark.parametrize(
    "console",
    [
        "$ echo lost: 3\nlost: 3",
        "$ printf 'a\\nb\\nc\\n'\na\n...\nc",
        "$ printf 'a\\nc\\n'\na\n...\nc",
        "$ echo took 12 ms\ntook ... ms",
        "$ true",
        "$ echo one\none\n$ echo two\ntwo",
        "$ echo one \\\n> two\none two",
        "$ false",
        "$ (exit 2)\n$ echo $?\n2",
        "$ number=7\n$ echo $number\n7",
        "$ echo wrong >&2\nwrong",
    ],
)
def test_a_right_example_passes(console: str, tmp_path: Path) -> None:
    assert run_page(page_with(console), "page.md", tmp_path) == []


@pytest.mark.parametrize(
    "console",
    [
        "$ echo lost: 3\nlost: 4",
        "$ echo lost: 3",
        "$ true\nlost: 3",
        "$ printf 'a\\nb\\nc\\n'\na\n...\nd",
        "$ printf 'a\\nb\\n'\na",
        "$ echo took 12 s\ntook ... ms",
        "$ (exit 2)",
        "$ (exit 3)\n$ echo done\ndone",
        "$ no-such-command-anywhere\n...",
        "$ exit 0\n$ echo done\ndone",
        "$ echo one\none\n$ echo two\nthree",
    ],
)
def test_a_wrong_example_is_found(console: str, tmp_path: Path) -> None:
    complaints = run_page(page_with(console), "page.md", tmp_path)

    assert len(complaints) == 1
    assert complaints[0].startswith("line ")


def test_a_console_block_without_a_command_is_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="begins with"):
        run_page(page_with("lost: 3"), "page.md", tmp_path)


def test_an_example_that_would_run_the_tests_again_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="sh block"):
        run_page(page_with("$ make test"), "page.md", tmp_path)


def test_a_make_command_runs_in_the_environment_of_the_tests(tmp_path: Path) -> None:
    assert run_page(page_with("$ make help\n...\nmake test ...\n..."), "page.md", tmp_path) == []


def test_a_python_block_that_raises_is_found_with_its_line(tmp_path: Path) -> None:
    page = "One.\n\n```python\nwhole = 1\n```\n\n```python\nassert whole == 2\n```\n"

    with pytest.raises(AssertionError) as caught:
        run_page(page, "page.md", tmp_path)

    assert (str(caught.traceback[-1].path).endswith("page.md"), caught.traceback[-1].lineno) == (True, 7)


def test_a_python_example_that_prints_something_else_is_found(tmp_path: Path) -> None:
    page = "```python\nwhole = 1\n```\n\n```python\n>>> whole + 1\n{}\n```\n"

    assert run_page(page.format(2), "page.md", tmp_path) == []
    assert "Expected:\n    3\nGot:\n    2" in "".join(run_page(page.format(3), "page.md", tmp_path))


def test_a_block_with_a_title_is_a_file_for_the_blocks_below(tmp_path: Path) -> None:
    page = '```properties title="producer.properties"\nacks=all\n```\n\n' + page_with("$ cat producer.properties\nacks=all")

    assert run_page(page, "page.md", tmp_path) == []


def test_a_block_inside_a_list_is_run_too(tmp_path: Path) -> None:
    page = "- a point:\n\n  ```console\n  $ echo one\n  two\n  ```\n"

    assert len(run_page(page, "page.md", tmp_path)) == 1
