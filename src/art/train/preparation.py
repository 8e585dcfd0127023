"""What a step learns from, read and checked before anything changes; what is left out is said.

Knows a tokenizer and what the base can read; no tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from torch import Tensor

from art.adapter.rope import rope_limit
from art.config import TrainConfig, TrainSFTConfig
from art.train.prepare import AgeOf, Prepared, prepare, say_age, say_what_is_left_out, say_what_is_missing
from art.train.supervised import Lesson, lesson
from art.train.tokenize import ReadingLimits
from art.trajectories import Trajectory, TrajectoryGroup

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Preparation:
    """Reads groups and conversations for one model."""

    def __init__(self, base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.limits = limits_of(base)
        self._tokenizer = tokenizer
        # A step behind is what every loop is that samples while it trains.
        self._said_age = 1

    def groups(self, groups: Sequence[TrajectoryGroup], config: TrainConfig, age_of: AgeOf) -> Prepared:
        """Read groups, and say what is missing; raises `TrainingDataError`."""
        prepared = prepare(groups, self._tokenizer, limits=self.limits, config=config, age_of=age_of)
        say_what_is_missing(prepared)
        self._said_age = say_age(prepared, self._said_age)
        return prepared

    def answers(self, trajectories: Sequence[Trajectory], config: TrainSFTConfig) -> Lesson:
        """Read conversations, and say what is left out; raises `TrainingDataError`."""
        answers = lesson(trajectories, self._tokenizer, limits=self.limits, config=config)
        say_what_is_left_out(answers.skipped)
        return answers


def limits_of(base: PreTrainedModel) -> ReadingLimits:
    """Give what a base model can read."""
    config = base.config.get_text_config(decoder=True)
    embeddings = base.get_input_embeddings()
    return ReadingLimits(
        vocabulary=cast(Tensor, embeddings.weight).shape[0],
        context=getattr(config, "max_position_embeddings", None),
        rope=rope_limit(base.config),
    )
