"""`art status`, `art suggest` and `art diff`: what is wrong, what to do, and how two checkpoints differ."""

from typing import Annotated

import typer

from art.cli.addresses import Address
from art.cli.completion import name_argument
from art.cli.invocation import AsJson, Invocation, Project, Root, settle
from art.cli.render import output
from art.names import CheckpointRef

ALARM_IS_OPEN = 3


def status(context: typer.Context, root: Root = None, project: Project = None, as_json: AsJson = False) -> None:
    """Say whether a run went wrong, since when, and what it costs.

    The exit status is 3 while an alarm is open.
    """
    from art.cli.render import status as render
    from art.ops import documents
    from art.ops.lanes import Life, read_overview

    invocation = settle(context, root, project, as_json)
    store = invocation.existing_store
    overview = read_overview(store, project=invocation.project)
    if invocation.as_json:
        output.print_json(documents.status_document(overview, root=str(store.root)))
    else:
        output.print_lines(render.status_lines(overview))
    if any(alarm.life is Life.OPEN for alarm in overview.alarms):
        raise typer.Exit(ALARM_IS_OPEN)


def suggest(
    context: typer.Context,
    model: Annotated[str, name_argument("MODEL")],
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Say where a run went wrong, by what evidence, and print the command that goes on from before."""
    from art.cli.render import status as render
    from art.errors import ModelNotFoundError
    from art.ops import documents
    from art.ops.lanes import read_overview

    invocation = settle(context, root, project, as_json)
    store = invocation.existing_store
    wanted = _here(invocation, model).model
    overview = read_overview(store, project=wanted.project)
    lane = next((lane for lane in overview.lanes if lane.model == wanted), None)
    if lane is None:
        raise ModelNotFoundError(f"There is no model {wanted} below {store.root}.")
    if invocation.as_json:
        alarm = next((alarm for alarm in overview.alarms if alarm.lane is lane), None)
        alert = documents.alert_document(alarm) if alarm else None
        output.print_json({"schema": documents.SCHEMA, "model": str(wanted), "alert": alert})
    else:
        output.print_lines(render.suggestion_lines(lane))


def diff(
    context: typer.Context,
    first: Annotated[str, name_argument("MODEL@STEP")],
    second: Annotated[str, name_argument("MODEL@STEP")],
    paired: Annotated[
        bool,
        typer.Option("--paired", metavar="", help="Two branches of one checkpoint, over all their common prompts."),
    ] = False,
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Compare two checkpoints: where they part, what was set otherwise, and the same prompts through both."""
    from art.cli.render import status as render
    from art.ops import documents
    from art.ops.compare import compare

    invocation = settle(context, root, project, as_json)
    if paired:
        _compare_twins(invocation, first, second)
        return
    refs: list[CheckpointRef] = []
    for text in (first, second):
        address = _here(invocation, text)
        if address.ref is None:
            raise typer.BadParameter(f"{text} names no step; write {address.model}@500.")
        refs.append(address.ref)
    comparison = compare(invocation.existing_store, refs[0], refs[1])
    if invocation.as_json:
        output.print_json(documents.comparison_document(comparison))
    else:
        output.print_lines(render.comparison_lines(comparison))


def _compare_twins(invocation: Invocation, first: str, second: str) -> None:
    from art.cli.render import sweep as render
    from art.ops.twins import compare_twins

    one, other = (_here(invocation, text) for text in (first, second))
    for address in (one, other):
        if address.step is not None:
            raise typer.BadParameter(f"Twins are compared over all their steps; write {address.model}.")
    twins = compare_twins(invocation.existing_store, one.model, other.model)
    if invocation.as_json:
        output.print_json(render.twins_document(twins))
    else:
        output.print_lines([render.twins_line(twins)])


def _here(invocation: Invocation, text: str) -> Address:
    address = invocation.address(text)
    if address.url:
        raise typer.BadParameter(
            f"{text} lies in a bucket; this command reads this disk only. art pull brings it here."
        )
    return address
