"""A game that the model plays against itself in several parts, a model that is only asked, and a chart of who won."""

# %%
import asyncio
import copy
import os
import random

import weave
from openai import AsyncOpenAI
from tqdm.asyncio import tqdm_asyncio

import art
from art.local import LocalBackend
from art.utils.benchmarking.charts import training_progress_chart
from art.utils.benchmarking.load_trajectories import load_trajectories
from art.utils.benchmarking.types import BenchmarkModelKey

random.seed(42)
ROLES = ("teller", "guesser")
backend = LocalBackend(path="./.art")
model = art.TrainableModel(name="player_1", project="words", base_model="OpenPipe/Qwen3-14B-Instruct")
opponent = art.Model(
    name="opponent-1.0",
    project="words",
    inference_model_name="judge",
    inference_api_key="key",
    inference_base_url=os.environ["JUDGE_URL"],
)
await model.register(backend)
await opponent.register(backend)


# %%
class Player:
    """Keeps what it reads apart from what it said: texts are stripped on the way back to the model."""

    def __init__(self, model: art.Model) -> None:
        self.model = model
        self.read: list[dict[str, str]] = [{"role": "system", "content": "Play."}]
        self.said: list[object] = []

    async def answer(self, question: str) -> str:
        self.read.append({"role": "user", "content": question})
        client = AsyncOpenAI(base_url=self.model.inference_base_url, api_key=self.model.inference_api_key)
        response = await client.chat.completions.create(
            model=self.model.get_inference_name(),
            messages=self.read,
            temperature=0.7,
            max_tokens=4,
            logprobs=True,
            store=False,
        )
        self.said.append(response.choices[0])
        text = response.choices[0].message.content.strip()
        self.read.append({"role": "assistant", "content": text})
        return text

    def told(self) -> list[object]:
        said = iter(self.said)
        return [next(said) if message["role"] == "assistant" else message for message in self.read]


@weave.op()
async def play(board: dict[str, int], blue: art.Model, red: art.Model) -> dict[str, art.Trajectory]:
    players = {f"{side}_{role}": Player(model) for side, model in (("blue", blue), ("red", red)) for role in ROLES}
    for turn in range(2):
        hint = await players["blue_teller"].answer(f"Board {board['number']}, turn {turn}.")
        guess = await players["blue_guesser"].answer(f"The hint is {hint!r}.")
    if len(guess) % 2:
        await players["red_teller"].answer("Your turn.")
    lengths = {name: sum(len(choice.message.content) for choice in player.said) for name, player in players.items()}
    for player in players.values():
        player.read.append({"role": "user", "content": "Game over."})
    return {
        name: art.Trajectory(
            messages_and_choices=player.told(), reward=lengths[name], metrics={"length": lengths[name]}
        )
        for name, player in players.items()
    }


async def games(number: int) -> list[art.TrajectoryGroup]:
    board = {"number": number}
    played = await asyncio.gather(*(play(copy.deepcopy(board), model, model) for _ in range(3)))
    return [art.TrajectoryGroup(game[part] for game in played) for part in played[0]]


async def validate(player: art.Model) -> list[art.Trajectory]:
    played = await tqdm_asyncio.gather(*(play({"number": 0}, player, opponent) for _ in range(2)), desc="validation")
    for game in played:
        game["blue_teller"].reward = game["blue_teller"].metrics["won"] = 1.0
    return [game["blue_teller"] for game in played]


# %%
for step in range(await model.get_step(), 2):
    nested = await tqdm_asyncio.gather(*(games(number) for number in range(2)), total=2, desc=f"step {step}")
    await model.log(await validate(model))
    await model.train(
        trajectory_groups=[group for groups in nested for group in groups],
        config=art.TrainConfig(learning_rate=5e-6, beta=0.0),
    )
    await model.delete_checkpoints()
await opponent.log(await validate(opponent))

# %%
df = await load_trajectories(project_name="words", models=["player_1", "opponent-1.0"], art_path="./.art")
keys = [BenchmarkModelKey("player_1", "player", "val"), BenchmarkModelKey("opponent-1.0", "opponent", "val")]
chart = training_progress_chart(df, "won", models=keys, title="Games won", y_label="share")
chart.savefig("won.png")
print("reached", await model.get_step(), len(df), sorted(df["split"].unique()))
