"""`art rm`: deletes checkpoints for good."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from art.cli.invocation import AsJson, Invocation, Project, Root, settle
from art.cli.render import output
from art.errors import ConfigurationError

if TYPE_CHECKING:
    from art.store.checkpoint import Checkpoint
    from art.store.store import CheckpointStore


def remove(
    context: typer.Context,
    checkpoints: Annotated[list[str], typer.Argument(metavar="MODEL@STEP...")],
    yes: Annotated[bool, typer.Option("--yes", "-y", metavar="", help="Do not ask.")] = False,
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Delete checkpoints for good. Forks of them keep their bytes."""
    from art.cli.render import wording

    invocation = settle(context, root, project, as_json)
    store = invocation.existing_store
    opened = [_open_named(invocation, store, text) for text in checkpoints]
    opened = list({checkpoint.ref: checkpoint for checkpoint in opened}.values())
    names = ", ".join(str(checkpoint.ref) for checkpoint in opened)
    if not yes:
        _ask(f"Delete {names} for good?")
    for checkpoint in opened:
        store.delete(checkpoint)
    if invocation.as_json:
        output.print_json({"deleted": [str(checkpoint.ref) for checkpoint in opened]})
    else:
        size_bytes = sum(checkpoint.manifest.size_bytes for checkpoint in opened)
        output.print_lines([f"Deleted {names} ({wording.size(size_bytes)}, less what forks share)."])


def _open_named(invocation: Invocation, store: "CheckpointStore", text: str) -> "Checkpoint":
    address = invocation.address(text)
    if address.url:
        raise typer.BadParameter(f"{text} lies in a bucket; art rm deletes on this disk only.")
    if address.ref is None:
        raise typer.BadParameter(f"{text} names no step; write {address.model}@500.")
    return store.open(address.ref)


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise ConfigurationError(f"{question} Nobody is there to answer: add --yes.")
    typer.confirm(question, abort=True, err=True)
