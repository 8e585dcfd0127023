"""From conversations to the batches of supervised fine-tuning: the loss is on the answers alone.

An answer that was sampled keeps the tokens it was sampled as; one that is only text is spelled by the chat template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

from art.config import TrainConfig, TrainSFTConfig
from art.errors import TrainingDataError
from art.train.batch import Example
from art.train.loss.vectors import Vectors
from art.train.tokenize import Reading, ReadingLimits, Row, trajectory_rows
from art.trajectories import Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What supervised fine-tuning learns from: an optimiser step for each batch, with its learning rate."""

    batches: list[tuple[list[Example], float]]
    skipped: list[str]
    """Why each trajectory that cannot be trained on cannot be."""


def cross_entropy(vectors: Vectors) -> Tensor:
    """Give each token's surprise."""
    return -vectors.logp_N


def as_policy_gradient(config: TrainSFTConfig) -> TrainConfig:
    """Give the training step of which supervised fine-tuning is a case: every token of an answer weighs the same."""
    shared = ("betas", "adam_epsilon", "weight_decay", "max_grad_norm")
    return TrainConfig(loss=cross_entropy, aggregate="token", **{name: getattr(config, name) for name in shared})


def lesson(
    trajectories: Sequence[Trajectory],
    tokenizer: PreTrainedTokenizerBase,
    *,
    limits: ReadingLimits,
    config: TrainSFTConfig,
) -> Lesson:
    """Read trajectories, in their order, as batches; raises `TrainingDataError` if the config is strict."""
    made: list[tuple[list[Example], float]] = []
    skipped: list[str] = []
    for batch, start in enumerate(range(0, len(trajectories), config.trajectories)):
        rate = config.rate_of(batch)
        examples: list[Example] = []
        for number, trajectory in enumerate(trajectories[start : start + config.trajectories], start=start):
            try:
                rows = trajectory_rows(
                    trajectory, tokenizer, limits=limits, where=f"Trajectory {number}", reading=Reading.SPOKEN
                )
            except TrainingDataError as error:
                if config.strict:
                    raise
                skipped.append(str(error))
                continue
            examples += _examples(rows, number, config)
        if examples:
            made.append((examples, rate))
    return Lesson(batches=made, skipped=skipped)


def counted(trajectories: Sequence[Trajectory], lesson: Lesson) -> dict[str, float]:
    """Give how many conversations there were, and how many were left out."""
    return {"trajectories": float(len(trajectories)), "trajectories_skipped": float(len(lesson.skipped))}


def _examples(rows: Sequence[Row], number: int, config: TrainSFTConfig) -> list[Example]:
    learned = [_learned(row, config) for row in rows]
    tokens = sum(len(span.logprobs) for row in learned for span in row.spans if not span.masked)
    return [
        Example(row=row, advantages=(1.0,) * len(row.spans), trajectory=number, trajectory_tokens=tokens)
        for row in learned
    ]


def _learned(row: Row, config: TrainSFTConfig) -> Row:
    """Give a row whose answers are learned at temperature 1, all of them or the last."""
    last = len(row.spans) - 1
    return replace(
        row,
        spans=tuple(
            replace(span, temperature=1.0, masked=config.assistant_turns == "last" and place < last)
            for place, span in enumerate(row.spans)
        ),
    )
