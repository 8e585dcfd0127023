"""`art gc`: deletes what unfinished work left, or what no policy keeps."""

from typing import TYPE_CHECKING, Annotated

import typer

from art.cli import addresses
from art.cli.completion import complete_name
from art.cli.deleting import delete
from art.cli.invocation import AsJson, Invocation, Project, Root, settle
from art.cli.render import output

if TYPE_CHECKING:
    from art.names import CheckpointRef, ModelRef
    from art.ops.retention import Retention
    from art.remote.remote import Remote
    from art.store.store import CheckpointStore


def collect(
    context: typer.Context,
    where: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            autocompletion=complete_name,
            help="A bucket's URL; with --keep also one model. Else all.",
        ),
    ] = None,
    keep: Annotated[str | None, typer.Option(metavar="POLICIES", help="Delete checkpoints that none keeps.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "--plan", "-n", metavar="", help="Only say what would be done.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", metavar="", help="Do not ask.")] = False,
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Delete debris: folders of unfinished checkpoints and transfers. With --keep, checkpoints too."""
    invocation = settle(context, root, project, as_json)
    if keep is not None:
        _keep(invocation, where, keep, dry_run=dry_run, yes=yes)
        return
    if where is not None and not addresses.is_place(where) and not where.startswith(addresses.HUB):
        raise typer.BadParameter("A model belongs to --keep; debris is deleted below the whole root or bucket.")
    _sweep(invocation, where, dry_run=dry_run)


def _sweep(invocation: Invocation, url: str | None, *, dry_run: bool) -> None:
    from art.cli.render import garbage as render
    from art.ops.garbage import collect_garbage, find_garbage

    place = invocation.place_to_change(url)
    garbage = find_garbage(place) if dry_run else collect_garbage(place)
    if invocation.as_json:
        output.print_json(render.document(garbage, dry_run=dry_run))
    else:
        output.print_lines(render.lines(garbage, root=None if url else invocation.root, dry_run=dry_run))


def _keep(invocation: Invocation, where: str | None, keep: str, *, dry_run: bool, yes: bool) -> None:
    from art.ops.keep import policies_of
    from art.ops.retention import plan_retention

    policies = policies_of(keep)
    place, models = _named(invocation, where)
    retention = plan_retention(place, models, policies)
    if dry_run:
        _report(invocation, retention, retention.removal.refs, dry_run=True)
        return
    delete(
        place,
        retention.removal,
        yes=yes,
        again=lambda: plan_retention(place, models, policies).removal,
        tell=lambda refs: _report(invocation, retention, refs, dry_run=False),
    )


def _named(invocation: Invocation, where: str | None) -> "tuple[CheckpointStore | Remote, list[ModelRef]]":

    if where is None:
        store = invocation.existing_store
        return store, store.models(invocation.project)
    if addresses.is_place(where):
        place = invocation.place_to_change(where)
        return place, place.models(invocation.project)
    address = invocation.address(where)
    if address.ref:
        raise typer.BadParameter(f"Policies choose among all steps; leave the step out: {address.model}.")
    place = invocation.place_to_change(address.url)
    place.select(address.model)  # says so when there is none
    return place, [address.model]


def _report(
    invocation: Invocation, retention: "Retention", deleted: "tuple[CheckpointRef, ...]", *, dry_run: bool
) -> None:
    from art.cli.render import retention as render

    if invocation.as_json:
        output.print_json(render.document(retention, deleted, dry_run=dry_run))
    else:
        output.print_lines(render.lines(retention, deleted, dry_run=dry_run))
