"""OpenAI's SDK: a typed answer by `.parse()`, then a streamed one by the `.stream()` helper; both are trained on."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel
from training import run

import art


class Verdict(BaseModel):
    is_prime: bool
    certainty: Literal[0, 1, 2, 3]


async def rollout(model: art.TrainableModel, question: str) -> art.Trajectory:
    client = model.openai_client()
    messages: art.Messages = [{"role": "user", "content": question}]
    parsed = await client.chat.completions.parse(
        model=model.get_inference_name(), messages=messages, response_format=Verdict, max_completion_tokens=100
    )
    verdict = parsed.choices[0].message.parsed
    trajectory = art.Trajectory(messages_and_choices=[*messages, parsed.choices[0]])

    again: art.Messages = [*trajectory.messages(), {"role": "user", "content": "Say that again."}]
    async with client.chat.completions.stream(
        model=model.get_inference_name(), messages=again, response_format=Verdict, max_completion_tokens=100
    ) as stream:
        async for _ in stream:
            pass
        streamed = (await stream.get_final_completion()).choices[0]

    trajectory.messages_and_choices += [again[-1], streamed]
    trajectory.reward = float(verdict.certainty) if verdict else 0.0
    return trajectory


if __name__ == "__main__":
    run("openai-sdk", rollout)
