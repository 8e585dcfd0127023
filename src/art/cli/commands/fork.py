"""`art fork`: begins a model with a checkpoint of another one, on this disk or in a bucket."""

from typing import TYPE_CHECKING, Annotated, cast

import typer

from art.cli.completion import name_argument
from art.cli.invocation import AsJson, Invocation, Project, Root, settle
from art.cli.render import output

if TYPE_CHECKING:
    from art.cli.addresses import ModelAddress
    from art.format.pick import Mode, Pick


def fork(
    context: typer.Context,
    source: Annotated[str, name_argument("SRC[@STEP]", "The newest step, if none is named.")],
    destination: Annotated[str, name_argument("DST", "The new model; in the project of SRC, if bare.")],
    not_after: Annotated[int | None, typer.Option(min=0, metavar="STEP", help="The newest at or before this.")] = None,
    best: Annotated[str | None, typer.Option(metavar="METRIC", help="The best by a metric, as in val/reward.")] = None,
    mode: Annotated[
        str | None, typer.Option(metavar="min|max", help="What is better, where the metric does not say.")
    ] = None,
    reset: Annotated[
        list[str] | None, typer.Option(metavar="PART", help="Start afresh: optimizer, schedule, random or state.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", metavar="", help="Set aside what DST has.")] = False,
    continue_if_exists: Annotated[
        bool, typer.Option("--continue-if-exists", metavar="", help="Go on where DST stands, if it has checkpoints.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", metavar="", help="Also what was considered.")] = False,
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Begin a model with a checkpoint of another one, at the same step. No bytes move where they can be shared.

    The same fork repeated does nothing. Either side may lie in a bucket: s3://bucket/prefix::project/model@500.
    """
    from art.cli import forks
    from art.ops.fork import if_exists

    invocation = settle(context, root, project, as_json)
    start = invocation.address(source)
    pick = _pick(start, not_after, best, mode)
    end = _end(invocation, destination, start)
    wishes = if_exists(overwrite=overwrite, continues=continue_if_exists)
    report = forks.perform(invocation, start, end, pick=pick, reset=tuple(reset or ()), if_exists=wishes)
    if invocation.as_json:
        output.print_json(forks.document(report, start, end))
    else:
        output.print_lines(forks.lines(invocation, report, start, end, verbose=verbose))


def _end(invocation: Invocation, destination: str, start: "ModelAddress") -> "ModelAddress":
    end = invocation.address(destination, project=start.model.project)
    if end.step is not None:
        raise typer.BadParameter(f"A fork keeps the step of its source; write {end.model}.", param_hint="DST")
    return end


def _pick(source: "ModelAddress", not_after: int | None, best: str | None, mode: str | None) -> "Pick":
    from art.format.pick import Best, pick_of

    if source.step is not None and (not_after is not None or best is not None):
        raise typer.BadParameter(f"{source} names its step already; leave out --not-after and --best.")
    if not_after is not None and best is not None:
        raise typer.BadParameter("--not-after and --best choose in two ways; leave out one.")
    if best is None and mode is not None:
        raise typer.BadParameter("--mode belongs to --best.")
    return pick_of(step=source.step, not_after=not_after) if best is None else Best(best, cast("Mode | None", mode))
