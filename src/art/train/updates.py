"""Which examples make which optimiser step, and which forward pass. Knows sizes only.

As in ART, an optimiser step learns from one sequence of packed tokens: the longest row's length, rounded up, unless the
config says another. Here a sequence is a run of examples in their order, a shared prompt counted once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from art.config import TrainConfig
from art.train.batch import Example, micro_batches
from art.train.tokenize import ReadingLimits

SEQUENCE_STEP = 2048


@dataclass(frozen=True)
class Update:
    """What one optimiser step learns from, as the forward passes it takes."""

    passes: tuple[tuple[Example, ...], ...]

    @property
    def examples(self) -> Iterator[Example]:
        return itertools.chain.from_iterable(self.passes)

    @property
    def loss_tokens(self) -> int:
        return sum(example.loss_tokens for example in self.examples)

    @property
    def trajectories(self) -> int:
        return len({example.trajectory for example in self.examples})


def updates(
    examples: Sequence[Example], config: TrainConfig, *, limits: ReadingLimits, pass_tokens: int
) -> list[Update]:
    """Divide a batch into optimiser steps, in its order."""
    if not examples:
        return []
    runs = (
        _minibatches(examples, config.minibatches)
        if config.minibatches
        else _sequences(examples, config, limits.context)
    )
    return [update_of(run, limits=limits, pass_tokens=pass_tokens) for run in runs]


def update_of(examples: Sequence[Example], *, limits: ReadingLimits, pass_tokens: int) -> Update:
    """Give one optimiser step on these examples."""
    passes = micro_batches(examples, max_tokens=pass_tokens, apart_at=limits.rope)
    return Update(tuple(map(tuple, passes)))


def _sequences(examples: Sequence[Example], config: TrainConfig, context: int | None) -> Iterator[list[Example]]:
    length = config.packed_sequence_length or _sequence_length(examples, context)
    sequences = micro_batches(examples, max_tokens=length)
    while taken := list(itertools.islice(sequences, config.grad_accumulation_sequences or 1)):
        yield list(itertools.chain.from_iterable(taken))


def _sequence_length(examples: Sequence[Example], context: int | None) -> int:
    longest = max(len(example.row.token_ids) for example in examples)
    rounded = math.ceil(longest / SEQUENCE_STEP) * SEQUENCE_STEP
    return rounded if context is None else max(longest, min(rounded, context))


def _minibatches(examples: Sequence[Example], count: int) -> Iterator[list[Example]]:
    """Cut between trajectories, into parts whose numbers of trajectories differ by one at most."""
    rows = [list(rows) for _, rows in itertools.groupby(examples, key=lambda example: example.trajectory)]
    count = min(count, len(rows))
    for part in range(count):
        start, end = (len(rows) * edge // count for edge in (part, part + 1))
        yield list(itertools.chain.from_iterable(rows[start:end]))
