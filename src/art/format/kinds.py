"""Kinds of checkpoint: what a trainer writes into one, as far as a fork needs to know it.

An adapter is what artfork trains. Of every other kind the store keeps bytes: it verifies, forks and moves them,
and never loads them. Pure: names and patterns only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from art.errors import ConfigurationError
from art.format.layout import OPTIMIZER

ADAPTER = "adapter"
FILES = "files"
SHARD, INDEX = ".distcp", ".metadata"
"""Of `torch.distributed.checkpoint`."""
RESETTABLE = ("optimizer", "schedule", "random", "state")
PARTS = ("adapter", *RESETTABLE)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What one trainer writes into a folder."""

    name: str
    trainer: str
    """Who writes it, in words."""
    marks: tuple[str, ...]
    """Files that such a folder has, as patterns of paths; each must match one."""
    parts: Mapping[str, tuple[str, ...]]
    """What continuing needs beside the weights, as patterns of the files that hold it."""
    together: tuple[str, ...] = ()
    """Parts that its trainer reads all or none of, so that a reset of one is a reset of all."""
    resettable: tuple[str, ...] = ()
    """Parts without which its trainer goes on, and starts them afresh."""


KINDS = (
    Kind(
        name="hf-trainer",
        trainer="the Trainer of transformers, and TRL",
        marks=("trainer_state.json",),
        parts={
            "optimizer": ("optimizer.pt", "optimizer.bin"),
            "schedule": ("scheduler.pt",),
            "random": ("rng_state.pth", "rng_state_*.pth"),
            "state": ("trainer_state.json",),
        },
        together=("optimizer", "schedule"),
        resettable=("optimizer", "schedule", "random"),
    ),
    Kind(
        name="accelerate",
        trainer="accelerate's save_state",
        marks=("random_states_0.pkl",),
        parts={
            "optimizer": ("optimizer*.bin", "optimizer*/*"),
            "schedule": ("scheduler*.bin",),
            "random": ("random_states_*.pkl",),
        },
    ),
    Kind(
        name="verl",
        trainer="verl",
        marks=("actor/*",),
        parts={"optimizer": ("actor/optim_*.pt",), "random": ("actor/extra_state_*.pt",), "state": ("data.pt",)},
    ),
    Kind(name="lightning", trainer="Lightning", marks=("*.ckpt",), parts={}),
    Kind(
        name="prime-rl",
        trainer="prime-rl",
        marks=("trainer/.metadata",),
        parts={"state": ("trainer/dataloader/*", "orchestrator/*")},
    ),
    Kind(name="dcp", trainer="torch.distributed.checkpoint", marks=(".metadata",), parts={}),
)
"""In the order in which a folder is compared with them."""

_BY_NAME = {kind.name: kind for kind in KINDS}
NAMES = (ADAPTER, *_BY_NAME, FILES)


def kind_of(paths: Collection[str]) -> str:
    """Name the kind of a folder by the files in it; `files` when it is none that is known."""
    for kind in KINDS:
        if all(_matching(paths, (mark,)) for mark in kind.marks):
            return kind.name
    return FILES


def unfinished(paths: Collection[str]) -> list[str]:
    """Name the folders whose shards have no index beside them, which torch writes last; `.` is the folder itself."""
    above = {str(PurePosixPath(path).parent) for path in paths if path.endswith(SHARD)}
    return sorted(folder for folder in above if str(PurePosixPath(folder, INDEX)) not in paths)


def carried_by(kind: str, paths: Collection[str]) -> tuple[str, ...]:
    """Name the parts that a folder of some kind holds beside its weights."""
    parts = _BY_NAME[kind].parts if kind in _BY_NAME else {}
    return tuple(part for part, patterns in parts.items() if _matching(paths, patterns))


def resettable(kind: str) -> tuple[str, ...]:
    """Name the parts that a fork of another trainer's checkpoint can start afresh."""
    return _BY_NAME[kind].resettable if kind in _BY_NAME else ()


def left_out(kind: str, paths: Collection[str], reset: Collection[str]) -> frozenset[str]:
    """Give the files that a fork leaves out for what it resets; raises `ConfigurationError` for what cannot be reset.

    An adapter's trainer keeps everything but the moments in one file, and skips there what the manifest says was reset.
    """
    if kind == ADAPTER:
        return frozenset({OPTIMIZER} if "optimizer" in reset else ())
    known = _BY_NAME.get(kind)
    _check_reset(kind, known, reset)
    return frozenset(path for part in reset for path in _matching(paths, known.parts[part] if known else ()))


def _check_reset(kind: str, known: Kind | None, reset: Collection[str]) -> None:
    allowed = known.resettable if known else ()
    if refused := sorted(set(reset) - set(allowed)):
        needs = f"its trainer goes on without {', '.join(allowed)} only" if allowed else "its trainer needs every file"
        raise ConfigurationError(f"{', '.join(refused)} cannot be reset in a checkpoint of kind {kind}: {needs}.")
    together = set(known.together if known else ())
    if (parts := together & set(reset)) and parts != together:
        raise ConfigurationError(
            f"{kind} reads {' and '.join(sorted(together))} together or not at all; reset both or none."
        )


def _matching(paths: Collection[str], patterns: Collection[str]) -> list[str]:
    return [path for path in paths if any(fnmatchcase(path, pattern) for pattern in patterns)]
