"""Supervised fine-tuning: the loss is the mean over the tokens of answers, and rewards may be learned after it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from plain import plain_scores
from safetensors.torch import load_file
from worlds import choice, make_base, random_groups, trajectory

from adapters import open_with_peft
from art.config import LoRAConfig, TrainConfig, TrainSFTConfig
from art.errors import ConfigurationError, TrainingDataError
from art.train.trainer import Trainer
from art.trajectories import Trajectory

CLOSE = 1e-5
QUESTION = {"role": "user", "content": "1+1?"}
ANSWERS = ["two", "It is 2."]


def conversation(*answers: str) -> Trajectory:
    items = [item for answer in answers for item in (QUESTION, {"role": "assistant", "content": answer})]
    return Trajectory(messages_and_choices=items)


def spelled(tokenizer, *answers: str) -> list[tuple[list[int], list[int]]]:
    """Give what is read before each answer and what is said, by the template's own words."""
    turns: list[tuple[list[int], list[int]]] = []
    text = ""
    for answer in answers:
        text += "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n"
        turns.append((tokenizer(text)["input_ids"], tokenizer(f"{answer}<|im_end|>")["input_ids"]))
        text += f"{answer}<|im_end|>\n"
    return turns


@pytest.fixture
def trainer(tokenizer) -> Trainer:
    return Trainer(make_base(), tokenizer, lora=LoRAConfig(rank=4), seed=3)


def saved(trainer: Trainer, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    trainer.save(folder)
    return folder


def contents(trainer: Trainer, folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in saved(trainer, folder).iterdir()}


@pytest.mark.parametrize("turns", ["all", "last"])
def test_loss_and_gradient_are_those_of_the_answers_tokens_alone(turns, trainer, tokenizer, tmp_path):
    trainer.train_on_answers([conversation("four")], TrainSFTConfig(learning_rate=1e-2))
    model = open_with_peft(saved(trainer, tmp_path / "start"), make_base())
    trainer.load(tmp_path / "start", reset=frozenset({"optimizer"}))
    two_turns = spelled(tokenizer, *ANSWERS)
    learned = [*spelled(tokenizer, "two"), *(two_turns if turns == "all" else two_turns[-1:])]
    plain = -torch.cat([plain_scores(model, prompt, said, 1.0)[0] for prompt, said in learned]).mean()
    plain.backward()

    config = TrainSFTConfig(batch_size=2, assistant_turns=turns, max_grad_norm=1e9)
    metrics = trainer.train_on_answers([conversation("two"), conversation(*ANSWERS)], config)

    assert metrics["loss"] == pytest.approx(plain.item(), rel=CLOSE)
    assert metrics["tokens"] == sum(len(said) for _, said in learned)
    moments = load_file(saved(trainer, tmp_path / "after") / "optimizer.safetensors")
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            found = moments["exp_avg." + name.replace(".default.", ".")] / (1 - config.betas[0])
            torch.testing.assert_close(found, parameter.grad, rtol=2e-4, atol=CLOSE)


def test_an_answer_that_was_sampled_is_learned_as_the_tokens_it_was_sampled_as(trainer):
    rollout = trajectory(choice([7, 8, 9], prompt_ids=[1, 2], temperature=0.3))

    assert trainer.train_on_answers([rollout], TrainSFTConfig())["tokens"] == 3


def test_every_batch_is_an_optimiser_step_with_its_own_rate(tokenizer, tmp_path):
    one, other = (Trainer(make_base(), tokenizer, lora=LoRAConfig(rank=2), seed=0) for _ in range(2))
    conversations = [conversation(answer) for answer in ("a", "bb", "ccc")]

    metrics = one.train_on_answers(conversations, TrainSFTConfig(learning_rate=[1e-2, 1e-3], batch_size=2))
    other.train_on_answers(conversations[:2], TrainSFTConfig(learning_rate=1e-2))
    other.train_on_answers(conversations[2:], TrainSFTConfig(learning_rate=1e-3))

    assert (metrics["optimizer_steps"], metrics["learning_rate"]) == (2, 1e-3)
    together, apart = contents(one, tmp_path / "one"), contents(other, tmp_path / "other")
    for name in ("adapter_model.safetensors", "optimizer.safetensors"):
        assert together[name] == apart[name]


def test_the_model_learns_its_answers(trainer):
    config = TrainSFTConfig(learning_rate=5e-3)

    losses = [trainer.train_on_answers([conversation(*ANSWERS)], config)["loss"] for _ in range(12)]

    assert losses[-1] < losses[0] / 2


def test_reinforcement_learning_goes_on_with_fresh_moments_and_exactly_after_a_load(tokenizer, tmp_path):
    def steps(trainer: Trainer) -> list[float]:
        losses = [trainer.train_on_answers([conversation(*ANSWERS)], TrainSFTConfig(learning_rate=5e-3))["loss"]]
        return losses + [
            trainer.step(random_groups(seed=seed), TrainConfig(learning_rate=5e-3))["loss"] for seed in (1, 2)
        ]

    whole, halved, afresh = (
        Trainer(make_base(), tokenizer, lora=LoRAConfig(rank=2, dropout=0.2), seed=0) for _ in range(3)
    )
    whole.train_on_answers([conversation("two")], TrainSFTConfig(learning_rate=5e-3))
    half = saved(whole, tmp_path / "half")
    halved.load(half)

    losses = steps(whole)

    assert steps(halved) == losses
    assert contents(halved, tmp_path / "halved") == contents(whole, tmp_path / "whole")
    afresh.load(half, reset=frozenset({"optimizer"}))
    whole.load(half)
    for each in (afresh, whole):
        each.step(random_groups(seed=1), TrainConfig(learning_rate=5e-3))
    assert contents(afresh, tmp_path / "afresh") == contents(whole, tmp_path / "again")


def test_a_conversation_without_an_answer_is_left_out_counted_and_said(trainer, caplog):
    silent = Trajectory(messages_and_choices=[QUESTION])

    metrics = trainer.train_on_answers([silent, conversation("two")], TrainSFTConfig())

    assert metrics["trajectories_skipped"] == 1
    assert caplog.messages[0].startswith("Left out of this step: Trajectory 0: the conversation has no")
    with pytest.raises(TrainingDataError, match="Trajectory 0"):
        trainer.train_on_answers([silent], TrainSFTConfig(strict=True))


def test_too_few_rates_are_refused_before_anything_changes(trainer, tmp_path):
    before = contents(trainer, tmp_path)

    with pytest.raises(ConfigurationError, match="rates for 1 batches of 2"):
        trainer.train_on_answers([conversation("a")] * 3, TrainSFTConfig(learning_rate=[1e-4]))

    assert contents(trainer, tmp_path) == before
