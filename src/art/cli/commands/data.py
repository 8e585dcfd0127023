"""`art data`: how often a branch was trained on each scenario, counted again step by step. Changes nothing."""

from typing import Annotated

import typer

from art.cli.completion import name_argument
from art.cli.invocation import AsJson, Project, Root, settle
from art.cli.render import output

DIFFERS = 3


def data(
    context: typer.Context,
    checkpoint: Annotated[str, name_argument("MODEL[@STEP]", "The newest without a step.")],
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Show how often a branch was trained on each scenario.

    Along its whole past, across forks and restarts; what it inherited is told apart, and a rewound tail does not count.
    Every step's record is counted again. Exit status 3 when the sums are others.
    """
    from art.cli.render import data as render
    from art.ops.data_documents import trained_document
    from art.ops.trained import read_trained

    invocation = settle(context, root, project, as_json)
    address = invocation.address(checkpoint)
    place = invocation.place(address.url)
    trained = read_trained(place, address.ref or place.select(address.model).checkpoint.ref)
    if invocation.as_json:
        output.print_json(trained_document(trained))
    else:
        output.print_lines(render.lines(trained))
    if trained.problems:
        raise typer.Exit(DIFFERS)
