"""`art rewind`: makes an earlier step the newest again, or brings back what that set aside."""

from typing import TYPE_CHECKING, Annotated

import typer

from art.cli.addresses import ModelAddress
from art.cli.completion import name_argument
from art.cli.invocation import AsJson, Invocation, Project, Root, settle
from art.cli.render import output

if TYPE_CHECKING:
    from rich.text import Text

    from art.ops.rewind import Rewound


def rewind(
    context: typer.Context,
    model: Annotated[
        str,
        name_argument("MODEL@STEP", "The step to stand at; with --undo a MODEL."),
    ],
    undo: Annotated[bool, typer.Option("--undo", metavar="", help="Bring back what was set aside last.")] = False,
    aside_id: Annotated[int | None, typer.Option("--id", help="With --undo: bring back this one.")] = None,
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Make an earlier step the newest again. Later ones are set aside, never deleted; --undo brings them back."""
    from art.ops import rewind as ops

    invocation = settle(context, root, project, as_json)
    address = invocation.address(model)
    place = invocation.place_to_change(address.url)
    if undo:
        if address.step is not None:
            raise typer.BadParameter(f"--undo takes a model; write {ModelAddress(address.url, address.model, None)}.")
        _report(invocation, address, ops.restore(place, address.model, aside_id), "brought_back")
        return
    if address.ref is None:
        raise typer.BadParameter(f"{model} names no step; write {address}@500.")
    if aside_id is not None:
        raise typer.BadParameter("--id belongs to --undo.")
    _report(invocation, address, ops.rewind(place, address.ref), "set_aside")


def _report(invocation: Invocation, address: ModelAddress, standing: "Rewound", what: str) -> None:
    from art.cli.render import wording

    ref, steps = standing.ref, standing.steps
    aside_id = standing.moved.id if standing.moved else None
    if invocation.as_json:
        output.print_json({"model": str(ref.model), "newest": ref.step, what: list(steps), "id": aside_id})
        return
    lines: list[Text | str] = [f"{ref.model} stands at step {ref.step}."]
    if steps:
        lines.append(f"  {what.replace('_', ' ')}: {wording.span(steps)} ({wording.count(len(steps), 'checkpoint')})")
    else:
        lines.append("  nothing was later; nothing changed")
    if steps and what == "set_aside":
        model = ModelAddress(address.url, ref.model, None)
        undo = invocation.command(address, "rewind", "--undo", str(model), "--id", str(aside_id))
        lines.append(output.whole(f"  bring them back with: {undo}"))
    output.print_lines(lines)
