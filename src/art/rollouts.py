"""Small helps for writing rollouts: try again, not too many at once, a data set in steps."""

from __future__ import annotations

import asyncio
import functools
import inspect
import random
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar, cast

from tqdm.auto import tqdm

from art.errors import ConfigurationError
from art.position import BatchPlace, Course, CourseStanding, Positions, Span, Step, identity_of, set_place, spans_from

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def retry(
    max_attempts: int = 3,
    delay: float = 0.25,
    backoff_factor: float = 2.0,
    exceptions: tuple[type[Exception], ...] = (Exception,),
    on_retry: Callable[[Exception, int], None] | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function, async or plain, try again when it raises, waiting `delay` seconds and then ever longer.

    `on_retry` is called with the exception and the number of the attempt that failed, from 1.
    The last attempt's exception is raised.

    >>> attempts = iter([TimeoutError("too slow"), "here"])
    >>> @retry(delay=0, exceptions=(TimeoutError,), on_retry=lambda error, attempt: print(attempt, error))
    ... async def answer() -> str:
    ...     if isinstance(result := next(attempts), Exception):
    ...         raise result
    ...     return result
    >>> asyncio.run(answer())
    1 too slow
    'here'
    """
    if not isinstance(max_attempts, int) or max_attempts < 1:
        raise ConfigurationError(
            f"max_attempts is {max_attempts!r}; it is a number of at least 1. The decorator is written @art.retry()."
        )
    pauses_s = [delay * backoff_factor**failed for failed in range(max_attempts - 1)]
    again = _Again(pauses_s, exceptions, on_retry)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if not inspect.iscoroutinefunction(function):
            return _retrying(function, again)
        return cast("Callable[P, R]", _retrying_async(cast("Callable[P, Awaitable[Any]]", function), again))

    return decorate


@dataclass(frozen=True)
class _Again:
    """What is tried again, and after which pauses; after the last one an attempt decides."""

    pauses_s: Sequence[float]
    exceptions: tuple[type[Exception], ...]
    on_retry: Callable[[Exception, int], None] | None

    def failed(self, error: Exception, attempt: int) -> None:
        if self.on_retry:
            self.on_retry(error, attempt)


def _retrying_async(function: Callable[P, Awaitable[R]], again: _Again) -> Callable[P, Coroutine[Any, Any, R]]:
    @functools.wraps(function)
    async def tried(*args: P.args, **kwargs: P.kwargs) -> R:
        for attempt, pause_s in enumerate(again.pauses_s, start=1):
            try:
                return await function(*args, **kwargs)
            except again.exceptions as error:
                again.failed(error, attempt)
                await asyncio.sleep(pause_s)
        return await function(*args, **kwargs)

    return tried


def _retrying(function: Callable[P, R], again: _Again) -> Callable[P, R]:
    @functools.wraps(function)
    def tried(*args: P.args, **kwargs: P.kwargs) -> R:
        for attempt, pause_s in enumerate(again.pauses_s, start=1):
            try:
                return function(*args, **kwargs)
            except again.exceptions as error:
                again.failed(error, attempt)
                time.sleep(pause_s)
        return function(*args, **kwargs)

    return tried


def limit_concurrency(
    n: int, derive_key: Callable[..., str] | None = None
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Coroutine[Any, Any, R]]]:
    """Let at most `n` calls of an async function run at once; per key, when `derive_key` of its arguments gives one.

    >>> @limit_concurrency(2, derive_key=lambda host: host)
    ... async def ask(host: str) -> str:
    ...     return f"asked {host}"
    >>> asyncio.run(ask("a"))
    'asked a'
    """
    if n < 1:
        raise ConfigurationError(f"n is {n}; at least 1 call must be allowed.")

    def decorate(function: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
        # By event loop: a semaphore belongs to the one that first waits for it, and a script may run several in turn.
        gates: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Semaphore]]
        gates = weakref.WeakKeyDictionary()

        @functools.wraps(function)
        async def limited(*args: P.args, **kwargs: P.kwargs) -> R:
            key = derive_key(*args, **kwargs) if derive_key else ""
            of_loop = gates.setdefault(asyncio.get_running_loop(), {})
            async with of_loop.setdefault(key, asyncio.Semaphore(n)):
                return await function(*args, **kwargs)

        return limited

    return decorate


@dataclass(frozen=True, kw_only=True)
class DatasetBatch(Generic[T]):
    """The items of one training step, and where in the data they lie."""

    items: list[T]
    step: int
    epoch: int
    epoch_step: int

    def __iter__(self) -> Iterator[Any]:
        """Give what older releases of ART have in a tuple: the items, the epoch, the step, the epoch's step."""
        return iter((self.items, self.epoch, self.step, self.epoch_step))


def iterate_dataset(
    dataset: Sequence[T],
    groups_per_step: int = 1,
    num_epochs: int = 1,
    initial_step: int = 0,
    use_tqdm: bool = True,
    *,
    model: CourseStanding | None = None,
) -> Iterator[DatasetBatch[T]]:
    """Cut a data set into the items of one step after another, each epoch in its own order.

    It begins where the data was left: with the `initial_step` that `model.get_step()` gave, or with `model`, at what
    the newest checkpoint was not trained on yet, and with any other number at the batch of that number. When the model
    is taken back meanwhile, by a guard, say, it goes back too. The order depends on the epoch alone. A batch counts as
    done with the first call of `train` that gets groups made for it.

    >>> for batch in iterate_dataset(["a", "b", "c"], groups_per_step=2, initial_step=1, use_tqdm=False):
    ...     print(batch)
    DatasetBatch(items=['b'], step=1, epoch=0, epoch_step=1)
    """
    if groups_per_step < 1:
        raise ConfigurationError(f"groups_per_step is {groups_per_step}; it must be at least 1.")
    course = Course(size=len(dataset), batch=groups_per_step, epochs=num_epochs)
    positions = model.positions if model else initial_step.positions if isinstance(initial_step, Step) else Positions()
    identity = identity_of(dataset)
    origin = course.begin_of(int(initial_step))
    with tqdm(total=course.batches, desc="steps", disable=not use_tqdm) as bar:
        for span, left in _followed(course, positions, identity, origin):
            step, epoch, epoch_step = course.number_of(span[0])
            bar.update(step - bar.n)
            order = _order(course.size, epoch)
            items = [dataset[order[position - epoch * course.size]] for position in left]
            place = identity and BatchPlace(dataset=identity, size=course.size, began=origin, span=span)
            outer = set_place(place or None)
            try:
                yield DatasetBatch(items=items, step=step, epoch=epoch, epoch_step=epoch_step)
            finally:
                set_place(outer)
        bar.update(course.batches - bar.n)


def _followed(
    course: Course, positions: Positions, identity: str | None, origin: int
) -> Iterator[tuple[Span, list[int]]]:
    """Yield the batches that are left; when the model was moved, those that are left where it stands now."""
    moves = None
    while moves != positions.moves:
        moves = positions.moves
        reached = positions.reached.get(identity or "")
        for batch in spans_from(course, reached.front if reached else origin, reached):
            yield batch
            if moves != positions.moves:
                break


def _order(size: int, epoch: int) -> list[int]:
    order = list(range(size))
    random.Random(epoch).shuffle(order)  # noqa: S311 - an order, not a secret
    return order
