"""A place, where models and checkpoints lie: a root on this disk, a bucket, or for reading a repository of a hub.

Says what operations may ask of any of them, and finds what answers for each.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, runtime_checkable

from art.format.certificates import Certificates
from art.format.lineage import Segment
from art.format.manifest import FileEntry
from art.format.pick import NEWEST, Pick
from art.format.pins import Pins
from art.format.selection import Selection
from art.names import CheckpointRef, ModelRef
from art.ops.held import Held, NoCheckpoint
from art.ops.on_disk import OnDisk
from art.store.aside import SetAside
from art.store.history import Entry
from art.store.store import CheckpointStore

if TYPE_CHECKING:
    from art.remote.hub import Hub
    from art.remote.remote import Remote

AnyHeld = TypeVar("AnyHeld", bound=Held)


@runtime_checkable
class Place(Protocol[AnyHeld]):
    """One look at a place: what was opened is kept, and not asked for twice. A bad step is an error of that step."""

    def __str__(self) -> str:
        """Name the place as a user does: its folder or its URL."""
        ...

    def models(self, project: str | None = None) -> list[ModelRef]: ...
    def steps(self, model: ModelRef) -> list[int]: ...
    def named_steps(self, model: ModelRef) -> list[int]:
        """List also the steps whose folder is no checkpoint, where the place tells."""
        ...

    def select(self, model: ModelRef, pick: Pick = NEWEST) -> Selection[AnyHeld]: ...
    def open(self, ref: CheckpointRef) -> AnyHeld:
        """Open a checkpoint; raises `ArtError` for one that is damaged or gone."""
        ...

    def read_models_ahead(self, models: Collection[ModelRef], *, ends_only: bool = False) -> None:
        """Read what will be asked of models, many at once where each is a request: next time it is known, once.

        The ends of a model are its steps, its pins and its newest checkpoint; beside them there are its history and
        what was set aside.
        """
        ...

    def read_ahead(self, refs: Iterable[CheckpointRef]) -> None:
        """Open checkpoints that will be asked for, many at once where each is a request."""
        ...

    def set_aside(self, model: ModelRef) -> list[SetAside]: ...
    def entries(self, model: ModelRef) -> list[Entry]:
        """Read a model's history."""
        ...

    def scores(self, segments: Iterable[Segment], metric: str) -> dict[int, float]: ...
    def pins(self, model: ModelRef) -> Pins: ...
    def set_pin(self, ref: CheckpointRef, digest: str | None, *, pinned: bool) -> None:
        """Keep the checkpoint of an identity from every policy that deletes, or no longer."""
        ...

    def certificates(self, model: ModelRef) -> Certificates: ...
    def look(self, ref: CheckpointRef) -> AnyHeld | NoCheckpoint:
        """Say what lies at a step now, as its manifest has it; raises `ArtError` for a manifest that cannot be read."""
        ...

    def measure(self, checkpoint: AnyHeld, entry: FileEntry) -> tuple[int, str | None] | None:
        """Read a file again: its size, and its digest unless it is too long; None when it is gone."""
        ...

    def read(self, checkpoint: AnyHeld, entry: FileEntry) -> bytes:
        """Read a small file whole; raises `CorruptCheckpointError` where it is not what the manifest says."""
        ...

    def stamp(self, ref: CheckpointRef) -> object:
        """Give what changes when a step is replaced by another one."""
        ...

    def rewind(self, checkpoint: AnyHeld) -> SetAside | None:
        """Make a checkpoint its model's newest again; later ones are set aside, None if none were."""
        ...

    def restore(self, model: ModelRef, aside_id: int | None = None) -> SetAside:
        """Bring back what was set aside, the last time unless told; what took its place is set aside in turn."""
        ...

    def freed_bytes(self, refs: Collection[CheckpointRef]) -> dict[CheckpointRef, int]:
        """Tell what the place gets back when checkpoints are deleted together, at each of them."""
        ...

    def has_remains(self, ref: CheckpointRef) -> bool:
        """Tell whether a push or a deletion that broke off left something of a step that `delete` takes away."""
        ...

    def delete(self, ref: CheckpointRef, stamp: object) -> None:
        """Delete what counts as the checkpoint of a step, damaged or not; raises `CheckpointNotFoundError`.

        Raises `ConflictError` where something else lies there than when it had that stamp.
        """
        ...


AnyPlace: TypeAlias = "CheckpointStore | Remote | Hub | Place[Any]"
"""What an operation is asked about: it looks at it through `place_of`."""


def place_of(place: AnyPlace) -> Place[Any]:
    """Look at a place of any kind."""
    if isinstance(place, CheckpointStore):
        return OnDisk(place)
    if isinstance(place, Place):
        return place
    from art.ops.in_bucket import InBucket

    return InBucket(place)


def open_remote(url_or_bucket: str, *, prefix: str | None = None) -> Remote | Hub:
    """Open a bucket, or with `hf://` a repository of the Hub. Sends no request."""
    from art.remote.hub import SCHEME, Hub
    from art.remote.remote import Remote

    if url_or_bucket.startswith(f"{SCHEME}://"):
        return Hub.open(url_or_bucket)
    return Remote.open(url_or_bucket, prefix=prefix)
