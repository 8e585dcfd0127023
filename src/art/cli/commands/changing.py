"""`art fork`, `art rewind`, `art rm`, `art gc`: what changes the store on this disk."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from art.cli.render import output
from art.cli.session import Session
from art.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from art.cli.forks import Asked
    from art.store.checkpoint import Checkpoint
    from art.store.store import CheckpointStore


def fork(
    session: Session,
    source: Annotated[str, typer.Argument(metavar="SRC[@STEP]", help="The newest step, if none is named.")],
    destination: Annotated[str, typer.Argument(metavar="DST", help="The new model; in the project of SRC, if bare.")],
    not_after: Annotated[int | None, typer.Option(min=0, metavar="STEP", help="The newest at or before this.")] = None,
    reset: Annotated[
        list[str] | None, typer.Option(metavar="PART", help="Start afresh: optimizer, schedule, random or state.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", metavar="", help="Set aside what DST has.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", metavar="", help="Also what was considered.")] = False,
) -> None:
    """Begin a model with a checkpoint of another one, at the same step. No bytes move where they can be shared.

    The same fork repeated does nothing. Either side may lie in a bucket: s3://bucket/prefix::project/model@500.
    """
    from art.cli import forks
    from art.cli.render import wording

    start = session.place(source)
    if start.step is not None and not_after is not None:
        raise typer.BadParameter(f"{source} names its step already; leave out --not-after.")
    end = session.place(destination, project=start.model.project)
    if end.step is not None:
        raise typer.BadParameter(f"A fork keeps the step of its source; write {end.model}.", param_hint="DST")
    asked = forks.Asked(start, end, not_after, tuple(reset or ()), overwrite)
    if end.url:
        _fork_into_bucket(session, asked, verbose)
        return
    began_s = wording.clock_s()
    done = forks.perform(session, asked)
    duration_s = wording.clock_s() - began_s
    if session.as_json:
        output.print_json(forks.document(done, duration_s))
    else:
        output.print_lines(forks.lines(done, duration_s, verbose=verbose))


def rewind(
    session: Session,
    model: Annotated[str, typer.Argument(metavar="MODEL@STEP", help="The step to stand at; with --undo a MODEL.")],
    undo: Annotated[bool, typer.Option("--undo", metavar="", help="Bring back what was set aside last.")] = False,
    aside_id: Annotated[int | None, typer.Option("--id", help="With --undo: bring back this one.")] = None,
) -> None:
    """Make an earlier step the newest again. Later ones are set aside, never deleted; --undo brings them back."""
    place = session.place(model)
    store = session.existing_store
    if undo:
        if place.step is not None:
            raise typer.BadParameter(f"--undo takes a model; write {place.model}.")
        back = store.restore(place.model, aside_id)
        _report_moved(session, store.select(place.model).checkpoint, "brought_back", back.steps, back.id)
        return
    if place.ref is None:
        raise typer.BadParameter(f"{model} names no step; write {place.model}@500.")
    if aside_id is not None:
        raise typer.BadParameter("--id belongs to --undo.")
    checkpoint = store.open(place.ref)
    aside = store.rewind(checkpoint)
    _report_moved(session, checkpoint, "set_aside", aside.steps if aside else (), aside.id if aside else None)


def remove(
    session: Session,
    checkpoints: Annotated[list[str], typer.Argument(metavar="MODEL@STEP...")],
    yes: Annotated[bool, typer.Option("--yes", "-y", metavar="", help="Do not ask.")] = False,
) -> None:
    """Delete checkpoints for good. Forks of them keep their bytes."""
    from art.cli.render import wording

    store = session.existing_store
    opened = [_open_named(session, store, text) for text in checkpoints]
    opened = list({checkpoint.ref: checkpoint for checkpoint in opened}.values())
    names = ", ".join(str(checkpoint.ref) for checkpoint in opened)
    if not yes:
        _ask(f"Delete {names} for good?")
    for checkpoint in opened:
        store.delete(checkpoint)
    if session.as_json:
        output.print_json({"deleted": [str(checkpoint.ref) for checkpoint in opened]})
    else:
        size_bytes = sum(checkpoint.manifest.size_bytes for checkpoint in opened)
        output.print_lines([f"Deleted {names} ({wording.size(size_bytes)}, less what forks share)."])


def collect(
    session: Session,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", metavar="", help="Only list.")] = False,
) -> None:
    """Delete debris: folders of unfinished checkpoints and transfers. Keeps what a rewind set aside."""
    from art.cli.render import wording

    store = session.existing_store
    sizes = {path: _size_bytes_below(path) for path in store.debris()}
    found = list(sizes) if dry_run else store.collect()
    if session.as_json:
        entries = [{"path": str(path), "size_bytes": sizes.get(path)} for path in found]
        left = [{"ref": str(ref), "path": str(path)} for ref, path in store.unknown()]
        output.print_json({"dry_run": dry_run, "debris": entries, "left_alone": left})
        return
    output.print_lines(f"{wording.size(sizes.get(path, 0)):>10}  {path.relative_to(store.root)}" for path in found)
    freed = wording.size(sum(sizes.get(path, 0) for path in found))
    verb = "Would delete" if dry_run else "Deleted"
    output.print_lines([f"{verb} {wording.count(len(found), 'folder')}, {freed}." if found else "Nothing to delete."])
    output.print_lines(
        f"Left alone: {path.relative_to(store.root)}, which is no checkpoint, but not debris of artfork's either."
        for _, path in store.unknown()
    )


def _fork_into_bucket(session: Session, asked: Asked, verbose: bool) -> None:
    from art.cli import bucket_forks

    done = bucket_forks.perform(asked)
    if session.as_json:
        output.print_json(bucket_forks.document(done))
    else:
        output.print_lines(bucket_forks.lines(done, verbose=verbose))


def _report_moved(
    session: Session, checkpoint: Checkpoint, what: str, steps: tuple[int, ...], aside_id: int | None
) -> None:
    from art.cli.render import wording

    ref = checkpoint.ref
    if session.as_json:
        output.print_json({"model": str(ref.model), "newest": ref.step, what: list(steps), "id": aside_id})
        return
    lines = [f"{ref.model} stands at step {ref.step}."]
    if steps:
        lines.append(f"  {what.replace('_', ' ')}: {wording.span(steps)} ({wording.count(len(steps), 'checkpoint')})")
    else:
        lines.append("  nothing was later; nothing changed")
    if steps and what == "set_aside":
        lines.append(f"  bring them back with: art rewind --undo {ref.model} --id {aside_id}")
    output.print_lines(lines)


def _open_named(session: Session, store: CheckpointStore, text: str) -> Checkpoint:
    place = session.place(text)
    if place.url:
        raise typer.BadParameter(f"{text} lies in a bucket; art rm deletes on this disk only.")
    if place.ref is None:
        raise typer.BadParameter(f"{text} names no step; write {place.model}@500.")
    return store.open(place.ref)


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise ConfigurationError(f"{question} Nobody is there to answer: add --yes.")
    typer.confirm(question, abort=True, err=True)


def _size_bytes_below(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
