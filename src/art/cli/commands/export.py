"""`art export`: writes a model's whole past into a tracker."""

from typing import Annotated

import typer

from art.cli.completion import name_argument
from art.cli.invocation import AsJson, Project, Root, settle
from art.cli.render import output
from art.errors import NotFoundError


def export(
    context: typer.Context,
    model: Annotated[str, name_argument("MODEL", "Whose history is written.")],
    to: Annotated[str, typer.Option("--to", metavar="TRACKER", help="trackio, wandb, mlflow, tensorboard or jsonl.")],
    metrics_only: Annotated[bool, typer.Option("--metrics-only", metavar="", help="Leave out rollouts.")] = False,
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Write a model's whole past into a tracker, as a run of its own; a fork's with what it inherited."""
    from art.cli.render import wording
    from art.format import layout
    from art.ops.telling import Report, Teller
    from art.track.known import maker

    invocation = settle(context, root, project, as_json)
    store, address = invocation.existing_store, invocation.local_address(model, "export")
    if address.ref:
        raise typer.BadParameter(f"A whole past is written; leave the step out: {address.model}.")
    report = Report(to, maker(to, store.root / layout.TRACKERS), has_rollouts=not metrics_only)
    teller = Teller(store, report)
    try:
        with output.working(f"telling {to} of {address.model}"):
            told = teller.tell(address.model, again=True)
    finally:
        teller.close()
    if not told.points:
        raise NotFoundError(f"There is no history of {address.model} below {store.root}.")
    if invocation.as_json:
        counts = {"points": told.points, "inherited": told.inherited, "rollouts": told.rollouts}
        output.print_json({"model": str(address.model), "tracker": to, "run": told.run, **counts})
        return
    inherited = f", {told.inherited} of them from before the fork" if told.inherited else ""
    groups = f", and {wording.count(told.rollouts, 'group')} of rollouts" if told.rollouts else ""
    points = wording.count(told.points, "point")
    output.print_lines([f"{address.model} -> {to}, run {told.run}: {points}{inherited}{groups}."])
