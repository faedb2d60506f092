"""The same simulator with its rules compiled by mypyc: a copy of both packages in build/compiled, with an extension module beside most files of the rules.

    python experiments/performance/compiled.py
    PYTHONPATH=build/compiled ksim run lost-ack

The source is compiled as it stands but for three rewritings, which concern how values are made and none of the rules:
a `@message` and a dataclass with slots become plain dataclasses (mypyc gives them a layout of its own, and cannot make a class twice, as slots=True does);
a field that is an `object` becomes `Any`, which is the same to mypyc, except that it cannot look `object` up;
and `message` is no dataclass_transform any more, which would write an attribute to a compiled function.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "compiled"

INTERPRETED = {
    "errors": "an enumeration whose members are made by a __new__ of its own",
    "facts": "ksim.lines reads its annotations, which mypyc keeps in part only",
    "consumer_facts": "as facts",
    "coordination_facts": "as facts",
    "measurements": "as facts",
    "producer_config": "it looks at __slots__, which a compiled class has not; read once for a run",
    "consumer_config": "as producer_config",
    "broker_config": "as producer_config",
    "librdkafka_config": "as producer_config",
    "librdkafka_consumer_config": "as producer_config",
    "partitioners": "they are forked with copy(), which cannot copy what is compiled",
    "settings": "read once for a run",
    "profiles": "read once for a run",
}
ALSO = ("loop", "loop_connections", "costs", "network")
"""Of `ksim`: what every event passes through."""


def refusal() -> str:
    """Why nothing can be built here; nothing where it can."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        remedy = "Install one (Debian, Ubuntu: apt install gcc), or name it: CC=clang make compiled"
        return f"make compiled needs a C compiler, and there is no `{compiler}` here. {remedy}"
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not header.exists():
        return f"make compiled needs Python's headers, and {header} is not there. Install the package python3-dev, or name another Python: make PYTHON=..."
    return ""


def rewritten(text: str, *, compiled: bool) -> str:
    """What the docstring above says. What is not compiled keeps its slots."""
    values = "@dataclass(unsafe_hash=True)" if compiled else "@dataclass(unsafe_hash=True, slots=True)"
    new = re.sub(r"^@message$", values, text, flags=re.MULTILINE)
    if compiled:
        new = re.sub(r"^@dataclass\(slots=True(, )?", "@dataclass(", new, flags=re.MULTILINE)
        new = re.sub(r"^@dataclass\((.*), slots=True", r"@dataclass(\1", new, flags=re.MULTILINE)
        new = re.sub(r"^@dataclass_transform\(.*\)\n", "", new, flags=re.MULTILINE)
        new = re.sub(r"^    (\w+): object( = .*)?$", r"    \1: Any\2", new, flags=re.MULTILINE)
    for module, name in (("dataclasses", "dataclass"), ("typing", "Any")):
        if new != text and re.search(rf"^@{name}\b|: {name}\b", new, re.MULTILINE) and not re.search(rf"^from {module} import .*\b{name}\b", new, re.MULTILINE):
            new = new.replace("from __future__ import annotations\n", f"from __future__ import annotations\n\nfrom {module} import {name}\n", 1)
    return new


def fingerprint() -> str:
    """Of all that goes into the build."""
    sha = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted([*(ROOT / "ksim").rglob("*.py"), *(ROOT / "models").rglob("*.py")]):
        sha.update(path.read_bytes())
    return sha.hexdigest()


def why_not() -> str:
    """Why the build cannot be used; nothing where it can."""
    made = BUILD / "fingerprint"
    if not made.exists():
        return "there is no compiled build: make compiled"
    return "" if made.read_text(encoding="utf-8") == fingerprint() else "the compiled build is older than the source: make compiled"


def environment() -> dict[str, str]:
    """In which Python finds the compiled packages first."""
    return {**os.environ, "PYTHONPATH": str(BUILD)}


def copy() -> list[str]:
    """Both packages as they are, the rules rewritten; the files to compile."""
    shutil.rmtree(BUILD, ignore_errors=True)
    shutil.copytree(ROOT / "ksim", BUILD / "ksim", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "models" / "ksim_models", BUILD / "ksim_models", ignore=shutil.ignore_patterns("__pycache__"))
    chosen = [f"ksim/{name}.py" for name in ALSO]
    for path in sorted((BUILD / "ksim_models").glob("*.py")):
        compiled = path.stem not in INTERPRETED and path.stem != "__init__"
        path.write_text(rewritten(path.read_text(encoding="utf-8"), compiled=compiled), encoding="utf-8")
        if compiled:
            chosen.append(f"ksim_models/{path.name}")
    return chosen


SETUP = """
from mypyc.build import mypycify
from setuptools import setup

setup(name="ksim-compiled", packages=[], ext_modules=mypycify({arguments!r}, opt_level="1", debug_level="0", multi_file=True))
"""


def build() -> None:
    copied = fingerprint()
    files = copy()
    shutil.copy(ROOT / "pyproject.toml", BUILD / "mypy.toml")
    (BUILD / "setup.py").write_text(SETUP.format(arguments=["--config-file", "mypy.toml", *files]), encoding="utf-8")
    with open(BUILD / "log", "w", encoding="utf-8") as log:
        command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
        made = subprocess.run(command, cwd=BUILD, env={**os.environ, "PYTHONPATH": "", "MYPYPATH": "."}, stdout=log, stderr=log, check=False)
    if made.returncode:
        lines = [line for line in (BUILD / "log").read_text(encoding="utf-8").splitlines() if "warning:" not in line]
        sys.exit("\n".join([*lines[-20:], f"The build has failed; all that it said is in {BUILD / 'log'}."]))
    shutil.rmtree(BUILD / "build")
    (BUILD / "fingerprint").write_text(copied, encoding="utf-8")


if __name__ == "__main__":
    reason = refusal()
    if reason:
        sys.exit(reason)
    began = time.monotonic()
    print("Compiling the rules, which takes some minutes ...", flush=True)
    build()
    print(f"Built in {time.monotonic() - began:.0f} s: PYTHONPATH=build/compiled {Path(sys.executable).parent.parent.name}/bin/ksim run lost-ack")
