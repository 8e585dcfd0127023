"""pydantic-ai: an agent with a typed answer; `art.trajectory` records what it asks, and training learns from it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from training import run

import art


class Verdict(BaseModel):
    is_prime: bool
    certainty: Literal[0, 1, 2, 3]


async def rollout(model: art.TrainableModel, question: str) -> art.Trajectory:
    chat = OpenAIChatModel(model.get_inference_name(), provider=OpenAIProvider(openai_client=model.openai_client()))
    agent = Agent(chat, output_type=Verdict, system_prompt="Be brief.", model_settings={"max_tokens": 200})
    verdicts: list[Verdict] = []

    async def ask() -> None:
        verdicts.append((await agent.run(question)).output)

    trajectory = await art.trajectory(ask())
    trajectory.reward = float(verdicts[0].certainty)
    return trajectory


if __name__ == "__main__":
    run("pydantic-ai", rollout)
