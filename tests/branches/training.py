"""Training functions that workers import: one that learns, and some that end in other ways."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import digits
from art.backend import TrainResult
from art.branches import Branch


async def learn(branch: Branch) -> int:
    """Train until the budget is spent; gives how many steps this worker took."""
    taken = 0
    async for _ in branch.steps():
        await branch.train(await digits.gather(branch.model))
        taken += 1
    return taken


async def learn_or_fail(branch: Branch) -> int:
    """Fail where the setting `fails` says so, after one step."""
    async for _ in branch.steps():
        await branch.train(await digits.gather(branch.model))
        if branch.settings.get("fails"):
            raise KeyError("no such tool")
    return 0


async def learn_or_exit(branch: Branch) -> int:
    """End the program where the setting `exits` says how."""
    if "exits" in branch.settings:
        sys.exit(branch.settings["exits"])  # pyright: ignore[reportArgumentType]
    return await learn(branch)


async def learn_with_defaults(branch: Branch) -> None:
    """Forget the branch's settings."""
    async for _ in branch.steps():
        await branch.model.train(await digits.gather(branch.model))


async def learn_and_be_killed(branch: Branch) -> int:
    """Be killed once, in the second step; goes on when started again."""
    taken = 0
    async for step in branch.steps():
        groups = await digits.gather(branch.model)
        mark = Path(branch.backend.store.root, "killed")
        if step > branch.first and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        await branch.train(groups)
        taken += 1
    return taken


async def learn_slowly(branch: Branch) -> None:
    """Wait in the second step of the first worker until its machine is lost; say which machine of Ray's that is."""
    import importlib

    ray: Any = importlib.import_module("ray")
    async for step in branch.steps():
        groups = await digits.gather(branch.model)
        mark = Path(branch.backend.store.root, "worker")
        if step > branch.first and not mark.exists():
            fresh = mark.with_name("worker.new")
            fresh.write_text(ray.get_runtime_context().get_node_id())
            fresh.rename(mark)
            await asyncio.sleep(600)
        await branch.train(groups)


async def one_step(branch: Branch) -> TrainResult:
    """Take one step, for a trial of Ray Tune."""
    return await branch.train(await digits.gather(branch.model))


async def one_step_and_be_killed(branch: Branch) -> TrainResult:
    """Be killed once, in the second step; goes on when started again."""
    groups = await digits.gather(branch.model)
    mark = Path(branch.backend.store.root, "killed")
    if await branch.model.get_step() > branch.first and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return await branch.train(groups)


async def one_step_that_earns_its_rate(branch: Branch) -> dict[str, float]:
    """Take one step, and call the learning rate its reward."""
    await one_step(branch)
    return {"reward": float(str(branch.settings["learning_rate"]))}
