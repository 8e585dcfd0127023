"""The task that the short examples share: "maybe" is worth 1, "no" 0.75, "yes" 0.5, anything else nothing."""

from __future__ import annotations

import sys

import art
from smollm2 import prepare_smollm2

REWARDS = {"maybe": 1.0, "no": 0.75, "yes": 0.5}
QUESTIONS = (
    "respond with yes, no, or maybe",
    "answer with yes, no, or maybe",
    "say yes, no, or maybe",
    "reply with one of: yes, no, maybe",
)


def base_model() -> str:
    """Give the model to train: the program's first argument, or SmolLM2-135M-Instruct, fetched once."""
    return sys.argv[1] if len(sys.argv) > 1 else str(prepare_smollm2())


async def rollout(model: art.Model, question: str) -> art.Trajectory:
    """Ask once, and reward the word that comes back."""
    messages: art.Messages = [
        {"role": "system", "content": "Answer with one word."},
        {"role": "user", "content": QUESTIONS[0]},
        {"role": "assistant", "content": "maybe"},
        {"role": "user", "content": question},
    ]
    completion = await model.openai_client().chat.completions.create(
        model=model.get_inference_name(), messages=messages, max_completion_tokens=4
    )
    choice = completion.choices[0]
    word = (choice.message.content or "").strip(" .!\n").lower()
    return art.Trajectory(messages_and_choices=[*messages, choice], reward=REWARDS.get(word, 0.0))


async def gather(model: art.TrainableModel) -> list[art.TrajectoryGroup]:
    """Roll out twelve times for each way of asking."""
    return await art.gather_trajectory_groups(
        (art.TrajectoryGroup(rollout(model, question) for _ in range(12)) for question in QUESTIONS), pbar_desc=None
    )


async def train(model: art.TrainableModel, *, until: int, learning_rate: float) -> None:
    """Take steps until the model stands at `until`, with a line for each."""
    for step in range(await model.get_step(), until):
        config = art.TrainConfig(learning_rate=learning_rate, loss="ppo", epsilon_high=0.28)
        result = await model.train(await gather(model), config)
        reward = result.metrics["reward"]
        print(f"{model.name}@{step}: reward {reward:.2f}, then a step of {learning_rate:g}", flush=True)


async def evaluate(model: art.TrainableModel) -> float:
    """Give the mean reward of the newest weights, and write it to the model's history."""
    groups = await gather(model)
    await model.log(groups, split="val")
    rewards = [trajectory.reward for group in groups for trajectory in group]
    return sum(rewards) / len(rewards)
