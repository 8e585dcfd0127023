"""The three-way check: uninterrupted == forked and continued != weights only.

Trains on from a checkpoint with the trajectories that its model has recorded: once straight through, once forked in
between and continued by a new process, and once forked with the weights alone. Says what each run does and compares
where they end; whoever asks brings what trains, and this module sees no tensor.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from blake3 import blake3

from art.errors import TrainingDataError
from art.format import layout
from art.format.json import canonical_json
from art.names import CheckpointRef, ModelRef
from art.ops.recording import read_lines
from art.store import regular, staging
from art.store.checkpoint import Checkpoint
from art.store.history import TRAIN, HistoryStore
from art.store.store import CheckpointStore

COMPARED = (layout.ADAPTER_WEIGHTS, layout.OPTIMIZER)
WEIGHTS_ONLY = ("optimizer", "schedule", "random")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Digests of adapter and moments after the same steps, reached in three ways."""

    checkpoint: str
    continues: bool
    """The fork reached the same bits as the uninterrupted run, and the weights alone did not."""
    uninterrupted: str
    forked: str
    weights_only: str
    losses: tuple[float, float, float]
    """Loss of the last step, in the same order."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Leg:
    """What one process does: load a folder, take a step per batch, save after each."""

    base_model: str
    dtype: str
    in_4bit: bool
    lora: dict[str, Any]
    checkpoint: str | None
    reset: tuple[str, ...]
    batches: tuple[str, ...]
    """Files of recorded groups, one a line."""
    saves: tuple[str, ...]
    """Folders to make, one for each batch."""


TakeLeg = Callable[[Leg], float]
"""Runs a leg in a new process; gives the loss of its last step."""


def verify_continuation(
    root: Path | str, ref: CheckpointRef, *, take_leg: TakeLeg, base_model: str | None = None, keep: bool = False
) -> Verdict:
    """Check that training continues from `ref` bit for bit across a fork and a new process.

    With `keep` the verdict is stored in the model's folder, under `continuation`. Raises `TrainingDataError` when the
    model has recorded no trajectories to train on.
    """
    store = CheckpointStore(root)
    checkpoint = store.open(ref)
    store.verify(checkpoint)
    with tempfile.TemporaryDirectory(prefix="art-continuation-") as folder:
        batches = _write_batches(_recorded_batches(store, ref), Path(folder))
        verdict = _check(checkpoint, _legs(checkpoint, base_model), batches, Path(folder), take_leg)
    if keep:
        path = store.root / layout.model_path(ref.model) / "continuation" / f"{layout.step_name(ref.step)}.json"
        regular.require_folders([path.parent])
        staging.put_file(path, canonical_json(verdict.as_json()), store.staging)
    return verdict


def _legs(checkpoint: Checkpoint, base_model: str | None) -> Callable[..., Leg]:
    """Give what makes a leg of the same base model and adapter shape as a checkpoint's."""
    info, shape = checkpoint.manifest.base_model, checkpoint.manifest.lora
    return partial(
        Leg,
        base_model=base_model or (info.id if info else ""),
        dtype=str(checkpoint.manifest.environment.get("dtype", "float32")),
        in_4bit="quantisation" in checkpoint.manifest.environment,
        lora=shape.model_dump() if shape else {},
    )


def _check(
    checkpoint: Checkpoint, leg: Callable[..., Leg], batches: tuple[str, str], folder: Path, take_leg: TakeLeg
) -> Verdict:
    middle, straight = folder / "middle", folder / "uninterrupted"
    whole = leg(
        checkpoint=str(checkpoint.path),
        reset=checkpoint.manifest.reset,
        batches=batches,
        saves=(str(middle), str(straight)),
    )
    losses, ends = [take_leg(whole)], [straight]
    scratch = CheckpointStore(folder / "store")
    original = _commit(scratch, checkpoint, middle)
    for name, dropped in (("forked", ()), ("weights-only", WEIGHTS_ONLY)):
        fork = scratch.fork(original, ModelRef("check", name), reset=dropped).checkpoint
        end = folder / name
        second = leg(checkpoint=str(fork.path), reset=fork.manifest.reset, batches=(batches[1],), saves=(str(end),))
        losses.append(take_leg(second))
        ends.append(end)
    return _verdict(checkpoint.ref, [_digest(end) for end in ends], losses)


def _verdict(ref: CheckpointRef, digests: Sequence[str], losses: Sequence[float]) -> Verdict:
    return Verdict(
        checkpoint=str(ref),
        continues=digests[0] == digests[1] != digests[2] and losses[0] == losses[1],
        uninterrupted=digests[0],
        forked=digests[1],
        weights_only=digests[2],
        losses=(losses[0], losses[1], losses[2]),
    )


def _recorded_batches(store: CheckpointStore, ref: CheckpointRef) -> list[bytes]:
    """Give the last recorded batches of trajectories in the checkpoint's past, two at most."""
    history = HistoryStore(store.root)
    for segment in reversed(store.segments(ref.model)):
        steps = [step for step in history.trajectory_steps(segment.model, split=TRAIN) if step in segment]
        batches = [list(history.read_trajectories(segment.model, step, split=TRAIN)) for step in steps]
        usable = [b"\n".join(batch) for batch in batches if _has_signal(batch)]
        if usable:
            return usable[-2:]
    raise TrainingDataError(
        f"{ref.model} has recorded no trajectories whose rewards differ; train a step, then check its checkpoint."
    )


def _has_signal(batch: Iterable[bytes]) -> bool:
    return any(len({trajectory.reward for trajectory in group}) > 1 for group in read_lines(batch))


def _write_batches(batches: Sequence[bytes], folder: Path) -> tuple[str, str]:
    paths = [folder / "first.jsonl", folder / "second.jsonl"]
    for path, content in zip(paths, (batches[0], batches[-1]), strict=True):
        path.write_bytes(content)
    return str(paths[0]), str(paths[1])


def _commit(scratch: CheckpointStore, checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    with scratch.stage(ModelRef("check", "original").at(checkpoint.ref.step + 1)) as stage:
        for path in folder.iterdir():
            path.rename(stage.path / path.name)
        return stage.commit(base_model=checkpoint.manifest.base_model, lora=checkpoint.manifest.lora)


def _digest(folder: Path) -> str:
    return blake3(b"".join((folder / name).read_bytes() for name in COMPARED)).hexdigest()
