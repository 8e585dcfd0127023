"""Conversations become rows of exactly the tokens that were read and sampled."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from openai.types.chat.chat_completion import Choice
from worlds import choice, make_base, random_groups, trajectory

from art.config import LoRAConfig, TrainConfig
from art.errors import TrainingDataError
from art.train.tokenize import ReadingLimits, Row, Span, trajectory_rows
from art.train.trainer import Trainer
from art.trajectories import History, Trajectory, TrajectoryGroup
from small import small_causal_lm

LIMITS = ReadingLimits(vocabulary=259, context=64)


def rows_of(rollout: Trajectory, tokenizer) -> list[Row]:
    return trajectory_rows(rollout, tokenizer, limits=LIMITS, where="Group 0, trajectory 0")


def spelled_elsewhere(token_ids: list[int]) -> Choice:
    """A choice as vLLM returns it: token ids in place of the tokens' text, and no word about the prompt."""
    entries = [{"token": f"token_id:{t}", "logprob": -1.5, "bytes": None, "top_logprobs": []} for t in token_ids]
    message = {"role": "assistant", "content": "ok"}
    return Choice.model_validate(
        {"index": 0, "finish_reason": "stop", "message": message, "logprobs": {"content": entries, "refusal": None}}
    )


def test_a_turn_is_its_prompt_and_what_was_sampled(tokenizer):
    rollout = trajectory(choice([7, 8], prompt_ids=[1, 2, 3], logprobs=[-1, -2], temperature=0.5))

    assert rows_of(rollout, tokenizer) == [
        Row((1, 2, 3, 7, 8), (Span(start=3, logprobs=(-1.0, -2.0), temperature=0.5),))
    ]


def test_turns_that_continue_one_another_are_one_row(tokenizer):
    rollout = trajectory(
        choice([7, 8], prompt_ids=[1, 2], logprobs=[-1, -2]),
        choice([9], prompt_ids=[1, 2, 7, 8, 3], logprobs=[-3], temperature=0.7),
    )

    (row,) = rows_of(rollout, tokenizer)

    assert row == Row(
        (1, 2, 7, 8, 3, 9),
        (Span(start=2, logprobs=(-1.0, -2.0), temperature=1.0), Span(start=5, logprobs=(-3.0,), temperature=0.7)),
    )


def test_a_turn_whose_past_was_spelled_differently_is_a_row_of_its_own(tokenizer):
    rollout = trajectory(choice([7, 8], prompt_ids=[1, 2]), choice([9], prompt_ids=[1, 2, 78, 3]))

    assert [row.token_ids for row in rows_of(rollout, tokenizer)] == [(1, 2, 7, 8), (1, 2, 78, 3, 9)]


def test_additional_histories_are_further_rows(tokenizer):
    main = choice([7], prompt_ids=[1, 2])
    other = History(messages_and_choices=[{"role": "user", "content": "x"}, choice([8], prompt_ids=[3])])
    rollout = trajectory(main, additional_histories=[other])

    assert [row.token_ids for row in rows_of(rollout, tokenizer)] == [(1, 2, 7), (3, 8)]


@pytest.mark.parametrize("silent_first", [True, False])
def test_a_conversation_in_which_the_model_did_not_speak_is_passed_over(tokenizer, silent_first: bool):
    spoken = choice([7, 8], prompt_ids=[1, 2, 3], logprobs=[-1, -2])
    asked = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "another model's words"}]
    main, other = (asked, [spoken]) if silent_first else ([spoken], asked)
    rollout = Trajectory(messages_and_choices=main, additional_histories=[History(messages_and_choices=other)])

    assert [row.token_ids for row in rows_of(rollout, tokenizer)] == [(1, 2, 3, 7, 8)]


def test_a_prompt_that_was_not_spelled_out_is_rendered_with_tools(tokenizer):
    tools = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    messages = [{"role": "user", "content": "1+1?"}]
    rollout = Trajectory(messages_and_choices=[*messages, spelled_elsewhere([50, 51])], tools=tools)
    rendered = tokenizer.apply_chat_template(
        messages, tools=tools, add_generation_prompt=True, tokenize=True, return_dict=False
    )

    limits = ReadingLimits(vocabulary=259, context=None)
    (row,) = trajectory_rows(rollout, tokenizer, limits=limits, where="")

    assert row == Row((*rendered, 50, 51), (Span(start=len(rendered), logprobs=(-1.5, -1.5), temperature=1.0),))
    assert '"add"' in tokenizer.decode(row.token_ids)


def test_tool_calls_are_rendered_with_their_arguments_as_an_object(tokenizer):
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"x": 3}'}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "go"}]},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "4"},
    ]
    rollout = Trajectory(messages_and_choices=[*messages, spelled_elsewhere([50])])

    (row,) = trajectory_rows(rollout, tokenizer, limits=ReadingLimits(vocabulary=259, context=None), where="")

    text = tokenizer.decode(row.token_ids)
    assert '{"name": "add", "arguments": {"x": 3}}' in text
    assert "user\ngo<" in text


def without_token_ids() -> Choice:
    return Choice.model_validate(
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}
    )


