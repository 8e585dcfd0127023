"""`art diff`: how two checkpoints differ, in what was set, what they earned, what they weigh and what they answer."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from art.cli.completion import name_argument
from art.cli.invocation import AsJson, Invocation, Project, Root, settle
from art.cli.render import output

if TYPE_CHECKING:
    from art.names import CheckpointRef


def diff(
    context: typer.Context,
    first: Annotated[str, name_argument("MODEL@STEP", "The newest without a step.")],
    second: Annotated[str, name_argument("MODEL@STEP", "Likewise.")],
    examples: Annotated[bool, typer.Option("--examples", metavar="", help="Print what both answered.")] = False,
    layers: Annotated[
        bool, typer.Option("--layers", metavar="", help="Every layer, not only those apart most.")
    ] = False,
    paired: Annotated[
        bool,
        typer.Option("--paired", metavar="", help="Two branches of one checkpoint, over all their common prompts."),
    ] = False,
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Compare two checkpoints: where they part, what was set otherwise, how far apart their updates are, and the same
    prompts through both.
    """
    # Thousands of small products gain nothing by more threads; torch reads this when it is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from art.cli.render import diff as render
    from art.local.apart import apart, apart_document
    from art.ops import documents
    from art.ops.compare import compare

    invocation = settle(context, root, project, as_json)
    if paired:
        _compare_twins(invocation, first, second)
        return
    one, other = _refs(invocation, first, second)
    store = invocation.existing_store
    comparison = compare(store, one, other)
    if examples and not invocation.as_json:
        output.print_lines(render.example_lines(comparison))
        return
    distance = apart(store.open(one), store.open(other))
    if invocation.as_json:
        output.print_json({**documents.comparison_document(comparison), "update": apart_document(distance)})
    else:
        output.print_lines(render.comparison_lines(comparison, distance, whole=layers))


def _refs(invocation: Invocation, *texts: str) -> "list[CheckpointRef]":
    return [invocation.local_checkpoint(text, "diff")[1].ref for text in texts]


def _compare_twins(invocation: Invocation, first: str, second: str) -> None:
    from art.cli.render import sweep as render
    from art.ops.twins import compare_twins

    one, other = (invocation.local_address(text, "diff") for text in (first, second))
    for address in (one, other):
        if address.step is not None:
            raise typer.BadParameter(f"Twins are compared over all their steps; write {address.model}.")
    twins = compare_twins(invocation.existing_store, one.model, other.model)
    if invocation.as_json:
        output.print_json(render.twins_document(twins))
    else:
        output.print_lines([render.twins_line(twins)])
