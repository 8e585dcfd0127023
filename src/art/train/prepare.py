"""From groups of trajectories to examples, in an order that does not depend on when each rollout came back.

Knows rewards and tokens; everything that can be wrong with the data is found here, before anything changes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from art.config import TrainConfig
from art.errors import TrainingDataError
from art.train.advantage import standard_deviation
from art.train.batch import Example
from art.train.credit import Credit, Earned, credits_of
from art.train.tokenize import Reading, ReadingLimits, Row, Span, trajectory_rows
from art.trajectories import MAX_REWARD, Trajectory, TrajectoryGroup, as_choice

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


logger = logging.getLogger(__name__)


AgeOf = Callable[[str], int | None]
"""Tells how many training steps ago a version of the weights was the newest, None for one that never was."""


def unknown_age(_: str) -> int | None:
    """Know no version."""
    return None


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a step learns from, and what to report about its rewards."""

    examples: list[Example]
    """Only those of groups with something to teach."""
    metrics: dict[str, float]
    """Means of the rewards, and how much of what there was."""
    skipped: list[str]
    """Why each trajectory that cannot be trained on cannot be."""

    @property
    def loss_tokens(self) -> int:
        return sum(example.loss_tokens for example in self.examples)


@dataclass(frozen=True)
class _Member:
    """A trajectory of a group: what it earned, and its rows, none where it cannot be trained on."""

    earned: Earned
    rows: tuple[Row, ...]


def prepare(
    groups: Sequence[TrajectoryGroup],
    tokenizer: PreTrainedTokenizerBase,
    *,
    limits: ReadingLimits,
    config: TrainConfig,
    age_of: AgeOf = unknown_age,
) -> Prepared:
    """Check and tokenise a step's groups.

    A trajectory that cannot be trained on is left out; its reward, if it has one, still counts in its group's mean.
    Raises `TrainingDataError` for a group that was not awaited and, if the config is strict, for what is left out.
    """
    _check_awaited(groups)
    reader = _Reader(tokenizer=tokenizer, limits=limits, config=config, age_of=age_of)
    members = [list(reader.members(group, place)) for place, group in enumerate(groups)]
    if config.strict and not any(members):
        raise _nothing(groups)
    credits = credits_of([[member.earned for member in group] for group in members], config)
    return Prepared(
        examples=_examples(members, credits, config),
        metrics={
            **_reward_metrics(members),
            **_age_metrics(members),
            **_token_metrics(members),
            "trajectories": float(sum(map(len, members))),
            "trajectories_skipped": float(len(reader.skipped)),
            "groups": float(len(groups)),
            "groups_without_signal": float(credits.count(None)),
        },
        skipped=reader.skipped,
    )


def say_what_is_missing(prepared: Prepared) -> None:
    """Log, in one line each, what was left out and that nothing is left to learn from."""
    say_what_is_left_out(prepared.skipped)
    if not prepared.examples:
        logger.warning("%s The step is counted and saved, and the weights stay as they are.", _why_nothing(prepared))


def say_age(prepared: Prepared, threshold: int) -> int:
    """Log how old the oldest answers are, if more than `threshold` steps; give what is said by now."""
    oldest = int(prepared.metrics.get("age_max", 0))
    if oldest > threshold:
        logger.warning("Training learns from answers that are up to %d training steps old.", oldest)
    return max(oldest, threshold)


def say_what_is_left_out(skipped: Sequence[str]) -> None:
    """Log the first reason why a trajectory is left out, and how many more are."""
    if skipped:
        more = f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
        logger.warning("Left out of this step: %s%s", skipped[0], more)


def say_what_strayed(metrics: Mapping[str, float]) -> None:
    """Log how many rows are left out because trainer and sampler are far apart on them."""
    if rows := int(metrics.get("rows_diverged", 0)):
        logger.warning(
            "Left out of this step: %d of %d rows, whose tokens the trainer finds far more or less likely than their "
            "sampler did. They were sampled in another context than their trajectories tell: see max_divergence.",
            rows,
            int(metrics["rows"]),
        )


def _why_nothing(prepared: Prepared) -> str:
    groups, silent = (int(prepared.metrics[name]) for name in ("groups", "groups_without_signal"))
    if not prepared.metrics["trajectories"]:
        return f"Of {groups} groups none has a trajectory to learn from."
    if silent == groups:
        return (
            f"In each of {groups} groups all rewards are equal, so there is nothing to learn from them. Ask for more "
            "answers to a prompt, sample at a higher temperature, or reward in finer grades."
        )
    return "No trajectory of a group whose rewards differ can be trained on."


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """Reads trajectories, and keeps why some cannot be trained on."""

    tokenizer: PreTrainedTokenizerBase
    limits: ReadingLimits
    config: TrainConfig
    age_of: AgeOf
    skipped: list[str] = field(default_factory=list)

    def members(self, group: TrajectoryGroup, place: int) -> Iterator[_Member]:
        for number, trajectory in enumerate(group.trajectories):
            where = f"Group {place}, trajectory {number}"
            earned: Earned | None = None
            rows: tuple[Row, ...] = ()
            try:
                earned = _earned(trajectory, where=where)
                rows = self._rows(trajectory, where)
            except TrainingDataError as error:
                if self.config.strict:
                    raise
                self.skipped.append(str(error))
            if earned is not None:
                yield _Member(earned, rows)

    def _rows(self, trajectory: Trajectory, where: str) -> tuple[Row, ...]:
        reading = Reading.SPOKEN if self.config.allow_training_without_logprobs else Reading.SAMPLED
        rows = trajectory_rows(trajectory, self.tokenizer, limits=self.limits, where=where, reading=reading)
        dated = [replace(row, spans=tuple(self._dated(span, where) for span in row.spans)) for row in rows]
        return tuple(row for row in dated if not all(span.masked for span in row.spans))

    def _dated(self, span: Span, where: str) -> Span:
        age = None if span.version is None else self.age_of(span.version)
        most = self.config.max_age
        if most is not None and (age or 0) > most:
            raise TrainingDataError(f"{where}: it was sampled {age} training steps ago; max_age is {most}.")
        return replace(span, age=age, masked=span.truncated and self.config.mask_truncated)


