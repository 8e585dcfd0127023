"""Steps of a model from one place to another, under their own names: onto this disk, or into a bucket.

What is there already is not moved again, and another checkpoint under a taken step is an error that names it. The
model's history travels too. Gives values; wording is the caller's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from art.format.pick import Exact, Pick
from art.format.selection import Skipped
from art.names import CheckpointRef, ModelRef
from art.ops.continuable import require_adapter
from art.ops.place import place_of
from art.ops.progress import Watch, unwatched
from art.remote.checkpoint import RemoteCheckpoint
from art.remote.remote import Remote
from art.remote.transfer import Progress
from art.remote.write import Written
from art.store.checkpoint import Checkpoint
from art.store.store import CheckpointStore


@dataclass(frozen=True, kw_only=True)
class MoveRequest:
    """What is asked for: a pull where the destination is this disk, else a push."""

    source: CheckpointStore | Remote
    destination: CheckpointStore | Remote
    model: ModelRef
    pick: Pick | None = None
    """None is every step."""
    deletes: bool = False
    """Whether checkpoints of the destination that the source has not are deleted behind it."""


@dataclass(frozen=True, kw_only=True)
class MovedStep:
    """One checkpoint in its new place."""

    ref: CheckpointRef
    where: str
    digest: str | None
    moved_bytes: int
    reused_bytes: int
    """What was there already."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Moved:
    """What a push or a pull did."""

    checkpoints: tuple[MovedStep, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    """What was passed over to choose the one step."""
    deleted: tuple[CheckpointRef, ...] = ()
    seconds: float = 0.0

    @property
    def steps(self) -> tuple[int, ...]:
        return tuple(each.ref.step for each in self.checkpoints)

    @property
    def moved_bytes(self) -> int:
        return sum(each.moved_bytes for each in self.checkpoints)

    @property
    def reused_bytes(self) -> int:
        """What was there already."""
        return sum(each.reused_bytes for each in self.checkpoints)


def move(
    request: MoveRequest, *, watch: Watch = unwatched, each: Callable[[MovedStep], None] = lambda _: None
) -> Moved:
    """Bring steps of a model to another place; `each` hears of every one once it is whole there.

    Raises `NotFoundError` where there is nothing to move, and `CheckpointExistsError` for another checkpoint under a
    taken step: what came before it stays.
    """
    started = time.perf_counter()
    moved, skipped = list[MovedStep](), ()
    verb = "pulling" if isinstance(request.destination, CheckpointStore) else "pushing"
    if request.pick is None:
        # Says what there is, where that is nothing.
        request.source.select(request.model)
        picks: list[Pick] = [Exact(step) for step in request.source.steps(request.model)]
    else:
        picks = [request.pick]
    for pick in picks:
        selection = place_of(request.source).select(request.model, pick)
        skipped = selection.skipped
        require_adapter(selection.checkpoint)
        with watch(f"{verb} {selection.checkpoint.ref}") as progress:
            moved.append(_move_one(selection.checkpoint, request.destination, request.source, progress))
        each(moved[-1])
    _move_history(request)
    deleted = tuple(_delete_others(request)) if request.deletes else ()
    return Moved(checkpoints=tuple(moved), skipped=skipped, deleted=deleted, seconds=time.perf_counter() - started)


def _move_one(
    checkpoint: Checkpoint | RemoteCheckpoint,
    destination: CheckpointStore | Remote,
    source: CheckpointStore | Remote,
    progress: Progress | None,
) -> MovedStep:
    started = time.perf_counter()
    match checkpoint, destination, source:
        case Checkpoint(), Remote(), _:
            return _written(checkpoint.ref, destination.push(checkpoint, progress=progress), started)
        case RemoteCheckpoint(), Remote(), Remote():
            written = destination.push_from(source, checkpoint, progress=progress)
            return _written(checkpoint.ref, written, started)
        case RemoteCheckpoint(), CheckpointStore(), Remote():
            fetched = source.fetch(checkpoint, destination, progress=progress)
            return MovedStep(
                ref=checkpoint.ref,
                where=fetched.checkpoint.where,
                digest=fetched.checkpoint.digest,
                moved_bytes=fetched.fetched_bytes,
                reused_bytes=fetched.reused_bytes,
                seconds=time.perf_counter() - started,
            )
        case _:
            raise AssertionError("a move goes to a bucket, or from one to this disk")


def _written(ref: CheckpointRef, written: Written, started: float) -> MovedStep:
    return MovedStep(
        ref=ref,
        where=written.url,
        digest=written.digest,
        moved_bytes=written.sent_bytes,
        reused_bytes=written.there_bytes,
        seconds=time.perf_counter() - started,
    )


def _move_history(request: MoveRequest) -> None:
    match request.source, request.destination:
        case CheckpointStore() as store, Remote() as remote:
            remote.push_history(store, request.model)
        case Remote() as source, Remote() as remote:
            remote.copy_history(source, request.model)
        case Remote() as remote, CheckpointStore() as store:
            remote.fetch_history(store, request.model)
        case _:
            pass


def _delete_others(request: MoveRequest) -> list[CheckpointRef]:
    others = sorted(set(request.destination.steps(request.model)) - set(request.source.steps(request.model)))
    refs = [request.model.at(step) for step in others]
    place = place_of(request.destination)
    for ref in refs:
        place.delete(ref, place.stamp(ref))
    return refs
