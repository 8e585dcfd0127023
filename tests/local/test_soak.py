"""Three hundred steps with serving, forks and rewinds in between: memory, files and threads stay as they were."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

import art
import digits
from art.local import LocalBackend

STEPS = int(os.environ.get("SOAK_STEPS", "300"))
WARM_UP = STEPS // 3
"""Until caches, pools and the allocator have their size."""
EVERY = 25
GROWTH_BYTES = 48 * 1024**2
"""What the process may grow by after that: a step leaves two hundred tensors, so a leak of them would show here."""
GROWTH_FILES, GROWTH_THREADS = 8, 4


@dataclass(frozen=True)
class Held:
    """What the process holds at one moment."""

    memory_bytes: int
    files: int
    threads: int


def held() -> Held:
    gc.collect()
    process = psutil.Process()
    return Held(process.memory_info().rss, process.num_fds(), threading.active_count())


async def soak(base_model: str, root: Path) -> list[Held]:
    """Train, go back, fork and ask earlier steps; gives what was held each time a number of steps was taken."""
    seen: list[Held] = []
    async with LocalBackend(path=root) as backend:
        model = art.TrainableModel(name="soak", project="p", base_model=base_model)
        await model.register(backend)
        for step in range(STEPS):
            await digits.train(model, 1)
            if step % EVERY == EVERY - 1:
                await try_a_fork(root, model, number=step)
                await go_back(backend, model)
                seen.append(held())
    return seen


async def try_a_fork(root: Path, model: art.TrainableModel, *, number: int) -> None:
    """Fork the model, train the fork once and leave it: with its backend go its server and its threads."""
    newest = await model.get_step()
    async with LocalBackend(path=root) as backend:
        fork = art.TrainableModel(name=f"fork-{number}", project="p", base_model=model.base_model)
        await backend._experimental_fork_checkpoint(fork, from_model=model.name, not_after_step=newest - 1)
        await fork.register(backend)
        await digits.train(fork, 1)


async def go_back(backend: LocalBackend, model: art.TrainableModel) -> None:
    """Rewind by two steps, and ask the weights of there."""
    newest = await model.get_step()
    await backend._experimental_fork_checkpoint(model, from_model=model.name, not_after_step=newest - 2)
    await digits.rollout(model, digits.PROMPTS[0])


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_nothing_grows_over_three_hundred_steps(
    small_model: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    seen = asyncio.run(soak(str(small_model), tmp_path))

    warm = seen[WARM_UP // EVERY - 1 :]
    first, last = warm[0], warm[-1]
    record_property("soak: steps", STEPS)
    record_property("soak: MiB grown after warm-up", round((last.memory_bytes - first.memory_bytes) / 1024**2, 1))
    record_property("soak: files opened after warm-up", last.files - first.files)
    record_property("soak: threads started after warm-up", last.threads - first.threads)
    assert last.memory_bytes - first.memory_bytes < GROWTH_BYTES
    assert last.files - first.files <= GROWTH_FILES
    assert last.threads - first.threads <= GROWTH_THREADS
