"""instructor: a typed answer by a demanded tool call; the completion beside it is trained on."""

from __future__ import annotations

from typing import Literal

import instructor
from pydantic import BaseModel, ConfigDict
from training import run

import art


class Verdict(BaseModel):
    model_config = ConfigDict(extra="forbid")

    is_prime: bool
    certainty: Literal[0, 1, 2, 3]


async def rollout(model: art.TrainableModel, question: str) -> art.Trajectory:
    client = instructor.from_openai(model.openai_client())
    verdicts: list[Verdict] = []

    async def ask() -> None:
        verdicts.append(
            await client.chat.completions.create(
                model=model.get_inference_name(),
                messages=[{"role": "user", "content": question}],
                response_model=Verdict,
                max_tokens=200,
            )
        )

    trajectory = await art.trajectory(ask())
    trajectory.reward = float(verdicts[0].certainty)
    return trajectory


if __name__ == "__main__":
    run("instructor", rollout)
