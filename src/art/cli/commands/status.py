"""`art status` and `art suggest`: what is wrong, and what to do."""

from typing import Annotated

import typer

from art.cli.completion import name_argument
from art.cli.invocation import AsJson, Price, Project, Root, settle
from art.cli.render import output

ALARM_IS_OPEN = 3


def status(
    context: typer.Context,
    price: Price = None,
    follow: Annotated[bool, typer.Option("--follow", metavar="", help="Say it again at every change.")] = False,
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Say of every run that goes on, or wrote something within a day, how it stands and what it costs.

    The exit status is 3 while an alarm is open. With --follow: until Ctrl-C, one JSON document a line with --json.
    """
    from art.cli.render import status as render
    from art.ops import documents
    from art.ops.lanes import Life, read_overview

    invocation = settle(context, root, project, as_json)
    store = invocation.existing_store
    if follow:
        from art.cli.following import follow as follow_store

        follow_store(store, project=invocation.project, price=price, as_json=invocation.as_json)
        return
    overview = read_overview(store, project=invocation.project)
    if invocation.as_json:
        output.print_json(documents.status_document(overview, root=str(store.root), price=price))
    else:
        if not overview.lanes:
            output.say(f"There are no models below {store.root} yet.")
        output.print_lines(render.status_lines(overview, root=store.root, price=price))
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
    from art.ops import documents
    from art.ops.lanes import read_overview

    invocation = settle(context, root, project, as_json)
    wanted = invocation.local_address(model, "suggest").model
    store = invocation.existing_store
    overview = read_overview(store, project=wanted.project)
    lane = overview.lane(wanted)
    alarm = next((alarm for alarm in overview.alarms if alarm.lane is lane), None)
    if invocation.as_json:
        alert = documents.alert_document(overview, alarm, root=str(store.root)) if alarm else None
        output.print_json({"schema": documents.SCHEMA, "model": str(wanted), "alert": alert})
    else:
        output.print_lines(render.suggestion_lines(overview, lane, alarm, root=store.root))
