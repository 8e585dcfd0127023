"""A fork that begins a model in a bucket: selected there, copied there, told in the words of any fork."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from art.cli import forks
from art.cli.addresses import Address
from art.cli.forks import Asked
from art.cli.render import output, wording
from art.errors import ConfigurationError
from art.format.pick import as_document
from art.format.selection import Selection
from art.remote.checkpoint import RemoteCheckpoint
from art.remote.copy import Copied
from art.remote.remote import Remote


@dataclass(frozen=True)
class Done:
    """What was selected and what became of it."""

    asked: Asked
    selection: Selection[RemoteCheckpoint]
    copied: Copied


def perform(asked: Asked) -> Done:
    """Select in the source's bucket and fork into the destination's; raises `ConfigurationError` for other wishes."""
    source, end = asked.source, asked.destination
    if source.url is None or end.url is None:
        model = end.model
        raise ConfigurationError(f"Fork {source} on this disk first, then push it: art push {model} {end.url}.")
    if asked.overwrite:
        raise ConfigurationError(
            "A bucket sets nothing aside: --overwrite is for forks on this disk. Choose a new name."
        )
    remote = Remote.open(source.url)
    target = None if end.url == source.url else Remote.open(end.url)
    selection = remote.select(source.model, asked.pick)
    with output.byte_bar(f"forking {selection.checkpoint.ref}") as show:
        copied = remote.fork(
            selection.checkpoint, end.model, to=target, pick=asked.pick, reset=asked.reset, progress=show
        )
    return Done(asked, selection, copied)


def lines(done: Done, *, verbose: bool) -> Iterator[Text]:
    """Yield what happened, a fact a line."""
    asked, copied = done.asked, done.copied
    ref = done.selection.checkpoint.ref
    here = Address(asked.destination.url, copied.manifest.ref.model, copied.manifest.ref.step)
    yield Text.assemble((str(here), "bold cyan"), " is a fork of ", (f"{asked.source.url}::{ref}", "bold"))
    if verbose:
        yield from forks.choice_lines(asked, done.selection.considered, done.selection.skipped)
    if copied.repeated:
        yield Text(f"  this fork was made before; the model's newest step there is {copied.manifest.step}")
        return
    moved = f"{wording.size(copied.copied_bytes)} copied by the server"
    if copied.streamed_bytes:
        moved += f", {wording.size(copied.streamed_bytes)} through this machine"
    yield Text(f"  {wording.count(len(copied.manifest.files), 'file')}, {moved}, in {wording.seconds(copied.seconds)}")
    yield from forks.part_lines(copied.manifest)


def document(done: Done) -> dict[str, Any]:
    """Give what happened as one document."""
    copied, selection = done.copied, done.selection
    return {
        "source": str(selection.checkpoint.ref),
        "from": done.asked.source.url,
        "destination": str(copied.manifest.ref),
        "to": done.asked.destination.url,
        "url": copied.url,
        "repeated": copied.repeated,
        "pick": as_document(done.asked.pick),
        "considered": selection.considered,
        "skipped": [{"step": skip.step, "reason": skip.reason} for skip in selection.skipped],
        "carried": list(copied.manifest.carried),
        "reset": list(copied.manifest.reset),
        "copied_bytes": copied.copied_bytes,
        "streamed_bytes": copied.streamed_bytes,
        "seconds": round(copied.seconds, 6),
    }
