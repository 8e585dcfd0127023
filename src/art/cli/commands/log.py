"""`art log`: models, their steps, and where they were forked. Changes nothing."""

import shutil
from typing import TYPE_CHECKING, Annotated, Any

import typer

from art.cli import addresses
from art.cli.completion import name_argument
from art.cli.invocation import AsJson, Invocation, Project, Root, settle
from art.cli.render import output
from art.errors import MetricNotFoundError, ModelNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from art.names import ModelRef
    from art.ops.place import Place
    from art.ops.tree import TreeBranch

DEFAULT_METRIC = "train/reward"


def log(
    context: typer.Context,
    model: Annotated[
        str | None,
        name_argument(None, "This model, its sources and its forks; or a project; or a bucket's URL."),
    ] = None,
    graph: Annotated[bool, typer.Option("--graph", metavar="", help="Draw the branches.")] = False,
    lanes: Annotated[bool, typer.Option("--lanes", metavar="", help="A line a branch, on one axis of steps.")] = False,
    history: Annotated[bool, typer.Option("--history", metavar="", help="A model's metrics, step by step.")] = False,
    whole: Annotated[bool, typer.Option("--all", metavar="", help="Every step, not only those that matter.")] = False,
    metric: Annotated[str, typer.Option(help="What is shown beside each step, and best by.")] = DEFAULT_METRIC,
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Show models, their steps and where they were forked.

    Also the newest and the best of each, and what was set aside. Of many steps only the first, the last, the best
    and those that were forked are shown one by one.
    """
    from art.cli.render import log, wording
    from art.ops.place import place_of
    from art.ops.tree import read_tree

    invocation = settle(context, root, project, as_json)
    if graph + lanes + history > 1:
        raise typer.BadParameter("--graph, --lanes and --history are three ways to show the same: choose one.")
    if history:
        _show_history(invocation, model)
        return
    place = place_of(invocation.place(_url(model)))
    wanted = _wanted(invocation, place, model)
    if lanes:
        _show_lanes(invocation, place, wanted, metric)
        return
    branches = read_tree(place, wanted, metric=metric, whole=whole or invocation.as_json)
    _check_known(metric, branches)
    if invocation.as_json:
        output.print_json(log.document(branches, root=str(place), metric=metric))
        return
    if not branches:
        output.say(f"There are no models below {place} yet.")
    lines = log.graph_lines if graph else log.list_lines
    output.print_lines(lines(branches, metric=metric, now=wording.utc_now()))


def _check_known(metric: str, branches: "Iterable[TreeBranch]") -> None:
    scores = [branch.scores for branch in branches]
    if metric != DEFAULT_METRIC and scores and not any(scores):
        raise MetricNotFoundError(f"No checkpoint has the metric {metric!r}; write split/name, as in val/reward.")


def _show_lanes(invocation: Invocation, place: "Place[Any]", wanted: "list[ModelRef]", metric: str) -> None:
    """Draw branches: those of this disk with what became of them, those of a bucket without."""
    from art.cli.render.lanes import lane_lines
    from art.ops import documents
    from art.ops.lanes import read_overview
    from art.ops.on_disk import OnDisk
    from art.ops.tree import read_tree

    if isinstance(place, OnDisk):
        overview = read_overview(place.store, project=invocation.project, metric=metric).of(wanted)
        lanes = {lane.model: lane for lane in overview.lanes}
        branches = [lane.branch for lane in lanes.values()]
        _check_known(metric, branches)
        if invocation.as_json:
            output.print_json(documents.tree_document(overview, metric=metric))
            return
    elif invocation.as_json:
        raise typer.BadParameter(
            f"--lanes --json judges histories on this disk; pull from {place}, or leave out --lanes."
        )
    else:
        branches, lanes = read_tree(place, wanted, metric=metric), {}
        _check_known(metric, branches)
    width = shutil.get_terminal_size().columns
    if not branches:
        output.say(f"There are no models below {place} yet.")
    output.print_lines(lane_lines(branches, lanes, metric=metric, width=width))


def _show_history(invocation: Invocation, text: str | None) -> None:
    from art.cli.render.history import history_lines
    from art.ops import documents
    from art.ops.lanes import read_overview

    if text is None:
        raise typer.BadParameter("--history shows the metrics of one model: name it.")
    model, store = invocation.local_address(text, "log --history").model, invocation.existing_store
    document = documents.history_document(read_overview(store, project=model.project).lane(model))
    if invocation.as_json:
        output.print_json(document)
    else:
        output.print_lines(history_lines(document))


def _url(text: str | None) -> str | None:
    if text is None or addresses.SCHEME not in text:
        return None
    return text if addresses.is_place(text) else addresses.parse(text, project="-").url


def _wanted(invocation: Invocation, place: "Place[Any]", text: str | None) -> "list[ModelRef]":
    from art.ops.tree import related

    models = place.models(invocation.project)
    if text is None or addresses.is_place(text):
        return models
    if of_project := [model for model in models if model.project == text.rpartition(addresses.BETWEEN)[2]]:
        return of_project
    named = invocation.address(text).model
    if named not in models:
        known = ", ".join(str(model) for model in models) or "none"
        raise ModelNotFoundError(f"There is no model {named} below {place}; there are: {known}.")
    return related(place, named)
