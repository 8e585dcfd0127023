"""A script as ART's users write it, over a data set; it tells each moment, and waits there for leave to go on."""

import asyncio
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import art
import digits
from art.local import LocalBackend
from art.store import disk
from art.train.trainer import Trainer
from art.utils import iterate_dataset

SCENARIOS = [{"id": f"task-{number}", "prompt": f"give {number} digits"} for number in range(8)]
MOMENTS = ("asked", "answered", "staged", "committed", "published")


def run(base_model: str, root: str, telling: Connection) -> None:
    """Run the script in this process, which is its own."""
    here: list[int] = []

    def tell(moment: str) -> None:
        telling.send((moment, *here))
        telling.recv()

    def followed(function: Callable[..., Any], moment: str) -> Callable[..., Any]:
        def told(*arguments: Any, **options: Any) -> Any:
            result = function(*arguments, **options)
            tell(moment)
            return result

        return told

    Trainer.save = followed(Trainer.save, "staged")
    disk.publish = followed(disk.publish, "committed")
    asyncio.run(_train(base_model, root, here, tell))


async def _train(base_model: str, root: str, here: list[int], tell: Callable[[str], None]) -> None:
    async with LocalBackend(path=root) as backend:
        model = art.TrainableModel(name="one", project="p", base_model=base_model)
        await model.register(backend)
        step = await model.get_step()
        for batch in iterate_dataset(SCENARIOS, groups_per_step=3, num_epochs=2, initial_step=step, use_tqdm=False):
            here[:] = [batch.step]
            tell("asked")
            groups = await art.gather_trajectory_groups(
                (art.TrajectoryGroup(_rollout(model, scenario) for _ in range(2)) for scenario in batch.items),
                pbar_desc=None,
            )
            tell("answered")
            await model.train(groups, config=digits.TRAIN)
            tell("published")


async def _rollout(model: art.TrainableModel, scenario: dict[str, str]) -> art.Trajectory:
    trajectory = await digits.rollout(model, scenario["prompt"])
    trajectory.metadata["scenario_id"] = scenario["id"]
    return trajectory
