"""`art sign`: signs a checkpoint with a key, so that others can tell who made it."""

from pathlib import Path
from typing import Annotated

import typer

from art.cli.completion import name_argument
from art.cli.invocation import AsJson, Project, Root, settle
from art.cli.render import output

What = Annotated[str, name_argument("MODEL[@STEP]", "The newest step, if none is named.")]
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
    from art.ops.signing import sign as sign_checkpoint

    invocation = settle(context, root, project, as_json)
    store, checkpoint = invocation.local_checkpoint(what, "sign")
    with output.working(f"signing {checkpoint.ref} ..."):
        signed = sign_checkpoint(store, checkpoint, key)
    if invocation.as_json:
        output.print_json(
            {"ref": str(checkpoint.ref), "digest": checkpoint.digest, "key": signed.key, "path": str(signed.path)}
        )
    else:
        output.print_lines([f"{checkpoint.ref} is signed.", f"  {signed.path}"])
