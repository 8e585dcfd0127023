"""Every file of a checkpoint against its manifest: all faults and not only the first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from art.errors import ArtError
from art.format import layout
from art.format.manifest import FileEntry, Manifest, digest_bytes, read_manifest
from art.names import CheckpointRef, ModelRef
from art.store import disk, regular
from art.store.checkpoint import Checkpoint, find_manifest, is_debris, look, stamp
from art.store.store import CheckpointStore


class StepState(StrEnum):
    """What lies in a step's folder, as far as its bytes can be checked."""

    CHECKED = "checked"
    FOREIGN = "foreign"
    """Its files are whole, and no manifest says what they should be."""
    DEBRIS = "debris"
    """What unfinished work of ours left."""
    UNKNOWN = "unknown"
    """No checkpoint, and nothing of ours."""
    GONE = "gone"
    """It was deleted or set aside while it was read."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A file that is not what its manifest says."""

    file: str
    problem: str
    expected: str | None = None
    found: str | None = None
    """Digests; none found for a file that is gone, or too long."""


@dataclass(frozen=True)
class Brought:
    """A file of a repaired checkpoint, and where its bytes came from."""

    file: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Repair:
    """What was done about a damaged checkpoint: all that it needed, or nothing and why."""

    brought: tuple[Brought, ...] = ()
    set_aside: int | None = None
    """The number under which the damaged folder was set aside."""
    problem: str | None = None
    """Why it could not be repaired."""


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What was found in one step's folder, or in the folder of a model that cannot be listed."""

    model: ModelRef
    step: int | None
    """None for a model that cannot be listed."""
    state: StepState = StepState.CHECKED
    files: int = 0
    size_bytes: int = 0
    faults: tuple[Fault, ...] = ()
    reason: str | None = None
    """Why it is no checkpoint."""
    repair: Repair | None = None
    """What was done about its faults; None where nobody asked, or nothing was wrong."""

    @property
    def name(self) -> str:
        return str(self.model if self.step is None else self.model.at(self.step))

    @property
    def is_wrong(self) -> bool:
        """Whether it is damaged now: what was repaired is not."""
        return bool(self.faults) and not self.is_repaired

    @property
    def is_repaired(self) -> bool:
        return self.repair is not None and self.repair.problem is None


def verify(
    store: CheckpointStore, models: Iterable[ModelRef], *, step: int | None = None, progress: Callable[[int, int], None]
) -> list[StepReport]:
    """Check every step of some models, or one step of each; `progress` hears the bytes read, and of how many."""
    reports: list[StepReport] = []
    folders: dict[CheckpointRef, Path] = {}
    for model in models:
        try:
            folders |= _folders(store, model, step)
        except ArtError as error:
            fault = Fault(file=str(layout.model_path(model)), problem=str(error))
            reports.append(StepReport(model=model, step=None, faults=(fault,)))
    total_bytes = sum(map(_size_bytes, folders.values()))
    for ref in folders:
        reports.append(check(store, ref))
        progress(sum(report.size_bytes for report in reports), total_bytes)
    return sorted(reports, key=lambda report: report.model)


def check(store: CheckpointStore, ref: CheckpointRef) -> StepReport:
    """Compare every file of a checkpoint with its manifest, again when it was moved or replaced meanwhile."""
    folder = _folders(store, ref.model, ref.step).get(ref)
    while folder is not None:
        seen = stamp(folder)
        report = _check_folder(ref, folder, known_identity(store, ref))
        place = _folders(store, ref.model, ref.step).get(ref)
        if place == folder and stamp(folder) == seen:
            return report
        folder = place
    return StepReport(model=ref.model, step=ref.step, state=StepState.GONE)


def known_identity(store: CheckpointStore, ref: CheckpointRef) -> str | None:
    """Give the identity that the next step of the same model knows its parent by; None where it continues another."""
    later = {step: folder for step, folder in store.folders(ref.model).items() if step > ref.step}
    if not later:
        return None
    folder = later[min(later)]
    try:
        content = None if folder.is_symlink() else find_manifest(folder)
        parent = read_manifest(content, where=str(folder)).parent if content is not None else None
    except ArtError:
        return None
    return parent.digest if parent and parent.ref == ref else None


def _folders(store: CheckpointStore, model: ModelRef, step: int | None) -> Mapping[CheckpointRef, Path]:
    return {model.at(number): path for number, path in store.folders(model).items() if step in (None, number)}


def _check_folder(ref: CheckpointRef, folder: Path, identity: str | None) -> StepReport:
    try:
        content = None if folder.is_symlink() else find_manifest(folder)
        if content is None:
            return _report_without_manifest(ref, folder)
        manifest = read_manifest(content, where=str(folder / layout.MANIFEST))
    except ArtError as error:
        fault = Fault(file=layout.MANIFEST, problem=str(error))
        return StepReport(model=ref.model, step=ref.step, faults=(fault,))
    return StepReport(
        model=ref.model,
        step=ref.step,
        files=len(manifest.files),
        size_bytes=manifest.size_bytes,
        faults=(*_altered_manifest(content, identity), *_faults(ref, folder, manifest)),
    )


def _altered_manifest(content: bytes, identity: str | None) -> Iterable[Fault]:
    found = digest_bytes(content)
    if identity not in (None, found):
        problem = "is not the one that the next step continues"
        yield Fault(file=layout.MANIFEST, problem=problem, expected=identity, found=found)


def _faults(ref: CheckpointRef, folder: Path, manifest: Manifest) -> Iterable[Fault]:
    yield from filter(None, (_compare(folder, entry) for entry in manifest.files))
    if manifest.ref != ref:
        yield Fault(file=layout.MANIFEST, problem=f"it belongs to {manifest.ref}: this folder was copied by hand")


def _compare(folder: Path, entry: FileEntry) -> Fault | None:
    path = folder / entry.path
    try:
        size_bytes = regular.find_size_bytes_below(folder, entry.path)
        # A file that is too long is wrong already, and may have no end.
        found = disk.digest(path) if size_bytes is not None and size_bytes <= entry.size_bytes else None
    except ArtError as error:
        return Fault(file=entry.path, problem=str(error), expected=entry.blake3)
    if size_bytes is None:
        problem = "is gone"
    elif size_bytes != entry.size_bytes:
        problem = f"has {size_bytes:,} bytes of {entry.size_bytes:,}"
    elif found != entry.blake3:
        problem = "was altered"
    else:
        return None
    return Fault(file=entry.path, problem=problem, expected=entry.blake3, found=found)


def _report_without_manifest(ref: CheckpointRef, folder: Path) -> StepReport:
    try:
        outcome = look(ref, folder)
    except ArtError as error:
        fault = Fault(file=layout.MANIFEST, problem=str(error))
        return StepReport(model=ref.model, step=ref.step, faults=(fault,))
    if isinstance(outcome, Checkpoint):
        files, size_bytes = len(outcome.manifest.files), outcome.manifest.size_bytes
        return StepReport(model=ref.model, step=ref.step, state=StepState.FOREIGN, files=files, size_bytes=size_bytes)
    state = StepState.DEBRIS if is_debris(folder) else StepState.UNKNOWN
    return StepReport(model=ref.model, step=ref.step, state=state, reason=outcome.reason)


def _size_bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and path.name != layout.MANIFEST)
