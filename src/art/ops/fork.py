"""A fork: one request and one report, wherever the checkpoint lies and wherever its model begins.

Disk to disk, bucket to disk, disk to bucket, bucket to bucket and hub to disk differ in how bytes travel, and in
nothing else. A fork of a model onto itself is a rewind. Gives values; wording is the caller's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from pydantic import JsonValue

from art import drawing
from art.errors import ConfigurationError, DestinationNotEmptyError, NotFoundError
from art.format.lineage import ForkTerms
from art.format.manifest import Manifest
from art.format.pick import NEWEST, Exact, Pick
from art.format.selection import Selection, Skipped
from art.names import CheckpointRef, ModelRef
from art.ops.continuable import check_continuable
from art.ops.held import Held
from art.ops.progress import Watch, unwatched
from art.remote.checkpoint import RemoteCheckpoint
from art.remote.copy import Copied
from art.remote.hub import Hub
from art.remote.remote import Remote
from art.remote.transfer import Progress
from art.store.aside import SetAside
from art.store.checkpoint import Checkpoint
from art.store.stage import Forked
from art.store.store import CheckpointStore


class IfExists(StrEnum):
    """What to do with a destination that has checkpoints which are not the same fork."""

    REFUSE = "refuse"
    OVERWRITE = "overwrite"
    """Set them aside."""
    CONTINUE = "continue"
    """Go on where the destination stands; nothing is compared."""


def if_exists(*, overwrite: bool, continues: bool) -> IfExists:
    """Read the two wishes of a user; raises `ConfigurationError` for both at once."""
    if overwrite and continues:
        raise ConfigurationError("A fork cannot both overwrite a model and let it go on; leave one out.")
    if continues:
        return IfExists.CONTINUE
    return IfExists.OVERWRITE if overwrite else IfExists.REFUSE


class ForkOutcome(StrEnum):
    """What became of a request."""

    FORKED = "forked"
    REPEATED = "repeated"
    """The same fork was there already."""
    CONTINUED = "continued"
    """The destination had checkpoints, and goes on from its newest."""
    REWOUND = "rewound"
    BROUGHT = "brought"
    """A model that was forked onto itself was in the other place only, and was brought from there."""


@dataclass(frozen=True, kw_only=True)
class ForkRequest:
    """What is asked for. `check` raises for a manifest that the destination cannot continue."""

    source: CheckpointStore | Remote | Hub
    source_model: ModelRef
    pick: Pick = NEWEST
    destination: CheckpointStore | Remote
    model: ModelRef
    reset: tuple[str, ...] = ()
    settings: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    """What the branch is begun to try; recorded with the fork, and compared."""
    if_exists: IfExists = IfExists.REFUSE
    check: Callable[[Manifest], None] = lambda _: None

    @property
    def overwrites(self) -> bool:
        return self.if_exists is IfExists.OVERWRITE

    @property
    def terms(self) -> ForkTerms:
        return {"pick": self.pick, "reset": self.reset, "settings": self.settings}

    @property
    def is_in_place(self) -> bool:
        """Whether source and destination are one place."""
        return is_same_place(self.source, self.destination)


@dataclass(frozen=True, kw_only=True)
class ForkReport:
    """What a fork did, and what it cost."""

    outcome: ForkOutcome
    pick: Pick
    selected: CheckpointRef
    """The source's checkpoint. Of a model that went on, its own newest."""
    source: str
    """The same as text: a URL when it lies in a bucket."""
    considered: int = 0
    skipped: tuple[Skipped, ...] = ()
    ref: CheckpointRef
    """The destination's checkpoint that the request is about."""
    where: str
    """The folder or the URL of that checkpoint."""
    manifest: Manifest
    step: int
    """Where the destination stands now."""
    set_aside: SetAside | None = None
    shared_bytes: int = 0
    copied_bytes: int = 0
    """What was copied on this disk, or by a server."""
    fetched_bytes: int = 0
    sent_bytes: int = 0
    """What this machine sent into a bucket."""
    reused_bytes: int = 0
    """What was there already."""
    sharing: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def repeated(self) -> bool:
        return self.outcome is ForkOutcome.REPEATED

    def _repr_html_(self) -> str:
        moved = {"shared": self.shared_bytes, "copied": self.copied_bytes, "fetched": self.fetched_bytes}
        facts: dict[str, object] = {"outcome": self.outcome, "from": self.source, "pick": self.pick}
        facts.update({f"bytes {name}": f"{size_bytes:,}" for name, size_bytes in moved.items() if size_bytes})
        if self.manifest.reset:
            facts["starts afresh"] = ", ".join(self.manifest.reset)
        return drawing.box(str(self.ref), facts=facts)


def fork(request: ForkRequest, *, watch: Watch = unwatched) -> ForkReport:
    """Begin a model with a checkpoint of another one, at the same step.

    The same fork repeated does nothing. Any other fork into a model that has checkpoints raises
    `DestinationNotEmptyError`, unless the request says what to do then.
    """
    started = time.perf_counter()
    report = _continued(request) or _performed(request, watch)
    return replace(report, seconds=time.perf_counter() - started)


def is_same_place(one: CheckpointStore | Remote | Hub, other: CheckpointStore | Remote) -> bool:
    """Tell whether two places are one: the same root, or the same prefix of a bucket."""
    if isinstance(one, CheckpointStore) or isinstance(other, CheckpointStore):
        return isinstance(one, CheckpointStore) and isinstance(other, CheckpointStore) and one.root == other.root
    return one.location == other.location


def _continued(request: ForkRequest) -> ForkReport | None:
    if request.if_exists is not IfExists.CONTINUE:
        return None
    newest = request.destination.newest(request.model)
    if newest is None:
        return None
    return ForkReport(
        outcome=ForkOutcome.CONTINUED,
        pick=request.pick,
        selected=newest.ref,
        source=_named(newest),
        ref=newest.ref,
        where=newest.where,
        manifest=newest.manifest,
        step=newest.ref.step,
    )


