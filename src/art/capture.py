"""The trajectory of whatever runs: rollouts that collect what any client asks inside them, or hand one over themselves.

A conversation that goes on stays one history; one that begins anew, or goes another way, becomes a further one.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, cast, overload

from openai.types.chat import ChatCompletionMessageParam
from openai.types.chat.chat_completion import Choice

from art.calls import Call
from art.errors import TrainingDataError
from art.listening import listening
from art.sampled import find_sampled
from art.trajectories import History, MessageOrChoice, Trajectory, get_messages, has_choice

_current: ContextVar[Trajectory | None] = ContextVar("art_current_trajectory", default=None)
_yielded: ContextVar[_Yielded | None] = ContextVar("art_yielded_trajectory", default=None)


@dataclass
class _Yielded:
    trajectory: Trajectory | None = None


async def trajectory(coroutine: Awaitable[object]) -> Trajectory:
    """Run a rollout and give the trajectory of all chat completions that it asked for, of any client."""
    with capturing() as captured:
        await coroutine
    return captured


capture_auto_trajectory = trajectory
"""ART's older name."""


@contextmanager
def capturing() -> Generator[Trajectory]:
    """Collect the chat completions of a block into a trajectory."""
    captured = Trajectory()
    token = _current.set(captured)
    try:
        with listening(lambda call: add_call(captured, call)):
            yield captured
    finally:
        _current.reset(token)


@overload
def current_trajectory(*, required: Literal[True]) -> Trajectory: ...
@overload
def current_trajectory(*, required: bool = False) -> Trajectory | None: ...
def current_trajectory(*, required: bool = False) -> Trajectory | None:
    """Give the trajectory that is being collected here; raises when it is `required` and there is none."""
    trajectory = _current.get()
    if trajectory is None and required:
        raise TrainingDataError("No trajectory is being collected here; run the rollout with art.trajectory(rollout).")
    return trajectory


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
    return len(messages) > len(known) and list(map(_said, messages[: len(known)])) == list(map(_said, known))


def _said(message: ChatCompletionMessageParam) -> tuple[object, ...]:
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
