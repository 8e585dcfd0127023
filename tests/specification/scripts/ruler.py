"""RULER: a judge scores each group while others are still being sampled, and the scores are trained on."""

import asyncio
import os

import art
from art.local import LocalBackend
from art.rewards import ruler, ruler_score_group

JUDGE = {"api_base": os.environ["JUDGE_URL"], "api_key": "key"}


async def rollout(model: art.Model) -> art.Trajectory:
    messages: art.Messages = [
        {"role": "system", "content": "Summarise the document in a sentence."},
        {"role": "user", "content": "The tide comes and goes twice a day."},
    ]
    completion = await model.openai_client().chat.completions.create(
        model=model.get_inference_name(), messages=messages, max_tokens=4
    )
    return art.Trajectory(messages_and_choices=[*messages, completion.choices[0]], reward=0.25)


async def main() -> None:
    async with LocalBackend() as backend:
        model = art.TrainableModel(name="summaries", project="ruler", base_model="OpenPipe/Qwen3-14B-Instruct")
        await model.register(backend)
        groups = await art.gather_trajectory_groups(
            (art.TrajectoryGroup(rollout(model) for _ in range(2)) for _ in range(2)),
            after_each=lambda group: ruler_score_group(
                group, "openai/judge", extra_litellm_params=JUDGE, swallow_exceptions=True, debug=True
            ),
            max_exceptions=2,
        )
        assert {t.metrics["independent_reward"] for group in groups for t in group} == {0.25}
        result = await backend.train(model, groups, learning_rate=1e-5)
        await model.log(groups, metrics=result.metrics, step=result.step, split="train")
        scores = await ruler(
            [trajectory.messages() for trajectory in groups[0]],
            judge_model="openai/judge",
            extra_litellm_params=JUDGE,
            rubric="- Prefer short answers.",
        )
        assert [score.score for score in scores] == [0.25, 0.75]


asyncio.run(main())