def _performed(request: ForkRequest, watch: Watch) -> ForkReport:
    selection: Selection[Any] = request.source.select(request.source_model, request.pick)
    chosen = selection.checkpoint
    request.check(chosen.manifest)
    check_continuable(request.source, chosen)
    if request.source_model == request.model and (report := _onto_itself(request, selection, watch)):
        return report
    with watch(f"forking {chosen.ref}") as progress:
        match chosen, request.destination:
            case Checkpoint(), CheckpointStore():
                return _on_disk(request, selection)
            case RemoteCheckpoint(), CheckpointStore():
                return _to_disk(request, selection, progress)
            case _:
                return _into_bucket(request, selection, progress)


def _on_disk(request: ForkRequest, selection: Selection[Any]) -> ForkReport:
    assert isinstance(request.destination, CheckpointStore)
    chosen = selection.checkpoint
    forked = request.destination.fork(chosen, request.model, overwrite=request.overwrites, **request.terms)
    return _forked(selection, forked)


def _to_disk(request: ForkRequest, selection: Selection[Any], progress: Progress | None) -> ForkReport:
    assert isinstance(request.source, Remote | Hub)
    assert isinstance(request.destination, CheckpointStore)
    forked = request.source.fetch_fork(
        selection.checkpoint,
        request.model,
        request.destination,
        overwrite=request.overwrites,
        progress=progress,
        **request.terms,
    )
    return _forked(selection, forked)


def _forked(selection: Selection[Any], forked: Forked) -> ForkReport:
    """Report a fork onto this disk, however its bytes came there."""
    return _report(
        selection,
        forked.checkpoint,
        outcome=ForkOutcome.REPEATED if forked.repeated else ForkOutcome.FORKED,
        step=forked.newest_step,
        set_aside=forked.set_aside,
        shared_bytes=forked.shared_bytes,
        copied_bytes=forked.copied_bytes,
        fetched_bytes=forked.fetched_bytes,
        reused_bytes=forked.reused_bytes,
        sharing=tuple(sorted(forked.sharing)),
    )


def _into_bucket(request: ForkRequest, selection: Selection[Any], progress: Progress | None) -> ForkReport:
    copied = _copied(request, selection.checkpoint, progress)
    through_here = copied.streamed_bytes
    return ForkReport(
        outcome=ForkOutcome.REPEATED if copied.repeated else ForkOutcome.FORKED,
        pick=selection.pick,
        selected=selection.checkpoint.ref,
        source=_named(selection.checkpoint),
        considered=selection.considered,
        skipped=selection.skipped,
        ref=copied.manifest.ref,
        where=copied.url,
        manifest=copied.manifest,
        step=copied.manifest.step,
        set_aside=copied.set_aside,
        copied_bytes=copied.copied_bytes,
        fetched_bytes=0 if isinstance(request.source, CheckpointStore) else through_here,
        sent_bytes=through_here,
    )


def _copied(request: ForkRequest, chosen: Any, progress: Progress | None) -> Copied:
    assert isinstance(request.destination, Remote)
    if isinstance(request.source, CheckpointStore):
        return request.destination.push_fork(
            chosen, request.model, overwrite=request.overwrites, progress=progress, **request.terms
        )
    source: Remote | Hub = request.source
    return source.fork(
        chosen,
        request.model,
        to=request.destination,
        overwrite=request.overwrites,
        progress=progress,
        **request.terms,
    )


def _onto_itself(request: ForkRequest, selection: Selection[Any], watch: Watch) -> ForkReport | None:
    """Go back to the step where the destination has it, bring it where the destination has nothing."""
    chosen, destination = selection.checkpoint, request.destination
    own = chosen if request.is_in_place else _own(destination, chosen)
    if own:
        aside = destination.rewind(own)
        reused_bytes = 0 if request.is_in_place else chosen.manifest.size_bytes
        return _report(
            selection, own, outcome=ForkOutcome.REWOUND, step=own.ref.step, set_aside=aside, reused_bytes=reused_bytes
        )
    if isinstance(destination, Remote):
        return None
    if steps := destination.steps(request.model):
        raise DestinationNotEmptyError(
            f"{request.model} has other checkpoints here, at steps {', '.join(map(str, steps))}. "
            f"Fork {chosen.where} into a model of another name."
        )
    assert not isinstance(request.source, CheckpointStore)
    with watch(f"fetching {chosen.ref}") as progress:
        fetched = request.source.fetch(chosen, destination, progress=progress)
    return _report(
        selection,
        fetched.checkpoint,
        outcome=ForkOutcome.BROUGHT,
        step=chosen.ref.step,
        fetched_bytes=fetched.fetched_bytes,
        reused_bytes=fetched.reused_bytes,
    )


def _own(destination: CheckpointStore | Remote, chosen: Held) -> Any:
    """Find the very same checkpoint where a model goes back to it."""
    try:
        own = destination.select(chosen.ref.model, Exact(chosen.ref.step)).checkpoint
    except NotFoundError:
        return None
    return own if own.digest == chosen.digest else None


def _report(selection: Selection[Any], held: Held, **told: Any) -> ForkReport:
    return ForkReport(
        pick=selection.pick,
        selected=selection.checkpoint.ref,
        source=_named(selection.checkpoint),
        considered=selection.considered,
        skipped=selection.skipped,
        ref=held.ref,
        where=held.where,
        manifest=held.manifest,
        **told,
    )


def _named(held: Held) -> str:
    return held.where if isinstance(held, RemoteCheckpoint) else str(held.ref)
