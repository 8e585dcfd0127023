"""What every learner does. A new implementation goes into `MAKERS` of `learning.py`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from learning import CONFIG, contents, take
from losses import never_finite, surprise
from worlds import choice, random_groups, trajectory

from art.config import TrainConfig, TrainSFTConfig
from art.errors import ArtError, ConfigurationError, CorruptCheckpointError, TrainingDataError
from art.train.learner import Learner
from art.train.state import PARTS
from art.train.trail import STAGES

METRICS = {
    "reward", "reward_std", "trajectories", "trajectories_skipped", "groups", "groups_without_signal",
    "loss", "policy_loss", "ratio", "approx_kl", "entropy", "clip_fraction", "kl", "ratio_max", "grad_norm",
    "optimizer_steps", "learning_rate", "tokens", "tokens_in", "tokens_out", "rows", "seconds",
}  # fmt: skip


@pytest.fixture
def learner(learners: tuple[Learner, Learner]) -> Learner:
    learners[0].start()
    return learners[0]


@pytest.fixture
def other(learners: tuple[Learner, Learner]) -> Learner:
    learners[1].start()
    return learners[1]


def test_what_another_learner_continues_from_a_folder_is_as_if_none_had_stopped(learner, other, tmp_path):
    learner.state = {"at": 3}
    take(learner, 1, 2)
    contents(learner, tmp_path / "half")
    losses = take(learner, 3)
    other.load(tmp_path / "half")

    assert take(other, 3) == losses
    assert contents(other, tmp_path / "other") == contents(learner, tmp_path / "whole")
    assert other.state == {"at": 3}


def test_equal_steps_save_equal_files(learner, other, tmp_path):
    assert take(learner, 1) == take(other, 1)
    assert contents(learner, tmp_path / "one") == contents(other, tmp_path / "two")
    assert learner.trail == other.trail
    assert tuple(learner.trail) == STAGES


def test_start_forgets_everything(learner, tmp_path):
    fresh = contents(learner, tmp_path / "fresh")
    take(learner, 1)

    learner.start()

    assert contents(learner, tmp_path / "again") == fresh


def test_a_reset_leaves_out_what_it_says_and_only_that(learner, tmp_path):
    learner.state = {"at": 1}
    fresh = contents(learner, tmp_path / "fresh")
    take(learner, 1)
    half = contents(learner, tmp_path / "half")

    assert learner.load(tmp_path / "half") == ()
    assert contents(learner, tmp_path / "all") == half
    assert learner.load(tmp_path / "half", reset=frozenset(PARTS)) == PARTS
    without = contents(learner, tmp_path / "none")
    assert without["adapter_model.safetensors"] == half["adapter_model.safetensors"]
    assert without["optimizer.safetensors"] == fresh["optimizer.safetensors"]
    progress, started = json.loads(without["trainer.json"]), json.loads(fresh["trainer.json"])
    assert (progress["random"], progress["schedule_step"], progress["state"]) == (started["random"], 0, None)
    assert progress["optimizer_steps"] == 1


@pytest.mark.parametrize(
    ("fail", "error"),
    [
        (lambda learner: learner.step(random_groups(seed=2), TrainConfig(loss=never_finite)), TrainingDataError),
        (lambda learner: learner.step([], TrainConfig(strict=True)), TrainingDataError),
        (lambda learner: learner.load(Path("no-such-folder")), ArtError),
        (lambda learner: learner.load(Path(), reset=frozenset({"mood"})), ConfigurationError),
    ],
    ids=["a loss that is not finite", "no groups", "no folder", "an unknown part"],
)
def test_what_fails_leaves_everything_as_it_was(fail, error, learner, tmp_path):
    take(learner, 1)
    before = contents(learner, tmp_path / "before")

    with pytest.raises(error):
        fail(learner)

    assert contents(learner, tmp_path / "after") == before


def test_a_spoilt_folder_is_refused_by_the_name_of_its_file(learner, tmp_path):
    take(learner, 1)
    before = contents(learner, tmp_path / "spoilt")
    (tmp_path / "spoilt" / "optimizer.safetensors").write_bytes(b"spoilt")

    with pytest.raises(CorruptCheckpointError, match=r"optimizer\.safetensors"):
        learner.load(tmp_path / "spoilt")

    assert contents(learner, tmp_path / "after") == before


def test_metrics_are_finite_and_named(learner):
    metrics = learner.step(random_groups(seed=1), CONFIG)

    assert metrics.keys() == METRICS
    assert all(math.isfinite(value) for value in metrics.values())


def test_answers_are_learned_too(learner, tmp_path):
    said = [trajectory(choice([7, 8, 9, number], prompt_ids=[1, 2])) for number in range(5)]
    before = contents(learner, tmp_path / "before")

    metrics = learner.train_on_answers(said, TrainSFTConfig(learning_rate=1e-3, batch_size=2))

    assert (metrics["tokens"], metrics["trajectories"], metrics["optimizer_steps"]) == (20, 5, 3)
    assert contents(learner, tmp_path / "after").keys() == before.keys()
    assert json.loads((tmp_path / "after" / "trainer.json").read_text())["objective"] == "answers"


def test_a_reference_is_the_adapter_of_a_folder(learner, tmp_path):
    take(learner, 1)
    contents(learner, tmp_path / "here")

    own = learner.step(random_groups(seed=2), TrainConfig(beta=0.1, minibatches=1), reference=tmp_path / "here")
    learner.load(tmp_path / "here")
    base = learner.step(random_groups(seed=2), TrainConfig(beta=0.1, minibatches=1))

    # Dropout is all that lies between the adapter and itself.
    assert base["kl"] != own["kl"]


def test_a_loss_of_the_users_that_can_be_imported_is_used(learner):
    plain = learner.step(random_groups(seed=1), TrainConfig())
    learner.start()

    assert learner.step(random_groups(seed=1), TrainConfig(loss=surprise))["loss"] != plain["loss"]


def test_the_environment_names_what_bits_depend_on_and_is_saved(learner, tmp_path):
    environment = dict(learner.environment())

    assert environment.keys() >= {"device", "device_name", "dtype", "threads", "torch", "transformers"}
    assert json.loads(contents(learner, tmp_path / "here")["trainer.json"])["environment"] == environment
