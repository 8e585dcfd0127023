"""Settings and rewards that no step can be taken with: refused where they are set, or left out by name."""

from __future__ import annotations

import math
from typing import Any

import pytest
from openai.types.chat.chat_completion import Choice
from transformers import PreTrainedTokenizerFast
from worlds import choice, make_base, random_groups, trajectory

from art.config import LoRAConfig, TrainConfig, TrainSFTConfig
from art.errors import ConfigurationError
from art.sampled import find_sampled
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


INSIDE_ITSELF: list[Any] = []
INSIDE_ITSELF.append(INSIDE_ITSELF)
NO_VALUES = [10**5000, -(10**5000), "a" * 10**6, INSIDE_ITSELF, object(), b"x", 1 + 2j]


@pytest.mark.parametrize(
    ("kind", "name"), [*NUMBERS, *[(TrainConfig, name) for name in ("adam_params", "loss_fn_config")]]
)
def test_what_is_no_value_at_all_is_refused_in_a_short_message(kind: Any, name: str):
    # A text is the folder of a reference.
    no_values = [value for value in NO_VALUES if name != "kl_reference" or not isinstance(value, str)]
    # So are the rates of several batches a list.
    no_values += [] if (kind, name) == (TrainSFTConfig, "learning_rate") else [[0] * 10**5]
    for given in ({name: value} for value in [*no_values, {"clip_low_threshold": "x", "learning_rate": "x"}]):
        with pytest.raises(ConfigurationError) as refused:
            kind(**given)
        assert len(str(refused.value)) < 3000


NO_LOGPROBS = [1e308, -1e308, 0.5, -10_001.0, math.inf, -math.inf]


@pytest.mark.parametrize("scale", [True, False, "batch"])
@pytest.mark.parametrize("reward", [1e308, -1e308, 1e154, math.inf, math.nan])
def test_a_reward_that_cannot_be_squared_is_left_out_by_name(
    tokenizer: PreTrainedTokenizerFast, caplog: pytest.LogCaptureFixture, reward: float, scale: Any
):
    trainer = Trainer(make_base(), tokenizer, lora=LoRAConfig(rank=2), seed=0)
    rewards = [reward, 1.0, 0.0]
    group = TrajectoryGroup(
        [trajectory(choice([1, 2 + at], prompt_ids=[5]), reward=value) for at, value in enumerate(rewards)]
    )

    metrics = trainer.step([group, *random_groups(seed=1, groups=1)], TrainConfig(scale_rewards=scale))

    assert all(map(math.isfinite, metrics.values()))
    assert f"its reward is {reward}" in caplog.text


@pytest.mark.parametrize(
    "field",
    [
        {"prompt_token_ids": ["x"]},
        {"prompt_token_ids": [[1]]},
        {"token_ids": [1.5]},
        {"token_ids": "12"},
        {"token_logprobs": ["x"]},
        {"temperature": []},
        {"version": 5},
    ],
    ids=str,
)
def test_a_choice_whose_fields_have_another_form_is_left_out_by_name(
    tokenizer: PreTrainedTokenizerFast, caplog: pytest.LogCaptureFixture, field: dict[str, Any]
):
    trainer = Trainer(make_base(), tokenizer, lora=LoRAConfig(rank=2), seed=0)
    strange = choice([1, 2], prompt_ids=[5])
    strange = strange.model_copy(update=field)
    group = TrajectoryGroup(
        [trajectory(each, reward=at) for at, each in enumerate([strange, choice([1], prompt_ids=[5])])]
    )

    metrics = trainer.step([group, *random_groups(seed=1, groups=1)], TrainConfig())

    assert all(map(math.isfinite, metrics.values()))
    assert next(iter(field)) in caplog.text
    assert find_sampled(strange) is None


@pytest.mark.parametrize("value", [*NO_LOGPROBS, -9999.0, 1e-6], ids=str)
def test_a_log_probability_that_cannot_be_one_is_left_out_by_name(
    tokenizer: PreTrainedTokenizerFast, caplog: pytest.LogCaptureFixture, value: float
):
    trainer = Trainer(make_base(), tokenizer, lora=LoRAConfig(rank=2), seed=0)
    strange = choice([1, 2], prompt_ids=[5]).model_copy(update={"token_logprobs": [-4.0, value]})
    group = TrajectoryGroup(
        [trajectory(each, reward=at) for at, each in enumerate([strange, choice([1], prompt_ids=[5])])]
    )

    metrics = trainer.step([group, *random_groups(seed=1, groups=20)], TrainConfig(max_divergence=None))

    assert all(map(math.isfinite, metrics.values()))
    assert ("Group 0, trajectory 0: a Choice has a log-probability of" in caplog.text) == (value in NO_LOGPROBS)


def test_a_token_spelled_with_thousands_of_digits_is_no_id():
    entry = {"token": f"token_id:{'9' * 5000}", "logprob": -1.0, "top_logprobs": []}
    fields = {"finish_reason": "stop", "index": 0, "message": {"role": "assistant", "content": "x"}}

    assert find_sampled(Choice.model_validate({**fields, "logprobs": {"content": [entry]}})) is None
