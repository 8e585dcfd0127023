"""`art rewind`: makes an earlier step the newest again, or brings back what that set aside."""

from typing import TYPE_CHECKING, Annotated

import typer

from art.cli.completion import name_argument
from art.cli.invocation import AsJson, Invocation, Project, Root, settle
from art.cli.render import output

if TYPE_CHECKING:
    from art.cli.addresses import Address
    from art.names import CheckpointRef


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
    invocation = settle(context, root, project, as_json)
    address = invocation.local_address(model, "rewind")
    if undo:
        _restore(invocation, address, aside_id)
        return
    if address.ref is None:
        raise typer.BadParameter(f"{model} names no step; write {address.model}@500.")
    if aside_id is not None:
        raise typer.BadParameter("--id belongs to --undo.")
    store = invocation.existing_store
    checkpoint = store.open(address.ref)
    aside = store.rewind(checkpoint)
    _report_moved(invocation, checkpoint.ref, "set_aside", aside.steps if aside else (), aside.id if aside else None)


def _restore(invocation: Invocation, address: "Address", aside_id: int | None) -> None:
    if address.step is not None:
        raise typer.BadParameter(f"--undo takes a model; write {address.model}.")
    store = invocation.existing_store
    aside = store.restore(address.model, aside_id)
    newest = address.model.at(store.steps(address.model)[-1])
    _report_moved(invocation, newest, "brought_back", aside.steps, aside.id)


def _report_moved(
    invocation: Invocation, ref: "CheckpointRef", what: str, steps: tuple[int, ...], aside_id: int | None
) -> None:
    from art.cli.render import wording

    if invocation.as_json:
        output.print_json({"model": str(ref.model), "newest": ref.step, what: list(steps), "id": aside_id})
        return
    lines = [f"{ref.model} stands at step {ref.step}."]
    if steps:
        lines.append(f"  {what.replace('_', ' ')}: {wording.span(steps)} ({wording.count(len(steps), 'checkpoint')})")
    else:
        lines.append("  nothing was later; nothing changed")
    if steps and what == "set_aside":
        lines.append(f"  bring them back with: art rewind --undo {ref.model} --id {aside_id}")
    output.print_lines(lines)
