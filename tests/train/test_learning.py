"""The trainer improves what it is rewarded for: a tiny random model learns to write digits."""

from __future__ import annotations

import statistics

import torch
from torch import Tensor
from worlds import choice, make_base, trajectory

from art.adapter.adapted import AdaptedModel
from art.adapter.files import read_adapter
from art.config import LoRAConfig, TrainConfig
from art.train.trainer import Trainer
from art.trajectories import TrajectoryGroup

PROMPTS = ("say", "write", "give")
MEMBERS, LENGTH = 12, 6
ENOUGH = 0.9


def sample(model: torch.nn.Module, prompt_ids: list[int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw completions one token at a time, each from the whole sequence so far; gives ids and log-probabilities."""
    ids = torch.tensor([prompt_ids]).repeat(MEMBERS, 1)
    logps: list[Tensor] = []
    for _ in range(LENGTH):
        with torch.no_grad():
            logp = model(input_ids=ids).logits[:, -1].log_softmax(-1)
        drawn = torch.multinomial(logp.exp(), 1, generator=generator)
        logps.append(logp.gather(-1, drawn))
        ids = torch.cat([ids, drawn], dim=1)
    return ids[:, len(prompt_ids) :], torch.cat(logps, dim=1)


def rollouts(model: torch.nn.Module, tokenizer, prompt: str, generator: torch.Generator) -> TrajectoryGroup:
    prompt_ids = tokenizer(prompt)["input_ids"]
    said, logps = sample(model, prompt_ids, generator)
    return TrajectoryGroup(
        trajectory(
            choice(token_ids, prompt_ids=prompt_ids, logprobs=logprobs),
            reward=sum(character.isdigit() for character in tokenizer.decode(token_ids)) / LENGTH,
        )
        for token_ids, logprobs in zip(said.tolist(), logps.tolist(), strict=True)
    )


def test_a_random_model_learns_to_write_digits(tokenizer, tmp_path):
    base = make_base()
    adapted = AdaptedModel(base)
    trainer = Trainer(base, tokenizer, lora=LoRAConfig(), seed=0)
    generator = torch.Generator().manual_seed(0)
    rewards: list[float] = []

    for _ in range(30):
        groups = [rollouts(adapted.model, tokenizer, prompt, generator) for prompt in PROMPTS]
        metrics = trainer.step(groups, TrainConfig(learning_rate=2e-2))
        rewards.append(metrics["reward"])
        # Missing once every rollout earns the same.
        assert abs(metrics.get("ratio", 1.0) - 1) < 1e-3, "the sampler served other weights than the trainer's"
        trainer.save(tmp_path)
        adapted.set(read_adapter(tmp_path, adapted.sizes, device=base.device))

    assert rewards[0] < 0.2
    assert statistics.fmean(rewards[-3:]) > ENOUGH
