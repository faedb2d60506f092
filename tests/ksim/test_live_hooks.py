"""Commands by which a cluster's owner lets its brokers be crashed, paused and brought back."""

from __future__ import annotations

from pathlib import Path

import pytest

from ksim.live.errors import LiveError
from ksim.live.external import Hooks


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('crush = "x"\n', "Did you mean crash?"),
        ("crash = 3\n", "crash must be a command"),
        ('crash = "kill {pid}"\nrestart = "x"\n', "{pid} stands for nothing"),
        ('crash = "kill {"\nrestart = "x"\n', "write {{ and }} for plain braces"),
        ('crash = "x"\n', "crash is given, but not restart"),
        ('pause = "x"\n', "pause is given, but not resume"),
        ("crash = \n", "the hooks cannot be read"),
    ],
)
def test_a_mistake_in_the_hooks_is_told_before_anything_is_done(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "hooks.toml"
    file.write_text(text)

    with pytest.raises(LiveError) as told:
        Hooks.load(str(file))
    assert complaint in told.value.message
    assert str(file) in told.value.message


def test_hooks_that_are_whole_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "hooks.toml"
    file.write_text('crash = "ssh {host} kill {id}"\nrestart = "ssh {host} start {broker} {port}"\n')

    assert Hooks.load(str(file)).commands["crash"] == "ssh {host} kill {id}"
