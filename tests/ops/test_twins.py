"""Twins: what is paired, what the interval says, and when nothing can be said."""

import math
import random
from pathlib import Path
from statistics import fmean, stdev

import pytest

import art
from art.errors import ConfigurationError
from art.format.pick import Exact
from art.ops.recording import as_line
from art.ops.twins import compare_twins, interval, t_quantile
from art.store.history import HistoryStore
from art.store.store import CheckpointStore
from store.conftest import write_run

TRUNK, ONE, OTHER = (art.ModelRef("shop", name) for name in ("trunk", "one", "other"))


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    store = CheckpointStore(tmp_path)
    write_run(store, TRUNK, 1, 2)
    for model in (ONE, OTHER):
        store.fork(store.open(TRUNK.at(2)), model, pick=Exact(2))
    return store


def answer(store: CheckpointStore, model: art.ModelRef, step: int, rewards: dict[str, list[float]]) -> None:
    groups = [
        art.TrajectoryGroup(
            art.Trajectory(messages_and_choices=[{"role": "user", "content": prompt}], reward=reward) for reward in each
        )
        for prompt, each in rewards.items()
    ]
    HistoryStore(store.root).append_trajectories(model, step, split="train", trajectories=map(as_line, groups))


def test_common_prompts_of_common_steps_after_the_fork_are_paired(store: CheckpointStore):
    for step, (mine, yours) in {2: (0, 9), 3: (1, 2), 4: (1, 4)}.items():
        answer(store, ONE, step, {"a": [mine, mine], "only mine": [7.0]})
        answer(store, OTHER, step, {"a": [yours, yours], "only yours": [7.0]})
    answer(store, ONE, 5, {"a": [100.0]})

    twins = compare_twins(store, ONE, OTHER)

    assert (twins.steps, twins.pairs, twins.unpaired, twins.mean) == ((3, 4), 2, 4, 2.0)
    assert compare_twins(store, OTHER, ONE).mean == -2.0


def test_models_that_are_no_twins_are_refused(store: CheckpointStore):
    with pytest.raises(ConfigurationError, match="are no twins"):
        compare_twins(store, TRUNK, ONE)


def test_without_a_common_prompt_nothing_is_paired(store: CheckpointStore):
    answer(store, ONE, 3, {"a": [1.0]})
    answer(store, OTHER, 3, {"b": [1.0]})

    with pytest.raises(ConfigurationError, match="no prompt in common after step 2"):
        compare_twins(store, ONE, OTHER)


def test_one_difference_says_nothing():
    assert interval([1.0]) == (None, None, None)


def test_equal_twins_are_never_settled():
    assert interval([0.0, 0.0, 0.0]) == (0.0, 0.0, None)


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (5, 2.5706), (10, 2.2281), (30, 2.0423), (100, 1.9840)],
)
def test_the_quantiles_are_those_of_the_tables(freedom: int, quantile: float):
    assert t_quantile(0.975, freedom) == pytest.approx(quantile, abs=1e-4)


@pytest.mark.parametrize(("likeness", "least"), [(0.0, 0.903), (0.5, 0.87)])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(likeness: float, least: float):
    draw = random.Random(0)
    held = 0
    for _ in range(200):
        value, differences = draw.gauss(0, 1), []
        for _ in range(60):
            value = likeness * value + math.sqrt(1 - likeness**2) * draw.gauss(0, 1)
            differences.append(0.3 + value)
        low, high, _ = interval(differences)
        held += low is not None and high is not None and low <= 0.3 <= high

    # 95 % less three standard deviations of a count of 200; the formula for neighbours that are alike is known to be
    # a little too sure of itself.
    assert held / 200 >= least


def test_so_many_further_steps_settle_it_about_four_times_in_five():
    draw = random.Random(1)
    first = [1.0, -2.0, 1.0, 2.0, -1.0, 2.0, 0.0, 1.0]
    low, high, further = interval(first)
    assert low is not None
    assert high is not None
    assert further is not None
    assert low < 0 < high

    settled = 0
    for _ in range(150):
        low, high, _ = interval([draw.gauss(fmean(first), stdev(first)) for _ in range(len(first) + further)])
        settled += low is not None and high is not None and (low > 0 or high < 0)

    assert 0.68 <= settled / 150 <= 0.92
