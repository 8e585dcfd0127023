"""What the tests of the public API find: a world that a module shares, and a free port."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import art
from api.world import Settings, World
from art.local import LocalBackend


@pytest.fixture(scope="module")
def world(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    async def open_world() -> tuple[LocalBackend, art.TrainableModel[Settings]]:
        backend = LocalBackend(path=tmp_path_factory.mktemp("root"))
        model = art.TrainableModel(name="agent", project="api", base_model=str(small_model), config=Settings())
        await model.register(backend)
        return backend, model

    with asyncio.Runner() as runner:
        backend, model = runner.run(open_world())
        yield World(runner, backend, model)
        runner.run(backend.close())


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
