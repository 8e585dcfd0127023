"""Supervised fine-tuning from a file of conversations, as scripts import it from `art.utils.sft`."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import ValidationError

from art.absent import instead_in
from art.config import TrainSFTConfig
from art.errors import TrainingDataError
from art.trajectories import Trajectory

if TYPE_CHECKING:
    from art.backend import TrainResult
    from art.model import TrainableModel

Schedule = Literal["cosine", "linear", "constant"]


@dataclass(frozen=True, kw_only=True)
class SFTChunk:
    """Some batches of a data set, for one call of `model.train_sft`."""

    trajectories: list[Trajectory]
    config: TrainSFTConfig
    step: int
    """How many batches come before it, over all epochs."""
    epoch: int
    epoch_step: int
    """How many batches come before it in its epoch."""


def create_lr_schedule(
    total_steps: int, peak_lr: float, method: Schedule = "linear", warmup_steps: int = 0, min_lr: float = 0.0
) -> list[float]:
    """Give a rate for each step: up from `min_lr` over the warm-up, then down to it, or level.

    >>> create_lr_schedule(5, 1.0, warmup_steps=2)
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    span = peak_lr - min_lr
    down = max(1, total_steps - warmup_steps - 1)

    def rate(step: int) -> float:
        if step < warmup_steps:
            return min_lr + span * (step + 1) / warmup_steps
        left = 1 - (step - warmup_steps) / down
        share = {"constant": 1.0, "linear": left, "cosine": (1 - math.cos(math.pi * left)) / 2}
        return min_lr + span * share[method]

    return [rate(step) for step in range(total_steps)]


def get_file_row_count(file_path: str | Path) -> int:
    """Count the conversations of a file."""
    return sum(1 for _ in _lines(file_path))


def iterate_file(
    file_path: str | Path,
    epochs: int = 1,
    shuffle_buffer_size: int = 10_000,
    seed: int = 42,
    initial_skip: int = 0,
) -> Iterator[Trajectory]:
    """Yield the conversations of a file, each epoch in another order, which the seed and the epoch alone decide.

    A line is an object with `messages` and, if there are any, `tools`. Files larger than memory are read as they come:
    the order is drawn within `shuffle_buffer_size` lines.
    """
    draws = (_order(seed, epoch) for epoch in range(epochs))
    orders = (_shuffled(_lines(file_path), draw, shuffle_buffer_size) for draw in draws)
    for number, line in itertools.islice(itertools.chain.from_iterable(orders), initial_skip, None):
        yield _conversation(line, where=f"{file_path}, line {number}")


def create_sft_dataset_iterator(
    trajectories: Sequence[Trajectory],
    chunk_size: int = 10,
    epochs: int = 1,
    batch_size: int = 2,
    peak_lr: float = 2e-4,
    schedule_type: Schedule = "linear",
    warmup_ratio: float = 0.1,
    shuffle: bool = True,
    seed: int = 42,
    initial_step: int = 0,
    show_progress: bool = True,
) -> Iterator[SFTChunk]:
    """Yield a data set in chunks of `chunk_size` batches: each is for a `model.train_sft`, and so for a checkpoint.

    `initial_step` counts batches; chunks before it are passed over. `show_progress` draws a bar.
    """
    from tqdm.auto import tqdm

    per_epoch = math.ceil(len(trajectories) / batch_size)
    rates = create_lr_schedule(per_epoch * epochs, peak_lr, schedule_type, int(per_epoch * epochs * warmup_ratio))
    starts = [(epoch, start) for epoch in range(epochs) for start in range(0, per_epoch, chunk_size)]
    for epoch, start in tqdm(starts, desc="SFT", unit="chunk", disable=not show_progress):
        step = epoch * per_epoch + start
        if step + min(chunk_size, per_epoch - start) <= initial_step:
            continue
        order = list(trajectories)
        if shuffle:
            _order(seed, epoch).shuffle(order)
        yield SFTChunk(
            trajectories=order[start * batch_size : (start + chunk_size) * batch_size],
            config=TrainSFTConfig(
                learning_rate=rates[step : epoch * per_epoch + min(start + chunk_size, per_epoch)],
                batch_size=batch_size,
            ),
            step=step,
            epoch=epoch,
            epoch_step=start,
        )


async def train_sft_from_file(
    model: TrainableModel[Any],
    file_path: str | Path,
    epochs: int = 1,
    batch_size: int = 2,
    peak_lr: float = 2e-4,
    schedule_type: Schedule = "linear",
    warmup_ratio: float = 0.1,
    initial_step: int = 0,
    final_step: int | None = None,
    _config: dict[str, Any] | None = None,
    verbose: bool = False,
    shuffle_buffer_size: int = 10_000,
    log_metrics: bool = True,
    assistant_turns: Literal["all", "last"] = "all",
) -> TrainResult | None:
    """Learn the answers of a file of conversations, in one training step; None where there is none to learn.

    `initial_step` and `final_step` count batches of the whole schedule.
    """
    batches = math.ceil(get_file_row_count(file_path) * epochs / batch_size)
    rates = create_lr_schedule(batches, peak_lr, schedule_type, int(batches * warmup_ratio))[initial_step:final_step]
    if not rates:
        return None
    conversations = iterate_file(
        file_path, epochs, shuffle_buffer_size=shuffle_buffer_size, initial_skip=initial_step * batch_size
    )
    config = TrainSFTConfig(learning_rate=rates, batch_size=batch_size, assistant_turns=assistant_turns)
    learned = list(itertools.islice(conversations, len(rates) * batch_size))
    return await model.train_sft(learned, config, _config, verbose, log_metrics)


def _lines(file_path: str | Path) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a file that hold something."""
    with Path(file_path).open(encoding="utf-8", newline="\n") as file:
        yield from ((number, line) for number, line in enumerate(file, start=1) if line.strip())


def _order(seed: int, epoch: int) -> random.Random:
    return random.Random(seed + epoch)  # noqa: S311 - an order is no secret


def _shuffled(lines: Iterable[tuple[int, str]], draw: random.Random, buffer_size: int) -> Iterator[tuple[int, str]]:
    held: list[tuple[int, str]] = []
    for line in lines:
        held.append(line)
        if len(held) >= buffer_size:
            yield held.pop(draw.randrange(len(held)))
    draw.shuffle(held)
    yield from held


def _conversation(line: str, *, where: str) -> Trajectory:
    try:
        values = cast("dict[str, Any]", json.loads(line))
        # `functions` is what older files call their tools.
        older: list[Any] = [{"type": "function", "function": each} for each in values.get("functions") or ()]
        return Trajectory(messages_and_choices=list(values["messages"]), tools=values.get("tools") or older or None)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ValidationError) as error:
        raise TrainingDataError(f"{where} is not an object with messages: {error!r}.") from error


__getattr__ = instead_in(__name__)
