"""Learners of each kind over one small model on the disk, and what the tests do with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase
from worlds import random_groups

from art.config import LoRAConfig, TrainConfig
from art.train.learner import Learner
from art.train.ranks.learner import RankedTrainer, RanksLaunch
from art.train.trainer import Trainer

LORA = LoRAConfig(rank=4, dropout=0.3)
# Several micro-batches in each optimiser step, and an odd number of them.
CONFIG = TrainConfig(
    learning_rate=5e-3,
    beta=0.05,
    kl_penalty_coef=0.1,
    truncated_importance_sampling=2.0,
    epochs=2,
    minibatches=2,
    micro_batch_tokens=40,
    schedule="cosine",
    warmup_steps=2,
    total_steps=10,
)


@dataclass(frozen=True, kw_only=True)
class World:
    """A base model, and what makes learners over it."""

    path: Path
    base: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    def one_process(self) -> Trainer:
        return Trainer(self.base, self.tokenizer, lora=LORA, seed=11, base_name=str(self.path))

    def ranks(self, count: int, *, timeout_s: float = 120.0) -> RankedTrainer:
        launch = RanksLaunch(count, timeout_s)
        return RankedTrainer(self.base, self.tokenizer, lora=LORA, seed=11, base_name=str(self.path), launch=launch)


MAKERS: dict[str, Callable[[World], Learner]] = {
    "one process": World.one_process,
    "two ranks": lambda world: world.ranks(2),
}


def take(learner: Learner, *seeds: int) -> list[float]:
    return [learner.step(random_groups(seed=seed), CONFIG)["loss"] for seed in seeds]


def contents(learner: Learner, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    learner.save(folder)
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
