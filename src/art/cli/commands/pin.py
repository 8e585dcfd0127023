"""`art pin` and `art unpin`: checkpoints that no policy deletes."""

from pathlib import Path
from typing import Annotated

import typer

from art.cli.completion import name_argument
from art.cli.invocation import AsJson, Project, Root, settle
from art.cli.render import output

What = Annotated[str, name_argument("MODEL@STEP", "Here or in a bucket.")]


def pin(
    context: typer.Context, checkpoint: What, root: Root = None, project: Project = None, as_json: AsJson = False
) -> None:
    """Keep a checkpoint whatever the policies of `art gc --keep` and `keep=` say. `art rm` still deletes it."""
    _set(context, checkpoint, (root, project, as_json), pinned=True)


def unpin(
    context: typer.Context, checkpoint: What, root: Root = None, project: Project = None, as_json: AsJson = False
) -> None:
    """Take a pin out: from now on the policies decide."""
    _set(context, checkpoint, (root, project, as_json), pinned=False)


def _set(context: typer.Context, text: str, options: tuple[Path | None, str | None, bool], *, pinned: bool) -> None:
    from art.ops.pins import set_pin

    invocation = settle(context, *options)
    address = invocation.address(text)
    place = invocation.place_to_change(address.url)
    if address.ref is None:
        raise typer.BadParameter(f"Name a step, as in {address.model}@500.")
    checkpoint = set_pin(place, address.ref, pinned=pinned)
    if invocation.as_json:
        output.print_json({"ref": str(address.ref), "digest": checkpoint.digest, "pinned": pinned})
    else:
        output.print_lines([f"{address} is {'pinned' if pinned else 'no longer pinned'}."])
