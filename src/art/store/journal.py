"""Moving several folders as one: the moves are written down first, and finished by whoever finds them.

A rewind sets folders aside; nothing here deletes one. The caller holds the lock of the folder it passes.
A journal may come from a stranger, with the folder it lies in: it moves step folders of that very folder and of the
store's staging, and nothing else. Knows folders below a root; knows nothing of models or manifests.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath

from art.errors import CorruptCheckpointError
from art.format import layout
from art.store import disk

MAX_ID = 10**9


@dataclass(frozen=True)
class Record:
    """Folders set aside together: when, why, and the moves that did it, as paths below the root."""

    id: int
    time: str
    reason: str
    kept: int | None
    """The newest step that stayed, None when none did."""
    moves: tuple[tuple[str, str], ...]


def run(root: Path, folder: Path, record: Record) -> None:
    """Perform the moves of a record: from the moment its journal is written they will all have happened."""
    disk.put_json(folder / layout.JOURNAL, asdict(record), root / layout.STAGING)
    settle(root, folder)


def settle(root: Path, folder: Path) -> None:
    """Finish what a journal says, however much of it was already done, and file the record."""
    journal = folder / layout.JOURNAL
    if not journal.exists():
        return
    record = _read(journal)
    moves = [_checked(root, folder, move) for move in record.moves]
    filed = aside(folder, record.id) / layout.RECORD
    with disk.explained("finish the moves that were begun in", folder):
        # Folder by folder: what makes way is durably gone before another takes its place.
        for between, together in groupby(moves, key=lambda move: (move[0].parent, move[1].parent)):
            disk.move(filter(_is_due, together), between)
        disk.move([(journal, filed)], (folder, filed.parent))


def is_pending(folder: Path) -> bool:
    """Tell whether moves were begun and not finished."""
    return (folder / layout.JOURNAL).exists()


def count(folder: Path) -> int:
    """Give how many times folders were set aside here."""
    return len(disk.names(folder / layout.SET_ASIDE))


def is_settled_at(folder: Path, number: int) -> bool:
    """Tell whether nothing was moved, and nothing is about to be, since `count` gave a number."""
    # In this order: moves that are over have left their record.
    return not is_pending(folder) and count(folder) == number


def records(folder: Path) -> list[Record]:
    """Give what was set aside in a folder, oldest first."""
    return sorted(
        (_read(path) for path in folder.glob(f"{layout.SET_ASIDE}/*/{layout.RECORD}")), key=lambda record: record.id
    )


def next_id(folder: Path) -> int:
    """Give the first number that nothing was set aside under."""
    return max((record.id for record in records(folder)), default=0) + 1


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
        f"{folder / layout.JOURNAL} asks to move {move[0]!r} to {move[1]!r}; a journal moves only steps of its own "
        "folder. Nothing was moved. Another program wrote that file; delete it if the steps beside it are whole."
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
    return None not in map(layout.parse_step, numbers) and _is_plain(folder, path.parent)


def _is_plain(above: Path, folder: Path) -> bool:
    return folder.resolve() == above.resolve() / folder.relative_to(above)


def _read(path: Path) -> Record:
    try:
        fields = json.loads(path.read_bytes())
        moves = tuple((str(source), str(target)) for source, target in fields["moves"])
        kept = None if fields["kept"] is None else int(fields["kept"])
        return Record(_read_id(fields["id"]), str(fields["time"]), str(fields["reason"]), kept, moves)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise CorruptCheckpointError(
            f"{path} is no journal ({error}); what it lists may lie in {layout.SET_ASIDE} or {layout.STAGING}."
        ) from error


def _read_id(value: object) -> int:
    if not isinstance(value, int) or not 0 < value < MAX_ID:
        raise ValueError(f"{value!r} cannot be its number")
    return value
