"""Runs of the Trainer of transformers as branches: resumed and forked bit for bit, each in a process of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from art.errors import IncompatibleError
from art.hf import Branch
from art.names import ModelRef
from art.store.history import HistoryStore
from art.store.store import CheckpointStore
from store.conftest import tree, write_checkpoint
from warm import WarmServer

SCRIPT = Path(__file__).with_name("train.py")
WHOLE, FIRST, FORK = ModelRef("shop", "whole"), ModelRef("shop", "first"), ModelRef("shop", "fork")


def run(warm: WarmServer, model: ModelRef, folder: Path, steps: int, *how: str) -> subprocess.CompletedProcess[str]:
    return warm.run(SCRIPT, model, folder / "root", folder / f"out-{model.name}", steps, *how)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, warm: WarmServer) -> Path:
    """A run of six steps, and one of three that was forked and goes on to six under the fork's name."""
    folder = tmp_path_factory.mktemp("runs")
    for model, steps in ((WHOLE, 6), (FIRST, 3)):
        done = run(warm, model, folder, steps)
        assert done.returncode == 0, done.stderr
    store = CheckpointStore(folder / "root")
    store.fork(store.open(FIRST.at(3)), FORK)
    done = run(warm, FORK, folder, 6)
    assert done.returncode == 0, done.stderr
    return folder


def weights(folder: Path, model: ModelRef, step: int) -> bytes:
    return (CheckpointStore(folder / "root").open(model.at(step)).path / "model.safetensors").read_bytes()


def test_a_fork_goes_on_as_if_the_run_had_never_stopped(trained: Path):
    assert weights(trained, FORK, 6) == weights(trained, WHOLE, 6)
    assert weights(trained, FORK, 6) != weights(trained, WHOLE, 3)


def test_every_save_is_committed_and_outlives_the_limit_of_the_trainer(trained: Path):
    store = CheckpointStore(trained / "root")

    assert (store.steps(WHOLE), store.steps(FIRST), store.steps(FORK)) == ([3, 6], [3], [3, 6])
    assert [path.name for path in (trained / "out-whole").glob("checkpoint-*")] == ["checkpoint-6"]
    newest = store.open(FORK.at(6)).manifest
    assert (newest.kind, newest.carried) == ("hf-trainer", ("optimizer", "schedule", "random", "state"))
    assert [hop.ref for hop in newest.ancestry] == [FIRST.at(3)]
    store.verify(store.open(FORK.at(6)))


def test_what_the_trainer_logged_lies_in_the_history_of_its_own_branch(trained: Path):
    history = HistoryStore(trained / "root")

    whole = {entry.step: entry.metrics["train/loss"] for entry in history.read(WHOLE) if "train/loss" in entry.metrics}
    fork = {entry.step: entry.metrics["train/loss"] for entry in history.read(FORK) if "train/loss" in entry.metrics}

    assert list(whole) == [1, 2, 3, 4, 5, 6]
    assert fork == {step: loss for step, loss in whole.items() if step > 3}


def test_a_run_that_begins_elsewhere_than_its_branch_is_refused_before_a_step(trained: Path, warm: WarmServer):
    before = tree(trained)

    done = run(warm, FIRST, trained, 6, "afresh")

    assert done.returncode == 1
    assert "ConflictError: shop/first stands at step 3, and this Trainer begins at step 0" in done.stderr
    assert tree(trained) == before


def test_a_new_branch_has_nothing_to_resume_from_and_touches_nothing(tmp_path: Path):
    branch = Branch("shop/new", root=tmp_path / "root")

    assert branch.resume() is None
    branch._require_step(0)
    assert not (tmp_path / "root").exists()


def test_an_adapter_of_ours_is_no_run_of_a_trainer(tmp_path: Path):
    write_checkpoint(CheckpointStore(tmp_path), ModelRef("shop", "ours"), 3)

    with pytest.raises(IncompatibleError, match="shop/ours@3 is a checkpoint of kind adapter"):
        Branch("shop/ours", root=tmp_path).resume()
