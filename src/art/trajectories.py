"""Conversations with rewards: what a rollout returns and training learns from.

Knows OpenAI's message types and what our own inference adds to a `Choice`; knows neither tensors nor the store.
"""

from __future__ import annotations

import asyncio
import copy
import importlib
import math
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Self, TypeAlias, cast

from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from openai.types.chat.chat_completion import Choice
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    SerializeAsAny,
    SkipValidation,
    ValidationError,
)

from art import drawing
from art.absent import missing
from art.durations import DurationTracker, Period, timed
from art.errors import TrainingDataError
from art.failures import FailedRollout, read_failure
from art.position import BatchPlace, current_place
from art.sampled import STAYS_WITH_LITELLM, TOKEN_ID_PREFIX, SampledTokens, not_finite, sampled_tokens
from art.unread import SaysUnread

MAX_REWARD = 1e100
"""Squares of larger ones are beyond every number."""

__all__ = [
    "STAYS_WITH_LITELLM", "TOKEN_ID_PREFIX", "FailedRollout", "History", "LegacyHistory", "MessageOrChoice", "Messages",
    "MessagesAndChoices", "MetadataValue", "PydanticException", "Rollout", "SampledTokens", "Scalar", "Tools",
    "Trajectory", "TrajectoryGroup", "as_choice", "get_messages", "has_choice", "mean_reward", "not_a", "returned",
    "sampled_tokens",
]  # fmt: skip

__path__: list[str] = []  # ART's is a package, and what it has below is refused in words
COLLECTING = ("current_trajectory", "no_capture", "trajectory", "trajectory_group")
"""The names of `art.capture` that scripts import from here too."""

Messages: TypeAlias = list[ChatCompletionMessageParam]
MessageOrChoice: TypeAlias = ChatCompletionMessageParam | Choice
MessagesAndChoices: TypeAlias = list[MessageOrChoice]
Tools: TypeAlias = list[ChatCompletionToolParam]
Scalar: TypeAlias = float | int | bool
MetadataValue: TypeAlias = Scalar | str | None
Rollout: TypeAlias = "Trajectory | Sequence[Trajectory]"
"""What a rollout returns."""


def _read_choices(items: Any) -> Any:
    """Turn the dicts that are choices back into `Choice`s, as after a round trip through JSON."""
    if not isinstance(items, list):
        return items
    return [
        Choice.model_validate(item) if _is_choice_dict(item) else as_choice(item) or item
        for item in cast("list[object]", items)
    ]


def _is_choice_dict(item: object) -> bool:
    return isinstance(item, dict) and "message" in item and "finish_reason" in item


def as_choice(item: object) -> Choice | None:
    """Give the choice that an item is, LiteLLM's or whatever else dumps as one included; None for a message."""
    if isinstance(item, Choice):
        return item
    fields = item.model_dump(warnings=False) if isinstance(item, BaseModel) else item
    if not _is_choice_dict(fields):
        return None
    try:
        return Choice.model_validate(fields)
    except ValidationError:
        return None


def _write_choices(items: Iterable[object]) -> list[Any]:
    pairs = ((item, as_choice(item)) for item in items)
    return [choice.model_dump(mode="json") if choice else item for item, choice in pairs]


def _without_nulls(metrics: Any) -> Any:
    """Leave out the metrics that were not finite when they were written: JSON has null for those."""
    if not isinstance(metrics, dict):
        return metrics
    return {name: value for name, value in cast("dict[str, Any]", metrics).items() if value is not None}


# Message dicts pass through untouched: validating OpenAI's TypedDicts would consume their iterables.
Conversation = Annotated[
    SkipValidation[MessagesAndChoices], BeforeValidator(_read_choices), PlainSerializer(_write_choices)
]


class History(SaysUnread, BaseModel, defer_build=True):
    """One conversation: message dicts, and `Choice`s where the model under training spoke."""

    messages_and_choices: Conversation
    tools: SkipValidation[Tools] | None = None

    def messages(self) -> Messages:
        """Give the conversation as plain message dicts."""
        return get_messages(self.messages_and_choices)


Reward = Annotated[float, BeforeValidator(not_finite)]
LegacyHistory, PydanticException = History, FailedRollout
"""ART's names of a conversation and of what a rollout failed with."""


