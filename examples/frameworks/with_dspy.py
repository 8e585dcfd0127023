"""DSPy: a typed signature whose language model is trained on what it answered."""

from __future__ import annotations

from typing import Literal

import dspy
from training import run

import art


class Judge(dspy.Signature):
    """Tell whether the number is a prime."""

    question: str = dspy.InputField()
    certainty: Literal["0", "1", "2", "3"] = dspy.OutputField()


class Trained(dspy.LM):
    """The model under training: DSPy does not know that it keeps to schemas."""

    supports_response_schema = True


async def rollout(model: art.TrainableModel, question: str) -> art.Trajectory:
    settings = model.litellm_completion_params()
    speaking = Trained(
        settings["model"],
        api_base=settings["base_url"],
        api_key=settings["api_key"],
        temperature=1.0,
        max_tokens=200,
        cache=False,
        engine="litellm",
    )
    verdicts: list[str] = []

    async def ask() -> None:
        with dspy.context(lm=speaking, adapter=dspy.JSONAdapter()):
            verdicts.append((await dspy.Predict(Judge).acall(question=question)).certainty)

    trajectory = await art.trajectory(ask())
    trajectory.reward = float(verdicts[0])
    return trajectory


if __name__ == "__main__":
    run("dspy", rollout)
