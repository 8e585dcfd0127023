"""`art verify`: reads every byte again, or trains on to prove that continuing is exact. Exit status 1 when not."""

from typing import TYPE_CHECKING, Annotated

import typer

from art.cli import addresses
from art.cli.completion import complete_name
from art.cli.invocation import AsJson, Invocation, Project, Root, settle
from art.cli.render import output

if TYPE_CHECKING:
    from collections.abc import Collection

    from art.names import ModelRef
    from art.ops.verify import StepReport
    from art.remote.hub import Hub
    from art.remote.remote import Remote
    from art.store.store import CheckpointStore


def verify(
    context: typer.Context,
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL[@STEP]",
            autocompletion=complete_name,
            help="Everything in the root, if none; or a bucket's URL.",
        ),
    ] = None,
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

    reports = _reports(invocation, what)
    if invocation.as_json:
        output.print_json(render.document(reports))
    else:
        output.print_lines(render.lines(reports))
    if any(report.is_wrong for report in reports):
        raise typer.Exit(1)


def _reports(invocation: Invocation, what: str | None) -> "list[StepReport]":
    from art.format.pick import Exact
    from art.ops.verify import verify
    from art.store.store import CheckpointStore

    address = invocation.address(what) if what and not addresses.is_place(what) else None
    place = invocation.place(address.url if address else what)
    if address and address.step is not None and address.step not in _steps(place, address.model):
        place.select(address.model, Exact(address.step))  # says which steps there are
    if address and not _steps(place, address.model):
        place.select(address.model)
    models = [address.model] if address else place.models(invocation.project)
    step = address.step if address else None
    with output.byte_bar("checking") as show:
        if isinstance(place, CheckpointStore):
            return verify(place, models, step=step, progress=show)
        from art.ops.verify_bucket import verify_bucket

        return verify_bucket(place, models, step=step, progress=show)


def _steps(place: "CheckpointStore | Remote | Hub", model: "ModelRef") -> "Collection[int]":
    """List what has a folder: of a folder on this disk that is no checkpoint there is something to say."""
    from art.store.store import CheckpointStore

    return place.folders(model) if isinstance(place, CheckpointStore) else place.steps(model)


def _verify_continuation(invocation: Invocation, what: str | None, base_model: str | None, keep: bool) -> None:
    from art.cli.render import verify as render
    from art.cli.render import wording
    from art.local.continuation import verify_continuation

    if what is None:
        raise typer.BadParameter("--continuation needs a MODEL[@STEP] to continue from.")
    store, address = invocation.existing_store, invocation.local_address(what, "verify --continuation")
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
