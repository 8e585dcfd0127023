"""Twins: two branches of one checkpoint that answered the same prompts, compared step by step.

What both have in common cancels out in a difference of pairs, so fewer steps tell two settings apart. Reads recorded
rollouts; what the numbers mean is said where a formula stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist, fmean, stdev

from art.errors import ConfigurationError
from art.names import ModelRef
from art.ops.rollouts import read_rollouts
from art.store.history import TRAIN, HistoryStore
from art.store.store import CheckpointStore

CONFIDENCE, POWER = 0.95, 0.8
MOST_STEPS = 1_000_000
NEARLY_NORMAL = 100


@dataclass(frozen=True, kw_only=True)
class Twins:
    """How much more reward the second branch earned than the first, on the same prompts."""

    first: ModelRef
    second: ModelRef
    steps: tuple[int, ...]
    """The steps after the fork at which both have answered common prompts."""
    pairs: int
    """How many prompts both have answered, added up over the steps."""
    unpaired: int
    """How many only one of them was asked."""
    mean: float
    """Of the steps' differences, the second less the first."""
    low: float | None
    high: float | None
    """The ends of the 95 % interval of the mean; None where there are not two steps."""
    further_steps: int | None
    """How many more steps would settle it with 80 % probability, if it goes on so; 0 when it is settled, None when
    nothing can be said."""

    @property
    def is_settled(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def compare_twins(store: CheckpointStore, first: ModelRef, second: ModelRef) -> Twins:
    """Compare two models; raises `ConfigurationError` where they have no fork or no prompt in common."""
    begin = _common_fork(store, first, second)
    ours, theirs = (_answered(store, model, begin) for model in (first, second))
    steps = sorted(ours.keys() & theirs.keys())
    common = {step: ours[step].keys() & theirs[step].keys() for step in steps}
    differences = {
        step: fmean(theirs[step][key] - ours[step][key] for key in common[step]) for step in steps if common[step]
    }
    if not differences:
        raise ConfigurationError(
            f"{first} and {second} have answered no prompt in common after step {begin}, so there is nothing to pair. "
            "Let both ask the same prompts at the same steps, and train both further."
        )
    low, high, further = interval(list(differences.values()))
    return Twins(
        first=first,
        second=second,
        steps=tuple(differences),
        pairs=sum(len(keys) for keys in common.values()),
        unpaired=sum(len(ours[step].keys() ^ theirs[step].keys()) for step in steps),
        mean=fmean(differences.values()),
        low=low,
        high=high,
        further_steps=further,
    )


def interval(differences: Sequence[float]) -> tuple[float | None, float | None, int | None]:
    """Give the ends of the mean's 95 % interval, and how many differences more would leave 0 outside of it.

    Student's t over the differences. Where neighbours are alike, so many count as are independent: n (1 - r) / (1 + r)
    with r the correlation of neighbours, if it is positive (Zwiers and von Storch, Journal of Climate 8, 1995,
    p. 336; rough below some 30). The number that is needed is the usual one of a paired comparison,
    ((t_0.975 + t_0.8) s / mean)^2, with t of as many degrees of freedom as it leads to.

    >>> [round(number, 3) for number in interval([1.0, -2.0, 1.0, 2.0])]
    [-2.256, 3.256, 93]
    """
    count = len(differences)
    if count < 2:
        return None, None, None
    mean, spread = fmean(differences), stdev(differences)
    independent = max(2.0, count * _share_of_independent(differences))
    margin = t_quantile((1 + CONFIDENCE) / 2, independent - 1) * spread / math.sqrt(independent)
    low, high = mean - margin, mean + margin
    if low > 0 or high < 0:
        return low, high, 0
    needed = _needed(spread / abs(mean)) if mean and spread else None
    further = None if needed is None else max(1, math.ceil(needed * count / independent) - count)
    return low, high, further if further is not None and further <= MOST_STEPS else None


def t_quantile(probability: float, freedom: float) -> float:
    """Give the quantile of Student's t above the median to four digits; `freedom` is rounded down to a whole number.

    The distribution function is a finite sum over angles (Abramowitz and Stegun, 26.7.3 and 26.7.4); of many degrees of
    freedom it is nearly normal (26.7.5).

    >>> round(t_quantile(0.975, 1), 4), round(t_quantile(0.975, 10), 4)
    (12.7062, 2.2281)
    """
    whole = max(1, math.floor(freedom))
    if whole > NEARLY_NORMAL:
        normal = NormalDist().inv_cdf(probability)
        return normal + (normal**3 + normal) / (4 * whole)
    angle = _root(lambda angle: (1 + _within(angle, whole)) / 2 - probability, 0.0, math.pi / 2)
    return math.sqrt(whole) * math.tan(angle)


def _within(angle: float, freedom: int) -> float:
    """Give the probability of |t| up to sqrt(freedom) tan(angle)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    term, total = (cosine, cosine) if freedom % 2 else (1.0, 1.0)
    for number in range(3 if freedom % 2 else 2, freedom - 1, 2):
        term *= cosine**2 * (number - 1) / number
        total += term
    if freedom % 2 == 0:
        return sine * total
    return 2 / math.pi * (angle + (sine * total if freedom > 1 else 0.0))


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return (low + high) / 2


def _needed(spread: float) -> float:
    """Give how many independent differences leave 0 outside; `spread` is in units of the mean."""
    count = 2.0
    for _ in range(50):
        freedom = count - 1
        better = ((t_quantile((1 + CONFIDENCE) / 2, freedom) + t_quantile(POWER, freedom)) * spread) ** 2
        count, before = max(2.0, (better + count) / 2), count
        if abs(count - before) < 0.01:
            break
    return count


def _share_of_independent(differences: Sequence[float]) -> float:
    mean = fmean(differences)
    apart = [difference - mean for difference in differences]
    total = sum(each * each for each in apart)
    alike = sum(one * other for one, other in pairwise(apart)) / total if total else 0.0
    return (1 - alike) / (1 + alike) if alike > 0 else 1.0


def _common_fork(store: CheckpointStore, first: ModelRef, second: ModelRef) -> int:
    hops = [store.select(model).checkpoint.manifest.ancestry[-1:] for model in (first, second)]
    left = [(hop[0].ref, hop[0].digest) if hop else None for hop in hops]
    if left[0] is None or left[0] != left[1]:
        raise ConfigurationError(
            f"{first} and {second} are no twins: they were not forked from one checkpoint. `art diff` compares two "
            "checkpoints of any models."
        )
    return left[0][0].step


def _answered(store: CheckpointStore, model: ModelRef, begin: int) -> Mapping[int, Mapping[str, float]]:
    """Map the steps after the fork to the mean reward of each prompt; at the fork both have the same weights."""
    means_by_step: dict[int, Mapping[str, float]] = {}
    for step in HistoryStore(store.root).trajectory_steps(model, split=TRAIN):
        if step > begin:
            rewards: dict[str, list[float]] = {}
            for group in read_rollouts(store.root, model.at(step), TRAIN):
                rewards.setdefault(group.key, []).append(group.mean)
            means_by_step[step] = {key: fmean(means) for key, means in rewards.items()}
    return means_by_step
