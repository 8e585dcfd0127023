"""The three-way check: uninterrupted == forked and continued != weights only.

Trains on from a checkpoint with the trajectories that its model has recorded: once straight through, once forked in
between and continued by a new process, and once forked with the weights alone. Every run is a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from blake3 import blake3

from art.config import LoRAConfig, TrainConfig
from art.errors import ArtError, TrainingDataError
from art.format import layout
from art.format.manifest import canonical_json
from art.local.recording import read_lines
from art.names import CheckpointRef, ModelRef
from art.store.checkpoint import Checkpoint
from art.store.store import CheckpointStore

LEARNING_RATE = 1e-3
COMPARED = (layout.ADAPTER_WEIGHTS, layout.OPTIMIZER)
WEIGHTS_ONLY = ("optimizer", "schedule", "random")


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class _Leg:
    """What one process does: load a folder, take a step per batch, save after each."""

    base_model: str
    dtype: str
    lora: dict[str, Any]
    checkpoint: str | None
    reset: tuple[str, ...]
    batches: tuple[str, ...]
    saves: tuple[str, ...]


def verify_continuation(
    root: Path | str, ref: CheckpointRef, *, base_model: str | None = None, keep: bool = False
) -> Verdict:
    """Check that training continues from `ref` bit for bit across a fork and a new process.

    With `keep` the verdict is stored in the model's folder, under `continuation`. Raises `TrainingDataError` when the
    model has recorded no trajectories to train on.
    """
    store = CheckpointStore(root)
    checkpoint = store.open(ref)
    store.verify(checkpoint)
    info = checkpoint.manifest.base_model
    base = base_model or (info.id if info else "")
    with tempfile.TemporaryDirectory(prefix="art-continuation-") as folder:
        verdict = _check(checkpoint, base, _recorded_batches(store, ref), Path(folder))
    if keep:
        path = store.root / layout.model_path(ref.model) / "continuation" / f"{layout.step_name(ref.step)}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(canonical_json(verdict.as_json()))
    return verdict


def _check(checkpoint: Checkpoint, base: str, batches: Sequence[str], folder: Path) -> Verdict:
    scratch = CheckpointStore(folder / "store")
    first, second = _write_batches(batches, folder)
    shape = checkpoint.manifest.lora
    leg = partial(
        _Leg, base, str(checkpoint.manifest.environment.get("dtype", "float32")), shape.model_dump() if shape else {}
    )
    middle, straight = folder / "middle", folder / "uninterrupted"
    reset = checkpoint.manifest.reset
    losses = [_run(leg(str(checkpoint.path), reset, (first, second), (str(middle), str(straight))))]
    ends = [straight]
    original = _commit(scratch, checkpoint, middle)
    for name, dropped in (("forked", ()), ("weights-only", WEIGHTS_ONLY)):
        fork = scratch.fork(original, ModelRef("check", name), reset=dropped).checkpoint
        losses.append(_run(leg(str(fork.path), fork.manifest.reset, (second,), (str(folder / name),))))
        ends.append(folder / name)
    digests = [_digest(end) for end in ends]
    return Verdict(
        checkpoint=str(checkpoint.ref),
        continues=digests[0] == digests[1] != digests[2] and losses[0] == losses[1],
        uninterrupted=digests[0],
        forked=digests[1],
        weights_only=digests[2],
        losses=(losses[0], losses[1], losses[2]),
    )


def _recorded_batches(store: CheckpointStore, ref: CheckpointRef) -> list[str]:
    """Give the last recorded batches of trajectories in the checkpoint's past, two at most."""
    for segment in reversed(store.segments(ref.model)):
        folder = (store.root / layout.trajectories_path(segment.model, "train", 0)).parent
        steps = sorted(step for path in folder.glob("*.jsonl") if (step := layout.parse_step(path.stem)) is not None)
        found = [folder / f"{layout.step_name(step)}.jsonl" for step in steps if step in segment]
        usable = [text for path in found if _has_signal(text := path.read_text())]
        if usable:
            return usable[-2:]
    raise TrainingDataError(
        f"{ref.model} has recorded no trajectories whose rewards differ; train a step, then check its checkpoint."
    )


def _has_signal(text: str) -> bool:
    return any(len({trajectory.reward for trajectory in group}) > 1 for group in read_lines(text))


def _write_batches(batches: Sequence[str], folder: Path) -> tuple[str, str]:
    paths = [folder / "first.jsonl", folder / "second.jsonl"]
    for path, text in zip(paths, (batches[0], batches[-1]), strict=True):
        path.write_text(text)
    return str(paths[0]), str(paths[1])


def _commit(scratch: CheckpointStore, checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    with scratch.stage(ModelRef("check", "original").at(checkpoint.ref.step + 1)) as stage:
        for path in folder.iterdir():
            path.rename(stage.path / path.name)
        return stage.commit(base_model=checkpoint.manifest.base_model, lora=checkpoint.manifest.lora)


def _digest(folder: Path) -> str:
    return blake3(b"".join((folder / name).read_bytes() for name in COMPARED)).hexdigest()


def _run(leg: _Leg) -> float:
    """Run a leg in a new process; gives the loss of its last step."""
    command = [sys.executable, "-m", "art.local.continuation"]
    done = subprocess.run(  # noqa: S603 - our own module
        command, input=json.dumps(asdict(leg)), capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = done.stderr.strip() or f"exit status {done.returncode}"
        raise ArtError(f"The check could not train on: {said.splitlines()[-1]}")
    return float(done.stdout.splitlines()[-1])


def _take_leg(leg: _Leg) -> float:
    from art.local.bases import choose_device, choose_dtype, load_base
    from art.train.trainer import Trainer

    device = choose_device("auto")
    module, tokenizer = load_base(leg.base_model, device=device, dtype=choose_dtype(leg.dtype, device))
    trainer = Trainer(module, tokenizer, lora=LoRAConfig.model_validate(leg.lora), seed=0)
    if leg.checkpoint:
        trainer.load(Path(leg.checkpoint), reset=frozenset(leg.reset))
    loss = 0.0
    for batch, save in zip(leg.batches, leg.saves, strict=True):
        groups = list(read_lines(Path(batch).read_text()))
        loss = trainer.step(groups, TrainConfig(learning_rate=LEARNING_RATE))["loss"]
        Path(save).mkdir()
        trainer.save(Path(save))
    return loss


if __name__ == "__main__":
    print(repr(_take_leg(_Leg(**json.loads(sys.stdin.read())))))  # noqa: T201 - read by the process above
