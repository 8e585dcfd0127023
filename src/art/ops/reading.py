"""Reading what lies in a place, step by step: a root on this disk, or a bucket. A bad step is an error of that step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from art.errors import ArtError, CheckpointNotFoundError
from art.format.lineage import Segment
from art.format.selection import Skipped
from art.names import CheckpointRef, ModelRef
from art.ops.histories import Histories
from art.store.aside import SetAside
from art.store.checkpoint import Checkpoint, look
from art.store.history import Entry, History
from art.store.store import CheckpointStore

if TYPE_CHECKING:
    from art.remote.checkpoint import RemoteCheckpoint
    from art.remote.hub import Hub
    from art.remote.remote import Remote

    AnyCheckpoint = Checkpoint | RemoteCheckpoint

REQUESTS_AT_ONCE = 16


class Reading(Protocol):
    """What is read of a place, whatever it is."""

    def __str__(self) -> str:
        """Name the place as a user does: its folder or its URL."""
        ...

    def models(self, project: str | None = None) -> list[ModelRef]: ...
    def steps(self, model: ModelRef) -> list[int]: ...
    def open(self, ref: CheckpointRef) -> AnyCheckpoint:
        """Open a checkpoint; raises `ArtError` for one that is damaged or gone."""
        ...

    def read_ahead(self, refs: Iterable[CheckpointRef]) -> None:
        """Open checkpoints that will be asked for, many at once where each is a request."""
        ...

    def set_aside(self, model: ModelRef) -> list[SetAside]: ...
    def entries(self, model: ModelRef) -> list[Entry]: ...
    def scores(self, segments: Iterable[Segment], metric: str) -> dict[int, float]: ...


class DiskReading:
    """A root on this disk. Each model's folder is listed once."""

    def __init__(self, store: CheckpointStore, histories: Histories | None = None) -> None:
        self._store = store
        self._history = histories or History(store.root)
        self._folders: dict[ModelRef, Mapping[int, Path]] = {}

    def __str__(self) -> str:
        return str(self._store.root)

    def models(self, project: str | None = None) -> list[ModelRef]:
        return self._store.models(project)

    def steps(self, model: ModelRef) -> list[int]:
        return self._store.steps(model)

    def open(self, ref: CheckpointRef) -> Checkpoint:
        if ref.model not in self._folders:
            self._folders[ref.model] = self._store.folders(ref.model)
        folder = self._folders[ref.model].get(ref.step)
        outcome = look(ref, folder) if folder else Skipped(ref.step, "it is gone")
        if isinstance(outcome, Skipped):
            raise CheckpointNotFoundError(outcome.reason)
        return outcome

    def read_ahead(self, refs: Iterable[CheckpointRef]) -> None:
        """Leave it to `open`: a disk has nothing to wait for."""

    def set_aside(self, model: ModelRef) -> list[SetAside]:
        return self._store.set_aside(model)

    def entries(self, model: ModelRef) -> list[Entry]:
        return History(self._store.root).read(model)

    def scores(self, segments: Iterable[Segment], metric: str) -> dict[int, float]:
        return self._history.scores(segments, metric)


class BucketReading:
    """A bucket. Each manifest and each history is asked for once; what is set aside stays on the disk."""

    def __init__(self, remote: Remote | Hub) -> None:
        self._remote = remote
        self._opened: dict[CheckpointRef, RemoteCheckpoint | ArtError] = {}
        self._entries: dict[ModelRef, list[Entry]] = {}

    def __str__(self) -> str:
        return str(self._remote)

    def models(self, project: str | None = None) -> list[ModelRef]:
        return self._remote.models(project)

    def steps(self, model: ModelRef) -> list[int]:
        return self._remote.steps(model)

    def open(self, ref: CheckpointRef) -> RemoteCheckpoint:
        self.read_ahead([ref])
        outcome = self._opened[ref]
        if isinstance(outcome, ArtError):
            raise outcome
        return outcome

    def read_ahead(self, refs: Iterable[CheckpointRef]) -> None:
        missing = [ref for ref in refs if ref not in self._opened]
        if not missing:
            return
        with ThreadPoolExecutor(min(REQUESTS_AT_ONCE, len(missing))) as pool:
            self._opened.update(zip(missing, pool.map(self._ask, missing), strict=True))

    def set_aside(self, model: ModelRef) -> list[SetAside]:
        """Give nothing: a bucket sets nothing aside."""
        return []

    def entries(self, model: ModelRef) -> list[Entry]:
        from art.remote.remote import Remote

        if model not in self._entries:
            self._entries[model] = self._remote.history(model) if isinstance(self._remote, Remote) else []
        return self._entries[model]

    def scores(self, segments: Iterable[Segment], metric: str) -> dict[int, float]:
        return _BucketHistory(self).scores(segments, metric)

    def _ask(self, ref: CheckpointRef) -> RemoteCheckpoint | ArtError:
        try:
            return self._remote.open_checkpoint(ref)
        except ArtError as error:
            return error


class _BucketHistory(History):
    """The histories of a bucket."""

    def __init__(self, reading: BucketReading) -> None:
        super().__init__(Path())
        self._reading = reading

    def read(self, model: ModelRef) -> list[Entry]:
        return self._reading.entries(model)


def reading_of(place: CheckpointStore | Remote | Hub) -> Reading:
    """Read a place of any kind."""
    return DiskReading(place) if isinstance(place, CheckpointStore) else BucketReading(place)


def where(checkpoint: AnyCheckpoint) -> str:
    """Give the folder or the URL of a checkpoint."""
    return str(checkpoint.path) if isinstance(checkpoint, Checkpoint) else checkpoint.url
