"""Judging a run by its own range: what goes wrong is found where it began, and noise is no alarm."""

import random

import pytest

from art.names import ModelRef
from art.ops.judge import State, judge
from art.ops.series import Series, StepRow, series_of, stitched
from art.store.history import Entry

MODEL = ModelRef("shop", "agent-1")


def series(**columns: list[float]) -> Series:
    """Steps from 0, with columns named like `train_reward`."""
    length = max(len(values) for values in columns.values())
    named = {name.replace("_", "/", 1): values for name, values in columns.items()}
    return Series(
        tuple(
            StepRow(step, "", {name: values[step] for name, values in named.items() if step < len(values)})
            for step in range(length)
        )
    )


def learning(steps: int, noise: float, seed: int) -> list[float]:
    chance = random.Random(seed)
    return [min(1.0, max(0.0, 0.3 + 0.5 * min(1.0, step / 100) + chance.gauss(0, noise))) for step in range(steps)]


def entry(step: int, split: str = "train", **metrics: float) -> Entry:
    return Entry(
        model=MODEL,
        step=step,
        split=split,
        time="2026-01-01T00:00:00Z",
        metrics={f"{split}/{name}": v for name, v in metrics.items()},
    )


def test_a_short_run_that_lost_everything_collapsed_at_its_first_bad_step():
    found = judge(series(train_reward=[0.37, 0.68, 0.91, 0.98, 0.0, 0.0]))

    assert (found.state, found.onset, found.last_good, found.now) == (State.COLLAPSED, 4, 3, 0.0)


def test_what_learning_does_to_a_short_run_is_no_evidence():
    run = series(
        train_reward=[0.37, 0.68, 0.91, 0.98, 0.0, 0.0],
        train_entropy=[1.85, 0.91, 0.40, 0.03],
        train_grad_norm=[1.6, 1.9, 4.0, 2.2],
    )

    found = judge(run)

    assert [seen.metric for seen in found.evidence] == ["train/reward"]
    assert found.last_good == 3


def test_entropy_is_told_and_never_moves_the_last_good_step():
    rewards = [*learning(100, 0.02, 3), *[0.02] * 10]
    entropy = [*[1.0] * 94, *[0.2] * 16]

    found = judge(series(train_reward=rewards, train_entropy=entropy))

    assert [(seen.metric, seen.step) for seen in found.evidence] == [("train/entropy", 94), ("train/reward", 100)]
    assert found.last_good == 99


def test_one_bad_step_is_no_collapse_yet():
    assert judge(series(train_reward=[0.37, 0.68, 0.91, 0.98, 0.0])).state is State.HEALTHY


def test_a_dip_that_came_back_is_no_collapse():
    rewards = [*learning(60, 0.03, 1), 0.0, 0.0, 0.1, *[0.58, 0.6, 0.62, 0.6] * 5]

    assert not judge(series(train_reward=rewards)).is_alarm


@pytest.mark.parametrize("noise", [0.02, 0.05, 0.1, 0.2])
def test_healthy_runs_raise_no_alarm(noise: float):
    lengths = random.Random(noise)
    alarms = [
        seed
        for seed in range(100)
        if judge(series(train_reward=learning(lengths.randint(6, 300), noise, seed))).is_alarm
    ]

    assert alarms == []


@pytest.mark.parametrize("fall_steps", [1, 5, 20])
def test_a_fall_is_found_while_it_happens(fall_steps: int):
    for seed in range(30):
        good = learning(80, 0.03, seed)
        fall = [max(0.0, good[-1] * (1 - min(1.0, (step + 1) / fall_steps))) for step in range(fall_steps + 6)]

        found = judge(series(train_reward=good + fall))

        assert found.state is State.COLLAPSED
        assert found.onset is not None
        assert found.last_good is not None
        assert 78 <= found.onset <= 80 + fall_steps
        assert found.last_good < found.onset


def test_earlier_signals_move_the_last_good_step_forward_in_time():
    rewards = [*learning(100, 0.02, 3), *[0.02] * 10]
    norms = [*[0.5] * 97, *[2.0] * 13]

    found = judge(series(train_reward=rewards, train_grad_norm=norms))

    assert [(seen.metric, seen.step) for seen in found.evidence] == [("train/grad_norm", 97), ("train/reward", 100)]
    assert found.last_good == 96


def test_a_gamed_reward_shows_in_the_held_out_one():
    train, held_out = learning(120, 0.02, 4), [*[0.7] * 60, *[0.2] * 60]

    found = judge(series(train_reward=train, val_reward=held_out))

    assert (found.state, found.onset, found.last_good) == (State.HELD_OUT_FELL, 60, 59)


