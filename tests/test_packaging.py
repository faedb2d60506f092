"""Packaging: what a user gets by installing the wheel, and how quickly it starts.

Two packages travel in one wheel (docs/decisions/001); the locks pin what the checkout is tested with.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

import ksim

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCKS = [pytest.param(ROOT / "requirements" / name, id=name) for name in ("dev.txt", "demo.txt")]

HEAVY = ("numpy", "matplotlib", "pandas", "scipy", "distributed", "polars")
HEAVY_FOR_HELP = (*HEAVY, "rich", "sqlite3", "multiprocessing", "asyncio")


def loaded_after(code: str, *, candidates: tuple[str, ...]) -> list[str]:
    """Which of `candidates` a fresh interpreter has loaded after running `code`."""
    report = f"\nimport json, sys\nprint(json.dumps([name for name in {candidates!r} if name in sys.modules]), file=sys.stderr)"
    paths = os.pathsep.join([str(ROOT), str(ROOT / "models"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, "-c", code + report], env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded: list[str] = json.loads(done.stderr.splitlines()[-1])
    return loaded


HELP = """
from ksim.cli import main
try:
    main(["--help"])
except SystemExit as ended:
    assert ended.code in (0, None), ended.code
"""


def plain_name(requirement: str) -> str:
    """`Click[x]>=8.2 ; marker` is click."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def test_the_version_is_the_same_wherever_it_is_told() -> None:
    assert ksim.__version__ == PROJECT["project"]["version"]
    assert f"## [{ksim.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_installed_version_is_the_one_of_the_checkout() -> None:
    try:
        installed = version("ksim-kafka")
    except PackageNotFoundError:
        pytest.skip("ksim-kafka is not installed here; `make test` installs it")

    assert installed == PROJECT["project"]["version"]


def test_importing_ksim_loads_nothing_heavy() -> None:
    assert loaded_after("import ksim", candidates=HEAVY) == []


def test_asking_for_help_loads_nothing_heavy() -> None:
    assert loaded_after(HELP, candidates=HEAVY_FOR_HELP) == []


def test_a_heavy_import_would_be_noticed() -> None:
    assert loaded_after("import sqlite3", candidates=HEAVY_FOR_HELP) == ["sqlite3"]


def test_the_rules_load_nothing_but_the_standard_library() -> None:
    code = "\n".join(f"import ksim_models.{path.stem}" for path in sorted((ROOT / "models" / "ksim_models").glob("*.py")) if path.stem != "__init__")

    assert loaded_after(code, candidates=(*HEAVY, "simpy", "pydantic", "click", "rich", "javaproperties", "random", "ksim")) in ([], ["random"])
    # `random` may come with the standard library's own modules; that no rule imports it is shown by tests/test_layers.py.


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder), str(ROOT)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
@pytest.mark.xdist_group("wheel")
def test_the_wheel_holds_both_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    inside = {name for name in names if not name.startswith(f"ksim_kafka-{ksim.__version__}.dist-info/")}

    wanted = {
        f"ksim/{path.relative_to(ROOT / 'ksim').as_posix()}"
        for path in (ROOT / "ksim").rglob("*")
        if path.is_file() and path.suffix in {".py", ".toml", ".typed", ".java", ".xml"}
    }
    wanted |= {f"ksim_models/{path.name}" for path in (ROOT / "models" / "ksim_models").iterdir() if path.suffix in {".py", ".typed"}}
    assert {name.split("/")[0] for name in inside} == {"ksim", "ksim_models"}
    assert wanted - inside == set()
    assert {"ksim/py.typed", "ksim_models/py.typed", "ksim/__init__.py", "ksim_models/__init__.py"} <= inside
    assert any(re.fullmatch(r"ksim/scenarios/[a-z0-9-]+\.toml", name) for name in inside)


@pytest.mark.slow
@pytest.mark.xdist_group("wheel")
def test_the_wheel_says_who_it_is(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    about = f"ksim_kafka-{ksim.__version__}.dist-info"
    metadata = archive.read(f"{about}/METADATA").decode()

    assert wheel.name == f"ksim_kafka-{ksim.__version__}-py3-none-any.whl"
    assert "Name: ksim-kafka\n" in metadata
    assert "Requires-Python: >=3.11\n" in metadata
    assert "License-Expression: Apache-2.0\n" in metadata
    assert "ksim = ksim.cli:main" in archive.read(f"{about}/entry_points.txt").decode()
    assert any(name.endswith("LICENSE") for name in archive.namelist())


def entries_of(lock: Path) -> list[str]:
    """One text per pinned package, its hashes included."""
    return [entry for entry in re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8").strip()) if entry]


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_one_version_and_hashes(lock: Path) -> None:
    entries = entries_of(lock)

    assert len(entries) > 20
    assert [entry for entry in entries if not re.match(r"[a-z0-9-]+==[^ ]+ .*?\\\n( +--hash=sha256:[0-9a-f]{64}( \\\n)?)+$", entry)] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_no_address(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")

    assert re.findall(r"https?:|--index|--extra-index|--find-links|--trusted-host|\bfile:| @ ", text) == []


@pytest.mark.parametrize(
    ("lock", "extras"),
    [("demo.txt", ("plot",)), ("dev.txt", ("plot", "dev"))],
)
def test_a_lock_holds_everything_that_the_project_asks_for(lock: str, extras: tuple[str, ...]) -> None:
    locked = {plain_name(entry) for entry in entries_of(ROOT / "requirements" / lock)}
    asked = (
        PROJECT["project"]["dependencies"]
        + PROJECT["build-system"]["requires"]
        + [one for extra in extras for one in PROJECT["project"]["optional-dependencies"][extra]]
    )

    assert {plain_name(requirement) for requirement in [*asked, "editables"]} - locked == set()


def test_the_demo_is_locked_to_the_versions_that_are_tested() -> None:
    demo, dev = ({entry.split(" \\")[0] for entry in entries_of(ROOT / "requirements" / name)} for name in ("demo.txt", "dev.txt"))

    assert demo - dev == set()


def test_make_alone_lists_every_target_with_one_line() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (help .*)$", makefile, re.MULTILINE)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    listed = subprocess.run(["make"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()

    assert phony
    assert [line.split()[1] for line in listed] == phony[1].split()
    assert [line for line in listed if len(line.split()) < 4 or not line.startswith("make ")] == []
