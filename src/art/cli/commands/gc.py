"""`art gc`: deletes what unfinished work left."""

from typing import Annotated

import typer

from art.cli.invocation import AsJson, Project, Root, settle
from art.cli.render import output


def collect(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", metavar="", help="Only list.")] = False,
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Delete debris: folders of unfinished checkpoints and transfers. Keeps what a rewind set aside."""
    from art.cli.render import garbage as render
    from art.ops.garbage import collect_garbage, find_garbage

    invocation = settle(context, root, project, as_json)
    store = invocation.existing_store
    garbage = find_garbage(store) if dry_run else collect_garbage(store)
    if invocation.as_json:
        output.print_json(render.document(garbage, dry_run=dry_run))
    else:
        output.print_lines(render.lines(garbage, root=store.root, dry_run=dry_run))
