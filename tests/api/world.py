"""A live backend with one model, and the event loop that both live in."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

import art
from art.local import LocalBackend

T = TypeVar("T")
PROMPT: art.Messages = [{"role": "user", "content": "count"}]


class Settings(BaseModel):
    """A user's own configuration of a model."""

    max_turns: int = 3


@dataclass(frozen=True)
class World:
    """What the tests of a module share; none of them depends on what another one did."""

    runner: asyncio.Runner
    backend: LocalBackend
    model: art.TrainableModel[Settings]

    def run(self, body: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(body)


async def rollout(model: art.TrainableModel[Any], reward: float) -> art.Trajectory:
    """Sample four tokens, whatever they are, and call them worth `reward`."""
    completion = await model.openai_client().chat.completions.create(
        model=model.get_inference_name(), messages=PROMPT, max_completion_tokens=4, timeout=60, logprobs=True
    )
    return art.Trajectory(messages_and_choices=[*PROMPT, completion.choices[0]], reward=reward)


async def two_groups(model: art.TrainableModel[Any]) -> list[art.TrajectoryGroup]:
    return await art.gather_trajectory_groups(
        [art.TrajectoryGroup(rollout(model, reward) for reward in (0.0, 1.0)) for _ in range(2)], pbar_desc=None
    )