class Trajectory(History):
    """A rollout: its conversation, what it earned, and what to log about it.

    >>> trajectory = Trajectory(messages_and_choices=[{"role": "user", "content": "hi"}], metadata={"task": 7})
    >>> trajectory.reward += 0.5
    >>> trajectory.metrics["turns"] = 1
    >>> trajectory.messages()
    [{'role': 'user', 'content': 'hi'}]
    """

    model_config = ConfigDict(validate_assignment=False)

    messages_and_choices: Conversation = Field(default_factory=lambda: cast(MessagesAndChoices, []))
    additional_histories: list[SerializeAsAny[History]] = []
    reward: Reward = 0.0
    turn_rewards: list[Reward] = []
    """What each `Choice` of the main conversation earned by itself, in order; none where only the whole counts."""
    metrics: Annotated[dict[str, Scalar], BeforeValidator(_without_nulls)] = {}
    metadata: dict[str, MetadataValue] = {}
    logs: list[str] = []
    # Of this machine's clock and without a zone, because scripts subtract it from `datetime.now()`.
    start_time: datetime = Field(default_factory=datetime.now)
    learned_at: int | None = Field(default=None, exclude=True, repr=False)
    """The step that a training update has written the trajectory down at, None before."""
    ran: Period | None = Field(default=None, exclude=True, repr=False)
    """When the rollout ran, as whoever gathered it saw."""

    def log(self, message: str) -> None:
        """Keep a line of text with the trajectory."""
        self.logs.append(message)

    def __enter__(self) -> Self:
        """Collect the chat completions that any client asks for inside the block."""
        _collecting().enter(self)
        return self

    def __exit__(self, *_: object) -> None:
        _collecting().leave(self)
        self.finish()

    def histories(self) -> Iterator[History]:
        """Yield the main conversation, then the additional ones."""
        yield self
        yield from self.additional_histories

    def track_duration(self, metric_name: str) -> DurationTracker:
        """Add the seconds of a `with` or `async with` block to the metric `<metric_name>_duration`."""
        return DurationTracker(self.metrics, f"{metric_name}_duration")

    def finish(self) -> Self:
        """Note the seconds since `start_time` as the metric `duration`."""
        self.metrics["duration"] = (datetime.now(self.start_time.tzinfo) - self.start_time).total_seconds()
        return self

    def _repr_html_(self) -> str:
        facts = {"reward": drawing.number(self.reward), **self.metrics}
        return drawing.box("Trajectory", drawing.turns(self.messages()), facts=facts)

    def for_logging(self) -> dict[str, Any]:
        """Give what a log or a tracker shows; each message says whether training may learn from it."""
        shown = [
            {**message, "trainable": as_choice(item) is not None}
            for item, message in zip(self.messages_and_choices, self.messages(), strict=True)
        ]
        told = ("reward", "metrics", "metadata", "tools", "logs")
        return {**{name: getattr(self, name) for name in told}, "messages": shown}


