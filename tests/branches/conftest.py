"""A root whose trunk has two steps, and what tells branches apart."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import art
import digits
from art.local import LocalBackend
from art.store.store import CheckpointStore

TRUNK = art.ModelRef("shop", "trunk")
SOURCE = "shop/trunk@2"
VARIANTS = [{"learning_rate": 2e-2}, {"learning_rate": 5e-3}]
NAMES = ["trunk-2-learning_rate-0.02", "trunk-2-learning_rate-0.005"]


@pytest.fixture(scope="session", autouse=True)
def workers_no_nicer_than_others() -> Iterator[None]:
    """On a busy machine Ray's workers get next to no time: they are 15 nicer than whoever starts them, unless told."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        yield


@pytest.fixture(scope="session")
def trunk(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read it, never write to it: `root` is a copy."""
    root = tmp_path_factory.mktemp("trunk") / ".art"

    async def body() -> None:
        async with LocalBackend(path=root, deterministic=True) as backend:
            model = art.TrainableModel(name=TRUNK.name, project=TRUNK.project, base_model=str(small_model))
            await model.register(backend)
            await digits.train(model, 3)

    asyncio.run(body())
    return root


@pytest.fixture
def root(trunk: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trunk, tmp_path / ".art"))


def weights(root: Path, name: str, step: int) -> dict[str, str]:
    """The digest of every file of a checkpoint."""
    checkpoint = CheckpointStore(root).open(art.ModelRef("shop", name).at(step))
    return {entry.path: entry.blake3 for entry in checkpoint.manifest.files}
