"""What a Trainer's own checkpoints lack is saved with them: the batches under way, the order of the data, counters."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from art.errors import CorruptCheckpointError, IncompatibleError
from art.hf.extras import Extras, file_name, needed_by
from art.names import ModelRef
from art.store.history import HistoryStore
from art.store.store import CheckpointStore
from warm import WarmServer

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
SCRIPT = Path(__file__).with_name("buffered.py")
WHOLE, FIRST, FORK, WITHOUT = (ModelRef("shop", name) for name in ("whole", "first", "fork", "without"))


def arguments(model: ModelRef, folder: Path, steps: int, *how: str) -> list[str]:
    return [str(model), str(folder / "root"), str(folder / f"out-{model.name}"), str(steps), *how]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, warm: WarmServer) -> Path:
    """Six steps whole; three, a fork, and three more, with the extras and without."""
    folder = tmp_path_factory.mktemp("runs")

    def run(model: ModelRef, steps: int, *how: str) -> None:
        done = warm.run(SCRIPT, *arguments(model, folder, steps, *how))
        assert done.returncode == 0, done.stderr

    run(WHOLE, 6)
    run(FIRST, 3)
    store = CheckpointStore(folder / "root")
    for fork in (FORK, WITHOUT):
        store.fork(store.open(FIRST.at(3)), fork)
    run(FORK, 6)
    run(WITHOUT, 6, "without")
    return folder


def weights(folder: Path, model: ModelRef) -> bytes:
    return (CheckpointStore(folder / "root").open(model.at(6)).path / "model.safetensors").read_bytes()


def figures(folder: Path, model: ModelRef) -> dict[tuple[int, str], float]:
    entries = [entry for entry in HistoryStore(folder / "root").read(model) if entry.step in (4, 6)]
    names = ("train/loss", "train/passes")
    return {(entry.step, name): entry.metrics[name] for entry in entries for name in names if name in entry.metrics}


def test_a_fork_in_the_midst_of_its_batches_and_its_epoch_goes_on_as_if_it_had_never_stopped(trained: Path):
    assert weights(trained, FORK) == weights(trained, WHOLE)
    assert weights(trained, WITHOUT) != weights(trained, WHOLE)


@pytest.mark.long
def test_a_fork_of_two_ranks_goes_on_with_the_extras_of_each(tmp_path: Path):
    def run(model: ModelRef, steps: int) -> None:
        command = [sys.executable, *TORCHRUN, str(SCRIPT), *arguments(model, tmp_path, steps)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment, check=False)
        assert done.returncode == 0, done.stderr

    run(WHOLE, 6)
    run(FIRST, 3)
    store = CheckpointStore(tmp_path / "root")
    store.fork(store.open(FIRST.at(3)), FORK)

    run(FORK, 6)

    assert {file_name(0), file_name(1)} <= set(store.open(FORK.at(6)).names)
    assert weights(tmp_path, FORK) == weights(tmp_path, WHOLE)


def test_figures_between_two_logs_are_those_of_the_whole_run(trained: Path):
    assert len(figures(trained, WHOLE)) == 4
    assert figures(trained, FORK) == figures(trained, WHOLE)


def test_the_extras_of_another_trainer_or_of_none_are_refused(trained: Path, tmp_path: Path):
    folder = CheckpointStore(trained / "root").open(WHOLE.at(3)).path
    shutil.copy(folder / file_name(0), tmp_path / file_name(0))
    content = bytearray((tmp_path / file_name(0)).read_bytes())
    content[8] = ord("x")
    (tmp_path / file_name(0)).write_bytes(content)

    with pytest.raises(CorruptCheckpointError, match=file_name(0)):
        Extras(trainer_of(torch.nn.Linear(1, 1))).load(tmp_path)


@pytest.mark.parametrize(
    ("said", "tensors"),
    [
        ("", {}),
        ("[]", {}),
        ('{"counters": {"_step": "x"}, "metrics": {}, "buffer": null}', {}),
        ('{"counters": {"__class__": 1}, "metrics": {}, "buffer": null}', {}),
        ('{"counters": {}, "metrics": {"loss": ["x"]}, "buffer": null}', {}),
        ('{"counters": {}, "metrics": {}, "buffer": [{"ids": [1]}]}', {}),
        ('{"counters": {}, "metrics": {}, "buffer": []}', {"buffer.7.ids": torch.zeros(1)}),
        ('{"counters": {}, "metrics": {}, "buffer": [{}]}', {"buffer.x.ids": torch.zeros(1)}),
    ],
)
def test_extras_that_no_branch_wrote_are_named_and_change_nothing(
    tmp_path: Path, said: str, tensors: dict[str, torch.Tensor]
):
    save_file({"t": torch.zeros(1), **tensors}, tmp_path / file_name(0), metadata={"artfork": said})
    trainer = trainer_of(torch.nn.Linear(1, 1))
    before = dict(vars(trainer))

    with pytest.raises(CorruptCheckpointError, match=file_name(0)):
        Extras(trainer).load(tmp_path)

    assert vars(trainer) == before


def test_extras_behind_a_link_are_not_read(tmp_path: Path):
    (tmp_path / "elsewhere").write_bytes(b"x")
    (tmp_path / file_name(0)).symlink_to("elsewhere")

    with pytest.raises(CorruptCheckpointError, match="symbolic link"):
        Extras(trainer_of(torch.nn.Linear(1, 1))).load(tmp_path)


def trainer_of(reference: torch.nn.Module) -> Any:
    """Make what the extras look at of a Trainer with a synced reference model."""
    settings = SimpleNamespace(process_index=0, device="cpu", sync_ref_model=True)
    accelerator = SimpleNamespace(unwrap_model=lambda module: module)
    handler = SimpleNamespace(train_dataloader=None)
    return SimpleNamespace(args=settings, ref_model=reference, accelerator=accelerator, callback_handler=handler)


def test_a_synced_reference_comes_back_and_another_ones_shape_is_refused(tmp_path: Path):
    reference, fresh = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)

    Extras(trainer_of(reference)).save(tmp_path)
    Extras(trainer_of(fresh)).load(tmp_path)

    assert torch.equal(fresh.weight, reference.weight)
    assert [path.name for path in tmp_path.iterdir()] == [file_name(0)]
    with pytest.raises(IncompatibleError, match="another reference model"):
        Extras(trainer_of(torch.nn.Linear(4, 2))).load(tmp_path)


@pytest.mark.parametrize(
    ("settings", "lacks"),
    [
        ({}, []),
        ({"num_iterations": 1, "steps_per_generation": 2, "gradient_accumulation_steps": 2}, []),
        ({"num_iterations": 2, "steps_per_generation": 1}, ["its generated batches"]),
        ({"num_iterations": 1, "steps_per_generation": 4}, ["its generated batches"]),
        ({"sync_ref_model": True}, ["its synced reference model"]),
    ],
)
def test_settings_tell_what_the_trainer_does_not_save(settings: dict[str, Any], lacks: list[str]):
    assert needed_by(SimpleNamespace(**{"gradient_accumulation_steps": 1, **settings})) == lacks
