"""`art sign`: signs a checkpoint with a key, so that others can tell who made it."""

from pathlib import Path
from typing import Annotated

import typer

from art.cli.completion import name_argument
from art.cli.invocation import AsJson, Project, Root, settle
from art.cli.render import output

What = Annotated[str, name_argument("MODEL[@STEP]", "The newest step, if none is named; also URL::MODEL@STEP.")]
Key = Annotated[
    Path, typer.Option("--key", metavar="FILE", exists=True, dir_okay=False, help="Private key, an elliptic curve's.")
]


def sign(
    context: typer.Context, what: What, key: Key, root: Root = None, project: Project = None, as_json: AsJson = False
) -> None:
    """Sign a checkpoint's manifest and files, in the format of OpenSSF Model Signing.

    The signature lies beside the checkpoint, which stays as it is; `art push` and `art pull` take it along. A fork is
    another checkpoint and needs a signature of its own.
    """
    from art.format.pick import pick_of
    from art.ops import signing

    invocation = settle(context, root, project, as_json)
    address = invocation.address(what)
    place, pick = invocation.place_to_change(address.url), pick_of(step=address.step)
    with output.working(f"signing {what} ..."):
        checkpoint = place.select(address.model, pick).checkpoint
        signed = signing.sign(place, checkpoint, key)
    if invocation.as_json:
        output.print_json(
            {"ref": str(checkpoint.ref), "digest": checkpoint.digest, "key": signed.key, "path": signed.where}
        )
    else:
        output.print_lines([f"{checkpoint.ref} is signed.", f"  {signed.where}"])
