"""How the program deletes checkpoints for good: it asks first, and tells how far it came."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from art.errors import ConfigurationError
from art.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from art.names import CheckpointRef
    from art.ops.removal import Removal
    from art.remote.remote import Remote
    from art.store.store import CheckpointStore


def delete(
    place: CheckpointStore | Remote,
    removal: Removal,
    *,
    yes: bool,
    again: Callable[[], Removal],
    tell: Callable[[tuple[CheckpointRef, ...]], None],
) -> None:
    """Delete what was planned, after a question where `yes` does not answer it; `tell` hears what is gone.

    Who answers takes time, so that it is planned `again` then.
    """
    from art.ops.removal import remove

    if removal.refs and not yes:
        _ask(removal)
        removal = removal.still(again())
    deleted: list[CheckpointRef] = []
    try:
        for ref in remove(place, removal):
            deleted.append(ref)  # noqa: PERF402 - what was yielded before a failure is gone, and is told
    finally:
        # Also when one of them could not be deleted: those before it are gone.
        tell(tuple(deleted))


def _ask(removal: Removal) -> None:
    from art.cli.render import removal as render

    question = f"Delete {render.names(removal.refs)} for good?"
    if not sys.stdin.isatty():
        raise ConfigurationError(f"{question} Nobody is there to answer: add --yes.")
    typer.confirm(visible(question), abort=True, err=True)
