"""Settings and rewards that no step can be taken with: refused where they are set, or left out by name."""

from __future__ import annotations

import math
from typing import Any

import pytest
from worlds import choice, make_base, random_groups, trajectory

from art.config import LoRAConfig, TrainConfig, TrainSFTConfig
from art.errors import ConfigurationError
from art.train.trainer import Trainer
from art.trajectories import TrajectoryGroup

KINDS = (LoRAConfig, TrainConfig, TrainSFTConfig)
NUMBERS = [
    (kind, name)
    for kind in KINDS
    for name, field in kind.model_fields.items()
    if not isinstance(field.get_default(call_default_factory=True), bool | tuple) and "oss" not in name
]
NO_NUMBERS = [math.nan, math.inf, -math.inf, 10**400, -(10**400), 1e308, -1e308]


@pytest.mark.parametrize(("kind", "name"), NUMBERS, ids=lambda value: getattr(value, "__name__", value))
def test_a_number_that_no_step_can_be_taken_with_is_refused_where_it_is_set(kind: Any, name: str):
    # A text is the folder of a reference, and a list the rates of several batches.
    others = [] if name == "kl_reference" else ["nan"]
    others += [] if name == "learning_rate" else [[1]]

    for value in (*NO_NUMBERS, *others):
        with pytest.raises(ConfigurationError, match=name):
            kind(**{name: value})


@pytest.mark.parametrize("scale", [True, False, "batch"])
@pytest.mark.parametrize("reward", [1e308, -1e308, 1e154, math.inf, math.nan])
def test_a_reward_that_cannot_be_squared_is_left_out_by_name(
    tokenizer, caplog: pytest.LogCaptureFixture, reward: float, scale: Any
):
    trainer = Trainer(make_base(), tokenizer, lora=LoRAConfig(rank=2), seed=0)
    rewards = [reward, 1.0, 0.0]
    group = TrajectoryGroup(
        [trajectory(choice([1, 2 + at], prompt_ids=[5]), reward=value) for at, value in enumerate(rewards)]
    )

    metrics = trainer.step([group, *random_groups(seed=1, groups=1)], TrainConfig(scale_rewards=scale))

    assert all(map(math.isfinite, metrics.values()))
    assert f"its reward is {reward}" in caplog.text
