"""Running rollouts at once, with one progress bar that shows the mean reward.

Knows awaitables and trajectories; knows no backend.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterable, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from tqdm import std
from tqdm.auto import tqdm

from art.absent import instead_in
from art.durations import timed
from art.errors import ConfigurationError
from art.sampled import find_sampled
from art.trajectories import Rollout, Trajectory, TrajectoryGroup, as_choice, not_a, returned
from art.visible import shown_value

_log = logging.getLogger("art")
T = TypeVar("T")
AfterEach = Callable[[TrajectoryGroup], Awaitable[TrajectoryGroup | list[TrajectoryGroup] | None]]


@dataclass(kw_only=True)
class GatherContext:
    """What a gathering counts: rollouts that are done, what they earned, and how many more may fail."""

    pbar: std.tqdm[Any] | None = None
    metric_sums: Counter[str] = field(default_factory=Counter)
    metric_divisors: Counter[str] = field(default_factory=Counter)
    max_metrics: int | None = None
    """How many metrics the bar shows beside the reward, None for all."""
    max_exceptions: float = 0
    """How many failures are allowed, or below 1 which fraction of all; one more is raised."""
    increment_pbar: bool = True
    """Whether the bar moves, or only shows the means."""
    pbar_total_completion_tokens: bool = False
    """Accepted, without effect."""
    failures: int = 0

    def finished(self, trajectories: Iterable[Trajectory]) -> None:
        """Count a rollout that is done."""
        for trajectory in trajectories:
            record_metrics(self, trajectory)
        self.update_pbar(1)

    def failed(self, error: BaseException) -> None:
        """Count a failure; raises it when it is one too many."""
        self.failures += 1
        self.update_pbar(1)
        if self.too_many_exceptions():
            raise error

    def too_many_exceptions(self) -> bool:
        """Tell whether more rollouts failed than may."""
        total = self.pbar.total if self.pbar is not None else None
        return self.failures > _allowed(self.max_exceptions, total or self.failures)

    def reset(self) -> None:
        """Forget what was counted, the bar, and how many may fail."""
        self.pbar, self.max_exceptions, self.failures = None, 0, 0
        self.metric_sums, self.metric_divisors = Counter(), Counter()

    def update_pbar(self, n: int) -> None:
        """Move the bar by `n` rollouts and show the means so far."""
        if self.pbar is None:
            return
        names = [name for name in self.metric_sums if name != "reward"][: self.max_metrics]
        shown = [name for name in ("reward", *names) if self.metric_divisors[name]]
        means = {name: f"{self.metric_sums[name] / self.metric_divisors[name]:.3f}" for name in shown}
        self.pbar.set_postfix(means, refresh=False)
        if self.increment_pbar:
            self.pbar.update(n)


_context: ContextVar[GatherContext | None] = ContextVar("art_gather_context", default=None)


def get_gather_context() -> GatherContext:
    """Give the gathering that this rollout belongs to; one of its own outside of any."""
    return _context.get() or GatherContext()


@contextmanager
def set_gather_context(context: GatherContext) -> Generator[GatherContext]:
    """Make a gathering the one of everything that begins inside the block."""
    token = _context.set(context)
    try:
        yield context
    finally:
        _context.reset(token)


def record_metrics(context: GatherContext, trajectory: Trajectory) -> None:
    """Add a trajectory's reward and metrics to the means of a gathering; what the model wrote is one of them."""
    record_trajectory_completion_tokens(trajectory)
    metrics = {"reward": trajectory.reward, **trajectory.metrics}
    context.metric_sums.update(metrics)  # pyright: ignore[reportArgumentType] - sums of floats
    context.metric_divisors.update(metrics.keys())


def record_trajectory_completion_tokens(trajectory: Trajectory) -> None:
    """Note how many tokens the model wrote as the metric `completion_tokens`, where every answer says it.

    A number that the script has set stays.
    """
    items = (item for history in trajectory.histories() for item in history.messages_and_choices)
    sampled = [find_sampled(choice) for choice in map(as_choice, items) if choice]
    if sampled and all(sampled) and "completion_tokens" not in trajectory.metrics:
        trajectory.metrics["completion_tokens"] = sum(len(tokens.token_ids) for tokens in sampled if tokens)


async def wrap_group_awaitable(awaitable: Awaitable[Iterable[Trajectory]]) -> Any:
    """Await a group for a gathering of one's own, and count it there; None where it failed and more may."""
    context = get_gather_context()
    try:
        group = await awaitable
    except Exception as error:  # noqa: BLE001 - as in _run
        context.failed(error)
        return None
    trajectories = list(group)
    for trajectory in trajectories:
        record_metrics(context, trajectory)
    context.update_pbar(len(trajectories))
    return group


