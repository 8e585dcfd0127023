"""A script as it was written for ART 0.3: batches as tuples, a gathering of its own, settings of torchtune."""

import asyncio
import copy
from collections.abc import Awaitable, Iterable
from typing import Any

import openai
import tqdm
from pydantic import BaseModel

import art
from art.gather import GatherContext, set_gather_context, wrap_group_awaitable
from art.local import LocalBackend
from art.utils import iterate_dataset


class Policy(BaseModel):
    """The script's own settings."""

    learning_rate: float = 1e-5
    most_tokens: int = 4


FIRST = art.TrainableModel(
    name="player-1",
    project="two-players",
    base_model="OpenPipe/Qwen3-14B-Instruct",
    config=Policy(),
    _internal_config={
        "engine_args": {"tensor_parallel_size": 1, "num_scheduler_steps": 1},
        "torchtune_args": art.dev.TorchtuneArgs(model="qwen3_14b_instruct", model_type="QWEN3"),
        "init_args": {"gpu_memory_utilization": 0.75},
        "peft_args": {"lora_alpha": 8},
        "trainer_args": {"max_grad_norm": 0.1},
    },
)
MODELS = {"player-1": FIRST, "player-2": FIRST.model_copy(deep=True)}
MODELS["player-2"].name = "player-2"
MODELS["player-2"].config.learning_rate = 2e-5


async def play(client: openai.AsyncOpenAI, model: art.TrainableModel[Policy], word: str) -> tuple[art.Trajectory, ...]:
    """Play both sides; the longer answer wins."""
    sides: list[art.Trajectory] = []
    for side in ("first", "second"):
        trajectory = art.Trajectory(messages_and_choices=[], reward=0, metadata={"side": side, "word": word})
        trajectory.messages_and_choices.append({"role": "user", "content": f"You are {side}. Say {word}."})
        completion = await client.chat.completions.create(
            messages=trajectory.messages(), model=model.name, max_tokens=model.config.most_tokens, logprobs=True
        )
        trajectory.messages_and_choices.append(completion.choices[0])
        trajectory.metrics = {"length": len(completion.choices[0].message.content or "")}
        sides.append(trajectory)
    for trajectory in sides:
        trajectory.reward = float(trajectory.metrics["length"])
    return tuple(sides)


async def gather_by_side(games: Iterable[Awaitable[tuple[art.Trajectory, ...]]]) -> list[art.TrajectoryGroup]:
    """Gather games, and put what each side did into a group."""
    games = list(games)
    context = GatherContext(pbar=None, pbar_total_completion_tokens=False, max_exceptions=0)
    with set_gather_context(context):
        running = asyncio.gather(*(wrap_group_awaitable(game) for game in games))  # type: ignore[arg-type]
        context.pbar = tqdm.tqdm(desc="games", total=sum(getattr(game, "_num_trajectories", 1) for game in games) * 2)
        played = await running
    context.pbar.close()
    return [art.TrajectoryGroup(side) for side in zip(*played, strict=True)]


async def train(model: art.TrainableModel[Policy], backend: LocalBackend) -> None:
    """Train on a few games, with an evaluation in between."""
    await model.register(backend)
    assert model.config == copy.deepcopy(model.config)
    client = model.openai_client()
    steps = iterate_dataset(["red", "blue", "green"], groups_per_step=2, initial_step=await model.get_step())
    for words, epoch, step, epoch_step in steps:
        groups = await gather_by_side(play(client, model, word) for word in words for _ in range(2))
        assert (epoch, step) == (0, epoch_step)
        evaluated = await art.gather_trajectories((play(client, model, word) for word in words), max_exceptions=1)
        await model.log(trajectories=[side for game in evaluated for side in game], split="val")  # type: ignore[union-attr]
        await model.delete_checkpoints()
        await model.train(
            trajectory_groups=groups,
            config=art.TrainConfig(learning_rate=model.config.learning_rate, beta=0.0),
            _config=art.dev.TrainConfig(precalculate_logprobs=True, plot_tensors=False),
            verbose=True,
        )
    assert await model.get_step() == 2


async def main() -> None:
    """Train both models on one backend, one of them from what another process would be handed."""
    dumped: dict[str, Any] = {**MODELS["player-2"].model_dump(), "config": Policy()}
    handed_over = art.TrainableModel(**dumped)
    with LocalBackend(path="./.art") as backend:
        await asyncio.gather(train(MODELS["player-1"], backend), train(handed_over, backend))


if __name__ == "__main__":
    asyncio.run(main())
