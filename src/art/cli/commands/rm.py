"""`art rm`: deletes checkpoints for good, on this disk or in a bucket."""

from typing import TYPE_CHECKING, Annotated, cast

import typer

from art.cli import addresses
from art.cli.completion import complete_name
from art.cli.deleting import delete
from art.cli.invocation import AsJson, Invocation, Project, Root, settle
from art.cli.render import output

if TYPE_CHECKING:
    from art.format.pick import Mode
    from art.names import CheckpointRef
    from art.ops.removal import Keep, Removal, StepRange
    from art.remote.remote import Remote
    from art.store.store import CheckpointStore


def remove(
    context: typer.Context,
    checkpoints: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL[@STEP]...",
            autocompletion=complete_name,
            help="Steps, ranges as in model@6..10, or whole models.",
        ),
    ],
    keep_last: Annotated[int, typer.Option(min=0, metavar="N", help="Keep the last N of those named.")] = 0,
    keep_best: Annotated[str | None, typer.Option(metavar="METRIC", help="Keep the best by this metric.")] = None,
    mode: Annotated[
        str | None, typer.Option(metavar="min|max", help="What is better, where the metric does not say.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", metavar="", help="Only say what would be done.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", metavar="", help="Do not ask.")] = False,
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Delete checkpoints for good. Forks of them keep their bytes, and histories stay."""
    from art.ops.removal import plan_removal

    invocation = settle(context, root, project, as_json)
    keep = _keep(keep_last, keep_best, mode)
    place, ranges = _named(invocation, checkpoints)
    removal = plan_removal(place, ranges, keep)
    if dry_run:
        _report(invocation, removal, removal.refs, dry_run=True)
        return
    delete(
        place,
        removal,
        yes=yes,
        again=lambda: plan_removal(place, ranges, keep),
        tell=lambda refs: _report(invocation, removal, refs, dry_run=False),
    )


def _keep(last: int, best: str | None, mode: str | None) -> "Keep":
    from art.format.pick import Best
    from art.ops.removal import Keep

    if best is None and mode is not None:
        raise typer.BadParameter("--mode belongs to --keep-best.")
    return Keep(last, None if best is None else Best(best, cast("Mode | None", mode)))


def _named(invocation: Invocation, texts: list[str]) -> "tuple[CheckpointStore | Remote, list[StepRange]]":
    from art.ops.removal import StepRange

    ranges: list[StepRange] = []
    urls: set[str | None] = set()
    for text in texts:
        name, first, last = (text, None, None) if text.startswith(addresses.HUB) else addresses.split_range(text)
        address = invocation.address(name)
        ranges.append(StepRange(address.model, first, last))
        urls.add(address.url)
    if len(urls) > 1:
        raise typer.BadParameter("What is deleted together lies in one place; run it once for each.")
    (url,) = urls
    return invocation.place_to_change(url), ranges


def _report(invocation: Invocation, removal: "Removal", refs: "tuple[CheckpointRef, ...]", *, dry_run: bool) -> None:
    from art.cli.render import removal as render

    if invocation.as_json:
        output.print_json(render.document(removal, refs, dry_run=dry_run))
    else:
        output.print_lines(render.lines(removal, refs, dry_run=dry_run))
