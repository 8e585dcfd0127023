"""`art verify`: reads every byte again, or trains on to prove that continuing is exact. Exit status 1 when not."""

from __future__ import annotations

from typing import Annotated

import typer

from art.cli.render import output
from art.cli.session import Session


def verify(
    session: Session,
    what: Annotated[str | None, typer.Argument(metavar="MODEL[@STEP]", help="Everything in the root, if none.")] = None,
    continuation: Annotated[
        bool,
        typer.Option("--continuation", metavar="", help="Train on from here in three ways and compare the bits."),
    ] = False,
    base_model: Annotated[str | None, typer.Option(help="Where the base model lies, for --continuation.")] = None,
    keep: Annotated[bool, typer.Option("--keep", metavar="", help="Store the verdict beside the checkpoint.")] = False,
) -> None:
    """Check every digest, or that a fork continues bit for bit.

    Names each file that is not what its manifest says, with what was expected and found. With --continuation it
    trains on from the checkpoint: never stopped, forked, and from the weights alone. Exit status 1 when it is wrong.
    """
    if continuation:
        _verify_continuation(session, what, base_model, keep)
        return
    if keep or base_model is not None:
        raise typer.BadParameter("--base-model and --keep belong to --continuation.")
    from art.cli.render import digests

    store = session.existing_store
    place = session.place(what) if what else None
    if place and place.ref and place.ref.step not in store.folders(place.model):
        store.open(place.ref)  # says which steps there are
    if place and not store.folders(place.model):
        store.select(place.model)
    models = [place.model] if place else store.models(session.project)
    folders = [
        (model.at(step), path)
        for model in models
        for step, path in store.folders(model).items()
        if place is None or place.step in (None, step)
    ]
    total_bytes = digests.total_bytes(path for _, path in folders)
    reports: list[digests.Report] = []
    with output.byte_bar("checking") as show:
        for ref, path in folders:
            reports.append(digests.check(ref, path))
            show(sum(report.size_bytes for report in reports), total_bytes)
    if session.as_json:
        output.print_json(digests.document(reports))
    else:
        output.print_lines(digests.lines(reports))
    if any(report.is_wrong for report in reports):
        raise typer.Exit(1)


def _verify_continuation(session: Session, what: str | None, base_model: str | None, keep: bool) -> None:
    from art.cli.render import wording
    from art.errors import ConfigurationError

    if what is None:
        raise typer.BadParameter("--continuation needs a MODEL[@STEP] to continue from.")
    store, place = session.existing_store, session.place(what)
    ref = place.ref or store.select(place.model).checkpoint.ref
    try:
        from art.local.continuation import verify_continuation
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"Checking continuation needs {error.name}, which is not installed.") from error
    started = wording.clock_s()
    with output.working(f"training on from {ref} in three ways ..."):
        verdict = verify_continuation(store.root, ref, base_model=base_model, keep=keep)
    if session.as_json:
        output.print_json(verdict.as_json())
    else:
        from art.cli.render import digests

        output.print_lines(digests.verdict_lines(verdict, ref, wording.clock_s() - started))
    if not verdict.continues:
        raise typer.Exit(1)
