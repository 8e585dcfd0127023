"""The three-way check is a command and an API, and it can say no."""

import asyncio
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

import art
import digits
from art.errors import CheckpointNotFoundError, TrainingDataError
from art.local import LocalBackend, continuation
from art.local.continuation import verify_continuation
from art.ops import continuation as ops
from art.ops.continuation import Leg
from warm import WarmServer

ONE = art.ModelRef("p", "one")


@pytest.fixture(scope="module")
def root(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a model of three steps, and a fork of it that was not trained yet."""
    folder = tmp_path_factory.mktemp("root")

    async def body() -> None:
        async with LocalBackend(path=folder) as backend:
            one = art.TrainableModel(name="one", project="p", base_model=str(small_model))
            await one.register(backend)
            await digits.train(one, 3)
            two = art.TrainableModel(name="two", project="p", base_model=str(small_model))
            await backend._experimental_fork_checkpoint(two, from_model="one", not_after_step=2)

    asyncio.run(body())
    return folder


def test_uninterrupted_equals_forked_and_differs_from_weights_only(root: Path, warm: WarmServer) -> None:
    def take_leg(leg: Leg) -> float:
        done = warm.run(continuation.__file__, text=json.dumps(asdict(leg)))
        return float(done.stdout.splitlines()[-1])

    verdict = ops.verify_continuation(root, ONE.at(3), take_leg=take_leg, keep=True)

    assert verdict.continues
    assert verdict.uninterrupted == verdict.forked != verdict.weights_only
    assert verdict.losses[0] == verdict.losses[1]
    kept = json.loads((root / "p/models/one/continuation/0003.json").read_text())
    assert kept["forked"] == verdict.forked


@pytest.mark.long
def test_the_command_checks_an_untrained_fork_with_its_sources_trajectories(root: Path) -> None:
    art_program = Path(sys.executable).with_name("art")

    done = subprocess.run(
        [art_program, "--root", root, "--json", "verify", "--continuation", "p/two@2"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["continues"] is True


def test_without_recorded_trajectories_there_is_nothing_to_check_with(root: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match="has steps 1, 2, 3"):
        verify_continuation(root, ONE.at(9))
    folder = root / "p/models/one/trajectories"
    folder.rename(folder.with_name("elsewhere"))

    with pytest.raises(TrainingDataError, match="recorded no trajectories"):
        verify_continuation(root, ONE.at(3))

    folder.with_name("elsewhere").rename(folder)