BAD_ROLLOUTS = {
    "no Choice": Trajectory(messages_and_choices=[{"role": "user", "content": "hi"}]),
    "no token ids": trajectory(without_token_ids()),
    "2 tokens but 1 log": trajectory(choice([7, 8], prompt_ids=[1], logprobs=[-1.0])),
    "log-probability of nan": trajectory(choice([7], prompt_ids=[1], logprobs=[math.nan])),
    "temperature -1": trajectory(choice([7], prompt_ids=[1], temperature=-1.0)),
    "65 tokens .* context of 64": trajectory(choice([7] * 5, prompt_ids=[1] * 60)),
    "token 999 is outside": trajectory(choice([999], prompt_ids=[1])),
}


@pytest.mark.parametrize("message", BAD_ROLLOUTS)
def test_a_rollout_that_cannot_be_trained_on_is_named(message, tokenizer):
    with pytest.raises(TrainingDataError, match=f"^Group 0, trajectory 0: .*{message}"):
        rows_of(BAD_ROLLOUTS[message], tokenizer)


def test_a_prompt_that_no_template_can_render_is_refused(tokenizer):
    bare = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer)
    rollout = Trajectory(messages_and_choices=[{"role": "user", "content": "x"}, spelled_elsewhere([5])])

    with pytest.raises(TrainingDataError, match="chat template"):
        rows_of(rollout, bare)


def awaited_later() -> TrajectoryGroup:
    class Later:
        def __await__(self):
            yield

    return TrajectoryGroup([Later()])


def without_choice(reward: float) -> Trajectory:
    return Trajectory(messages_and_choices=[{"role": "user", "content": "hi"}], reward=reward)


def with_reward(reward: float) -> TrajectoryGroup:
    return TrajectoryGroup([trajectory(choice([7], prompt_ids=[1]), reward=reward)])


BAD_GROUPS = {
    "There are no groups": [],
    "None of 2 groups has a trajectory": [TrajectoryGroup([]), TrajectoryGroup([])],
    "boom": [TrajectoryGroup([RuntimeError("boom")])],
    "not awaited": [awaited_later()],
    "reward is nan": [with_reward(1.0), with_reward(math.nan)],
    "reward is inf": [with_reward(math.inf)],
}


@pytest.fixture
def trainer(tokenizer) -> Trainer:
    base = small_causal_lm(tokenizer, max_position_embeddings=LIMITS.context)
    return Trainer(base, tokenizer, lora=LoRAConfig(rank=2), seed=0)


def contents(trainer: Trainer, folder: Path) -> dict[str, bytes]:
    trainer.save(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("message", BAD_GROUPS)
def test_groups_that_cannot_be_trained_on_change_nothing_where_that_is_an_error(message, trainer, tmp_path):
    before = contents(trainer, tmp_path)

    with pytest.raises(TrainingDataError, match=message):
        trainer.step(BAD_GROUPS[message], TrainConfig(strict=True))

    assert contents(trainer, tmp_path) == before


@pytest.mark.parametrize("message", BAD_ROLLOUTS)
def test_a_bad_rollout_among_good_ones_is_left_out_counted_and_said(message, trainer, caplog):
    groups = [*random_groups(seed=1, groups=2), TrajectoryGroup([BAD_ROLLOUTS[message]])]

    metrics = trainer.step(groups, TrainConfig())

    assert (metrics["trajectories_skipped"], metrics["groups"]) == (1, 3)
    assert metrics["grad_norm"] > 0
    (said,) = caplog.messages
    assert re.match(f"Left out of this step: Group 2, trajectory 0: .*{message}", said)
    with pytest.raises(TrainingDataError, match=f"Group 2, trajectory 0: .*{message}"):
        trainer.step(groups, TrainConfig(strict=True))


NOTHING_LEFT = {
    "Of 0 groups none has": [],
    "Of 1 groups none has": [TrajectoryGroup([RuntimeError("boom")])],
    "Of 2 groups none has": [with_reward(math.nan), TrajectoryGroup([])],
    "In each of 2 groups all rewards are equal": [with_reward(1.0), with_reward(0.0)],
    "No trajectory of a group whose rewards differ": [
        TrajectoryGroup([without_choice(1.0), without_choice(0.0)]),
        with_reward(0.5),
    ],
}


@pytest.mark.parametrize("message", NOTHING_LEFT)
def test_a_step_of_which_nothing_is_left_is_counted_and_says_why(message, trainer, tmp_path, caplog):
    before = contents(trainer, tmp_path)

    metrics = trainer.step(NOTHING_LEFT[message], TrainConfig())

    assert caplog.messages[-1].startswith(message)
    assert trainer.optimizer_steps == 1
    assert not metrics.keys() & {"loss", "policy_loss", "grad_norm", "ratio"}
    after = contents(trainer, tmp_path)
    assert {name for name in before if after[name] != before[name]} == {"trainer.json"}


def test_a_group_of_which_every_rollout_failed_does_not_stop_the_others(tokenizer):
    trainer = Trainer(make_base(), tokenizer, lora=LoRAConfig(rank=2), seed=0)

    metrics = trainer.step([*random_groups(seed=1, groups=2), TrajectoryGroup([RuntimeError("boom")])], TrainConfig())

    assert metrics["groups"] == 3
    assert metrics["groups_without_signal"] == 1
