"""A script as ART's users write it: train until a step is reached. Killed and started again, it goes on."""

import asyncio
import sys

import art
import digits
from art.local import LocalBackend


async def main(base_model: str, root: str, steps: int) -> None:
    async with LocalBackend(path=root, deterministic=True) as backend:
        model = art.TrainableModel(name="one", project="p", base_model=base_model)
        await model.register(backend)
        for step in range(await model.get_step(), steps):
            model.state = {"next": step + 1}
            groups = await art.gather_trajectory_groups(
                (
                    art.TrajectoryGroup(digits.rollout(model, f"{prompt} {number}") for _ in range(4))
                    for number in range(6)
                    for prompt in digits.PROMPTS
                ),
                pbar_desc=None,
            )
            await model.train(groups, config=digits.TRAIN)


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
