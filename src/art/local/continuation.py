"""Training on in a new process: what the three-way check of `art.ops.continuation` needs a base model for."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from art.config import LoRAConfig, TrainConfig
from art.errors import ArtError
from art.names import CheckpointRef
from art.ops import continuation
from art.ops.continuation import Leg, Verdict
from art.ops.recording import read_lines

LEARNING_RATE = 1e-3


def verify_continuation(
    root: Path | str, ref: CheckpointRef, *, base_model: str | None = None, keep: bool = False
) -> Verdict:
    """Check that training continues from `ref` bit for bit across a fork and a new process.

    With `keep` the verdict is stored in the model's folder, under `continuation`. Raises `TrainingDataError` when the
    model has recorded no trajectories to train on.
    """
    return continuation.verify_continuation(root, ref, take_leg=run, base_model=base_model, keep=keep)


def run(leg: Leg) -> float:
    """Take a leg in a new process; gives the loss of its last step."""
    command = [sys.executable, "-m", "art.local.continuation"]
    process = subprocess.run(  # noqa: S603 - our own module
        command, input=json.dumps(asdict(leg)), capture_output=True, text=True, check=False
    )
    if process.returncode:
        complaint = process.stderr.strip() or f"exit status {process.returncode}"
        raise ArtError(f"The check could not train on: {complaint.splitlines()[-1]}")
    return float(process.stdout.splitlines()[-1])


def take(leg: Leg) -> float:
    """Load the base model and what the leg names, train, save; gives the loss of the last step."""
    from art.local.bases import choose_device, choose_dtype, load_base
    from art.train.trainer import Trainer

    device = choose_device("auto")
    dtype = choose_dtype(leg.dtype, device)
    module, tokenizer = load_base(leg.base_model, device=device, dtype=dtype, in_4bit=leg.in_4bit)
    trainer = Trainer(module, tokenizer, lora=LoRAConfig.model_validate(leg.lora), seed=0)
    if leg.checkpoint:
        trainer.load(Path(leg.checkpoint), reset=frozenset(leg.reset))
    loss = 0.0
    for batch, save in zip(leg.batches, leg.saves, strict=True):
        groups = list(read_lines(Path(batch).read_bytes().split(b"\n")))
        loss = trainer.step(groups, TrainConfig(learning_rate=LEARNING_RATE))["loss"]
        Path(save).mkdir()
        trainer.save(Path(save))
    return loss


if __name__ == "__main__":
    print(repr(take(Leg(**json.loads(sys.stdin.read())))))  # noqa: T201 - read by the process above
