"""`art push`: copies checkpoints to a bucket, from this disk or from another one."""

from typing import TYPE_CHECKING, Annotated

import typer

from art.cli import addresses
from art.cli.completion import name_argument
from art.cli.invocation import AsJson, Project, Root, settle
from art.cli.render import output

if TYPE_CHECKING:
    from art.ops.moving import Moved, MovedStep


def push(
    context: typer.Context,
    what: Annotated[str, name_argument("MODEL[@STEP]", "Every step, if none is named; here or in a bucket.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="As in s3://bucket/prefix.")],
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Copy checkpoints to a bucket. Pushing again completes what was interrupted; nothing there is replaced."""
    from art.format.pick import Exact
    from art.ops.moving import MoveRequest, move
    from art.remote.remote import Remote

    invocation = settle(context, root, project, as_json)
    if addresses.BETWEEN in url:
        raise typer.BadParameter(f"A push keeps the model's name; write {url.partition(addresses.BETWEEN)[0]}.")
    address = invocation.address(what)
    if what.startswith(addresses.HUB):
        begin = f"art fork {what} {url}{addresses.BETWEEN}project/model"
        raise typer.BadParameter(f"{what} is read, and has no steps to push. Begin a model with it: `{begin}`.")
    remote, pick = Remote.open(url), None if address.step is None else Exact(address.step)
    source = invocation.place_to_change(address.url)
    request = MoveRequest(source=source, destination=remote, model=address.model, pick=pick)
    moved = move(request, watch=output.byte_bar, each=lambda step: None if invocation.as_json else _tell(step))
    if invocation.as_json:
        output.print_json({"url": str(remote), "pushed": _document(moved)})


def _tell(step: "MovedStep") -> None:
    from art.cli.render import wording

    reuse = f", {wording.size(step.reused_bytes)} were there" if step.reused_bytes else ""
    output.print_lines([f"{step.ref}  {wording.moved('sent', step.moved_bytes, step.seconds)}{reuse}"])


def _document(moved: "Moved") -> list[dict[str, object]]:
    return [
        {
            "ref": str(step.ref),
            "url": step.where,
            "digest": step.digest,
            "sent_bytes": step.moved_bytes,
            "there_bytes": step.reused_bytes,
            "seconds": round(step.seconds, 6),
        }
        for step in moved.checkpoints
    ]
