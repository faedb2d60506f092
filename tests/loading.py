"""A file as a module, by its path: scripts of the experiments, and tests whose rules another test borrows."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any


def load(path: Path) -> Any:
    """Where its folder's own modules are found is put back, so that no test depends on another."""
    spec = importlib.util.spec_from_file_location(path.parent.name.replace("-", "_") + "_" + path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # Dataclasses look their module up.
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module
