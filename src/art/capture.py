"""The trajectory of whatever runs: rollouts that collect what any client asks inside them, or hand one over themselves.

A conversation that goes on stays one history; one that begins anew, or goes another way, becomes a further one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, cast, overload

from openai.types.chat import ChatCompletionMessageParam
from openai.types.chat.chat_completion import Choice

from art.calls import Call
from art.errors import TrainingDataError
from art.listening import Listener, listen
from art.sampled import find_sampled
from art.trajectories import History, MessageOrChoice, Trajectory, TrajectoryGroup, get_messages, has_choice


@dataclass(frozen=True)
class _Scope:
    """A trajectory that is being collected, and who heard what was asked before it."""

    trajectory: Trajectory
    before: Listener | None


_scopes: ContextVar[tuple[_Scope, ...]] = ContextVar("art_trajectory_scopes", default=())
_yielded: ContextVar[_Yielded | None] = ContextVar("art_yielded_trajectory", default=None)


@dataclass
class _Yielded:
    trajectory: Trajectory | None = None


async def trajectory(coroutine: Awaitable[object]) -> Trajectory:
    """Run a rollout and give the trajectory of all chat completions that it asked for, of any client."""
    with Trajectory() as captured:
        await coroutine
    return captured


capture_auto_trajectory = trajectory
"""ART's older name."""


async def trajectory_group(
    trajectories: Iterable[Trajectory | BaseException | Awaitable[Trajectory] | None],
    *,
    exceptions: Iterable[BaseException] = (),
    return_exceptions: bool = False,
    **fields: Any,
) -> TrajectoryGroup:
    """Await the trajectories of a group and give it, in their order; the first failure is raised.

    With `return_exceptions` failures stay in the group. What collects around the group hears nothing of its rollouts.
    """
    items = list(trajectories)
    with no_capture():
        tasks = {place: asyncio.ensure_future(item) for place, item in enumerate(items) if isinstance(item, Awaitable)}
    try:
        results = await asyncio.gather(*tasks.values(), return_exceptions=return_exceptions)
    except BaseException:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        raise
    finished = dict(zip(tasks, results, strict=True))
    return TrajectoryGroup(
        [finished.get(place, item) for place, item in enumerate(items)], exceptions=exceptions, **fields
    )


def enter(trajectory: Trajectory) -> None:
    """Collect into a trajectory from here on."""
    before = listen(lambda call: add_call(trajectory, call))
    _scopes.set((*_scopes.get(), _Scope(trajectory, before)))


def leave(trajectory: Trajectory) -> None:
    """Collect into it no longer; raises `TrainingDataError` where another one was begun meanwhile."""
    scopes = _scopes.get()
    if not scopes or scopes[-1].trajectory is not trajectory:
        raise TrainingDataError(
            "The `with` blocks of trajectories end in the order that is the reverse of their beginning."
        )
    listen(scopes[-1].before)
    _scopes.set(scopes[:-1])


@contextmanager
def no_capture() -> Generator[None]:
    """Hide a block from the trajectory that is being collected around it; further ones may be collected inside."""
    token, before = _scopes.set(()), listen(None)
    try:
        yield
    finally:
        listen(before)
        _scopes.reset(token)


@overload
def current_trajectory(*, require: Literal[True]) -> Trajectory: ...
@overload
def current_trajectory(*, required: Literal[True]) -> Trajectory: ...
@overload
def current_trajectory(*, require: bool = False, required: bool = False) -> Trajectory | None: ...
def current_trajectory(*, require: bool = False, required: bool = False) -> Trajectory | None:
    """Give the trajectory that is being collected here; raises when one is required, by either name, and none is."""
    scopes = _scopes.get()
    if scopes:
        return scopes[-1].trajectory
    if require or required:
        raise TrainingDataError("No trajectory is being collected here; run the rollout with art.trajectory(rollout).")
    return None


auto_trajectory = current_trajectory
"""ART's older name."""


def yield_trajectory(trajectory: Trajectory) -> None:
    """Hand a trajectory over to `capture_yielded_trajectory`, which runs this rollout."""
    waiting = _yielded.get()
    if waiting is None:
        raise TrainingDataError("Nobody waits for a trajectory; run the rollout with art.capture_yielded_trajectory.")
    waiting.trajectory = trajectory


async def capture_yielded_trajectory(coroutine: Awaitable[object]) -> Trajectory:
    """Run a rollout and give the trajectory that it handed over with `yield_trajectory`."""
    waiting = _Yielded()
    token = _yielded.set(waiting)
    try:
        await coroutine
    finally:
        _yielded.reset(token)
    if waiting.trajectory is None:
        raise TrainingDataError("The rollout ended without art.yield_trajectory.")
    return waiting.trajectory


def add_call(captured: Trajectory, call: Call) -> None:
    """Let a call continue the conversation that it continues, or begin a further one.

    Only what the model under training said is a `Choice` afterwards; the answer of another model is a message.
    """
    first, *others = map(_own_or_message, call.choices)
    messages, tools = call.question.messages, call.question.tools
    for history in captured.histories():
        known = history.messages()
        if known and history.tools == tools and _continues(messages, known):
            history.messages_and_choices += [*messages[len(known) :], first]
            break
    else:
        others.insert(0, first)
    for answer in others:
        _begin(captured, History(messages_and_choices=[*messages, answer], tools=tools))


def _begin(captured: Trajectory, begun: History) -> None:
    """Add a conversation; the main one is the first that the model under training speaks in."""
    if captured.messages_and_choices:
        if has_choice(captured) or not has_choice(begun):
            captured.additional_histories.append(begun)
            return
        displaced = History(messages_and_choices=captured.messages_and_choices, tools=captured.tools)
        captured.additional_histories.insert(0, displaced)
    captured.messages_and_choices, captured.tools = begun.messages_and_choices, begun.tools


def _own_or_message(choice: Choice) -> MessageOrChoice:
    return choice if find_sampled(choice) else get_messages([choice])[0]


def _continues(messages: list[ChatCompletionMessageParam], known: list[ChatCompletionMessageParam]) -> bool:
    return len(messages) > len(known) and list(map(_gist_of, messages[: len(known)])) == list(map(_gist_of, known))


def _gist_of(message: ChatCompletionMessageParam) -> tuple[object, ...]:
    """What two spellings of one message have in common: clients add and leave out fields on the way."""
    fields = cast("dict[str, Any]", message)
    calls = [call.get("function") or {} for call in fields.get("tool_calls") or ()]
    named = [(function.get("name"), _plain(function.get("arguments"))) for function in calls]
    return fields.get("role"), _text(fields.get("content")), tuple(named), fields.get("tool_call_id")


def _text(content: Any) -> str:
    if isinstance(content, list):
        parts = cast("list[dict[str, Any]]", content)
        return "".join(part.get("text") or json.dumps(part, sort_keys=True) for part in parts)
    return content or ""


def _plain(arguments: str | None) -> str:
    try:
        return json.dumps(json.loads(arguments or "{}"), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments or ""
