"""Stores with small checkpoints in them: bytes are enough, the store never sees a tensor."""

import json
import struct
from pathlib import Path

import pytest

from adapters import adapter_bytes
from art.format.manifest import BaseModelInfo, LoRAShape
from art.names import ModelRef
from art.store.checkpoint import Checkpoint
from art.store.store import CheckpointStore


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "root")


@pytest.fixture
def main() -> ModelRef:
    return ModelRef("shop", "agent-1")


@pytest.fixture
def branch() -> ModelRef:
    return ModelRef("shop", "agent-2")


def safetensors(content: bytes) -> bytes:
    """A whole safetensors file with one tensor of bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [len(content)], "data_offsets": [0, len(content)]}}).encode()
    return struct.pack("<Q", len(header)) + header + content


def adapter_config(rank: int = 8) -> bytes:
    fields = {"base_model_name_or_path": "tiny", "r": rank, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"]}
    return json.dumps({"peft_type": "LORA", **fields}).encode()


def write_checkpoint(
    store: CheckpointStore, model: ModelRef, step: int, *, parent: Checkpoint | None = None, reward: float = 0.5
) -> Checkpoint:
    """Commit a checkpoint whose bytes are its own."""
    with store.stage(model.at(step)) as stage:
        (stage.path / "adapter_config.json").write_bytes(adapter_config())
        (stage.path / "adapter_model.safetensors").write_bytes(adapter_bytes(f"{model} {step}".encode()))
        (stage.path / "optimizer.safetensors").write_bytes(safetensors(f"moments {model} {step}".encode()))
        (stage.path / "trainer.json").write_text(json.dumps({"step": step}))
        return stage.commit(
            parent=parent,
            base_model=BaseModelInfo(id="tiny", fingerprint="f" * 64),
            lora=LoRAShape(rank=8, alpha=16, targets="all-linear"),
            metrics={"reward": reward},
        )


def write_run(store: CheckpointStore, model: ModelRef, *steps: int) -> list[Checkpoint]:
    """Commit a row of checkpoints, each continuing the one before."""
    written: list[Checkpoint] = []
    for step in steps:
        written.append(write_checkpoint(store, model, step, parent=written[-1] if written else None))
    return written


def write_foreign(folder: Path, content: bytes = b"foreign") -> Path:
    """Lay out a checkpoint as ART does: two adapter files, no manifest."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_bytes(adapter_config())
    (folder / "adapter_model.safetensors").write_bytes(adapter_bytes(content))
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder and its bytes: to show that nothing changed."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