def _examples(
    members: Sequence[Sequence[_Member]], credits: Sequence[Sequence[Credit] | None], config: TrainConfig
) -> list[Example]:
    """Give the examples group by group, each group's in the order of what is in them."""
    examples: list[Example] = []
    for group, credits_G in zip(members, credits, strict=True):
        if credits_G is None:
            continue
        # A zero advantage still counts: its tokens are in the loss's denominator and its divergence in the loss.
        credited_rows = [_credited(member, credit, config) for member, credit in zip(group, credits_G, strict=True)]
        for rows in sorted(credited_rows, key=lambda rows: [_canonical(example) for example in rows]):
            number = examples[-1].trajectory + 1 if examples else 0
            examples += [replace(example, trajectory=number) for example in rows]
    return examples


def _credited(member: _Member, credit: Credit, config: TrainConfig) -> list[Example]:
    tokens = sum(len(span.logprobs) for row in member.rows for span in row.spans if not span.masked)
    examples = [
        Example(
            row=row,
            advantages=tuple(credit.of(span.turn, balance=config.advantage_balance) for span in row.spans),
            trajectory=0,
            trajectory_tokens=tokens,
        )
        for row in member.rows
    ]
    return sorted(examples, key=_canonical)


def _canonical(example: Example) -> tuple[object, ...]:
    """Order rows by what is in them, to the last number that enters the loss."""
    row = example.row
    return row.token_ids, example.advantages, tuple(map(_numbers, row.spans)), example.trajectory_tokens


def _numbers(span: Span) -> tuple[object, ...]:
    return span.start, tuple(logp if math.isfinite(logp) else -math.inf for logp in span.logprobs), span.temperature


def _reward_metrics(members: Sequence[Sequence[_Member]]) -> dict[str, float]:
    rewards = [[member.earned.reward for member in group] for group in members if group]
    if not rewards:
        return {}
    every = [reward for group in rewards for reward in group]
    return {
        "reward": math.fsum(every) / len(every),
        "reward_std": math.fsum(map(standard_deviation, rewards)) / len(rewards),
    }


def _age_metrics(members: Sequence[Sequence[_Member]]) -> dict[str, float]:
    """Give how old the answers are, where anybody knows."""
    spans = [span for group in members for member in group for row in member.rows for span in row.spans]
    known = [span.age for span in spans if span.age is not None]
    return {"age": sum(known) / len(known), "age_max": float(max(known))} if known else {}


def _token_metrics(members: Sequence[Sequence[_Member]]) -> dict[str, float]:
    """Count the tokens that the model wrote, and those that it was given; groups that teach nothing cost as much."""
    rows = [row for group in members for member in group for row in member.rows]
    written = sum(len(span.logprobs) for row in rows for span in row.spans)
    return {"tokens_in": float(sum(len(row.token_ids) for row in rows) - written), "tokens_out": float(written)}


def _earned(trajectory: Trajectory, *, where: str) -> Earned:
    whole, *of_turns = map(_number, (trajectory.reward, *trajectory.turn_rewards))
    for reward, number in zip((trajectory.reward, *trajectory.turn_rewards), (whole, *of_turns), strict=True):
        if not abs(number) <= MAX_REWARD:
            raise TrainingDataError(
                f"{where}: its reward is {reward}. Rewards are finite numbers, of {MAX_REWARD:g} at most; raise an "
                "exception in the rollout instead, and the group goes on without it."
            )
    turns = sum(as_choice(item) is not None for item in trajectory.messages_and_choices)
    if trajectory.turn_rewards and len(trajectory.turn_rewards) != turns:
        raise TrainingDataError(
            f"{where}: it has {len(trajectory.turn_rewards)} turn_rewards and {turns} Choices. Each Choice of the main "
            "conversation has one, in order."
        )
    return Earned(whole, tuple(of_turns))


def _number(reward: object) -> float:
    """Give the number that a script has set, also one of NumPy or torch; NaN for anything else."""
    try:
        return math.nan if isinstance(reward, str | bytes) else float(reward)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last is torch's, for a tensor of several
        return math.nan


def _check_awaited(groups: Sequence[TrajectoryGroup]) -> None:
    for place, group in enumerate(groups):
        if group.pending:
            raise TrainingDataError(
                f"Group {place} has rollouts that were not awaited. Await it, or use art.gather_trajectory_groups."
            )


def _nothing(groups: Sequence[TrajectoryGroup]) -> TrainingDataError:
    failures = [error for group in groups for error in group.exceptions]
    cause = f" The first of {len(failures)} exceptions: {failures[0]!r}" if failures else ""
    return TrainingDataError(
        f"None of {len(groups)} groups has a trajectory; look at why every rollout failed.{cause}"
        if groups
        else "There are no groups to train on. Pass at least one TrajectoryGroup."
    )
