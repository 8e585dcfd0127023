"""Which advantage each answer gets: from the trajectory's reward, from its turns' rewards, and for its length."""

from __future__ import annotations

import pytest
from worlds import choice, make_base, trajectory

from art.config import LoRAConfig, TrainConfig
from art.errors import TrainingDataError
from art.rewards import sampled_length, shorter_is_better, soft_overlong
from art.train.credit import Earned, credits_of
from art.train.trainer import Trainer
from art.trajectories import TrajectoryGroup

UNSCALED = TrainConfig(scale_rewards=False)


def advantages(group: list[Earned], config: TrainConfig) -> list[list[float]]:
    """Give the advantage of each turn of each trajectory of a group."""
    (credits_G,) = credits_of([group], config)
    assert credits_G is not None
    return [[credit.of(turn, balance=0.0) for turn in range(len(credit.turns))] for credit in credits_G]


def test_a_turn_gets_what_it_and_later_turns_earned_beside_its_trajectorys_advantage():
    group = [Earned(1.0, (0.0, 2.0)), Earned(0.0, (1.0, 0.0))]

    # The trajectories: +0.5 and -0.5. What follows from the first turns: 2 and 1; from the second: 2 and 0.
    assert advantages(group, UNSCALED) == [[1.0, 1.5], [-1.0, -1.5]]


def test_the_advantages_of_turns_are_divided_by_their_own_standard_deviation():
    group = [Earned(0.0, (10.0,)), Earned(0.0, (30.0,))]

    assert advantages(group, TrainConfig()) == [[pytest.approx(-1.0)], [pytest.approx(1.0)]]


def test_a_turn_that_no_other_trajectory_has_gets_its_trajectorys_advantage_alone():
    group = [Earned(1.0, (1.0, 5.0)), Earned(0.0, (6.0,))]

    assert advantages(group, UNSCALED) == [[0.5, 0.5], [-0.5]]


@pytest.mark.parametrize(
    "same", [(0.1 + 0.2, 0.3), (0.1 + 0.2 - 0.3 + 7e99, 7e99), (0.0, 0.0), (-1e-9, -1e-9 * (1 + 1e-15))]
)
def test_rewards_that_differ_by_rounding_alone_teach_nothing(same):
    assert credits_of([[Earned(reward) for reward in same]], TrainConfig()) == [None]


@pytest.mark.parametrize("different", [(0.0, 2e-12), (1.0, 1.0 + 1e-9), (-1e-13, 1e-13)])
def test_rewards_that_differ_by_more_than_rounding_teach(different):
    assert credits_of([[Earned(reward) for reward in different]], UNSCALED) != [None]


def test_turn_rewards_teach_where_all_trajectories_earn_the_same(tokenizer):
    def rollout(first: float, second: float, *, said: int):
        turns = choice([said], prompt_ids=[1, 2]), choice([9], prompt_ids=[1, 2, said, 3])
        return trajectory(*turns, reward=1.0, turn_rewards=[first, second])

    trainer = Trainer(make_base(), tokenizer, lora=LoRAConfig(rank=2), seed=0)

    equal = trainer.step([TrajectoryGroup([rollout(0, 0, said=7), rollout(0, 0, said=8)])], TrainConfig())
    different = trainer.step([TrajectoryGroup([rollout(0, 1, said=7), rollout(1, 0, said=8)])], TrainConfig())

    assert "grad_norm" not in equal
    assert different["grad_norm"] > 0


def test_turn_rewards_that_do_not_fit_the_choices_are_named(tokenizer):
    rollout = trajectory(choice([7], prompt_ids=[1, 2]), turn_rewards=[1.0, 2.0])
    trainer = Trainer(make_base(), tokenizer, lora=LoRAConfig(rank=2), seed=0)

    with pytest.raises(TrainingDataError, match="2 turn_rewards and 1 Choices"):
        trainer.step([TrajectoryGroup([rollout])], TrainConfig(strict=True))


def test_lengths_are_punished_softly_and_short_right_answers_favoured():
    assert [soft_overlong(tokens, limit=10, buffer=4) for tokens in (6, 7, 8, 10, 99)] == [0.0, -0.25, -0.5, -1.0, -1.0]
    assert shorter_is_better([4, 8, 6], [True, True, False]) == [0.5, -0.5, 0.0]
    assert shorter_is_better([5, 5], [True, False]) == [0.0, 0.0]
    assert sampled_length(trajectory(choice([7, 8], prompt_ids=[1]), choice([9], prompt_ids=[1]))) == 3
