"""`art watch`: commits the checkpoints that an unmodified script leaves in a folder."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from art.cli.completion import name_argument
from art.cli.invocation import AsJson, Project, Root, settle
from art.cli.render import output

if TYPE_CHECKING:
    from art.ops.watching import Seen, Watcher


def watch(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Where the trainer writes its checkpoints.")],
    model: Annotated[str, name_argument("MODEL", "Whose steps they become.")],
    every_s: Annotated[float, typer.Option("--every", min=0.05, metavar="SECONDS", help="Between two looks.")] = 5.0,
    idle_s: Annotated[
        float | None, typer.Option("--idle", min=0, metavar="SECONDS", help="End when nothing was new for so long.")
    ] = None,
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Commit every checkpoint of another trainer once it is whole, until Ctrl-C. What went away too early is told."""
    from art.ops.watching import Watcher

    invocation = settle(context, root, project, as_json)
    address = invocation.local_address(model, "watch")
    if address.ref:
        raise typer.BadParameter(f"A whole run is watched; leave the step out: {address.model}.")
    watcher = Watcher(invocation.store, folder.absolute(), address.model)
    events = _events(watcher, every_s, idle_s, is_told=not invocation.as_json)
    if invocation.as_json:
        fields = [{"step": event.step, "outcome": event.outcome, "reason": event.reason or None} for event in events]
        output.print_json({"model": str(address.model), "steps": fields, "unfinished": watcher.pending})
    last = {event.step: event.outcome for event in events}
    if any(outcome != "committed" for outcome in last.values()):
        raise typer.Exit(1)


def _events(watcher: "Watcher", every_s: float, idle_s: float | None, *, is_told: bool) -> "list[Seen]":
    for below in watcher.below():
        output.say(f"{watcher.folder} has no checkpoints, and {below} has some: watch that folder for them.")
    if watcher.gone:
        steps = ", ".join(map(str, watcher.gone))
        output.say(
            f"Passed over: {steps}. Since they were written, {watcher.model} was committed beyond them, or rewound."
        )
    events: list[Seen] = []

    def look() -> bool:
        events.extend(fresh := watcher.look())
        if is_told:
            output.print_lines([_line(watcher, event) for event in fresh])
        return bool(fresh)

    changed = time.monotonic()
    pending: list[int] = []
    try:
        while True:
            if look() or watcher.pending != pending:
                changed, pending = time.monotonic(), watcher.pending
            if idle_s is not None and time.monotonic() - changed > idle_s:
                break
            time.sleep(every_s)
    except KeyboardInterrupt:
        # What came to an end meanwhile is taken too.
        look()
    return events


def _line(watcher: "Watcher", event: "Seen") -> str:
    reason = f": {event.reason}" if event.reason else ""
    return f"{watcher.model.at(event.step)}  {event.outcome}{reason}"
