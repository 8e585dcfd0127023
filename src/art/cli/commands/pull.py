"""`art pull`: copies a checkpoint from a bucket to this disk."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from art.cli import addresses
from art.cli.invocation import AsJson, Project, Root, settle
from art.cli.render import output

if TYPE_CHECKING:
    from art.ops.moving import Moved


def pull(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="URL::MODEL[@STEP]", help="The newest, if no step is named.")],
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Copy a checkpoint from a bucket to this disk, every byte checked."""
    from art.format.pick import pick_of
    from art.ops.moving import MoveRequest, move
    from art.remote.remote import Remote

    invocation = settle(context, root, project, as_json)
    address = invocation.address(what)
    if address.url is None:
        raise typer.BadParameter(f"{what} names no bucket; write s3://bucket/prefix{addresses.BETWEEN}{address}.")
    remote = Remote.open(address.url)
    pick = pick_of(step=address.step)
    request = MoveRequest(source=remote, destination=invocation.store, model=address.model, pick=pick)
    moved = move(request, watch=output.byte_bar)
    if invocation.as_json:
        output.print_json({"url": str(remote), **_document(moved)})
    else:
        output.print_lines(_lines(moved))


def _lines(moved: "Moved") -> Iterator[str]:
    from art.cli.render import wording

    (step,) = moved.checkpoints
    reused = f", {wording.size(step.reused_bytes)} were here" if step.reused_bytes else ""
    yield f"{step.ref}  {wording.moved('fetched', step.moved_bytes, step.seconds)}{reused}"
    yield f"  {step.where}"
    for skip in moved.skipped:
        yield f"  skipped step {skip.step}: {skip.reason}"


def _document(moved: "Moved") -> dict[str, Any]:
    (step,) = moved.checkpoints
    return {
        "ref": str(step.ref),
        "path": step.where,
        "digest": step.digest,
        "fetched_bytes": step.moved_bytes,
        "reused_bytes": step.reused_bytes,
        "skipped": [{"step": skip.step, "reason": skip.reason} for skip in moved.skipped],
        "seconds": round(step.seconds, 6),
    }