async def wrap_trajectories_awaitable(awaitable: Awaitable[Rollout]) -> Trajectory | list[Trajectory] | Exception:
    """Await a rollout for a gathering of one's own, and count it there; its exception where it failed and more may."""
    return await _run(awaitable, get_gather_context())


async def gather_trajectory_groups(
    groups: Iterable[Awaitable[TrajectoryGroup]],
    *,
    pbar_desc: str | None = "gather",
    pbar_total_completion_tokens: bool = True,
    max_exceptions: float = 0,
    max_metrics: int | None = None,
    after_each: AfterEach | None = None,
) -> list[TrajectoryGroup]:
    """Run the rollouts of all groups at once.

    Up to `max_exceptions` failures (a count, or a fraction of all when below 1) stay in their groups as exceptions;
    one more is raised, and the rollouts still running are cancelled. A group of which nothing came back is left out.
    `after_each` may judge a complete group, replace it by another one or by several, or return None to leave it out.
    The bar shows the mean reward and the means of the first `max_metrics` metrics.

    >>> async def rollout(word: str) -> Trajectory:
    ...     return Trajectory(messages_and_choices=[{"role": "user", "content": word}], reward=len(word))
    >>> groups = [TrajectoryGroup(rollout(word) for word in words) for words in (["a", "bcd"], ["ef"])]
    >>> gathered = asyncio.run(gather_trajectory_groups(groups, pbar_desc=None))
    >>> [[trajectory.reward for trajectory in group] for group in gathered]
    [[1.0, 3.0], [2.0]]
    """
    waiting = list(groups)
    total = sum(max(1, len(group.pending)) if isinstance(group, TrajectoryGroup) else 1 for group in waiting)
    with _gathering(pbar_desc, total, max_exceptions=max_exceptions, max_metrics=max_metrics) as progress:
        lists = await _all([_run_group(group, progress, after_each) for group in waiting])
    gathered = [group for groups in lists for group in groups]
    if failed := [group for group in gathered if not len(group) and group.exceptions]:
        first = failed[0].exceptions[0]
        words = "Groups left out because all of their rollouts failed: %d; one by %s(%s)."
        _log.warning(words, len(failed), first.type, shown_value(first.message))
    return [group for group in gathered if len(group)]


@overload
async def gather_trajectories(
    trajectories: Iterable[Awaitable[Trajectory]],
    *,
    pbar_desc: str | None = "gather",
    pbar_total_completion_tokens: bool = True,
    max_exceptions: float = 0,
    max_metrics: int | None = None,
) -> list[Trajectory | BaseException]: ...
@overload
async def gather_trajectories(
    trajectories: Iterable[Awaitable[Sequence[Trajectory]]],
    *,
    pbar_desc: str | None = "gather",
    pbar_total_completion_tokens: bool = True,
    max_exceptions: float = 0,
    max_metrics: int | None = None,
) -> list[list[Trajectory] | BaseException]: ...
async def gather_trajectories(
    trajectories: Iterable[Awaitable[Rollout]],
    *,
    pbar_desc: str | None = "gather",
    pbar_total_completion_tokens: bool = True,
    max_exceptions: float = 0,
    max_metrics: int | None = None,
) -> Any:
    """Run rollouts at once; of those that fail within `max_exceptions` the exception is in their place.

    A rollout that returns several trajectories has a list of them in its place, as with ART.

    >>> async def rollout(reward: float) -> Trajectory:
    ...     return Trajectory(reward=1 / reward)
    >>> asyncio.run(gather_trajectories([rollout(0)], max_exceptions=1, pbar_desc=None))
    [ZeroDivisionError('division by zero')]
    """
    waiting = list(trajectories)
    with _gathering(pbar_desc, len(waiting), max_exceptions=max_exceptions, max_metrics=max_metrics) as progress:
        return await _all([_run(rollout, progress) for rollout in waiting])


