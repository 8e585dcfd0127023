"""A fork from the command line: wherever its two sides lie, performed and told in the same words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.text import Text

from art.cli import wording
from art.cli.places import Place
from art.errors import ConfigurationError
from art.store.checkpoints import CheckpointStore, Forked, Selection
from art.store.layout import OPTIMIZER

if TYPE_CHECKING:
    from art.cli.session import Session


@dataclass(frozen=True)
class Asked:
    """What the user typed."""

    source: Place
    destination: Place
    not_after: int | None
    reset: tuple[str, ...]
    overwrite: bool


@dataclass(frozen=True)
class Done:
    """What was selected and what became of it."""

    asked: Asked
    selection: Selection
    forked: Forked


def perform(session: Session, asked: Asked) -> Done:
    """Select, then fork."""
    if asked.source.url or asked.destination.url:
        raise ConfigurationError("needs the remote")
    return _locally(session.existing_store, asked)


def _locally(store: CheckpointStore, asked: Asked) -> Done:
    selection = _select(store, asked)
    checkpoint, destination = selection.checkpoint, asked.destination.model
    if checkpoint.ref.model == destination:
        return Done(asked, selection, Forked(checkpoint, checkpoint.ref.step, set_aside=store.rewind(checkpoint)))
    forked = store.fork(
        checkpoint, destination, not_after=asked.not_after, reset=asked.reset, overwrite=asked.overwrite
    )
    return Done(asked, selection, forked)


def _select(store: CheckpointStore, asked: Asked) -> Selection:
    if ref := asked.source.ref:
        return Selection(store.open(ref), 1)
    return store.select(asked.source.model, not_after=asked.not_after)


def lines(done: Done, duration_s: float, *, verbose: bool) -> Iterator[Text]:
    """Yield what happened, a fact a line; `verbose` adds how the checkpoint was chosen."""
    forked, source = done.forked, done.selection.checkpoint.ref
    here = Text(str(forked.checkpoint.ref), "bold cyan")
    if forked.checkpoint.ref.model == source.model:
        yield Text.assemble(here, " is the newest of its model again")
    else:
        yield Text.assemble(here, " is a fork of ", (str(source), "bold"))
    if verbose:
        yield from _choice(done)
    if forked.repeated:
        yield Text(f"  this fork was made before; the model goes on at step {forked.newest_step}")
        return
    if aside := forked.set_aside:
        words = f"  set aside {wording.span(aside.steps)}; art rewind --undo {forked.checkpoint.ref.model} brings back"
        yield Text(words, "yellow")
    if forked.sharing:
        yield from _cost(done, duration_s)


def document(done: Done, duration_s: float) -> dict[str, Any]:
    """Give what happened as one document."""
    forked, selection = done.forked, done.selection
    return {
        "source": str(selection.checkpoint.ref),
        "from": done.asked.source.url,
        "destination": str(forked.checkpoint.ref),
        "path": str(forked.checkpoint.path),
        "newest": forked.newest_step,
        "repeated": forked.repeated,
        "considered": selection.considered,
        "skipped": [{"step": skip.step, "reason": skip.reason} for skip in selection.skipped],
        "carried": list(forked.checkpoint.manifest.carried),
        "reset": list(forked.checkpoint.manifest.reset),
        "shared_bytes": forked.shared_bytes,
        "copied_bytes": forked.copied_bytes,
        "set_aside": list(forked.set_aside.steps) if forked.set_aside else [],
        "seconds": round(duration_s, 6),
    }


def _choice(done: Done) -> Iterator[Text]:
    asked, selection = done.asked, done.selection
    if asked.source.step is not None:
        yield Text("  chosen by its step", "dim")
    else:
        limit = "" if asked.not_after is None else f" at or before step {asked.not_after}"
        considered = wording.count(selection.considered, "step")
        yield Text(f"  considered {considered}{limit}, chose the newest that is whole", "dim")
    for skip in selection.skipped:
        yield Text(f"  skipped step {skip.step}: {skip.reason}", "yellow")


def _cost(done: Done, duration_s: float) -> Iterator[Text]:
    forked, manifest = done.forked, done.forked.checkpoint.manifest
    how = ", ".join(sorted(forked.sharing))
    copied = f"{wording.size(forked.copied_bytes)} copied" if forked.copied_bytes else "nothing copied"
    shared = f"{wording.size(forked.shared_bytes)} shared ({how}), " if forked.shared_bytes else ""
    files = wording.count(len(manifest.files), "file")
    yield Text(f"  {files}, {shared}{copied}, in {wording.seconds(duration_s)}")
    yield Text(f"  carries {', '.join(manifest.carried)}")
    if manifest.reset:
        yield Text(f"  starts afresh: {', '.join(manifest.reset)}", "yellow")
    elif OPTIMIZER not in {entry.path for entry in manifest.files}:
        yield Text("  another program wrote the source: it has no optimizer, which starts afresh", "yellow")
