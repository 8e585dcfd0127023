"""Every file of a checkpoint against its manifest, in any place: all faults and not only the first. Writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from art.errors import ArtError, CorruptCheckpointError, StorageError
from art.format import layout
from art.format.manifest import FileEntry
from art.format.pick import Exact
from art.names import CheckpointRef, ModelRef
from art.ops.held import Held, NoCheckpoint, StepState
from art.ops.place import AnyPlace, Place, place_of


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A file that is not what its manifest says."""

    file: str
    problem: str
    expected: str | None = None
    digest: str | None = None
    """What it is now; None for a file that is gone, or too long."""


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
class Signature:
    """Whether the holder of a key signed a checkpoint."""

    file: str | None = None
    """The signature that is right."""
    problem: str | None = None
    """Why none is."""


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What was found at one step, or in the folder of a model that cannot be listed."""

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
    signature: Signature | None = None
    """None where nobody asked."""

    @property
    def name(self) -> str:
        return str(self.model if self.step is None else self.model.at(self.step))

    @property
    def is_wrong(self) -> bool:
        """Whether it is damaged now, which what was repaired is not, or not signed though that was asked."""
        return self.is_damaged or (self.signature is not None and self.signature.problem is not None)

    @property
    def is_damaged(self) -> bool:
        return bool(self.faults) and not self.is_repaired

    @property
    def is_repaired(self) -> bool:
        return self.repair is not None and self.repair.problem is None


def verify(
    where: AnyPlace,
    models: Iterable[ModelRef],
    *,
    step: int | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> list[StepReport]:
    """Check every step of some models, or one step of each; `progress` hears the bytes read, and of how many."""
    place, refs, reports = place_of(where), list[CheckpointRef](), list[StepReport]()
    for model in models:
        try:
            refs += [model.at(number) for number in place.named_steps(model) if step in (None, number)]
        except ArtError as error:
            fault = Fault(file=str(layout.model_path(model)), problem=str(error))
            reports.append(StepReport(model=model, step=None, faults=(fault,)))
    total_bytes = _total_bytes(place, refs)
    for ref in refs:
        reports.append(check(place, ref))
        progress(sum(report.size_bytes for report in reports), total_bytes)
    return sorted(reports, key=lambda report: report.model)


def require_steps(where: AnyPlace, model: ModelRef, step: int | None) -> None:
    """Raise `NotFoundError`, with the steps there are, when nothing lies at a step or the model has none."""
    place = place_of(where)
    steps = place.named_steps(model)
    if step is not None and step not in steps:
        place.select(model, Exact(step))
    if not steps:
        place.select(model)


def check(where: AnyPlace, ref: CheckpointRef) -> StepReport:
    """Compare every file of a checkpoint with its manifest, again when it was moved or replaced meanwhile."""
    place = place_of(where)
    stamp = place.stamp(ref)
    while True:
        report = _checked(place, ref)
        before, stamp = stamp, place.stamp(ref)
        if stamp == before:
            return report


def known_identity(where: AnyPlace, ref: CheckpointRef) -> str | None:
    """Give the identity that the next step of the same model knows its parent by; None where it continues another."""
    place = place_of(where)
    later = [step for step in place.named_steps(ref.model) if step > ref.step]
    try:
        child = place.look(ref.model.at(min(later))) if later else None
    except ArtError:
        return None
    parent = None if child is None or isinstance(child, NoCheckpoint) else child.description.parent
    return parent.digest if parent and parent.ref == ref else None


def _checked(place: Place[Held], ref: CheckpointRef) -> StepReport:
    try:
        candidate = place.look(ref)
    except ArtError as error:
        fault = Fault(file=layout.MANIFEST, problem=str(error))
        return StepReport(model=ref.model, step=ref.step, faults=(fault,))
    if isinstance(candidate, NoCheckpoint):
        return StepReport(model=ref.model, step=ref.step, state=candidate.state, reason=candidate.reason)
    return StepReport(
        model=ref.model,
        step=ref.step,
        state=StepState.FOREIGN if candidate.is_foreign else StepState.CHECKED,
        files=len(candidate.names),
        size_bytes=candidate.size_bytes,
        # Of a foreign checkpoint nobody wrote the digests down.
        faults=() if candidate.is_foreign else (*_altered_manifest(place, candidate), *_faults(place, candidate)),
    )


def _altered_manifest(place: Place[Held], checkpoint: Held) -> Iterator[Fault]:
    identity = known_identity(place, checkpoint.ref)
    if identity not in (None, checkpoint.digest):
        problem = "is not the one that the next step continues"
        yield Fault(file=layout.MANIFEST, problem=problem, expected=identity, digest=checkpoint.digest)


def _faults(place: Place[Held], checkpoint: Held) -> Iterator[Fault]:
    yield from filter(None, (_compare(place, checkpoint, entry) for entry in checkpoint.manifest.files))
    if checkpoint.description.ref != checkpoint.ref:
        problem = f"it belongs to {checkpoint.description.ref}: this folder was copied by hand"
        yield Fault(file=layout.MANIFEST, problem=problem)


def _compare(place: Place[Held], checkpoint: Held, entry: FileEntry) -> Fault | None:
    try:
        measured = place.measure(checkpoint, entry)
    except (CorruptCheckpointError, StorageError) as error:
        return Fault(file=entry.path, problem=str(error), expected=entry.blake3)
    if measured is None:
        return Fault(file=entry.path, problem="is gone", expected=entry.blake3)
    size_bytes, digest = measured
    if size_bytes != entry.size_bytes:
        problem = f"has {size_bytes:,} bytes of {entry.size_bytes:,}"
    elif digest != entry.blake3:
        problem = "was altered"
    else:
        return None
    return Fault(file=entry.path, problem=problem, expected=entry.blake3, digest=digest)


def _total_bytes(place: Place[Held], refs: Iterable[CheckpointRef]) -> int:
    refs = list(refs)
    place.read_ahead(refs)
    return sum(_size_bytes(place, ref) for ref in refs)


def _size_bytes(place: Place[Held], ref: CheckpointRef) -> int:
    try:
        return place.open(ref).size_bytes
    except ArtError:
        return 0
