"""`art log` and `art show`: read and print, change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from art.cli.render import output
from art.cli.session import Session
from art.errors import MetricNotFoundError, ModelNotFoundError

if TYPE_CHECKING:
    from art.names import ModelRef

DEFAULT_METRIC = "train/reward"


def log(
    session: Session,
    model: Annotated[str | None, typer.Argument(help="This model, its sources and its forks; or a project.")] = None,
    graph: Annotated[bool, typer.Option("--graph", metavar="", help="Draw the branches.")] = False,
    whole: Annotated[bool, typer.Option("--all", metavar="", help="Every step, not only those that matter.")] = False,
    metric: Annotated[str, typer.Option(help="What is shown beside each step, and best by.")] = DEFAULT_METRIC,
) -> None:
    """Show models, their steps and where they were forked.

    Also the newest and the best of each, and what was set aside. Of many steps only the first, the last, the best
    and those that were forked are shown one by one.
    """
    from art.cli import family
    from art.cli.render import log, wording

    store = session.existing_store
    branches = family.read_family(store, _wanted(session, model), metric=metric, whole=whole or session.as_json)
    if metric != DEFAULT_METRIC and branches and not any(branch.scores for branch in branches):
        raise MetricNotFoundError(f"No checkpoint has the metric {metric!r}; write split/name, as in val/reward.")
    if session.as_json:
        output.print_json(log.document(branches, root=str(store.root), metric=metric))
        return
    if not branches:
        output.words().print(f"There are no models below {store.root} yet.", markup=False)
    now = wording.utc_now()
    output.print_lines(
        log.graph_lines(branches, now=now) if graph else log.list_lines(branches, metric=metric, now=now)
    )


def show(
    session: Session,
    checkpoint: Annotated[str, typer.Argument(metavar="MODEL@STEP", help="The newest without a step.")],
) -> None:
    """Show all that is known of a checkpoint.

    Its manifest, its lineage, its files with their digests, and who has the same bytes.
    """
    from art.cli.render import details, wording

    store = session.existing_store
    place = session.place(checkpoint)
    opened = store.open(place.ref) if place.ref else store.select(place.model).checkpoint
    known = details.read(store, opened)
    if session.as_json:
        output.print_json(details.document(known))
    else:
        output.print_lines(details.lines(known, now=wording.utc_now()))


def _wanted(session: Session, text: str | None) -> list[ModelRef]:
    from art.cli import family

    store = session.existing_store
    models = store.models(session.project)
    if text is None:
        return models
    if of_project := [model for model in models if model.project == text]:
        return of_project
    named = session.place(text).model
    if named not in models:
        known = ", ".join(str(model) for model in models) or "none"
        raise ModelNotFoundError(f"There is no model {named} below {store.root}; there are: {known}.")
    return family.related(store, named)