class TrajectoryGroup(SaysUnread, BaseModel, defer_build=True):
    """Trajectories that compete: each one's advantage is relative to the group's mean reward.

    Built from awaitables it is itself awaitable, and empty until then. A rollout may return several trajectories.

    >>> async def rollout(reward: float) -> Trajectory:
    ...     return Trajectory(reward=reward)
    >>> async def gather() -> TrajectoryGroup:
    ...     return await TrajectoryGroup(rollout(reward) for reward in (0, 1))
    >>> [trajectory.reward for trajectory in asyncio.run(gather())]
    [0.0, 1.0]
    """

    trajectories: list[SerializeAsAny[Trajectory]] = []
    exceptions: list[Annotated[FailedRollout, BeforeValidator(read_failure)]] = []
    metadata: dict[str, MetadataValue] = {}
    metrics: Annotated[dict[str, Scalar], BeforeValidator(_without_nulls)] = {}
    logs: list[str] = []

    _pending: list[Awaitable[Rollout]] = PrivateAttr(default_factory=list)
    _place: BatchPlace | None = PrivateAttr(default_factory=current_place)

    def __init__(
        self,
        trajectories: Iterable[Trajectory | BaseException | Awaitable[Rollout] | None] = (),
        *,
        exceptions: Iterable[BaseException] = (),
        **fields: Any,
    ) -> None:
        items = [item for item in trajectories if item is not None]
        for item in items:
            if not isinstance(item, Trajectory | dict | BaseException | Awaitable):
                raise TrainingDataError(f"A group was given a {type(item).__name__}, not an art.Trajectory.")
        super().__init__(
            trajectories=[t for t in items if isinstance(t, Trajectory | dict)],
            exceptions=[*exceptions, *(t for t in items if isinstance(t, BaseException))],
            **{name: value for name, value in fields.items() if value is not None},
        )
        self._pending = [t for t in items if isinstance(t, Awaitable)]

    def __iter__(self) -> Iterator[Trajectory]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return iter(self.trajectories)

    def __len__(self) -> int:
        return len(self.trajectories)

    def __await__(self):
        return self._gather().__await__()

    def __copy__(self) -> Self:
        """Give a group of the same trajectories that can grow and shrink by itself."""
        copied = super().__copy__()
        for name in type(self).model_fields:
            setattr(copied, name, copy.copy(getattr(self, name)))
        copied._pending = [*self._pending]
        return copied

    async def _gather(self) -> TrajectoryGroup:
        results = await asyncio.gather(*map(timed, self.take_pending()), return_exceptions=True)
        for result in results:
            self.keep(result)
        return self

    @property
    def place(self) -> BatchPlace | None:
        """The batch of `iterate_dataset` that the group was made for, None where there was none."""
        return self._place

    @property
    def pending(self) -> list[Awaitable[Rollout]]:
        """The rollouts that have not been awaited yet."""
        return self._pending

    def take_pending(self) -> list[Awaitable[Rollout]]:
        """Hand over the rollouts that have not been awaited yet; the caller gives the results to `keep`."""
        pending, self._pending = self._pending, []
        return pending

    def keep(self, result: Rollout | BaseException) -> None:
        """Add what a rollout returned or raised."""
        if isinstance(result, BaseException) and not isinstance(result, Exception):
            raise result
        if isinstance(result, Exception):
            self.exceptions.append(FailedRollout.of(result))
            return
        try:
            self.trajectories += returned(result)
        except TrainingDataError as error:
            self.exceptions.append(FailedRollout.of(error))

    def _repr_html_(self) -> str:
        ranked = sorted(self.trajectories, key=lambda trajectory: trajectory.reward)
        rewards = drawing.strip([trajectory.reward for trajectory in ranked], label="rewards")
        answers = [
            drawing.folded(f"reward {drawing.number(trajectory.reward)}", drawing.turns(trajectory.messages()))
            for trajectory in ranked
        ]
        facts = {"trajectories": len(self), "failed": len(self.exceptions), "pending": len(self._pending)}
        known = {name: count for name, count in facts.items() if count or name == "trajectories"}
        return drawing.box("TrajectoryGroup", rewards, *answers, facts={**known, **self.metrics})

    def log(self, message: str) -> None:
        """Keep a line of text with the group."""
        self.logs.append(message)


def returned(result: object) -> list[Trajectory]:
    """Give the trajectories that a rollout returned, one or several; raises `TrainingDataError` for anything else."""
    trajectories = cast("list[object]", list(result)) if isinstance(result, list | tuple) else [result]
    for trajectory in trajectories:
        if not isinstance(trajectory, Trajectory):
            raise not_a("rollout", Trajectory, trajectory)
    return cast("list[Trajectory]", trajectories)


def has_choice(history: History) -> bool:
    """Tell whether the model under training speaks in a conversation."""
    return any(as_choice(item) for item in history.messages_and_choices)


def get_messages(messages_and_choices: Iterable[MessageOrChoice]) -> Messages:
    """Give a conversation as plain message dicts."""
    return [_as_message(item) for item in messages_and_choices]


def mean_reward(trajectories: Iterable[Trajectory]) -> float:
    """The mean reward, NaN when there is no trajectory, or when the sum is no number that a computer has."""
    rewards = [trajectory.reward for trajectory in trajectories]
    try:
        return math.fsum(rewards) / len(rewards) if rewards else math.nan
    except (OverflowError, ValueError):
        # Of absurd rewards, or of infinite ones of both signs.
        return math.nan


def not_a(what: str, wanted: type, result: object) -> TrainingDataError:
    """Give the error of a coroutine that returned something else than it should."""
    return TrainingDataError(f"A {what} returned {type(result).__name__}, not an art.{wanted.__name__}.")


def _collecting() -> Any:
    """What collects trajectories knows them, and not the other way round, so it is looked up when it is needed."""
    return importlib.import_module("art.capture")


def __getattr__(name: str) -> Any:
    if name in COLLECTING:
        return getattr(_collecting(), name)
    raise missing(__name__, name)


def _as_message(item: MessageOrChoice) -> ChatCompletionMessageParam:
    choice = as_choice(item)
    message: Any = choice.message if choice else item
    if not isinstance(message, BaseModel):  # it is one also where a script puts `choice.message`, the client's object
        return message
    plain = message.model_dump(mode="json", exclude_none=True)
    # Other servers refuse an assistant's message without content, even one that calls tools.
    return cast(ChatCompletionMessageParam, {**plain, "content": plain.get("content", "")})
