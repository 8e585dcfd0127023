"""State that scripts note: on the disk at once, carried by checkpoints, and that of where the model stands."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import art
from api.world import two_groups
from art.errors import ConfigurationError
from art.local import LocalBackend


def make(small_model: Path, name: str = "agent") -> art.TrainableModel:
    return art.TrainableModel(name=name, project="api", base_model=str(small_model))


def test_a_state_survives_the_process_without_a_checkpoint(small_model: Path, tmp_path: Path):
    async def note() -> None:
        async with LocalBackend(path=tmp_path) as backend:
            model = make(small_model)
            await model.register(backend)
            assert model.read_state() is None
            model.overwrite_state({"offset": 4, "seen": ["a"]})
            assert model.merge_state({"offset": 8}) == {"offset": 8, "seen": ["a"]}

    async def read() -> Any:
        async with LocalBackend(path=tmp_path) as backend:
            model = make(small_model)
            await model.register(backend)
            return model.read_state()

    asyncio.run(note())

    assert asyncio.run(read()) == {"offset": 8, "seen": ["a"]}


def test_a_fork_and_a_rewind_have_what_was_noted_at_their_checkpoint(small_model: Path, tmp_path: Path):
    async def body() -> tuple[Any, Any, Any]:
        async with LocalBackend(path=tmp_path) as backend:
            model = make(small_model)
            await model.register(backend)
            for offset in (1, 2):
                model.merge_state({"offset": offset})
                await model.train(await two_groups(model))
            model.merge_state({"offset": 3})
            newest = model.read_state()
            fork = make(small_model, "fork")
            await backend._experimental_fork_checkpoint(fork, from_model="agent", not_after_step=1)
            await fork.register(backend)
            await backend._experimental_fork_checkpoint(model, from_model="agent", not_after_step=1)
            return newest, fork.read_state(), model.read_state()

    assert asyncio.run(body()) == ({"offset": 3}, {"offset": 2}, {"offset": 2})


def test_a_state_that_json_has_no_form_for_is_refused_and_changes_nothing(small_model: Path, tmp_path: Path):
    async def body() -> Any:
        async with LocalBackend(path=tmp_path) as backend:
            model = make(small_model)
            await model.register(backend)
            model.overwrite_state({"offset": 1})
            with pytest.raises(ConfigurationError, match="cannot be written as JSON"):
                model.merge_state({"when": object()})
            return model.read_state(), model.state

    assert asyncio.run(body()) == ({"offset": 1}, {"offset": 1})


def test_a_model_that_is_only_called_has_a_state_too(tmp_path: Path):
    async def body() -> Any:
        teacher = art.Model("teacher", "api", inference_base_url="https://models.example/v1")
        async with LocalBackend(path=tmp_path) as backend:
            await teacher.register(backend)
            teacher.merge_state({"asked": 3})
            return teacher.read_state()

    assert asyncio.run(body()) == {"asked": 3}
