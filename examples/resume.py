"""The usual training script, which may be killed at any moment and started again.

    .venv/bin/python examples/resume.py [BASE_MODEL]

Press Ctrl-C, or kill it, whenever you like; the next start goes on behind the newest checkpoint, with the items of
the data set that would have come next. `model.state` is a JSON value of your own that travels with each checkpoint.
"""

from __future__ import annotations

import asyncio
from itertools import permutations

import art
from art.local import LocalBackend
from art.utils import iterate_dataset
from yes_no_maybe import base_model, rollout

ROOT = "demo-out/resume"
PROMPTS = [
    f"{verb} {first}, {second}, or {third}"
    for verb in ("respond with", "answer with", "say", "pick one of:")
    for first, second, third in permutations(("yes", "no", "maybe"))
]
VALIDATION = PROMPTS[::8]
TRAINING = [prompt for prompt in PROMPTS if prompt not in VALIDATION]


async def validate(model: art.TrainableModel) -> None:
    """Log how the newest weights do on prompts they never trained on, and keep no checkpoint but it and the best."""
    trajectories = await art.gather_trajectories(
        (rollout(model, prompt) for prompt in VALIDATION for _ in range(4)), pbar_desc=None, max_exceptions=0.1
    )
    await model.log(trajectories, split="val")
    await model.delete_checkpoints(best_checkpoint_metric="val/reward")


async def main() -> None:
    async with LocalBackend(path=ROOT, deterministic=True) as backend:
        model = art.TrainableModel(name="resumable", project="examples", base_model=base_model())
        await model.register(backend)
        step = await model.get_step()
        print(f"{model.name} {'begins' if step == 0 else f'goes on after step {step}'}; its state is {model.state}")

        for batch in iterate_dataset(TRAINING, groups_per_step=6, num_epochs=2, initial_step=step, use_tqdm=False):
            groups = await art.gather_trajectory_groups(
                (art.TrajectoryGroup(rollout(model, prompt) for _ in range(8)) for prompt in batch.items),
                pbar_desc=None,
                max_exceptions=2,
            )
            seen = model.state["seen"] if model.state else 0
            model.state = {"epoch": batch.epoch, "seen": seen + len(batch.items)}
            result = await model.train(groups, config=art.TrainConfig(learning_rate=1e-3))
            print(f"step {result.step:2}: reward {result.metrics['reward']:.2f}, state {model.state}", flush=True)
            if result.step % 2 == 0:
                await validate(model)

        print(f"Done after {await model.get_step()} steps; delete {ROOT} to begin again.")


if __name__ == "__main__":
    asyncio.run(main())
