"""Registering a model starts what it needs, or leaves nothing behind."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path

import pytest

import art
from art.config import LoRAConfig
from art.errors import InferenceError, LoRAShapeMismatchError
from art.local import LocalBackend

SAID: art.Messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}]


def ours() -> set[str]:
    """The threads that serve or listen."""
    return {thread.name for thread in threading.enumerate()} & {"art-serve", "art-http"}


def small(small_model: Path, **settings: object) -> art.TrainableModel:
    return art.TrainableModel(name="m", project="p", base_model=str(small_model), **settings)  # pyright: ignore


def test_a_port_that_is_taken_leaves_nothing_behind(small_model: Path, tmp_path: Path):
    root = tmp_path / "root"

    async def body() -> str:
        async with LocalBackend(path=root) as backend:
            with socket.create_server(("127.0.0.1", 0)) as taken:
                with pytest.raises(InferenceError, match="another port"):
                    await backend.register(small(small_model), port=taken.getsockname()[1])
                assert ours() == set()
                assert not root.exists()
            inference = await backend.register(small(small_model))
            assert inference is not None
            return inference.base_url

    assert asyncio.run(body()).startswith("http://127.0.0.1:")


def test_a_model_that_cannot_stand_at_its_checkpoint_leaves_its_port_free(small_model: Path, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]

    async def body() -> None:
        async with LocalBackend(path=tmp_path) as backend:
            model = small(small_model, lora=LoRAConfig(rank=4))
            await backend.register(model)
            await backend.train_sft(model, [art.Trajectory(messages_and_choices=SAID)])
        async with LocalBackend(path=tmp_path) as backend:
            with pytest.raises(LoRAShapeMismatchError):
                await backend.register(small(small_model, lora=LoRAConfig(rank=8)), port=port)
            assert "art-http" not in ours()
            await backend.register(small(small_model), port=port)

    asyncio.run(body())


def test_what_trains_is_no_thread_that_stays(tmp_path: Path):
    async def body() -> list[threading.Thread]:
        async with LocalBackend(path=tmp_path / "root") as backend:
            return [await backend._sessions.in_training_thread(threading.current_thread) for _ in range(2)]

    first, second = asyncio.run(body())

    assert first is not second
    assert not first.is_alive()
