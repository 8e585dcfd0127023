"""A root on this disk, as operations look at it. Each model's folder is listed once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from art.errors import CheckpointNotFoundError
from art.format import layout
from art.format.certificates import Certificates
from art.format.json import MAX_BYTES
from art.format.lineage import Segment
from art.format.manifest import FileEntry, digest_bytes, read_manifest
from art.format.pick import NEWEST, Pick
from art.format.pins import Pins
from art.format.selection import Selection, Skipped
from art.names import CheckpointRef, ModelRef
from art.ops.held import NoCheckpoint, StepState
from art.store import disk, regular
from art.store.aside import SetAside
from art.store.certificates import certificates_of
from art.store.checkpoint import Checkpoint, Stamp, check_file, check_size, find_manifest, is_debris, look, stamp
from art.store.history import Entry, HistoryStore
from art.store.pins import pins_of, set_pin
from art.store.store import CheckpointStore

if TYPE_CHECKING:
    # What it needs for its summaries takes longer to import than `art log` has to do.
    from art.ops.histories import Histories


@dataclass
class Memory:
    """What was read of a root, for those who look again: a file that has not changed is not read a second time."""

    histories: Histories
    opened: dict[Path, tuple[Stamp, Checkpoint]] = field(default_factory=dict[Path, "tuple[Stamp, Checkpoint]"])

    def look(self, ref: CheckpointRef, folder: Path) -> Checkpoint | Skipped:
        """Open a step's folder. The sizes of its files are looked at each time."""
        now = stamp(folder)
        before, checkpoint = self.opened.get(folder, (None, None))
        if checkpoint and checkpoint.ref == ref and before == now and not folder.is_symlink():
            for entry in checkpoint.manifest.files:
                check_size(folder, entry)
            return checkpoint
        self.opened.pop(folder, None)
        outcome = look(ref, folder)
        if not isinstance(outcome, Skipped) and not outcome.is_foreign:
            self.opened[folder] = (now, outcome)
        return outcome


class OnDisk:
    """A root on this disk."""

    def __init__(self, store: CheckpointStore, memory: Memory | None = None) -> None:
        self.store = store
        self._history = memory.histories if memory else HistoryStore(store.root)
        self._look = memory.look if memory else look
        self._folders: dict[ModelRef, Mapping[int, Path]] = {}

    def __str__(self) -> str:
        return str(self.store.root)

    def models(self, project: str | None = None) -> list[ModelRef]:
        return self.store.models(project)

    def steps(self, model: ModelRef) -> list[int]:
        return self.store.steps(model)

    def named_steps(self, model: ModelRef) -> list[int]:
        return list(self.store.folders(model))

    def select(self, model: ModelRef, pick: Pick = NEWEST) -> Selection[Checkpoint]:
        return self.store.select(model, pick)

    def open(self, ref: CheckpointRef) -> Checkpoint:
        if ref.model not in self._folders:
            self._folders[ref.model] = self.store.folders(ref.model)
        folder = self._folders[ref.model].get(ref.step)
        outcome = self._look(ref, folder) if folder else Skipped(ref.step, "it is gone")
        if isinstance(outcome, Skipped):
            raise CheckpointNotFoundError(outcome.reason)
        return outcome

    def read_models_ahead(self, models: Collection[ModelRef], *, ends_only: bool = False) -> None:
        """Do nothing: a disk is asked one after the other."""

    def read_ahead(self, refs: Iterable[CheckpointRef]) -> None:
        """Leave it to `open`: a disk has nothing to wait for."""

    def set_aside(self, model: ModelRef) -> list[SetAside]:
        return self.store.set_aside(model)

    def entries(self, model: ModelRef) -> list[Entry]:
        return HistoryStore(self.store.root).read(model)

    def scores(self, segments: Iterable[Segment], metric: str) -> dict[int, float]:
        return self._history.scores(segments, metric)

    def pins(self, model: ModelRef) -> Pins:
        return pins_of(self.store.root, model)

    def set_pin(self, ref: CheckpointRef, digest: str | None, *, pinned: bool) -> None:
        set_pin(self.store.root, ref, digest, pinned=pinned)

    def certificates(self, model: ModelRef) -> Certificates:
        return certificates_of(self.store.root, model)

    def look(self, ref: CheckpointRef) -> Checkpoint | NoCheckpoint:
        folder = self.store.folders(ref.model).get(ref.step)
        if folder is None:
            return NoCheckpoint(StepState.GONE)
        content = None if folder.is_symlink() else find_manifest(folder)
        if content is None:
            outcome = look(ref, folder)
            state = StepState.DEBRIS if is_debris(folder) else StepState.UNKNOWN
            return NoCheckpoint(state, outcome.reason) if isinstance(outcome, Skipped) else outcome
        manifest = read_manifest(content, where=str(folder / layout.MANIFEST))
        return Checkpoint(ref=ref, path=folder, description=manifest, digest=digest_bytes(content))

    def measure(self, checkpoint: Checkpoint, entry: FileEntry) -> tuple[int, str | None] | None:
        size_bytes = regular.find_size_bytes_below(checkpoint.path, entry.path)
        if size_bytes is None:
            return None
        # A file that is too long is wrong already, and may have no end.
        return size_bytes, disk.digest(checkpoint.path / entry.path) if size_bytes <= entry.size_bytes else None

    def read(self, checkpoint: Checkpoint, entry: FileEntry) -> bytes:
        check_file(checkpoint.path, entry)
        return regular.read(checkpoint.path / entry.path, max_bytes=MAX_BYTES)

    def stamp(self, ref: CheckpointRef) -> object:
        folder = self.store.folders(ref.model).get(ref.step)
        return stamp(folder) if folder else ()

    def freed_bytes(self, refs: Collection[CheckpointRef]) -> dict[CheckpointRef, int]:
        from art.ops.garbage import freed_bytes

        by_model = {model: self.store.folders(model) for model in {ref.model for ref in refs}}
        # One that is gone by now gives nothing.
        folders = {ref: folder for ref in refs if (folder := by_model[ref.model].get(ref.step))}
        freed = freed_bytes(folders.values(), root=self.store.root)
        return {ref: freed[folders[ref]] if ref in folders else 0 for ref in refs}

    def rewind(self, checkpoint: Checkpoint) -> SetAside | None:
        return self.store.rewind(checkpoint)

    def restore(self, model: ModelRef, aside_id: int | None = None) -> SetAside:
        return self.store.restore(model, aside_id)

    def has_remains(self, ref: CheckpointRef) -> bool:
        """Tell that there are none: what breaks off here is debris, and collected."""
        return False

    def delete(self, ref: CheckpointRef, stamp: object) -> None:
        self.store.delete_step(ref, stamp)
