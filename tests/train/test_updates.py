"""A batch makes one or several optimiser steps, each with what it is to learn from; a step that fails is undone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from worlds import choice, make_base, random_groups, trajectory

import art
from art.config import LoRAConfig, TrainConfig
from art.errors import ConfigurationError, DivergedError, TrainingDataError
from art.train.batch import Example
from art.train.tokenize import ReadingLimits, Row, Span
from art.train.trainer import Trainer
from art.train.updates import updates
from art.trajectories import TrajectoryGroup


def example(trajectory: int, *, prompt: int = 10, said: int = 5) -> Example:
    tokens = tuple(range(prompt)) + tuple(1000 * (trajectory + 1) + place for place in range(said))
    return Example(
        row=Row(tokens, (Span(start=prompt, logprobs=(-1.0,) * said, temperature=1.0),)),
        advantages=(1.0,),
        trajectory=trajectory,
        trajectory_tokens=said,
    )


def cut(examples: list[Example], **settings: object) -> list[list[int]]:
    found = updates(
        examples, TrainConfig(**settings), limits=ReadingLimits(vocabulary=300, context=None), pass_tokens=16_384
    )
    return [[each.trajectory for each in update.examples] for update in found]


def test_a_batch_that_fits_one_sequence_is_one_optimiser_step():
    assert cut([example(number) for number in range(8)]) == [list(range(8))]


def test_every_sequence_is_an_optimiser_step_and_a_shared_prompt_counts_once():
    # A row's last token predicts nothing and is not laid out: 10 of prompt, 4 of each branch.
    examples = [example(number) for number in range(6)]

    assert cut(examples, packed_sequence_length=18) == [[0, 1], [2, 3], [4, 5]]
    assert cut(examples, packed_sequence_length=18, grad_accumulation_sequences=2) == [[0, 1, 2, 3], [4, 5]]


def test_a_sequence_is_as_long_as_the_longest_row_rounded_up_to_2048():
    long = [example(number, prompt=1, said=1500) for number in range(3)]
    longer = [*long, example(3, prompt=1, said=2100)]

    assert cut(long) == [[0], [1], [2]]
    assert cut(longer) == [[0, 1], [2, 3]]
    bounded = updates(long, TrainConfig(), limits=ReadingLimits(vocabulary=300, context=1600), pass_tokens=16_384)
    assert [len(list(each.examples)) for each in bounded] == [1, 1, 1]


def test_minibatches_are_cut_between_trajectories_and_differ_by_one_at_most():
    examples = [example(number) for number in (0, 0, 1, 2, 2, 3, 4)]

    assert cut(examples, minibatches=3) == [[0, 0], [1, 2, 2], [3, 4]]
    assert cut(examples, minibatches=99) == [[0, 0], [1], [2, 2], [3], [4]]


def test_two_ways_to_divide_a_batch_are_refused_together():
    with pytest.raises(ConfigurationError, match="minibatches takes the place of"):
        TrainConfig(minibatches=2, packed_sequence_length=100)


@pytest.fixture
def trainer(tokenizer) -> Trainer:
    return Trainer(make_base(), tokenizer, lora=LoRAConfig(rank=2, dropout=0.2), seed=0)


def contents(trainer: Trainer, folder: Path) -> dict[str, bytes]:
    folder.mkdir(exist_ok=True)
    trainer.save(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_several_optimiser_steps_are_those_of_their_parts_one_after_the_other(tokenizer, tmp_path):
    groups = random_groups(seed=4, groups=2)
    settings = {"learning_rate": 1e-2, "loss": "ppo"}
    whole, apart = (Trainer(make_base(), tokenizer, lora=LoRAConfig(rank=2), seed=0) for _ in range(2))

    metrics = whole.step(groups, TrainConfig(minibatches=2, epochs=2, **settings))
    for group in groups * 2:
        apart.step([group], TrainConfig(**settings))

    assert metrics["optimizer_steps"] == 4
    together, one_by_one = contents(whole, tmp_path / "whole"), contents(apart, tmp_path / "apart")
    assert (whole.optimizer_steps, apart.optimizer_steps) == (1, 4)
    for name in ("adapter_model.safetensors", "optimizer.safetensors"):
        assert together[name] == one_by_one[name]


def test_the_rate_grows_with_a_power_of_the_trajectories(tokenizer, tmp_path):
    groups = random_groups(seed=4, groups=1, members=4)
    plain, powered = (Trainer(make_base(), tokenizer, lora=LoRAConfig(rank=2), seed=0) for _ in range(2))

    plain.step(groups, TrainConfig(learning_rate=2e-3))
    powered.step(groups, TrainConfig(learning_rate=1e-3, num_trajectories_learning_rate_multiplier_power=0.5))

    assert (
        contents(plain, tmp_path / "a")["adapter_model.safetensors"]
        == (contents(powered, tmp_path / "b")["adapter_model.safetensors"])
    )


def test_a_truncated_answer_teaches_nothing_where_that_is_asked(tokenizer, tmp_path):
    def rollout(said: list[int], *, reward: float, reason: str = "stop"):
        answer = choice(said, prompt_ids=[1, 2]).model_copy(update={"finish_reason": reason})
        return trajectory(answer, reward=reward)

    groups = [
        TrajectoryGroup(
            [rollout([5], reward=1.0), rollout([6], reward=0.0), rollout([7, 8], reward=0.0, reason="length")]
        )
    ]
    trainer = Trainer(make_base(), tokenizer, lora=LoRAConfig(rank=2), seed=0)

    metrics = trainer.step(groups, TrainConfig(mask_truncated=True))

    assert (metrics["tokens"], metrics["rows"]) == (2, 2)
    assert trainer.step(groups, TrainConfig())["tokens"] == 4


def break_first_moment(trainer: Trainer) -> None:
    """Put moments so small beside a first one so large that the update itself is not finite."""
    for parameter in trainer._adapter.parameters.values():
        trainer._optimizer.state[parameter]["exp_avg"].fill_(3e38)


def test_a_step_that_would_leave_weights_that_are_not_finite_is_undone_to_the_bit(trainer, tmp_path):
    trainer.step(random_groups(seed=1), TrainConfig())
    break_first_moment(trainer)
    before = contents(trainer, tmp_path)

    with pytest.raises(DivergedError, match="Lower learning_rate"):
        trainer.step(random_groups(seed=2), TrainConfig(learning_rate=1.0))

    assert contents(trainer, tmp_path) == before


def test_a_loss_of_the_users_that_fails_in_the_second_optimiser_step_undoes_the_first(trainer, tmp_path):
    before = contents(trainer, tmp_path)
    calls: list[int] = []

    def failing(vectors):
        calls.append(len(vectors.logp_N))
        return -vectors.logp_N * (torch.nan if len(calls) == 3 else 1.0)

    with pytest.raises(TrainingDataError, match="not finite"):
        trainer.step(random_groups(seed=1), TrainConfig(loss=failing, minibatches=3))

    assert len(calls) == 3
    assert contents(trainer, tmp_path) == before


def test_a_loss_of_the_users_gets_named_vectors_and_gives_a_loss_for_each_token(tokenizer, tmp_path):
    def reinforce(vectors):
        assert vectors.trajectory_N.unique().tolist() == list(range(12))
        assert vectors.mask_N.all()
        assert vectors.reference_logp_N.shape == vectors.sampler_logp_N.shape == vectors.logp_N.shape
        return -vectors.advantage_N * vectors.logp_N

    own, known = (Trainer(make_base(), tokenizer, lora=LoRAConfig(rank=2), seed=0) for _ in range(2))

    own.step(random_groups(seed=1), TrainConfig(loss=reinforce, beta=0.1))
    # Bounds so narrow that every weight is 1.
    known.step(random_groups(seed=1), TrainConfig(epsilon=1e-9, epsilon_high=1e-9, beta=0.1))

    assert contents(own, tmp_path / "own") == contents(known, tmp_path / "known")


WRONG_LOSSES = {
    "gave a float": lambda vectors: 1.0,
    "gave a tensor of shape ()": lambda vectors: vectors.logp_N.sum(),
    "without gradient": lambda vectors: vectors.advantage_N,
}


@pytest.mark.parametrize("message", WRONG_LOSSES)
def test_a_loss_of_the_users_that_gives_something_else_is_refused_and_changes_nothing(message, trainer, tmp_path):
    before = contents(trainer, tmp_path)

    with pytest.raises(ConfigurationError) as refusal:
        trainer.step(random_groups(seed=1), TrainConfig(loss=WRONG_LOSSES[message]))

    assert message in str(refusal.value)
    assert contents(trainer, tmp_path) == before


def test_a_step_that_does_not_fit_into_memory_is_undone_and_can_be_taken_in_smaller_passes(tmp_path):
    tests = Path(__file__).parent
    paths = (Path(art.__file__).parents[1], tests, tests.parent)

    done = subprocess.run(
        [sys.executable, tests / "out_of_memory.py", tmp_path],
        env={"PYTHONPATH": ":".join(map(str, paths)), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    error, same, rows = done.stdout.splitlines()
    assert re.search(r"Lower TrainConfig\(micro_batch_tokens=...\), which is 100,000 .*longest row has 9\d\d", error)
    assert (same, rows) == ("True", "64.0")
