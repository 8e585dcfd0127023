"""Moving several folders as one: the moves are written down first, and finished by whoever finds them.

A rewind sets folders aside; nothing here deletes one. Whoever moves or commits holds the lock of the folder, by
`alone`; whoever reads asks `read_steadily`.
A journal may come from a stranger, with the folder it lies in: it moves step folders of that very folder and of the
store's staging, and nothing else. Knows folders below a root; knows nothing of models or manifests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from art.errors import ArtError, ConfigurationError, CorruptCheckpointError, UnconfirmedError
from art.format import layout
from art.format.fields import Count, Time
from art.format.json import canonical_json, parse_as, shown
from art.names import parse_step
from art.store import disk, regular, staging
from art.store.refusal import explained

MAX_ID = 10**9
MAX_BYTES = 64 * 1024**2
"""Of a journal: the moves of three hundred thousand steps fit."""
MAX_VALUES = 1_000_000

T = TypeVar("T")


class Record(BaseModel):
    """Folders set aside together: when, why, and the moves that did it, as paths below the root."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    id: Annotated[int, Field(gt=0, lt=MAX_ID)]
    time: Time
    reason: str
    kept: Count | None
    """The newest step that stayed, None when none did."""
    moves: tuple[tuple[str, str], ...]
    damaged: bool = False
    """Whether the folders were set aside because their bytes are wrong."""


@dataclass(frozen=True)
class DamagedRecord:
    """A record that cannot be read: what was set aside with it is still there."""

    id: int
    problem: str


@contextmanager
def alone(root: Path, folder: Path) -> Generator[None]:
    """Hold the lock of a folder, and finish what a crash left half done in it."""
    with explained("change", folder), disk.exclusive(folder, (layout.CHECKPOINTS, layout.SET_ASIDE)):
        settle(root, folder)
        yield


def read_steadily(root: Path, folder: Path, read: Callable[[], T]) -> T:
    """Read a folder, again when its steps were moved meanwhile; what a crash left half done is finished first."""
    while True:
        number = count(folder)
        if is_pending(folder):
            with alone(root, folder):
                return read()
        try:
            with explained("read", folder):
                result = read()
        except ArtError:
            if is_settled_at(folder, number):
                raise
        else:
            if is_settled_at(folder, number):
                return result


def run(root: Path, folder: Path, record: Record) -> None:
    """Perform the moves of a record: from the moment its journal is written they will all have happened."""
    journal = folder / layout.JOURNAL
    content = bounded_json(record.model_dump(exclude_defaults=True), str(folder), len(record.moves))
    try:
        staging.put_file(journal, content, root / layout.STAGING)
    except UnconfirmedError as error:
        raise UnconfirmedError(
            error.errno, f"{error} What it says is done by the next one who looks at {folder}."
        ) from error
    settle(root, folder)


def bounded_json(fields: dict[str, Any], where: str, moves: int) -> bytes:
    """Give the bytes of a journal; raises `ConfigurationError` for more moves than are read again."""
    try:
        return canonical_json(fields, max_bytes=MAX_BYTES, max_values=MAX_VALUES)
    except ValueError as error:
        raise ConfigurationError(
            f"{moves:,} steps cannot be moved at once in {where}: {error}. Nothing was moved; go in parts."
        ) from error


def settle(root: Path, folder: Path) -> None:
    """Finish what a journal says, however much of it was already done, and file the record."""
    journal = folder / layout.JOURNAL
    record = _find(journal) if is_pending(folder) else None
    if record is None:
        return
    moves = [_checked(root, folder, move) for move in record.moves]
    filed = _free_place(folder, record)
    with explained("finish the moves that were begun in", folder):
        # Whoever wrote the journal may have been killed before it was on the disk.
        disk.sync(folder)
        # Folder by folder: what makes way is durably gone before another takes its place.
        for between, together in groupby(moves, key=lambda move: (move[0].parent, move[1].parent)):
            disk.move(filter(_is_due, together), between)
        disk.move([(journal, filed)], (folder, filed.parent))


def is_pending(folder: Path) -> bool:
    """Tell whether moves were begun and not finished; raises `StorageError` where that cannot be seen."""
    with explained("look at", folder):
        try:
            os.lstat(folder / layout.JOURNAL)
        except (FileNotFoundError, NotADirectoryError):
            return False
    return True


def count(folder: Path) -> int:
    """Give how many times folders were set aside here."""
    return len(disk.names(folder / layout.SET_ASIDE))


