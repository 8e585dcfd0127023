"""A fork onto this disk: wherever its source lies, performed and told in the same words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.text import Text

from art.cli.addresses import Address
from art.cli.render import output, wording
from art.errors import DestinationNotEmptyError
from art.format.layout import OPTIMIZER
from art.format.manifest import Manifest
from art.format.pick import AtMost, Best, Exact, Newest, Pick, as_document
from art.format.selection import Skipped
from art.names import CheckpointRef
from art.store.store import CheckpointStore, Forked

if TYPE_CHECKING:
    from art.cli.invocation import Invocation


@dataclass(frozen=True)
class Asked:
    """What the user typed."""

    source: Address
    destination: Address
    pick: Pick
    reset: tuple[str, ...]
    overwrite: bool


@dataclass(frozen=True)
class Done:
    """What was selected and what became of it."""

    asked: Asked
    source: CheckpointRef
    considered: int
    skipped: tuple[Skipped, ...]
    forked: Forked
    fetched_bytes: int = 0
    reused_bytes: int = 0
    """Of a source in a bucket: what was fetched, and what this disk had already."""


def perform(invocation: Invocation, asked: Asked) -> Done:
    """Select, then fork."""
    try:
        return _from_remote(invocation.store, asked) if asked.source.url else _locally(invocation.existing_store, asked)
    except DestinationNotEmptyError as error:
        raise DestinationNotEmptyError(str(error).replace("overwrite=True", "--overwrite")) from error


def lines(done: Done, duration_s: float, *, verbose: bool) -> Iterator[Text]:
    """Yield what happened, a fact a line; `verbose` adds how the checkpoint was chosen."""
    forked = done.forked
    here = Text(str(forked.checkpoint.ref), "bold cyan")
    if forked.checkpoint.ref == done.source and done.asked.source.url is None:
        yield Text.assemble(here, " is the newest of its model again")
    else:
        source = f"{Address(done.asked.source.url, done.source.model, done.source.step)}"
        yield Text.assemble(here, " is a fork of ", (source, "bold"))
    if verbose:
        yield from choice_lines(done.asked, done.considered, done.skipped)
    if forked.repeated:
        yield Text(f"  this fork was made before; the model goes on at step {forked.newest_step}")
        return
    if aside := forked.set_aside:
        words = f"  set aside {wording.span(aside.steps)}; art rewind --undo {forked.checkpoint.ref.model} brings back"
        yield Text(words, "yellow")
    if forked.sharing or done.asked.source.url:
        yield Text(f"  {_cost(done)}, in {wording.seconds(duration_s)}")
        yield from part_lines(forked.checkpoint.manifest)


def document(done: Done, duration_s: float) -> dict[str, Any]:
    """Give what happened as one document."""
    forked = done.forked
    return {
        "source": str(done.source),
        "from": done.asked.source.url,
        "destination": str(forked.checkpoint.ref),
        "path": str(forked.checkpoint.path),
        "newest": forked.newest_step,
        "repeated": forked.repeated,
        "pick": as_document(done.asked.pick),
        "considered": done.considered,
        "skipped": [{"step": skip.step, "reason": skip.reason} for skip in done.skipped],
        "carried": list(forked.checkpoint.manifest.carried),
        "reset": list(forked.checkpoint.manifest.reset),
        "shared_bytes": forked.shared_bytes,
        "copied_bytes": forked.copied_bytes,
        "fetched_bytes": done.fetched_bytes,
        "reused_bytes": done.reused_bytes,
        "set_aside": list(forked.set_aside.steps) if forked.set_aside else [],
        "seconds": round(duration_s, 6),
    }


def _locally(store: CheckpointStore, asked: Asked) -> Done:
    selection = store.select(asked.source.model, asked.pick)
    checkpoint, destination = selection.checkpoint, asked.destination.model
    if checkpoint.ref.model == destination:
        forked = Forked(checkpoint, checkpoint.ref.step, set_aside=store.rewind(checkpoint))
    else:
        forked = store.fork(checkpoint, destination, pick=asked.pick, reset=asked.reset, overwrite=asked.overwrite)
    return Done(asked, checkpoint.ref, selection.considered, selection.skipped, forked)


def _from_remote(store: CheckpointStore, asked: Asked) -> Done:
    from art.remote.remote import Remote

    source = asked.source
    remote = Remote.open(source.url or "")
    selection = remote.select(source.model, asked.pick)
    with output.byte_bar(f"forking {selection.checkpoint.ref}") as show:
        done = remote.fetch_fork(
            selection.checkpoint,
            asked.destination.model,
            store,
            pick=asked.pick,
            reset=asked.reset,
            overwrite=asked.overwrite,
            progress=show,
        )
    return Done(
        asked,
        selection.checkpoint.ref,
        selection.considered,
        selection.skipped,
        done.forked,
        done.fetched_bytes,
        done.reused_bytes,
    )


def choice_lines(asked: Asked, considered: int, skipped: tuple[Skipped, ...]) -> Iterator[Text]:
    """Yield how the checkpoint was chosen."""
    yield Text(f"  {_choice(asked.pick, considered)}", "dim")
    for skip in skipped:
        yield Text(f"  skipped step {skip.step}: {skip.reason}", "yellow")


def _choice(pick: Pick, considered: int) -> str:
    match pick:
        case Exact():
            return "chosen by its step"
        case Best(metric, mode):
            lowest = "lowest" if mode == "min" else "highest"
            return f"considered {wording.count(considered, 'step')} with a {metric}, chose the {lowest}"
        case AtMost(step):
            steps = wording.count(considered, "step")
            return f"considered {steps} at or before step {step}, chose the newest whole one"
        case Newest():
            return f"considered {wording.count(considered, 'step')}, chose the newest whole one"


def _cost(done: Done) -> str:
    forked = done.forked
    files = wording.count(len(forked.checkpoint.manifest.files), "file")
    if done.asked.source.url:
        return f"{files}, {wording.size(done.fetched_bytes)} fetched, {wording.size(done.reused_bytes)} were here"
    how = ", ".join(sorted(forked.sharing))
    shared = f"{wording.size(forked.shared_bytes)} shared ({how}), " if forked.shared_bytes else ""
    copied = f"{wording.size(forked.copied_bytes)} copied" if forked.copied_bytes else "nothing copied"
    return f"{files}, {shared}{copied}"


def part_lines(manifest: Manifest) -> Iterator[Text]:
    """Yield what a fork carries and what starts afresh."""
    yield Text(f"  carries {', '.join(manifest.carried)}")
    if manifest.reset:
        yield Text(f"  starts afresh: {', '.join(manifest.reset)}", "yellow")
    elif OPTIMIZER not in {entry.path for entry in manifest.files}:
        yield Text("  another program wrote the source: it has no optimizer, which starts afresh", "yellow")
