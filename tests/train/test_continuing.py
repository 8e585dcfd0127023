"""Three steps, a save, a new process, a load and three steps are six steps, to the bit."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from continue_training import FIRST_HALF, SECOND_HALF, make_trainer, take_steps
from safetensors.torch import load_file, save_file

from art.errors import CorruptCheckpointError
from art.train.trainer import Trainer
from warm import WarmServer

HERE = Path(__file__).parent
WORLDS = [("float32", 0.0), ("float32", 0.3), ("bfloat16", 0.3)]


def continued_in_a_new_process(warm: WarmServer, *arguments: object) -> list[float]:
    done = warm.run(HERE / "continue_training.py", *arguments)
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
def test_continuing_in_a_new_process_equals_never_having_stopped(dtype, dropout, tmp_path, warm):
    trainer = make_trainer(dtype=dtype, dropout=dropout)
    take_steps(trainer, FIRST_HALF)
    half = saved(trainer, tmp_path / "half")
    losses = take_steps(trainer, SECOND_HALF)
    whole = saved(trainer, tmp_path / "whole")

    continued = continued_in_a_new_process(warm, dtype, dropout, half, tmp_path / "continued")

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


def spoil_progress(folder: Path, **fields: object) -> str:
    path = folder / "trainer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return path.name


def spoil_moments(folder: Path, *, halved: bool) -> str:
    path = folder / "optimizer.safetensors"
    tensors = load_file(path)
    name = next(key for key in tensors if key.startswith("exp_avg_sq"))
    tensors[name] = tensors[name].half() if halved else tensors[name][:-1].contiguous()
    save_file(tensors, path)
    return path.name


def random_of(content: bytes) -> dict[str, str]:
    return {"cpu": base64.b64encode(content).decode()}


SPOILT = {
    "an empty random state": lambda folder: spoil_progress(folder, random=random_of(b"")),
    "a short random state": lambda folder: spoil_progress(folder, random=random_of(bytes(16))),
    "a random state of the right size that means nothing": lambda folder: spoil_progress(
        folder, random=random_of(b"\xff" * 5056)
    ),
    "a random state that is no text": lambda folder: spoil_progress(folder, random={"cpu": 7}),
    "a negative count of steps": lambda folder: spoil_progress(folder, optimizer_steps=-1),
    "a huge place on the schedule": lambda folder: spoil_progress(folder, schedule_step=10**30),
    "moments of another shape": lambda folder: spoil_moments(folder, halved=False),
    "moments of another type": lambda folder: spoil_moments(folder, halved=True),
}


def test_a_spoilt_file_is_named_and_a_refused_load_changes_nothing(tmp_path):
    trainer = make_trainer(dtype="float32", dropout=0.3)
    before = saved(trainer, tmp_path / "before")
    for number, (what, spoil) in enumerate(SPOILT.items()):
        damaged = saved(trainer, tmp_path / f"damaged{number}")
        name = spoil(damaged)

        with pytest.raises(CorruptCheckpointError, match=f"damaged{number}/{name}"):
            trainer.load(damaged)

        after = saved(trainer, tmp_path / f"after{number}")
        assert bits(after) == bits(before), what
        assert (after / "trainer.json").read_bytes() == (before / "trainer.json").read_bytes(), what
