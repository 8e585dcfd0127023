"""How other trainers name their checkpoints, and how they show that one is whole.

Knows names and files, of folders that a trainer may be writing to: what went away meanwhile is not whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from art.errors import ArtError
from art.ops import trainer_log
from art.store import disk, regular
from art.store.refusal import explained

MAX_NOTE_BYTES = 64
_RANDOM = re.compile(r"(?:rng_state|random_states)_(\d{1,9})\.(?:pth|pkl)")
_SHARD = re.compile(r"__(\d{1,9})_\d{1,9}\.distcp")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one trainer names its checkpoints, and how it shows that one is whole."""

    kind: str
    name: re.Pattern[str]
    is_whole: Callable[[Path], bool]
    is_of: Callable[[Path], bool] = Path.is_dir
    """Tells its checkpoints from another trainer's of the same name."""


def _has(*patterns: str) -> Callable[[Path], bool]:
    return lambda folder: all(any(folder.glob(pattern)) for pattern in patterns)


def _is_latest(folder: Path) -> bool:
    """Tell whether verl's own note, written last, names this step or a later one."""
    if not any(folder.glob("actor/*")):
        return False  # it is rotated away, and its note is not in it
    with suppress(ArtError, ValueError):
        note = regular.find(folder.parent / "latest_checkpointed_iteration.txt", max_bytes=MAX_NOTE_BYTES)
        return int(note or b"") >= int(folder.name.split("_")[-1])
    return False


def _is_whole_of_the_trainer(folder: Path) -> bool:
    """Tell whether what rank 0 writes last is whole, and no rank's random state is missing before another's."""
    try:
        content = regular.find(folder / trainer_log.STATE, max_bytes=trainer_log.MAX_STATE_BYTES)
        # Not `parse`: a loss that is no number is no reason to take a checkpoint for half written.
        is_written = content is not None and isinstance(json.loads(content), dict)
    except (ArtError, ValueError, RecursionError):
        return False
    ranks = _ranks(_RANDOM, folder.iterdir())
    return is_written and ranks == set(range(len(ranks)))


def _is_whole_of_accelerate(folder: Path) -> bool:
    """Tell whether every rank has written its random state, which it does last; a rank with shards has one."""
    ranks = _ranks(_RANDOM, folder.iterdir())
    return 0 in ranks and ranks == set(range(len(ranks))) and _ranks(_SHARD, folder.glob("*/*")) <= ranks


def _ranks(name: re.Pattern[str], paths: Iterable[Path]) -> set[int]:
    return {int(match[1]) for path in paths if (match := name.fullmatch(path.name))}


def _is_whole_of_lightning(path: Path) -> bool:
    """Tell whether a checkpoint is whole: Lightning renames a file into place, and ends a folder with `meta.pt`."""
    return path.is_file() or (path / "meta.pt").exists()


LAYOUTS = (
    Layout(kind="hf-trainer", name=re.compile(r"checkpoint-([0-9]{1,15})"), is_whole=_is_whole_of_the_trainer),
    Layout(kind="accelerate", name=re.compile(r"checkpoint_([0-9]{1,15})"), is_whole=_is_whole_of_accelerate),
    Layout(kind="verl", name=re.compile(r"global_step_([0-9]{1,15})"), is_whole=_is_latest),
    Layout(
        kind="lightning",
        name=re.compile(r"(?:.*[-_])?step=([0-9]{1,15})\.ckpt"),
        is_whole=_is_whole_of_lightning,
        is_of=Path.exists,
    ),
    Layout(
        kind="prime-rl",
        name=re.compile(r"step_([0-9]{1,15})"),
        is_whole=_has("trainer/.metadata"),
        is_of=lambda folder: (folder / "trainer").is_dir(),
    ),
    Layout(kind="dcp", name=re.compile(r"step[-_]([0-9]{1,15})"), is_whole=_has(".metadata")),
)


def checkpoints_in(folder: Path) -> dict[int, Path]:
    """Give the whole checkpoints of known trainers in a folder, by their steps."""
    return {step: path for path, (step, layout) in saved_in(folder).items() if is_whole(path, layout)}


def saved_in(folder: Path) -> dict[Path, tuple[int, Layout]]:
    """Give what is there of known trainers, whole or not, with its step and its layout."""
    saved: dict[Path, tuple[int, Layout]] = {}
    for name in disk.names(folder):
        path = folder / name
        layout, step = layout_of(path), step_of(path)
        if layout and step is not None:
            saved[path] = (step, layout)
    return saved


def is_whole(path: Path, layout: Layout) -> bool:
    """Tell whether a checkpoint is whole; one that is rotated away while it is looked at is not."""
    with explained("look into", path), suppress(FileNotFoundError, NotADirectoryError):
        return layout.is_whole(path)
    return False


def layout_of(path: Path) -> Layout | None:
    return next((layout for layout in LAYOUTS if layout.name.fullmatch(path.name) and layout.is_of(path)), None)


def step_of(path: Path) -> int | None:
    """Read the step out of a name, of a checkpoint that may be gone."""
    matches = (layout.name.fullmatch(path.name) for layout in LAYOUTS)
    return next((int(match[1]) for match in matches if match), None)
