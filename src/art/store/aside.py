"""What a rewind, an overwriting fork or a repair took out of the way: how it is set aside, listed and chosen.

Knows folders and the journal. Only the holder of the lock of a model sets anything aside.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from art.errors import CheckpointNotFoundError, CorruptCheckpointError
from art.format import layout
from art.format.manifest import utc_now
from art.names import ModelRef
from art.store import disk, journal


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Why steps are set aside, and what stays."""

    reason: str
    kept: int | None
    """The newest step that stays, None when none does."""
    damaged: bool = False
    """Whether their bytes are wrong: then nobody brings them back who does not ask for just these."""


@dataclass(frozen=True, kw_only=True)
class SetAside:
    """Checkpoints that a rewind, an overwriting fork or a repair took out of the way; `restore` brings them back."""

    id: int
    time: str
    reason: str
    kept: int | None
    """The newest step that stayed, None when none did."""
    steps: tuple[int, ...]
    problem: str | None = None
    """Why it cannot be brought back: its record is damaged."""
    damaged: bool = False
    """Whether the bytes of these checkpoints are wrong."""

    @classmethod
    def of(cls, record: journal.Record, steps: tuple[int, ...]) -> SetAside:
        """Say what a record says of the steps that lie there."""
        return cls(
            id=record.id,
            time=record.time,
            reason=record.reason,
            kept=record.kept,
            steps=steps,
            damaged=record.damaged,
        )


def put_aside(
    root: Path,
    model: ModelRef,
    names: Mapping[int, str],
    cause: Cause,
    *,
    then: Collection[tuple[Path, Path]] = (),
) -> SetAside:
    """Move the folders of some steps away, then make the moves of `then`; a crash leaves the rest to the journal."""
    folder = root / layout.model_path(model)
    record_id = journal.next_id(folder)
    aside = journal.aside(folder, record_id)
    out = [(folder / layout.CHECKPOINTS / name, aside / name) for _, name in sorted(names.items())]
    moves = [(_below(root, source), _below(root, target)) for source, target in [*out, *then]]
    record = journal.Record(
        id=record_id,
        time=utc_now(),
        reason=cause.reason,
        kept=cause.kept,
        moves=tuple(moves),
        damaged=cause.damaged,
    )
    journal.run(root, folder, record)
    return _aside_of(folder, record)


def asides(folder: Path) -> list[SetAside]:
    """List what was set aside in the folder of a model and nobody brought back, oldest first."""
    all_asides = [_aside_of(folder, record) for record in journal.records(folder)]
    return [aside for aside in all_asides if aside.steps or aside.problem]


def folders_of(folder: Path, aside: SetAside) -> dict[int, Path]:
    """Map the steps that were set aside to where they lie, lowest first."""
    place = journal.aside(folder, aside.id)
    return {step: place / name for step, name in sorted(layout.folders_by_step(disk.names(place)).items())}


def choose_aside(candidates: Sequence[SetAside], model: ModelRef, aside_id: int | None) -> SetAside:
    """Choose what is brought back, the last sound one unless told; raises for what is not there, or has no record."""
    asked_for = [aside for aside in candidates if aside.id == aside_id or (aside_id is None and not aside.damaged)]
    chosen = next(reversed(asked_for), None)
    if chosen is None:
        number_words = "" if aside_id is None else f" as {aside_id}"
        known = ", ".join(f"{aside.id}{' (damaged)' if aside.damaged else ''}" for aside in candidates) or "nothing"
        raise CheckpointNotFoundError(f"{model} has no checkpoints set aside{number_words}; it has {known}.")
    if chosen.problem:
        raise CorruptCheckpointError(f"What was set aside as {chosen.id} cannot be brought back: {chosen.problem}")
    return chosen


def _aside_of(folder: Path, record: journal.Record | journal.DamagedRecord) -> SetAside:
    steps = tuple(sorted(layout.folders_by_step(disk.names(journal.aside(folder, record.id)))))
    if isinstance(record, journal.DamagedRecord):
        return SetAside(
            id=record.id, time="", reason="its record is damaged", kept=None, steps=steps, problem=record.problem
        )
    return SetAside.of(record, steps)


def _below(root: Path, path: Path) -> str:
    return str(path.relative_to(root))
