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


def mixed(tokenizer, *, strays: int, others: int) -> TrajectoryGroup:
    """Answers of which some were sampled with tools that their trajectory does not name."""
    fine, stray = group_of(tokenizer), group_of(tokenizer, **DISAGREEING["another temperature"])
    found = [stray.trajectories[0].model_copy(update={"reward": 1.0})] * strays
    return TrajectoryGroup([*found, *(fine.trajectories[place % 2] for place in range(others))])


def test_a_single_stray_answer_is_left_out_and_counted_and_the_rest_is_learned(trainer, tokenizer, caplog):
    told = trainer.step([mixed(tokenizer, strays=1, others=4)], TrainConfig(max_divergence=0.05))

    assert (told["rows_diverged"], told["rows"], told["trajectories_skipped"]) == (1, 5, 0)
    assert told["ratio_max"] == pytest.approx(1.0, abs=1e-3)
    assert told["grad_norm"] > 0


@pytest.mark.parametrize(("aggregate", "share"), [("trajectory", 4 / 5), ("token", 10 / 13), ("constant", 10 / 5 / 8)])
def test_a_stray_answer_counts_in_what_the_loss_is_divided_by(aggregate, share, trainer, tokenizer):
    config = TrainConfig(max_divergence=0.05, loss=one_each, aggregate=aggregate, constant_length=8)

    told = trainer.step([mixed(tokenizer, strays=1, others=4)], config)

    assert told["rows_diverged"] == 1
    assert told["loss"] == pytest.approx(share)


def one_each(vectors):
    return 1 + 0 * vectors.logp_N


def test_where_nothing_strays_no_row_is_counted(trainer, tokenizer):
    assert "rows_diverged" not in trainer.step([mixed(tokenizer, strays=0, others=4)], TrainConfig())


@pytest.mark.parametrize(("strays", "strict"), [(3, False), (1, True)])
def test_where_most_stray_or_none_may_the_step_is_refused(strays, strict, trainer, tokenizer):
    group = mixed(tokenizer, strays=strays, others=2)

    with pytest.raises(TrainingDataError, match=rf"in {strays} of {strays + 2} rows by more than 0\.25"):
        trainer.step([group], TrainConfig(max_divergence=0.05, strict=strict))


def test_a_stray_answer_moves_nothing_in_a_later_epoch_either(tokenizer):
    """The weights after two epochs are those that the others alone lead to, but for the denominator."""
    config = TrainConfig(max_divergence=0.05, epochs=2, loss="ppo", aggregate="constant", constant_length=8)
    group = mixed(tokenizer, strays=1, others=4)
    stray = group.trajectories[0]

    def after(said_by_the_stray: list[int]) -> list[torch.Tensor]:
        trainer = Trainer(make_base(), tokenizer, lora=LoRAConfig(rank=2), seed=0)
        other = sampled_elsewhere(tokenizer, said_by_the_stray, **DISAGREEING["another temperature"])
        replaced = stray.model_copy(update={"messages_and_choices": [QUESTION, other]})
        told = trainer.step([TrajectoryGroup([replaced, *group.trajectories[1:]])], config)
        assert (told["rows_diverged"], told["optimizer_steps"]) == (1, 2)
        return [parameter.detach().clone() for parameter in trainer._adapter.parameters.values()]

    for one, another in zip(after([50, 51, 52]), after([70, 71, 72]), strict=True):
        assert torch.allclose(one, another, rtol=1e-4, atol=1e-6)
