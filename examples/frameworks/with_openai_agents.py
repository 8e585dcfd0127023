"""OpenAI Agents SDK: a typed answer over the Responses API, recorded by `art.trajectory` and trained on."""

from __future__ import annotations

from typing import Literal

from agents import Agent, ModelSettings, OpenAIResponsesModel, RunConfig, Runner
from pydantic import BaseModel
from training import run

import art


class Verdict(BaseModel):
    is_prime: bool
    certainty: Literal[0, 1, 2, 3]


async def rollout(model: art.TrainableModel, question: str) -> art.Trajectory:
    agent = Agent(
        name="Judge of numbers",
        instructions="Be brief.",
        model=OpenAIResponsesModel(model.get_inference_name(), openai_client=model.openai_client()),
        model_settings=ModelSettings(max_tokens=200),
        output_type=Verdict,
    )
    verdicts: list[Verdict] = []

    async def ask() -> None:
        result = await Runner.run(agent, question, run_config=RunConfig(tracing_disabled=True))
        verdicts.append(result.final_output_as(Verdict))

    trajectory = await art.trajectory(ask())
    trajectory.reward = float(verdicts[0].certainty)
    return trajectory


if __name__ == "__main__":
    run("openai-agents", rollout)