@pytest.mark.parametrize(("last", "state"), [(0.1, State.NO_SIGNAL), (0.9, State.HEALTHY)])
def test_equal_rewards_are_an_alarm_unless_the_task_is_solved(last: float, state: State):
    rewards = [0.5, 0.9, 0.85, *[last] * 6]
    silent = [0.0, 0.0, 0.0, *[4.0] * 6]
    run = series(train_reward=rewards, train_groups=[4.0] * 9, train_groups_without_signal=silent)

    found = judge(run)

    assert found.state in (state, State.COLLAPSED if state is State.NO_SIGNAL else state)
    assert found.is_alarm is (state is State.NO_SIGNAL)


def test_a_low_entropy_alone_is_no_alarm():
    entropy = [2.0 * 0.97**step for step in range(200)]

    assert not judge(series(train_reward=learning(200, 0.02, 5), train_entropy=entropy)).is_alarm


@pytest.mark.parametrize("rewards", [[], [0.5], [0.5, 0.4], [0.0] * 50, [-1.0] * 50, [1e300, -1e300, 1e300]])
def test_a_run_without_enough_to_judge_raises_no_alarm(rewards: list[float]):
    assert not judge(series(train_reward=rewards)).is_alarm


def test_training_at_a_step_again_leaves_a_tail():
    found = series_of([entry(0, reward=0.1), entry(1, reward=0.2), entry(2, reward=0.0), entry(1, reward=0.3)])

    assert [(row.step, row.metrics["train/reward"]) for row in found.rows] == [(0, 0.1), (1, 0.3)]
    assert [[row.step for row in tail] for tail in found.tails] == [[2]]


def test_a_past_is_stitched_at_the_fork():
    parent = series_of([entry(0, reward=0.1), entry(1, reward=0.2)])
    child = series_of([entry(1, reward=0.25), entry(1, split="val", reward=0.5), entry(2, reward=0.3)])

    joined = stitched([parent.between(0, 1), child])

    assert joined.points("train/reward") == ((0, 0.1), (1, 0.25), (2, 0.3))
    assert joined.points("val/reward") == ((1, 0.5),)


def test_a_trainer_that_drifts_from_its_sampler_is_found_where_it_began():
    distance = [*[0.001] * 20, 0.02, *[0.2] * 6]

    found = judge(series(train_reward=learning(27, 0.01, 6), train_approx_kl=distance))

    assert (found.state, found.onset, found.last_good) == (State.DRIFTED, 21, 20)


@pytest.mark.parametrize("distance", [[0.02] * 40, [0.001] * 30 + [0.2] * 4, [0.001] * 30 + [0.04] * 10, [0.2] * 6])
def test_a_steady_a_short_or_a_small_distance_is_no_drift(distance: list[float]):
    assert not judge(series(train_reward=learning(40, 0.01, 7), train_approx_kl=distance)).is_alarm


def test_a_solved_task_is_not_silent_because_one_step_was_luckier():
    rewards = [0.3, 0.6, 0.9, 1.02, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    run = series(train_reward=rewards, train_groups=[4.0] * 10, train_groups_without_signal=[0.0] * 4 + [4.0] * 6)

    assert not judge(run).is_alarm


@pytest.mark.parametrize("constant", [0.1, 0.3, 0.4, 0.41])
@pytest.mark.parametrize("heard", [0.0, 1.0])
def test_a_reward_that_broke_near_the_level_of_its_run_is_found(constant: float, heard: float):
    rewards = [*learning(30, 0.03, 3), *[constant] * 5]
    silent = [*[heard] * 30, *[4.0] * 5]
    run = series(train_reward=rewards, train_groups=[4.0] * 35, train_groups_without_signal=silent)

    found = judge(run)

    assert found.is_alarm
    assert found.onset is not None
    assert found.onset >= 29


@pytest.mark.parametrize(
    ("rewards", "shares"),
    [
        ([0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.02], [0.0] * 8),
        ([0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95], [0.0] * 8),
        ([0.5, 0.7, 0.9, 1.1, 1.05, 1.0, 1.02, 0.99], [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0]),
    ],
)
def test_a_task_that_is_solved_is_no_broken_reward(rewards: list[float], shares: list[float]):
    run = series(
        train_reward=[*rewards, *[1.0] * 8],
        train_groups=[4.0] * 16,
        train_groups_without_signal=[*shares, *[4.0] * 8],
    )

    assert not judge(run).is_alarm
