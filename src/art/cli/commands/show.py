"""`art show`: all that is known of a checkpoint. Changes nothing."""

from typing import Annotated

import typer

from art.cli.completion import name_argument
from art.cli.invocation import AsJson, Project, Root, settle
from art.cli.render import output


def show(
    context: typer.Context,
    checkpoint: Annotated[str, name_argument("MODEL@STEP", "The newest without a step.")],
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Show all that is known of a checkpoint.

    Its manifest, its lineage, its files with their digests, and who has the same bytes.
    """
    from art.cli.render import details, wording
    from art.format.pick import pick_of
    from art.ops.details import read_details

    invocation = settle(context, root, project, as_json)
    address = invocation.address(checkpoint)
    place = invocation.place(address.url)
    opened = place.select(address.model, pick_of(step=address.step)).checkpoint
    known = read_details(place, opened)
    if invocation.as_json:
        output.print_json(details.document(known))
    else:
        output.print_lines(details.lines(known, now=wording.utc_now()))
