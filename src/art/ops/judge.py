"""Where a run went wrong, judged against the run's own range: pure functions over its series.

A value has left its range for good when no later one came back into it. Knows rewards and training's own metrics;
knows no store. docs/design/judging.md says what the thresholds find and miss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from art.ops.judgement import Evidence, Judgement, State
from art.ops.series import Point, Series

REWARD = "train/reward"
HELD_OUT = "val/reward"
BEFORE = 3
"""How many values at the beginning are what a run started from."""
RANGE_SIGMAS = 3.0
LOST_AT_LEAST = 0.25
"""The share of the level, or of the range that was seen, that must be lost for a fall to be one."""
GAINED_LOST = 0.5
"""The share of what had been gained since the start that must be lost."""
TOTAL_LOSS = 0.6
"""The same for a fall that is believed after two steps."""
NOISE_LOST = 6.0
"""Times the standard error of the mean of the last values."""
STEPS_OF_A_TOTAL_LOSS, STEPS_OF_A_LOSS = 2, 5
FEWEST_BEFORE = 4
"""A run has a level to lose only after so many values."""
LEAST_NOISE_OF_FEW = 0.1
"""A few values tell little of the noise, which counts as this share of the level at least, until there are ten."""
CONFIRMED_NOISE, STEPS_OF_A_CONFIRMED = 3.5, 2
"""The standard deviations that must be lost in a fall that another signal confirms, and the steps that show it."""
LOST_WITH_ANOTHER, LOST_TO_A_HACK = 0.3, 0.2
"""The share that must be lost then: where another signal went bad too, and where the training reward rose meanwhile."""
SILENT_STEPS = 5
SOLVED = 0.05
"""How far below its level a reward may be, as a share of it, and count as that of a solved task."""
LUCK = 0.025
"""How far above what a solved task earns its best single step may lie."""
STILL_HEARD = 0.5
"""The share of silent groups, over the steps before, that a task has passed when it is about to be solved."""
LOOK_BACK = 10
CALM_STEPS = 5
"""A signal has a level to leave only after so many steps before the look back."""
LEAST_NOISE = 0.01
DRIFT = "train/approx_kl"
DRIFTS = ((5, 10.0, 0.05), (3, 25.0, 0.25), (2, 100.0, 0.75))
"""For so many steps trainer and sampler must be so many times as far apart as in the median before, and by nats."""


@dataclass(frozen=True, kw_only=True)
class Signal:
    """A metric beside the reward, and when it counts as out of range."""

    metric: str
    words: str
    factor: float
    """Times its level: above 1 it must rise, below 1 it must fall."""
    least: float = 0.0
    """A rise counts from here on only."""
    decides: bool = True
    """Whether it can move the last good step; entropy cannot, for healthy runs lose most of it."""


SIGNALS = (
    Signal(metric="train/grad_norm", words="gradient norm tripled", factor=3.0),
    Signal(metric="train/entropy", words="entropy fell below half", factor=0.5, decides=False),
    Signal(metric="train/approx_kl", words="KL from the sampler quadrupled", factor=4.0, least=0.01),
    Signal(metric="train/kl", words="KL from the reference quadrupled", factor=4.0, least=0.01),
    Signal(metric="train/clip_fraction", words="clipped share tripled", factor=3.0, least=0.05),
    Signal(metric="train/malformed", words="malformed answers over 20 %", factor=2.0, least=0.2),
    Signal(metric="train/truncated", words="truncated answers over 20 %", factor=2.0, least=0.2),
)
NARROWING = next(signal for signal in SIGNALS if signal.metric == "train/entropy")
UNDECIDED = frozenset(signal.metric for signal in SIGNALS if not signal.decides)


def judge(series: Series) -> Judgement:
    """Judge a run by its whole past, forks stitched."""
    rewards, held_out = series.points(REWARD), series.points(HELD_OUT)
    now = rewards[-1][1] if rewards else None
    if fall := fall_of(rewards):
        return _alarm(State.COLLAPSED, series, rewards, fall)
    if fall := _fell_with_held_out(rewards, held_out):
        return _alarm(State.COLLAPSED, series, rewards, fall)
    if fall := fall_of(held_out):
        return _alarm(State.HELD_OUT_FELL, series, held_out, fall)
    if fall := _confirmed(series, rewards, held_out):
        return _alarm(State.HELD_OUT_FELL, series, held_out, fall)
    if judgement := _drift(series, rewards) or _silence(series, rewards):
        return judgement
    return Judgement(state=State.HEALTHY if rewards or held_out else State.UNKNOWN, now=now)


@dataclass(frozen=True)
class Fall:
    """Where values left their range for good: the place of the first one outside, and the level before."""

    index: int
    level: float
    noise: float


def fall_of(points: Sequence[Point]) -> Fall | None:
    """Find where values fell and never came back; None when they did not.

    The level is the best mean of neighbouring values. What is left of it at the end is the mean of the last few.
    """
    values = [value for _, value in points]
    for last in (STEPS_OF_A_LOSS, STEPS_OF_A_TOTAL_LOSS):
        before, after = values[:-last], values[-last:]
        if len(before) < (LOOK_BACK if last == STEPS_OF_A_LOSS else FEWEST_BEFORE):
            continue
        level, reached = _best_level(before)
        noise = _noise(before, level)
        lost = level - fmean(after)
        if lost < _needed(before[: reached + 1], level, noise, last):
            continue
        index = _left_for_good(values, level - RANGE_SIGMAS * noise)
        if index is not None and index > 1 and len(values) - index >= last:
            return Fall(index, level, noise)
    return None


def _best_level(values: Sequence[float]) -> tuple[float, int]:
    """Give the best mean of as many neighbours as there are values for, and the place of the last of them."""
    width = max(1, min(LOOK_BACK, len(values) // 2))
    return max((fmean(values[end - width : end]), end - 1) for end in range(width, len(values) + 1))


def _needed(before: Sequence[float], level: float, noise: float, last: int) -> float:
    """Give how much must be lost: of the level or the range, of the gain, and more than noise takes."""
    scale = max(abs(level), max(before) - min(before))
    share = LOST_AT_LEAST if last == STEPS_OF_A_LOSS else TOTAL_LOSS
    gained = level - fmean(before[:BEFORE])
    return max(share * scale, GAINED_LOST * gained, NOISE_LOST * noise / last**0.5)


def _left_for_good(values: Sequence[float], bound: float) -> int | None:
    """Give the place from which on all values lie below a bound."""
    inside = max((place for place, value in enumerate(values) if value >= bound), default=None)
    return None if inside is None else inside + 1


def _noise(values: Sequence[float], level: float) -> float:
    """Estimate the standard deviation around a trend, from second differences; their variance is six times as large."""
    bends = [abs(a - 2 * b + c) for a, b, c in zip(values, values[1:], values[2:], strict=False)]
    if len(values) < LOOK_BACK:
        # The largest of a few, for their median may be small by chance.
        return max(max(bends, default=0.0) / 6**0.5, LEAST_NOISE_OF_FEW * abs(level))
    scale = max(values) - min(values)
    return max(1.4826 * median(bends) / 6**0.5, LEAST_NOISE * (scale or abs(values[-1])))


def _fell_with_held_out(rewards: Sequence[Point], held_out: Sequence[Point]) -> Fall | None:
    """Find that the training reward began to fall, and the held-out reward with it: two measurements, and no chance."""
    fall, other = (_short_fall(points, LOST_WITH_ANOTHER) for points in (rewards, held_out))
    return fall if fall and other else None


def _confirmed(series: Series, rewards: Sequence[Point], held_out: Sequence[Point]) -> Fall | None:
    """Find that the held-out reward began to fall, where another signal says that it is no chance.

    The training reward rose out of its range, as in a hack, or the answers became alike.
    """
    fall = _short_fall(held_out, LOST_TO_A_HACK)
    if fall is None:
        return None
    onset = held_out[fall.index][0]
    if _rises(rewards, onset):
        return fall
    fall = _short_fall(held_out, LOST_WITH_ANOTHER)
    return fall if fall and _is_narrow(series, onset) else None


def _short_fall(points: Sequence[Point], share: float) -> Fall | None:
    """Find that the last two values lost a share of the level, and more than noise takes."""
    values = [value for _, value in points]
    before, after = values[:-STEPS_OF_A_CONFIRMED], values[-STEPS_OF_A_CONFIRMED:]
    if len(before) < LOOK_BACK:
        return None
    level, _ = _best_level(before)
    noise = _noise(before, level)
    scale = max(abs(level), max(before) - min(before))
    lost = level - fmean(after)
    if lost < max(share * scale, CONFIRMED_NOISE * noise):
        return None
    index = _left_for_good(values, level - CONFIRMED_NOISE / 2 * noise)
    if index is None or len(values) - index < STEPS_OF_A_CONFIRMED:
        return None
    return Fall(index, level, noise)


def _is_narrow(series: Series, onset: int) -> bool:
    """Tell whether the answers became alike around a step, and are so now."""
    seen = _evidence(NARROWING, series, max(0, onset - LOOK_BACK), onset)
    last = series.points(NARROWING.metric)[-STEPS_OF_A_CONFIRMED:]
    return seen is not None and all(_is_out(NARROWING, value, seen.baseline) for _, value in last)


def _rises(rewards: Sequence[Point], onset: int) -> bool:
    """Tell whether the training reward left its range upwards not long before a step."""
    before = [value for step, value in rewards if step < onset - LOOK_BACK]
    after = [value for step, value in rewards if step >= onset - LOOK_BACK]
    if len(before) < LOOK_BACK or not after:
        return False
    level, _ = _best_level(before)
    gained = max(before) - min(before)
    return fmean(after[-STEPS_OF_A_CONFIRMED:]) > level + max(gained, RANGE_SIGMAS * _noise(before, level))


def _alarm(state: State, series: Series, points: Sequence[Point], fall: Fall) -> Judgement:
    onset = points[fall.index][0]
    first = points[max(0, fall.index - LOOK_BACK)][0]
    evidence = [seen for signal in SIGNALS if (seen := _evidence(signal, series, first, onset))]
    is_held_out = state is State.HELD_OUT_FELL
    noun, metric = ("held-out reward", HELD_OUT) if is_held_out else ("reward", REWARD)
    value = points[fall.index][1]
    evidence.append(
        Evidence(metric=metric, step=onset, value=value, baseline=fall.level, text=f"{noun} left its range for good")
    )
    first_sign = min(seen.step for seen in evidence if seen.metric not in UNDECIDED)
    good = [step for step, value in points if step < first_sign and value >= fall.level - RANGE_SIGMAS * fall.noise]
    return Judgement(
        state=state,
        onset=onset,
        last_good=max(good, default=None),
        level=fall.level,
        now=points[-1][1],
        evidence=tuple(sorted(evidence, key=lambda seen: seen.step)),
    )


def _evidence(signal: Signal, series: Series, first: int, onset: int) -> Evidence | None:
    """Find where a signal left its level, at `first` or later and not long after the onset, and stayed out."""
    points = series.points(signal.metric)
    calm = [value for step, value in points if step <= first]
    if len(calm) < CALM_STEPS:
        return None
    level = median(calm[-3 * LOOK_BACK :])
    near = [(step, value) for step, value in points if first < step <= onset + LOOK_BACK]
    for (step, value), (_, after) in zip(near, [*near[1:], *near[-1:]], strict=True):
        if _is_out(signal, value, level) and _is_out(signal, after, level):
            return Evidence(metric=signal.metric, step=step, value=value, baseline=level, text=signal.words)
    return None


def _is_out(signal: Signal, value: float, level: float) -> bool:
    if signal.factor < 1:
        return value < signal.factor * level
    return value > max(signal.factor * level, signal.least)


def _drift(series: Series, rewards: Sequence[Point]) -> Judgement | None:
    """Find that the trainer has been far from the sampler for some steps, and was not before."""
    points = series.points(DRIFT)
    for steps, factor, least in DRIFTS:
        before, after = points[:-steps], points[-steps:]
        level = median(value for _, value in before) if len(before) >= CALM_STEPS else math.inf
        bound = max(factor * level, least)
        if min((value for _, value in after), default=0.0) >= bound:
            return _drifted(points, rewards, level)
    return None


def _drifted(points: Sequence[Point], rewards: Sequence[Point], level: float) -> Judgement:
    _, factor, least = DRIFTS[0]
    bound = max(factor * level, least)
    calm = max(place for place, (_, value) in enumerate(points) if value < bound)
    onset, value = points[calm + 1]
    text = "trainer and sampler drifted apart"
    return Judgement(
        state=State.DRIFTED,
        onset=onset,
        last_good=max((step for step, _ in rewards if step < onset), default=None),
        level=level,
        now=points[-1][1],
        evidence=(Evidence(metric=DRIFT, step=onset, value=value, baseline=level, text=text),),
    )


def _silence(series: Series, rewards: Sequence[Point]) -> Judgement | None:
    """Find that no group has differed in reward for some steps, though the reward was better before."""
    groups, silent = series.points("train/groups"), dict(series.points("train/groups_without_signal"))
    quiet = [step for step, count in groups if silent.get(step) == count]
    last = [step for step, _ in groups][-SILENT_STEPS:]
    if len(last) < SILENT_STEPS or not set(last) <= set(quiet) or not rewards:
        return None
    heard = [step for step, _ in groups if step not in set(quiet)]
    onset = min(step for step in quiet if step > max(heard, default=-1))
    # A mean, for the best single step of a solved task was a lucky one.
    level, _ = _best_level([value for _, value in rewards])
    if rewards[-1][1] >= level - SOLVED * max(abs(level), 1.0) and not _went_silent(rewards, groups, silent, onset):
        return None  # solved: every answer is about as good as the best
    text = "all answers of every group earn the same"
    seen = Evidence(metric="train/groups_without_signal", step=onset, value=silent[onset], baseline=0.0, text=text)
    good = max((step for step in heard if step < onset), default=None)
    return Judgement(
        state=State.NO_SIGNAL, onset=onset, last_good=good, level=level, now=rewards[-1][1], evidence=(seen,)
    )


def _went_silent(rewards: Sequence[Point], groups: Sequence[Point], silent: Mapping[int, float], onset: int) -> bool:
    """Tell whether groups fell silent all at once, and at less than was earned before.

    A solved task falls silent group by group, or at the best reward that there is. A broken reward does neither.
    """
    before = [(step, count) for step, count in groups if step < onset and count][-LOOK_BACK:]
    shares = [silent.get(step, 0.0) / count for step, count in before]
    best = max((value for step, value in rewards if step < onset), default=-math.inf)
    is_less = rewards[-1][1] < best - LUCK * max(abs(best), 1.0)
    return is_less and len(shares) >= CALM_STEPS and fmean(shares[-BEFORE:]) < STILL_HEARD
