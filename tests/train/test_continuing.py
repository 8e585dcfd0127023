"""Three steps, a save, a new process, a load and three steps are six steps, to the bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from continue_training import FIRST_HALF, SECOND_HALF, make_trainer, take_steps
from safetensors.torch import load_file

import art
from art.train.trainer import Trainer

HERE = Path(__file__).parent
SOURCES = Path(art.__file__).parents[1]
WORLDS = [("float32", 0.0), ("float32", 0.3), ("bfloat16", 0.3)]


def continued_in_a_new_process(dtype: str, dropout: float, source: Path, target: Path) -> list[float]:
    command = [HERE / "continue_training.py", dtype, dropout, source, target]
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        env={"PYTHONPATH": ":".join(map(str, (SOURCES, HERE, HERE.parent))), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def saved(trainer: Trainer, folder: Path) -> Path:
    folder.mkdir()
    trainer.save(folder)
    return folder


def bits(folder: Path) -> dict[str, bytes]:
    files = ("adapter_model.safetensors", "optimizer.safetensors")
    tensors = {f"{name}:{key}": tensor for name in files for key, tensor in load_file(folder / name).items()}
    return {key: tensor.numpy().tobytes() for key, tensor in tensors.items()}


@pytest.mark.parametrize(("dtype", "dropout"), WORLDS)
def test_continuing_in_a_new_process_equals_never_having_stopped(dtype, dropout, tmp_path):
    trainer = make_trainer(dtype=dtype, dropout=dropout)
    take_steps(trainer, FIRST_HALF)
    half = saved(trainer, tmp_path / "half")
    losses = take_steps(trainer, SECOND_HALF)
    whole = saved(trainer, tmp_path / "whole")

    continued = continued_in_a_new_process(dtype, dropout, half, tmp_path / "continued")

    assert continued == losses
    assert bits(tmp_path / "continued") == bits(whole)
    assert (tmp_path / "continued" / "trainer.json").read_text() == (whole / "trainer.json").read_text()


@pytest.mark.parametrize("part", [None, "optimizer", "schedule", "random"])
def test_every_part_matters_to_continuing(part, tmp_path):
    trainer = make_trainer(dtype="float32", dropout=0.3)
    take_steps(trainer, FIRST_HALF)
    half = saved(trainer, tmp_path / "half")
    take_steps(trainer, SECOND_HALF)
    other = make_trainer(dtype="float32", dropout=0.3)

    other.load(half, reset=frozenset({part} if part else ()))
    take_steps(other, SECOND_HALF)

    same = bits(saved(trainer, tmp_path / "whole")) == bits(saved(other, tmp_path / "other"))
    assert same == (part is None)
