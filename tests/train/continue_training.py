"""Takes the second half of a training, in a process of its own: from one folder, into another."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from worlds import make_base, random_groups

from art.config import LoRAConfig, TrainConfig
from art.train.trainer import Trainer
from small import byte_tokenizer

CONFIG = TrainConfig(
    learning_rate=5e-3,
    beta=0.05,
    kl_penalty_coef=0.1,
    truncated_importance_sampling=2.0,
    epochs=2,
    minibatches=2,
    schedule="cosine",
    warmup_steps=2,
    total_steps=10,
)
FIRST_HALF, SECOND_HALF = range(3), range(3, 6)


def make_trainer(*, dtype: str, dropout: float) -> Trainer:
    base = make_base("llama", dtype=getattr(torch, dtype))
    return Trainer(base, byte_tokenizer(), lora=LoRAConfig(rank=4, dropout=dropout), seed=11)


def take_steps(trainer: Trainer, seeds: range) -> list[float]:
    return [trainer.step(random_groups(seed=seed), CONFIG)["loss"] for seed in seeds]


def main(dtype: str, dropout: str, source: str, target: str) -> None:
    torch.set_num_threads(1)
    trainer = make_trainer(dtype=dtype, dropout=float(dropout))
    trainer.load(Path(source))
    print(json.dumps(take_steps(trainer, SECOND_HALF)))  # noqa: T201 - read by the test
    Path(target).mkdir()
    trainer.save(Path(target))


if __name__ == "__main__":
    main(*sys.argv[1:])