def is_settled_at(folder: Path, number: int) -> bool:
    """Tell whether nothing was moved, and nothing is about to be, since `count` gave a number."""
    # In this order: moves that are over have left their record.
    return not is_pending(folder) and count(folder) == number


def records(folder: Path) -> list[Record | DamagedRecord]:
    """Give what was set aside in a folder, oldest first; a record that cannot be read does not hide the others."""
    numbered_records = [(record_id, _find_record(folder, record_id)) for record_id in sorted(_numbers(folder))]
    return [record for _, record in numbered_records if record is not None]


def next_id(folder: Path) -> int:
    """Give the first number that nothing was set aside under."""
    return max(_numbers(folder), default=0) + 1


def aside(folder: Path, record_id: int) -> Path:
    """Give the folder that a record's folders lie in."""
    return folder / layout.SET_ASIDE / layout.step_name(record_id)


def _is_due(move: tuple[Path, Path]) -> bool:
    # A source that is there is no sign: after the move another folder may have taken its place.
    source, target = move
    return source.exists() and not target.exists()


def _checked(root: Path, folder: Path, move: tuple[str, str]) -> tuple[Path, Path]:
    """Give the two paths of a move; raises `CorruptCheckpointError` for one that leaves the folder it is about."""
    source, target = (_below(root, path) for path in move)
    if source and target and _may_leave(root, folder, source) and _may_hold(folder, target):
        return source, target
    raise CorruptCheckpointError(
        f"{folder / layout.JOURNAL} asks to move {shown(move[0])} to {shown(move[1])}; a journal moves only steps of "
        "its own folder. Nothing was moved. Another program wrote that file; delete it if the steps beside it are "
        "whole."
    )


def _below(root: Path, path: str) -> Path | None:
    parts = path.split("/")
    return None if {"", ".", ".."} & set(parts) or "\0" in path else root.joinpath(*parts)


def _may_leave(root: Path, folder: Path, source: Path) -> bool:
    return _may_hold(folder, source) or (source.parent == root / layout.STAGING and _is_plain(root, source.parent))


def _may_hold(folder: Path, path: Path) -> bool:
    """Tell whether a path is a step's, in its place or set aside, and no link leads there."""
    if not path.is_relative_to(folder):
        return False
    match PurePosixPath(path.relative_to(folder)).parts:
        case (layout.CHECKPOINTS, step):
            numbers = [step]
        case (layout.SET_ASIDE, record_id, step):
            numbers = [record_id, step]
        case _:
            return False
    return None not in map(parse_step, numbers) and _is_plain(folder, path.parent)


def _is_plain(above: Path, folder: Path) -> bool:
    return folder.resolve() == above.resolve() / folder.relative_to(above)


def _numbers(folder: Path) -> set[int]:
    above = folder / layout.SET_ASIDE
    regular.require_folders([above])
    return {number for name in disk.names(above) if (number := parse_step(name)) is not None and number < MAX_ID}


def _find_record(folder: Path, record_id: int) -> Record | DamagedRecord | None:
    path = aside(folder, record_id) / layout.RECORD
    try:
        regular.require_folders([path.parent])
        record = _find(path)
        if record and record.id != record_id:
            raise CorruptCheckpointError(f"{path} is the record of {record.id}")
    except CorruptCheckpointError as error:
        return DamagedRecord(record_id, str(error))
    return record


def _find(path: Path) -> Record | None:
    content = regular.find(path, max_bytes=MAX_BYTES)
    if content is None:
        return None
    try:
        return parse_as(Record, content, where=str(path), what="a journal", max_values=MAX_VALUES)
    except CorruptCheckpointError as error:
        raise CorruptCheckpointError(
            f"{str(error).rstrip('.')}. What it lists may lie in {layout.SET_ASIDE} or {layout.STAGING}."
        ) from error


def _free_place(folder: Path, record: Record) -> Path:
    """Give the place that a journal is filed in; raises `CorruptCheckpointError` when that leads out or is taken."""
    filed = aside(folder, record.id) / layout.RECORD
    regular.require_folders([filed.parent.parent, filed.parent])
    # The same record in both places is what a power failure may leave of the last move.
    if os.path.lexists(filed) and _find_record(folder, record.id) != record:
        raise CorruptCheckpointError(f"{folder / layout.JOURNAL} has a number that {filed} has already.")
    return filed
