"""Which learner trains over a base: one process, or as many ranks as the backend was told."""

from __future__ import annotations

from art.config import LoRAConfig
from art.local.bases import Base
from art.train.learner import Learner
from art.train.ranks.learner import RankedTrainer, RanksLaunch
from art.train.trainer import Trainer


def open_learner(base: Base, *, lora: LoRAConfig, seed: int) -> Learner:
    """Give a learner; one of several ranks starts them with its first call."""
    name = base.info.id
    if base.ranks == 1:
        return Trainer(base.module, base.tokenizer, lora=lora, seed=seed, base_name=name)
    launch = RanksLaunch(base.ranks)
    return RankedTrainer(base.module, base.tokenizer, lora=lora, seed=seed, base_name=name, launch=launch)
