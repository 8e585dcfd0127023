"""A fork as the program asks for it and tells it: the same words wherever either side lies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.text import Text

from art.cli.addresses import ModelAddress
from art.cli.render import output, wording
from art.format.kinds import ADAPTER
from art.format.layout import OPTIMIZER
from art.format.manifest import Manifest
from art.format.pick import AtMost, Best, Exact, Newest, Pick, as_document
from art.ops.fork import ForkOutcome, ForkReport, ForkRequest, IfExists, fork
from art.ops.place import open_remote
from art.remote.hub import Hub
from art.remote.remote import Remote
from art.store.store import CheckpointStore

if TYPE_CHECKING:
    from art.cli.invocation import Invocation


def perform(
    invocation: Invocation,
    source: ModelAddress,
    destination: ModelAddress,
    *,
    pick: Pick,
    reset: tuple[str, ...],
    if_exists: IfExists,
) -> ForkReport:
    """Ask for a fork between what two addresses name."""
    request = ForkRequest(
        source=_source(invocation, source),
        source_model=source.model,
        pick=pick,
        destination=_destination(invocation, destination),
        model=destination.model,
        reset=reset,
        if_exists=if_exists,
    )
    return fork(request, watch=output.byte_bar)


def lines(
    invocation: Invocation, report: ForkReport, source: ModelAddress, destination: ModelAddress, *, verbose: bool
) -> Iterator[Text]:
    """Yield what happened, a fact a line; `verbose` adds how the checkpoint was chosen."""
    here = Text(str(ModelAddress(destination.url, report.ref.model, report.ref.step)), "bold cyan")
    yield Text.assemble(here, *_headline(report, source))
    if report.outcome is ForkOutcome.CONTINUED:
        return
    if verbose:
        yield Text(f"  {_choice(report.pick, report.considered)}", "dim")
        for skip in report.skipped:
            yield Text(f"  skipped step {skip.step}: {skip.reason}", "yellow")
    if report.repeated:
        yield Text(f"  this fork was made before; the model goes on at step {report.step}")
        return
    if aside := report.set_aside:
        model = ModelAddress(destination.url, report.ref.model, None)
        undo = invocation.command(destination, "rewind", "--undo", str(model))
        yield output.whole(f"  set aside {wording.span(aside.steps)}; {undo} brings back", "yellow")
    if report.outcome is not ForkOutcome.REWOUND:
        yield Text(f"  {_cost(report)}, in {wording.seconds(report.seconds)}")
        yield from _part_lines(report.manifest)


def document(report: ForkReport, source: ModelAddress, destination: ModelAddress) -> dict[str, Any]:
    """Give what happened as one document."""
    return {
        "outcome": str(report.outcome),
        "source": str(report.selected),
        "from": source.url,
        "pick": as_document(report.pick),
        "destination": str(report.ref),
        "to": destination.url,
        "path" if destination.url is None else "url": report.where,
        "newest": report.step,
        "repeated": report.repeated,
        "considered": report.considered,
        "skipped": [{"step": skip.step, "reason": skip.reason} for skip in report.skipped],
        "carried": list(report.manifest.carried),
        "reset": list(report.manifest.reset),
        "shared_bytes": report.shared_bytes,
        "copied_bytes": report.copied_bytes,
        "fetched_bytes": report.fetched_bytes,
        "sent_bytes": report.sent_bytes,
        "reused_bytes": report.reused_bytes,
        "set_aside": list(report.set_aside.steps) if report.set_aside else [],
        "seconds": round(report.seconds, 6),
    }


def _source(invocation: Invocation, source: ModelAddress) -> CheckpointStore | Remote | Hub:
    if source.url:
        return open_remote(source.url)
    return invocation.existing_store


def _destination(invocation: Invocation, destination: ModelAddress) -> CheckpointStore | Remote:
    return Remote.open(destination.url) if destination.url else invocation.store


def _headline(report: ForkReport, source: ModelAddress) -> Iterator[str | tuple[str, str]]:
    match report.outcome:
        case ForkOutcome.CONTINUED:
            yield " is where the model goes on; it had checkpoints, and nothing was forked"
        case ForkOutcome.REWOUND:
            yield " is the newest of its model again"
        case ForkOutcome.BROUGHT:
            yield f" was brought from {source.url}"
        case _:
            yield " is a fork of "
            yield (str(ModelAddress(source.url, report.selected.model, report.selected.step)), "bold")


def _choice(pick: Pick, considered: int) -> str:
    steps = wording.count(considered, "step")
    match pick:
        case Exact():
            return "chosen by its step"
        case Best(metric, mode):
            return f"considered {steps} with a {metric}, chose the {'lowest' if mode == 'min' else 'highest'}"
        case AtMost(step):
            return f"considered {steps} at or before step {step}, chose the newest whole one"
        case Newest():
            return f"considered {steps}, chose the newest whole one"


def _cost(report: ForkReport) -> str:
    files = wording.count(len(report.manifest.files), "file")
    shared = f"shared ({', '.join(report.sharing)})"
    told = {
        shared: report.shared_bytes,
        "copied": 0 if not report.sharing else report.copied_bytes,
        "copied by the server": 0 if report.sharing else report.copied_bytes,
        "fetched": report.fetched_bytes,
        "sent": report.sent_bytes,
        "were there": report.reused_bytes,
    }
    moved = [f"{wording.size(size_bytes)} {how}" for how, size_bytes in told.items() if size_bytes]
    if report.sharing and not report.copied_bytes:
        moved.append("nothing copied")
    return ", ".join([files, *moved])


def _part_lines(manifest: Manifest) -> Iterator[Text]:
    yield Text(f"  carries {wording.carried(manifest.carried)}")
    if manifest.reset:
        yield Text(f"  starts afresh: {', '.join(manifest.reset)}", "yellow")
    elif manifest.kind == ADAPTER and OPTIMIZER not in manifest.names:
        yield Text("  another program wrote the source: it has no optimizer, which starts afresh", "yellow")
