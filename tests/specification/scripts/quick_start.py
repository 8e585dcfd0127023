"""Quick start: a model learns a game of several turns, and is asked once more when it has."""

import asyncio
import random

import art
from art.local import LocalBackend

TRAIN_STEPS, ROLLOUTS, TURNS = 2, 4, 2


class Game:
    """Guess a letter; the game says how near one is."""

    def __init__(self, seed: int) -> None:
        self.letter = random.Random(seed).choice("abcdef")

    def play(self, guess: str) -> float:
        return 1 - min(abs(ord(guess[:1] or "\0") - ord(self.letter)), 100) / 100


async def rollout(model: art.Model, step: int, is_validation: bool = False) -> art.Trajectory:
    client = model.openai_client()
    game = Game(seed=step)
    trajectory = art.Trajectory(
        messages_and_choices=[{"role": "system", "content": "Guess a letter from a to f."}],
        metadata={"step": step, "validation": is_validation},
        reward=0,
    )
    for turn in range(TURNS):
        trajectory.messages_and_choices.append({"role": "user", "content": f"Turn {turn}."})
        completion = await client.chat.completions.create(
            max_completion_tokens=2,
            messages=trajectory.messages(),
            model=model.get_inference_name(),
            stream=False,
        )
        choice = completion.choices[0]
        assert isinstance(choice.message.content, str)
        trajectory.messages_and_choices.append(choice)
        trajectory.reward = game.play(choice.message.content)
    trajectory.metrics["near"] = trajectory.reward
    return trajectory


async def main() -> None:
    model = art.TrainableModel(name="agent-002", project="guessing", base_model="OpenPipe/Qwen3-14B-Instruct")
    model._internal_config = art.dev.InternalModelConfig(init_args=art.dev.InitArgs(max_seq_length=512))
    backend = LocalBackend(in_process=True, path="./.art")
    await model.register(backend)
    for step in range(await model.get_step(), TRAIN_STEPS):
        train_groups = await art.gather_trajectory_groups(
            (art.TrajectoryGroup(rollout(model, step) for _ in range(ROLLOUTS)) for _ in range(1)),
            pbar_desc="gather",
            max_exceptions=ROLLOUTS,
        )
        await model.delete_checkpoints("train/reward")
        result = await backend.train(model, train_groups, learning_rate=1e-5)
        await model.log(train_groups, metrics=result.metrics, step=result.step, split="train")
    last = await rollout(model, TRAIN_STEPS, is_validation=True)
    await model.log([last], split="val")
    assert await model.get_step() == TRAIN_STEPS
    await backend.close()


asyncio.run(main())
