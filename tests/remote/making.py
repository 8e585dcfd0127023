"""Checkpoints to move about: real adapter files, small, different for every seed."""

from __future__ import annotations

import json
import random
from pathlib import Path

from adapters import adapter_bytes
from art.format import layout
from art.names import CheckpointRef, ModelRef
from art.store.checkpoint import Checkpoint
from art.store.store import CheckpointStore

LARGEST_BLOCK_BYTES = 50_000_000
MODEL = ModelRef("shop", "agent 1 ü")
CONFIG = {
    "peft_type": "LORA",
    "base_model_name_or_path": "base/model",
    "r": 8,
    "lora_alpha": 16,
    "target_modules": ["q"],
}


def safetensors(size_bytes: int, seed: int) -> bytes:
    """Weights of an adapter, of random bytes."""
    block = random.Random(seed).randbytes(min(size_bytes, LARGEST_BLOCK_BYTES))
    content = block * (-(-size_bytes // len(block)) if block else 0)
    return adapter_bytes(content[:size_bytes])


def write_adapter(folder: Path, *, seed: int = 0, size_bytes: int = 1000) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / layout.ADAPTER_CONFIG).write_text(json.dumps(CONFIG))
    (folder / layout.ADAPTER_WEIGHTS).write_bytes(safetensors(size_bytes, seed))


def make(
    store: CheckpointStore,
    ref: CheckpointRef,
    *,
    seed: int | None = None,
    size_bytes: int = 1000,
    optimizer_bytes: int | None = None,
    **details: object,
) -> Checkpoint:
    """Commit a checkpoint with adapter, optimizer and trainer state."""
    seed = ref.step if seed is None else seed
    with store.stage(ref) as stage:
        write_adapter(Path(str(stage.path)), seed=seed, size_bytes=size_bytes)
        moments = safetensors(2 * size_bytes if optimizer_bytes is None else optimizer_bytes, seed + 1)
        (stage.path / layout.OPTIMIZER).write_bytes(moments)
        (stage.path / layout.TRAINER).write_text(json.dumps({"seed": seed}))
        return stage.commit(**details)


def put_foreign(
    client: object, bucket: str, prefix: str, ref: CheckpointRef, *, seed: int = 0, folder: str = ""
) -> None:
    """Put an adapter into a bucket as ART lays it out, without a manifest."""
    key = f"{prefix}{layout.checkpoints_path(ref.model)}/{folder or layout.step_name(ref.step)}"
    client.put_object(Bucket=bucket, Key=f"{key}/{layout.ADAPTER_CONFIG}", Body=json.dumps(CONFIG).encode())
    client.put_object(Bucket=bucket, Key=f"{key}/{layout.ADAPTER_WEIGHTS}", Body=safetensors(1000, seed))


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
