"""Validation beside training, clients made by hand, and a backend that nobody keeps."""

# %%
import asyncio

import nest_asyncio
from openai import AsyncOpenAI

import art
from art.local import LocalBackend

nest_asyncio.apply()
model = art.TrainableModel(name="001", project="puzzles", base_model="OpenPipe/Qwen3-14B-Instruct")
await model.register(LocalBackend(in_process=True, path="./.art"))
print(model)


async def rollout(model: art.Model, puzzle: str) -> art.Trajectory:
    messages: art.Messages = [{"role": "user", "content": puzzle}]
    client = AsyncOpenAI(base_url=model.inference_base_url, api_key=model.inference_api_key)
    completion = await client.chat.completions.create(messages=messages, model=model.name, max_tokens=4)
    share = len(completion.choices[0].message.content or "") / 4
    return art.Trajectory(
        messages_and_choices=[*messages, completion.choices[0]], reward=share, metrics={"share": share}
    )


# %%
for step in range(await model.get_step(), 2):
    tried, learned = await asyncio.gather(
        art.gather_trajectory_groups(
            (art.TrajectoryGroup(rollout(model, puzzle) for _ in range(2)) for puzzle in ("a", "b")), pbar_desc="val"
        ),
        art.gather_trajectory_groups(
            (art.TrajectoryGroup(rollout(model, puzzle) for _ in range(3)) for puzzle in ("c", "d")), pbar_desc="train"
        ),
    )
    await model.log(tried)
    await model.delete_checkpoints()
    await model.train(learned, config=art.TrainConfig(learning_rate=5e-5))

# %%
again = asyncio.run(rollout(model, "e"))
later = asyncio.get_event_loop().run_until_complete(rollout(model, "f"))
print("reached", asyncio.run(model.get_step()), again.metrics.keys() == later.metrics.keys())
model
