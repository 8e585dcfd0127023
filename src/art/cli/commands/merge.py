"""`art merge`: two checkpoints into a new model, which has both for parents."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from art.cli.completion import name_argument
from art.cli.invocation import AsJson, Project, Root, settle
from art.cli.render import output

if TYPE_CHECKING:
    from art.ops.merge import Merged


def merge(
    context: typer.Context,
    first: Annotated[str, name_argument("A[@STEP]", "Gives rank, scale and the step.")],
    second: Annotated[str, name_argument("B[@STEP]", "What is merged into it.")],
    into: Annotated[str, typer.Option("--into", metavar="C", help="The new model; in the project of A, if bare.")],
    method: Annotated[str, typer.Option("--method", metavar="linear|slerp|ties", help="How.")] = "linear",
    weight: Annotated[float, typer.Option("--weight", min=0, max=1, help="The share of B.")] = 0.5,
    density: Annotated[float, typer.Option("--density", min=0.001, max=1, help="Of ties: what it keeps.")] = 0.2,
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Begin a model with the merge of two adapters on one base. Weights only: its optimizer starts afresh."""
    from art.adapter.merging import merge_adapters
    from art.format.merge import Method
    from art.format.pick import pick_of
    from art.ops import merge as ops

    if method not in ("linear", "slerp", "ties"):
        raise typer.BadParameter(f"{method} is no method; it is linear, slerp or ties.", param_hint="--method")
    invocation = settle(context, root, project, as_json)
    one, other = (invocation.local_address(text, "merge") for text in (first, second))
    end = invocation.local_address(into if "/" in into else f"{one.model.project}/{into}", "merge")
    request = ops.MergeRequest(
        first=one.model,
        first_pick=pick_of(step=one.step),
        second=other.model,
        second_pick=pick_of(step=other.step),
        into=end.model,
        method=Method(name=method, weight=weight, density=density),
    )
    merged = ops.merge(invocation.existing_store, request, combine=merge_adapters)
    parents: dict[str, Any] = {"first": str(merged.first.ref), "second": str(merged.second.ref)}
    if invocation.as_json:
        how = {"method": method, "weight": weight, "density": density, "kept": merged.kept, "repeated": merged.repeated}
        output.print_json({"ref": str(merged.checkpoint.ref), "digest": merged.checkpoint.digest, **parents, **how})
        return
    output.print_lines(_lines(merged))


def _lines(merged: "Merged") -> Iterator[str]:
    from art.cli.render import wording

    yield f"{merged.checkpoint.ref} is a merge of {merged.first.ref} and {merged.second.ref} ({merged.method})"
    if merged.kept is None:
        yield "  this merge was made before"
        return
    yield f"  its rank keeps {merged.kept:.1%} of the merged update, in {wording.seconds(merged.seconds)}"
    yield "  weights only: optimizer, schedule, random state and state start afresh"
