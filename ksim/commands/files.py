"""Files that a command writes: never one that is there already, unless asked to.

Not Kafka's: section 4 of the public contract.
"""

from __future__ import annotations

import os

import click


def check_free(path: str | None, *, force: bool) -> None:
    """Before the work begins: nobody waits a minute to be told that the file exists."""
    if path is None:
        return
    if os.path.isdir(path):
        raise click.UsageError(f"{path} is a folder: name a file.")
    if os.path.lexists(path) and not force:
        raise click.UsageError(f"{path} exists: choose another name, or overwrite it with --force.")
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise click.UsageError(f"{path} cannot be written: there is no folder {folder}.")


def unwritable(path: str, error: OSError) -> click.ClickException:
    return click.UsageError(f"{path} cannot be written: {error.strerror or error}.")
