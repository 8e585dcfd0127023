"""Where an answer came from: its age is told and bounded, and a context that the sampler did not see is noticed."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from openai.types.chat.chat_completion import Choice
from plain import plain_scores
from worlds import choice, make_base, trajectory

from art.config import LoRAConfig, TrainConfig
from art.errors import TrainingDataError
from art.format.lineage import Segment
from art.local.ages import ages
from art.names import ModelRef
from art.train.trainer import Trainer
from art.trajectories import Trajectory, TrajectoryGroup

QUESTION = {"role": "user", "content": "1+1?"}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {}}}]


@pytest.fixture
def trainer(tokenizer) -> Trainer:
    return Trainer(make_base(), tokenizer, lora=LoRAConfig(rank=2), seed=0)


def sampled_elsewhere(
    tokenizer,
    said: list[int],
    *,
    messages: list | None = None,
    tools: list | None = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
) -> Choice:
    """A choice of another server with the same weights, which does not say which tokens its prompt had.

    Its log-probabilities are those after temperature and top_p, as vLLM's `processed_logprobs` are.
    """
    prompt = tokenizer.apply_chat_template(
        messages or [QUESTION], tools=tools, add_generation_prompt=True, tokenize=True, return_dict=False
    )
    with torch.no_grad():
        logps, _ = plain_scores(make_base(), prompt, said, temperature)
    entries = [
        {"token": f"token_id:{token}", "logprob": logp - math.log(top_p), "bytes": None, "top_logprobs": []}
        for token, logp in zip(said, logps.tolist(), strict=True)
    ]
    message = {"role": "assistant", "content": "ok"}
    return Choice.model_validate(
        {"index": 0, "finish_reason": "stop", "message": message, "logprobs": {"content": entries, "refusal": None}}
    )


def group_of(tokenizer, *, told: list | None = None, **sampling: Any) -> TrajectoryGroup:
    """Answers whose trajectory names `told` as its tools, whatever the sampler was given."""
    return TrajectoryGroup(
        Trajectory(
            messages_and_choices=[QUESTION, sampled_elsewhere(tokenizer, said, **sampling)], tools=told, reward=reward
        )
        for reward, said in ((0.0, [50, 51, 52]), (1.0, [60, 61]))
    )


DISAGREEING = {
    "tools that the trajectory does not name": {"tools": TOOLS},
    "tools that the sampler was not given": {"told": TOOLS},
    "another system prompt": {"messages": [{"role": "system", "content": "Answer in French, at length."}, QUESTION]},
    "a prompt that the template writes otherwise": {
        "messages": [{**QUESTION, "content": f"{QUESTION['content']} /no_think"}]
    },
    "a top_p that the log-probabilities include": {"top_p": 0.7},
    "another temperature": {"temperature": 0.3},
}


@pytest.mark.parametrize("cause", DISAGREEING)
def test_another_context_than_the_samplers_is_an_error_that_says_where_to_look(cause, trainer, tokenizer, tmp_path):
    group = group_of(tokenizer, **DISAGREEING[cause])
    trainer.save(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    with pytest.raises(TrainingDataError, match=r"nats a token, more than max_divergence=0\.2.*tools=.*chat template"):
        trainer.step([group], TrainConfig())

    trainer.save(tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert trainer.step([group], TrainConfig(max_divergence=None))["grad_norm"] > 0


CORRECTIONS = [{"max_age": 4}, {"truncated_importance_sampling": 2.0}, {"off_policy_mask": 5.0}]


@pytest.mark.parametrize("correction", CORRECTIONS, ids=str)
def test_where_a_correction_was_asked_for_a_sampler_may_differ_unless_a_bound_is_named(correction, trainer, tokenizer):
    group = group_of(tokenizer, **DISAGREEING["a top_p that the log-probabilities include"])

    with pytest.raises(TrainingDataError, match=r"max_divergence=0\.3"):
        trainer.step([group], TrainConfig(**correction, max_divergence=0.3))

    assert trainer.step([group], TrainConfig(**correction))["grad_norm"] > 0


def test_rounding_of_a_sampler_to_16_bits_is_no_error(trainer, tokenizer):
    group = group_of(tokenizer, top_p=math.exp(-0.03))

    assert trainer.step([group], TrainConfig())["grad_norm"] > 0


def test_a_trajectory_without_tokens_is_left_out_and_the_others_are_still_compared(trainer, tokenizer):
    silent = Trajectory(messages_and_choices=[QUESTION], reward=0.5)
    agreeing, differing = (group_of(tokenizer, **how) for how in ({}, DISAGREEING["another system prompt"]))
    for group in (agreeing, differing):
        group.trajectories.append(silent)

    with pytest.raises(TrainingDataError, match="max_divergence"):
        trainer.step([differing], TrainConfig())

    assert trainer.step([agreeing], TrainConfig())["trajectories_skipped"] == 1


@pytest.mark.parametrize("tools", [None, TOOLS])
def test_the_same_context_as_the_samplers_is_no_error(tools, trainer, tokenizer):
    metrics = trainer.step([group_of(tokenizer, tools=tools, told=tools)], TrainConfig(max_divergence=1e-3))

    assert metrics["ratio"] == pytest.approx(1.0, abs=1e-3)


def versioned(version: str, *, reward: float) -> Trajectory:
    answer = choice([5, 6], prompt_ids=[1, 2])
    return trajectory(Choice.model_validate({**answer.model_dump(), "version": version}), reward=reward)


AGE_OF = {"p/m#0@3": 4, "p/m#1@6": 1}.get


def test_old_answers_are_told_and_those_that_are_too_old_left_out(trainer, caplog):
    groups = [TrajectoryGroup([versioned("p/m#0@3", reward=0.0), versioned("p/m#1@6", reward=1.0)])]
    groups += [TrajectoryGroup([versioned("p/m#1@6", reward=reward) for reward in (0.0, 1.0)])]

    everything = trainer.step(groups, TrainConfig(), age_of=AGE_OF)
    bounded = trainer.step(groups, TrainConfig(max_age=2), age_of=AGE_OF)

    assert (everything["age_max"], everything["age"], everything["trajectories_skipped"]) == (4, 1.75, 0)
    assert caplog.messages[0] == "Training learns from answers that are up to 4 training steps old."
    assert (bounded["age_max"], bounded["trajectories_skipped"]) == (1, 1)
    assert "Group 0, trajectory 0: it was sampled 4 training steps ago; max_age is 2." in caplog.messages[1]
    assert len(caplog.messages) == 2
    with pytest.raises(TrainingDataError, match="max_age is 2"):
        trainer.step(groups, TrainConfig(max_age=2, strict=True), age_of=AGE_OF)


def test_an_answer_of_the_present_weights_must_have_the_log_probabilities_that_they_give(trainer):
    groups = [TrajectoryGroup([versioned("p/m#0@7", reward=reward) for reward in (0.0, 1.0)])]

    with pytest.raises(TrainingDataError, match="max_divergence"):
        trainer.step(groups, TrainConfig(), age_of=lambda _: 0)

    assert trainer.step(groups, TrainConfig(), age_of=lambda _: 1)["ratio_max"] > 0


PAST = [Segment(ModelRef("p", "trunk"), 0, 5), Segment(ModelRef("p", "fork"), 5, None)]
VERSIONS = {
    "p/fork#9@7": 0,
    "p/fork#0@6": 1,
    "p/trunk#2@5": 2,
    "p/trunk@0": 7,
    "p/trunk#2@6": None,
    "p/fork#0@8": None,
    "p/other#0@5": None,
    "p/hash#3#0@5": None,
    "base": None,
    "gpt-5": None,
    "p/fork@x": None,
}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_age_of_an_answer_goes_through_forks(version):
    assert ages(PAST, here=7)(version) == VERSIONS[version]