async def trajectory_group_batches(
    groups: Iterable[Awaitable[TrajectoryGroup]],
    *,
    batch_size: int,
    max_batch_exceptions: float = 0,
    max_concurrent_batches: int = 4,
    skip_batches: int = 0,
    pbar_desc: str | None = "batches",
    pbar_total_completion_tokens: bool = True,
) -> AsyncIterator[list[TrajectoryGroup]]:
    """Yield groups in batches, in their order, while the next batches already run; one that nothing is left of is not.

    >>> async def rewards() -> None:
    ...     groups = [TrajectoryGroup([Trajectory(reward=number)]) for number in range(5)]
    ...     async for batch in trajectory_group_batches(groups, batch_size=2, pbar_desc=None):
    ...         print([trajectory.reward for group in batch for trajectory in group])
    >>> asyncio.run(rewards())
    [0.0, 1.0]
    [2.0, 3.0]
    [4.0]
    """
    if batch_size < 1 or max_concurrent_batches < 1:
        raise ConfigurationError("batch_size and max_concurrent_batches must be at least 1.")
    waiting = list(groups)
    _discard(waiting[: skip_batches * batch_size])
    waiting = waiting[skip_batches * batch_size :]
    running: list[asyncio.Task[list[TrajectoryGroup]]] = []
    try:
        while waiting or running:
            while waiting and len(running) < max_concurrent_batches:
                batch, waiting = waiting[:batch_size], waiting[batch_size:]
                gathering = gather_trajectory_groups(batch, pbar_desc=pbar_desc, max_exceptions=max_batch_exceptions)
                running.append(asyncio.create_task(gathering))
            if gathered := await running.pop(0):
                yield gathered
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        _discard(waiting)


def _discard(groups: Iterable[Awaitable[TrajectoryGroup]]) -> None:
    """Close the coroutines of groups that will not run; Python warns of those that are just dropped."""
    for group in groups:
        for awaitable in group.take_pending() if isinstance(group, TrajectoryGroup) else [group]:
            if isinstance(awaitable, Coroutine):
                awaitable.close()


def _allowed(max_exceptions: float, total: int) -> float:
    if max_exceptions < 0:
        raise ConfigurationError(f"max_exceptions is {max_exceptions}; it is a count, or a fraction of all below 1.")
    return max_exceptions * total if 0 < max_exceptions < 1 else max_exceptions


@contextmanager
def _gathering(
    description: str | None, total: int, *, max_exceptions: float, max_metrics: int | None
) -> Generator[GatherContext]:
    allowed = _allowed(max_exceptions, total)
    with (
        tqdm(desc=description, total=total, disable=description is None) as bar,
        set_gather_context(GatherContext(pbar=bar, max_metrics=max_metrics, max_exceptions=allowed)) as context,
    ):
        yield context


async def _run(rollout: Awaitable[Rollout], progress: GatherContext) -> Trajectory | list[Trajectory] | Exception:
    try:
        result = await timed(rollout)
        trajectories = returned(result)
    except Exception as error:  # noqa: BLE001 - whatever a user's rollout raises is counted, kept or raised again
        progress.failed(error)
        return error
    progress.finished(trajectories)
    return result if isinstance(result, Trajectory) else trajectories


async def _run_group(
    group: Awaitable[TrajectoryGroup], progress: GatherContext, after_each: AfterEach | None
) -> list[TrajectoryGroup]:
    if isinstance(group, TrajectoryGroup):
        complete = group
        pending = group.take_pending()
        try:
            for result in await _all([_run(rollout, progress) for rollout in pending]):
                complete.keep(result)
        finally:
            _close(pending)
    else:
        complete = await _run_made(group, progress)
    if after_each is None or not len(complete):
        return [complete]
    judged = await after_each(complete)
    groups = judged if isinstance(judged, list) else [judged]
    return [group for group in groups if group is not None]


def _close(rollouts: Iterable[Awaitable[Rollout]]) -> None:
    """Close what was cancelled before it began, about which Python would complain that nobody awaited it."""
    for rollout in rollouts:
        if inspect.iscoroutine(rollout) and inspect.getcoroutinestate(rollout) == inspect.CORO_CREATED:
            rollout.close()


async def _run_made(group: Awaitable[TrajectoryGroup], progress: GatherContext) -> TrajectoryGroup:
    """Run a coroutine that makes a whole group; its failures count like those of rollouts."""
    try:
        made = await timed(group)
        if not isinstance(made, TrajectoryGroup):
            raise not_a("coroutine", TrajectoryGroup, made)
    except Exception as error:  # noqa: BLE001 - as in _run
        progress.failed(error)
        return TrajectoryGroup([], exceptions=[error])
    for failure in made.exceptions:
        progress.failed(failure.as_error())
    progress.finished(made)
    return made


async def _all(running: list[Awaitable[T]]) -> list[T]:
    """Wait for all, in their order; when one raises, cancel the others and raise it."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in running]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


__getattr__ = instead_in(__name__)
