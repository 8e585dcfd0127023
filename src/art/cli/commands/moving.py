"""`art push` and `art pull`: checkpoints between this disk and a bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from art.cli import places
from art.cli.render import output
from art.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterable

    from art.remote.remote import Pushed
    from art.store.checkpoint import Checkpoint
    from art.store.store import CheckpointStore


def push(
    session: Session,
    what: Annotated[str, typer.Argument(metavar="MODEL[@STEP]", help="Every step, if none is named.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="As in s3://bucket/prefix.")],
) -> None:
    """Copy checkpoints to a bucket. Pushing again completes what was interrupted; nothing there is replaced."""
    from art.remote.remote import Remote

    if places.BETWEEN in url:
        raise typer.BadParameter(f"A push keeps the model's name; write {url.partition(places.BETWEEN)[0]}.")
    store, place = session.existing_store, session.place(what)
    if place.url:
        raise typer.BadParameter(f"{what} lies in a bucket already; art pull brings it here.")
    checkpoints = _named(store, place)
    remote = Remote.open(url)
    pushed: list[Pushed] = []
    for checkpoint in checkpoints:
        with output.byte_bar(f"pushing {checkpoint.ref}") as show:
            pushed.append(remote.push(checkpoint, progress=show))
        if not session.as_json:
            output.print_lines([_pushed_line(pushed[-1])])
    if session.as_json:
        output.print_json({"url": str(remote), "pushed": _pushed_document(pushed)})


def pull(
    session: Session,
    what: Annotated[str, typer.Argument(metavar="URL::MODEL[@STEP]", help="The newest, if no step is named.")],
) -> None:
    """Copy a checkpoint from a bucket to this disk, every byte checked."""
    from art.cli.render import wording
    from art.remote.remote import Remote

    place = session.place(what)
    if place.url is None:
        raise typer.BadParameter(f"{what} names no bucket; write s3://bucket/prefix{places.BETWEEN}{place}.")
    remote = Remote.open(place.url)
    selection = remote.select(place.model, step=place.step)
    with output.byte_bar(f"pulling {selection.checkpoint.ref}") as show:
        fetched = remote.fetch(selection.checkpoint, session.store, progress=show)
    if session.as_json:
        document = {
            "ref": str(fetched.checkpoint.ref),
            "url": str(remote),
            "path": str(fetched.checkpoint.path),
            "digest": fetched.checkpoint.digest,
            "fetched_bytes": fetched.fetched_bytes,
            "reused_bytes": fetched.reused_bytes,
            "skipped": [{"step": skip.step, "reason": skip.reason} for skip in selection.skipped],
            "seconds": round(fetched.seconds, 6),
        }
        output.print_json(document)
        return
    cost = wording.moved("fetched", fetched.fetched_bytes, fetched.seconds)
    skipped = [f"  skipped step {skip.step}: {skip.reason}" for skip in selection.skipped]
    reused = f", {wording.size(fetched.reused_bytes)} were here" if fetched.reused_bytes else ""
    output.print_lines([f"{fetched.checkpoint.ref}  {cost}{reused}", f"  {fetched.checkpoint.path}", *skipped])


def _named(store: CheckpointStore, place: places.Place) -> list[Checkpoint]:
    if place.ref:
        return [store.open(place.ref)]
    store.select(place.model)  # says so when there is none
    return [store.open(place.model.at(step)) for step in store.steps(place.model)]


def _pushed_line(pushed: Pushed) -> str:
    from art.cli.render import wording

    there = f", {wording.size(pushed.there_bytes)} were there" if pushed.there_bytes else ""
    return f"{pushed.ref}  {wording.moved('sent', pushed.sent_bytes, pushed.seconds)}{there}"


def _pushed_document(pushed: Iterable[Pushed]) -> list[dict[str, object]]:
    return [
        {
            "ref": str(one.ref),
            "url": one.url,
            "digest": one.digest,
            "sent_bytes": one.sent_bytes,
            "there_bytes": one.there_bytes,
            "seconds": round(one.seconds, 6),
        }
        for one in pushed
    ]
