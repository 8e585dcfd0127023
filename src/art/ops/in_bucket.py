"""A bucket, or a repository of the Hub, as operations look at it. Each manifest and each history is asked for once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from art.errors import ArtError, CheckpointNotFoundError, ConfigurationError, ConflictError
from art.format.certificates import Certificates
from art.format.lineage import Segment
from art.format.manifest import FileEntry
from art.format.pick import NEWEST, Pick
from art.format.pins import Pins
from art.format.selection import Selection
from art.names import CheckpointRef, ModelRef
from art.ops.held import NoCheckpoint, StepState
from art.remote.checkpoint import RemoteCheckpoint
from art.remote.hub import Hub
from art.remote.remote import Remote
from art.store.aside import SetAside
from art.store.history import Entry, HistoryStore

REQUESTS_AT_ONCE = 16

Result = TypeVar("Result")


class InBucket:
    """A bucket; a repository of the Hub is one that is only read."""

    def __init__(self, remote: Remote | Hub) -> None:
        self.remote = remote
        self._opened: dict[CheckpointRef, RemoteCheckpoint | ArtError] = {}
        self._steps: dict[ModelRef, list[int]] = {}
        self._entries: dict[ModelRef, list[Entry]] = {}
        self._ahead: dict[tuple[Callable[[ModelRef], Any], ModelRef], Future[Any]] = {}
        """What was asked before it was needed; each is given once, and asked for again behind that."""

    def __str__(self) -> str:
        return str(self.remote)

    def models(self, project: str | None = None) -> list[ModelRef]:
        return self.remote.models(project)

    def steps(self, model: ModelRef) -> list[int]:
        return self._answer(self.remote.steps, model)

    def named_steps(self, model: ModelRef) -> list[int]:
        if model not in self._steps:
            self._steps[model] = self.remote.steps(model)
        return self._steps[model]

    def select(self, model: ModelRef, pick: Pick = NEWEST) -> Selection[RemoteCheckpoint]:
        return self.remote.select(model, pick)

    def open(self, ref: CheckpointRef) -> RemoteCheckpoint:
        self.read_ahead([ref])
        outcome = self._opened[ref]
        if isinstance(outcome, ArtError):
            raise outcome
        return outcome

    def read_models_ahead(self, models: Collection[ModelRef], *, ends_only: bool = False) -> None:
        if isinstance(self.remote, Hub) or not models:
            return
        ends = [self.remote.steps, self.remote.pins]
        asks = ends if ends_only else [*ends, self.remote.set_aside, self.remote.history]
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            self._ahead.update({(ask, model): pool.submit(ask, model) for model in models for ask in asks})
        listings = [(model, self._ahead[self.remote.steps, model]) for model in models]
        self.read_ahead(
            model.at(listing.result()[-1])
            for model, listing in listings
            if listing.exception() is None and listing.result()
        )

    def read_ahead(self, refs: Iterable[CheckpointRef]) -> None:
        missing = [ref for ref in refs if ref not in self._opened]
        if not missing:
            return
        with ThreadPoolExecutor(min(REQUESTS_AT_ONCE, len(missing))) as pool:
            self._opened.update(zip(missing, pool.map(self._ask, missing), strict=True))

    def set_aside(self, model: ModelRef) -> list[SetAside]:
        return self._answer(self.remote.set_aside, model) if isinstance(self.remote, Remote) else []

    def entries(self, model: ModelRef) -> list[Entry]:
        if model not in self._entries:
            remote = self.remote
            self._entries[model] = self._answer(remote.history, model) if isinstance(remote, Remote) else []
        return self._entries[model]

    def scores(self, segments: Iterable[Segment], metric: str) -> dict[int, float]:
        return _BucketHistory(self).scores(segments, metric)

    def pins(self, model: ModelRef) -> Pins:
        return self._answer(self.remote.pins, model) if isinstance(self.remote, Remote) else Pins()

    def set_pin(self, ref: CheckpointRef, digest: str | None, *, pinned: bool) -> None:
        self._bucket.set_pin(ref, digest, pinned=pinned)

    def certificates(self, model: ModelRef) -> Certificates:
        """Give nothing: what was proven is asked of a disk, and a pull brings it there."""
        return {}

    def look(self, ref: CheckpointRef) -> RemoteCheckpoint | NoCheckpoint:
        try:
            return self.remote.open_checkpoint(ref)
        except CheckpointNotFoundError as error:
            return NoCheckpoint(StepState.GONE, str(error))

    def measure(self, checkpoint: RemoteCheckpoint, entry: FileEntry) -> tuple[int, str | None] | None:
        return self._bucket.measure(checkpoint, entry.path)

    def read(self, checkpoint: RemoteCheckpoint, entry: FileEntry) -> bytes:
        if isinstance(self.remote, Hub):
            raise ConfigurationError(
                f"{self.remote} is not asked for single files; `art fork` brings the checkpoint here."
            )
        return self.remote.read(checkpoint, entry)

    def stamp(self, ref: CheckpointRef) -> str | None:
        try:
            return self.remote.open_checkpoint(ref).digest
        except CheckpointNotFoundError:
            return None
        except ArtError as error:
            return str(error)

    def freed_bytes(self, refs: Collection[CheckpointRef]) -> dict[CheckpointRef, int]:
        return {ref: self._bucket.size_bytes(ref) for ref in refs}

    def rewind(self, checkpoint: RemoteCheckpoint) -> SetAside | None:
        return self._bucket.rewind(checkpoint)

    def restore(self, model: ModelRef, aside_id: int | None = None) -> SetAside:
        return self._bucket.restore(model, aside_id)

    def has_remains(self, ref: CheckpointRef) -> bool:
        return self._bucket.has_remains(ref)

    def delete(self, ref: CheckpointRef, stamp: object) -> None:
        # A bucket has no lock: between the two another process may still come.
        if self.stamp(ref) != stamp:
            self.remote.open_checkpoint(ref)
            raise ConflictError(f"{ref} was replaced meanwhile in {self.remote}; the new one stays.")
        self._bucket.delete(ref)

    @property
    def _bucket(self) -> Remote:
        if isinstance(self.remote, Hub):
            raise ConfigurationError(f"{self.remote} is read, never changed.")
        return self.remote

    def _answer(self, ask: Callable[[ModelRef], Result], model: ModelRef) -> Result:
        """Give what was asked ahead, with its error, or ask now."""
        ahead = self._ahead.pop((ask, model), None)
        return ahead.result() if ahead else ask(model)

    def _ask(self, ref: CheckpointRef) -> RemoteCheckpoint | ArtError:
        try:
            return self.remote.open_checkpoint(ref)
        except ArtError as error:
            return error


class _BucketHistory(HistoryStore):
    """The histories of a bucket."""

    def __init__(self, place: InBucket) -> None:
        super().__init__(Path())
        self._place = place

    def read(self, model: ModelRef) -> list[Entry]:
        return self._place.entries(model)
