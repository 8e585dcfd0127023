"""`art pull`: copies a checkpoint from a bucket to this disk."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from art.cli import addresses
from art.cli.invocation import AsJson, Project, Root, settle
from art.cli.render import output

if TYPE_CHECKING:
    from art.format.selection import Selection
    from art.remote.checkpoint import RemoteCheckpoint
    from art.remote.fetch import Fetched


def pull(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="URL::MODEL[@STEP]", help="The newest, if no step is named.")],
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Copy a checkpoint from a bucket to this disk, every byte checked."""
    from art.format.pick import pick_of
    from art.remote.remote import Remote

    invocation = settle(context, root, project, as_json)
    address = invocation.address(what)
    if address.url is None:
        raise typer.BadParameter(f"{what} names no bucket; write s3://bucket/prefix{addresses.BETWEEN}{address}.")
    remote = Remote.open(address.url)
    selection = remote.select(address.model, pick_of(step=address.step))
    with output.byte_bar(f"pulling {selection.checkpoint.ref}") as show:
        fetched = remote.fetch(selection.checkpoint, invocation.store, progress=show)
        remote.fetch_history(invocation.store, address.model)
    if invocation.as_json:
        output.print_json({"url": str(remote), **_document(selection, fetched)})
    else:
        output.print_lines(_lines(selection, fetched))


def _lines(selection: "Selection[RemoteCheckpoint]", fetched: "Fetched") -> Iterator[str]:
    from art.cli.render import wording

    cost = wording.moved("fetched", fetched.fetched_bytes, fetched.seconds)
    reused = f", {wording.size(fetched.reused_bytes)} were here" if fetched.reused_bytes else ""
    yield f"{fetched.checkpoint.ref}  {cost}{reused}"
    yield f"  {fetched.checkpoint.path}"
    for skip in selection.skipped:
        yield f"  skipped step {skip.step}: {skip.reason}"


def _document(selection: "Selection[RemoteCheckpoint]", fetched: "Fetched") -> dict[str, Any]:
    return {
        "ref": str(fetched.checkpoint.ref),
        "path": str(fetched.checkpoint.path),
        "digest": fetched.checkpoint.digest,
        "fetched_bytes": fetched.fetched_bytes,
        "reused_bytes": fetched.reused_bytes,
        "skipped": [{"step": skip.step, "reason": skip.reason} for skip in selection.skipped],
        "seconds": round(fetched.seconds, 6),
    }
