"""Taking a recorded step again in a new process: what `art.ops.replay` needs a base model for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from art.config import LoRAConfig, TrainConfig, TrainSFTConfig
from art.errors import ArtError
from art.format.lineage import Segment
from art.format.manifest import TEMPLATE, threads_of
from art.local.ages import ages
from art.names import CheckpointRef, ModelRef
from art.ops import replay as operation
from art.ops.recording import read_lines
from art.ops.replay import Replay
from art.ops.rerun import Ran, Rerun
from art.store.store import CheckpointStore

THREADS = "OMP_NUM_THREADS"


def replay(root: Path | str, ref: CheckpointRef, *, base_model: str | None = None) -> Replay:
    """Take the step again that led to `ref`, from its parent and the groups that were recorded; compare bit for bit.

    It runs in a process with as many threads as the step had. `base_model` says where the base lies, if not where the
    manifest says.
    """
    with tempfile.TemporaryDirectory(prefix="art-replay-") as folder:
        return operation.replay(CheckpointStore(root), ref, Path(folder), take_again=run, base_model=base_model)


def run(rerun: Rerun) -> Ran:
    """Take a step in a new process."""
    threads = threads_of(rerun.environment)
    process = subprocess.run(
        [sys.executable, "-m", "art.local.replay"],
        input=json.dumps(asdict(rerun)),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | ({THREADS: str(threads)} if threads else {}),
    )
    if process.returncode:
        complaint = process.stderr.strip() or f"exit status {process.returncode}"
        raise ArtError(f"The step could not be taken again: {complaint.splitlines()[-1]}")
    return Ran(**json.loads(process.stdout.splitlines()[-1]))


def take(rerun: Rerun) -> Ran:
    """Load the base model and the parent, take the step, save."""
    from art.errors import ConfigurationError
    from art.local.bases import choose_device, choose_dtype, load_base
    from art.local.templates import with_recorded
    from art.train.fingerprint import QUANTISATION, base_fingerprint
    from art.train.trainer import Trainer

    then = rerun.environment
    try:
        device = choose_device(str(then.get("device", "auto")))
    except ConfigurationError:
        device = choose_device("auto")  # what differs there is told
    dtype = choose_dtype(str(then.get("dtype", "float32")), device)
    module, tokenizer = load_base(rerun.base_model, device=device, dtype=dtype, in_4bit=QUANTISATION in then)
    lora = LoRAConfig.model_validate(rerun.lora)
    own = with_recorded(tokenizer, then)
    trainer = Trainer(module, own, lora=lora, seed=int(then.get("seed", 0)), base_name=rerun.base_model)
    if rerun.parent:
        trainer.load(Path(rerun.parent), reset=frozenset(rerun.reset))
    metrics = _step(trainer, rerun)
    trainer.save(Path(rerun.save))
    return Ran(
        metrics=metrics,
        trail=dict(trainer.trail),
        environment={**trainer.environment(), **({} if own is tokenizer else {TEMPLATE: own.chat_template})},
        fingerprint=base_fingerprint(module, tokenizer),
    )


def _step(trainer: Any, rerun: Rerun) -> dict[str, float]:
    groups = list(read_lines(Path(rerun.groups).read_bytes().split(b"\n")))
    if rerun.is_supervised:
        return trainer.train_on_answers(groups[0].trajectories, TrainSFTConfig(**rerun.settings))
    # A check that refuses a step changes none of its numbers, and here the difference is what is asked for.
    settings: dict[str, Any] = {**rerun.settings, "max_divergence": None}
    past = [Segment(ModelRef.parse(model), first, last) for model, first, last in rerun.past]
    return trainer.step(
        groups,
        TrainConfig(**settings),
        reference=Path(rerun.reference) if rerun.reference else None,
        age_of=ages(past, here=rerun.here),
    )


if __name__ == "__main__":
    print(json.dumps(asdict(take(Rerun(**json.loads(sys.stdin.read()))))))  # noqa: T201 - read by the process above
