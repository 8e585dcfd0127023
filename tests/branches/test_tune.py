"""Branches as trials of Ray Tune: populations whose exploit is a fork, early stopping, and trials that are killed.

`make test-ray` runs these; in an environment without Ray Tune they are skipped.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import art
from art.branches import tunable
from art.errors import CheckpointNotFoundError
from art.store.store import CheckpointStore

from . import training
from .conftest import SOURCE

ray = pytest.importorskip("ray", reason="Ray has an environment of its own: make test-ray")
tune = pytest.importorskip("ray.tune", reason="Ray Tune has an environment of its own: make test-ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
STORED = "tune"


@pytest.fixture(scope="module")
def machine() -> Iterator[None]:
    """Ray on this machine, whose workers find the modules of the tests."""
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    # Not a cluster that another program has left on this machine.
    ray.init(
        address="local", num_cpus=2, log_to_driver=False, include_dashboard=False, runtime_env={"env_vars": environment}
    )
    yield
    ray.shutdown()


def fitted(trainable: Any, folder: Path, *, rates: list[float], iterations: int = 3, **told: Any) -> Any:
    """Run a trial for each learning rate; gives what Tune found."""
    failures = told.pop("failures", 0)
    tuner = tune.Tuner(
        trainable,
        param_space={"learning_rate": tune.grid_search(rates)},
        tune_config=tune.TuneConfig(metric="reward", mode="max", **told),
        run_config=tune.RunConfig(
            storage_path=str(folder),
            name=STORED,
            stop={"training_iteration": iterations},
            failure_config=tune.FailureConfig(max_failures=failures),
            verbose=0,
        ),
    )
    results = tuner.fit()
    assert not results.errors, results.errors
    return results


def branches_of(root: Path) -> dict[str, list[int]]:
    store = CheckpointStore(root)
    return {model.name: store.steps(model) for model in store.models("shop") if model.name != "trunk"}


def test_what_is_exploited_is_forked_bit_for_bit(machine: None, root: Path, tmp_path: Path):
    from ray.tune.schedulers import PopulationBasedTraining  # pyright: ignore[reportMissingImports]

    population = PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=1,
        quantile_fraction=0.5,
        hyperparam_mutations={"learning_rate": [5e-3, 2e-2]},
        synch=True,
    )

    results = fitted(
        tunable(SOURCE, training.one_step, backend={"path": str(root)}),
        tmp_path,
        rates=[5e-3, 2e-2],
        scheduler=population,
        reuse_actors=True,
    )

    store = CheckpointStore(root)
    ends = [store.open(art.CheckpointRef.parse(f"{each.metrics['model']}@{each.metrics['step']}")) for each in results]
    exploited = [end for end in ends if len(end.manifest.ancestry) > 1]
    assert [end.ref.step for end in ends] == [5, 5]
    assert exploited
    for end in exploited:
        hop = end.manifest.ancestry[-1]
        source, fork = store.open(hop.ref), store.open(end.ref.model.at(hop.step))
        assert hop.ref.model.name != end.ref.model.name
        assert hop.digest == source.digest
        assert source.manifest.files == fork.manifest.files
        assert hop.settings["learning_rate"] == end.manifest.settings["learning_rate"]


def test_a_killed_trial_costs_the_step_it_was_in(machine: None, root: Path, tmp_path: Path):
    trainable = tunable(SOURCE, training.one_step_and_be_killed, backend={"path": str(root)})

    results = fitted(trainable, tmp_path, rates=[2e-2], iterations=3, failures=1)

    assert (root / "killed").exists()
    assert [*branches_of(root).values()] == [[2, 3, 4, 5]]
    assert (results[0].metrics["step"], results[0].metrics["training_iteration"]) == (5, 3)


def test_a_scheduler_stops_the_worse_branch_early(machine: None, root: Path, tmp_path: Path):
    from ray.tune.schedulers import AsyncHyperBandScheduler  # pyright: ignore[reportMissingImports]

    halving = AsyncHyperBandScheduler(time_attr="training_iteration", grace_period=1, reduction_factor=2, max_t=4)
    trainable = tunable(SOURCE, training.one_step_that_earns_its_rate, backend={"path": str(root)})

    fitted(trainable, tmp_path, rates=[2e-2, 5e-3], iterations=4, scheduler=halving, max_concurrent_trials=1)

    assert sorted(steps[-1] for steps in branches_of(root).values()) == [3, 6]


def test_a_source_that_is_not_there_is_refused_before_anything_starts(root: Path):
    with pytest.raises(CheckpointNotFoundError):
        tunable("shop/trunk@9", training.one_step, backend={"path": str(root)})
