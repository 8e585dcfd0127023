"""`art verify`: reads every byte again, or trains on to prove that continuing is exact. Exit status 1 when not."""

from typing import TYPE_CHECKING, Annotated

import typer

from art.cli.invocation import AsJson, Invocation, Project, Root, settle
from art.cli.render import output

if TYPE_CHECKING:
    from art.cli.addresses import Address
    from art.store.store import CheckpointStore


def verify(
    context: typer.Context,
    what: Annotated[str | None, typer.Argument(metavar="MODEL[@STEP]", help="Everything in the root, if none.")] = None,
    continuation: Annotated[
        bool,
        typer.Option("--continuation", metavar="", help="Train on from here in three ways and compare the bits."),
    ] = False,
    base_model: Annotated[str | None, typer.Option(help="Where the base model lies, for --continuation.")] = None,
    keep: Annotated[bool, typer.Option("--keep", metavar="", help="Store the verdict beside the checkpoint.")] = False,
    root: Root = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Check every digest, or that a fork continues bit for bit.

    Names each file that is not what its manifest says, with what was expected and found. With --continuation it
    trains on from the checkpoint: never stopped, forked, and from the weights alone. Exit status 1 when it is wrong.
    """
    invocation = settle(context, root, project, as_json)
    if continuation:
        _verify_continuation(invocation, what, base_model, keep)
    elif keep or base_model is not None:
        raise typer.BadParameter("--base-model and --keep belong to --continuation.")
    else:
        _verify_digests(invocation, what)


def _verify_digests(invocation: Invocation, what: str | None) -> None:
    from art.cli.render import verify as render
    from art.ops.verify import verify

    store = invocation.existing_store
    address = invocation.address(what) if what else None
    if address:
        _require(store, address)
    models = [address.model] if address else store.models(invocation.project)
    with output.byte_bar("checking") as show:
        reports = verify(store, models, step=address.step if address else None, progress=show)
    if invocation.as_json:
        output.print_json(render.document(reports))
    else:
        output.print_lines(render.lines(reports))
    if any(report.is_wrong for report in reports):
        raise typer.Exit(1)


def _require(store: "CheckpointStore", address: "Address") -> None:
    """Check that what was named has a folder; the error says which steps there are."""
    folders = store.folders(address.model)
    if address.ref and address.ref.step not in folders:
        store.open(address.ref)
    if not folders:
        store.select(address.model)


def _verify_continuation(invocation: Invocation, what: str | None, base_model: str | None, keep: bool) -> None:
    from art.cli.render import verify as render
    from art.cli.render import wording
    from art.local.continuation import verify_continuation

    if what is None:
        raise typer.BadParameter("--continuation needs a MODEL[@STEP] to continue from.")
    store, address = invocation.existing_store, invocation.address(what)
    ref = address.ref or store.select(address.model).checkpoint.ref
    started_s = wording.clock_s()
    with output.working(f"training on from {ref} in three ways ..."):
        verdict = verify_continuation(store.root, ref, base_model=base_model, keep=keep)
    if invocation.as_json:
        output.print_json(verdict.as_json())
    else:
        output.print_lines(render.verdict_lines(verdict, ref, wording.clock_s() - started_s))
    if not verdict.continues:
        raise typer.Exit(1)
