"""A backend samples from what it was given."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import openai
import pytest

import art
import digits
from art.errors import ConfigurationError, TrainingDataError
from art.local import LocalBackend
from art.sample.base import LoadedBase
from art.sample.own.engine import Engine
from art.sample.sampler import Traits
from art.sample.version import Version

from .asking import of_the_page


def test_a_sampler_that_nobody_has_is_refused(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="'faster'"):
        LocalBackend(path=tmp_path, sampler="faster")


def test_a_backend_trains_on_what_another_sampler_said(small_model: Path, tmp_path: Path):
    async def body() -> list[float]:
        async with LocalBackend(path=tmp_path, sampler=of_the_page, deterministic=True) as backend:
            model = art.TrainableModel(name="m", project="p", base_model=str(small_model))
            await model.register(backend)
            rewards = await digits.train(model, 2)
            assert await model.get_step() == 2
            return rewards

    # The same seeds draw the same tokens, and a step whose answers diverge from the weights is an error.
    assert len(asyncio.run(body())) == 2


class Inexact(Engine):
    @property
    def traits(self) -> Traits:
        return Traits()


def test_what_a_sampler_cannot_do_is_refused_to_whoever_asks_for_it(small_model: Path, tmp_path: Path):
    def make(base: LoadedBase) -> Inexact:
        return Inexact(base.module, base.tokenizer)

    model = art.TrainableModel(name="m", project="p", base_model=str(small_model))

    async def penalised() -> str:
        async with LocalBackend(path=tmp_path, sampler=make) as backend:
            await model.register(backend)
            with pytest.raises(openai.BadRequestError) as refusal:
                await model.openai_client().chat.completions.create(
                    model="m", messages=[{"role": "user", "content": "Hello"}], presence_penalty=1.0
                )
            return str(refusal.value)

    async def exact() -> None:
        async with LocalBackend(path=tmp_path, sampler=make, deterministic=True) as backend:
            await art.TrainableModel(name="m", project="p", base_model=str(small_model)).register(backend)

    assert "penalties" in asyncio.run(penalised())
    with pytest.raises(ConfigurationError, match="Inexact"):
        asyncio.run(exact())
    assert "art-serve" not in {thread.name for thread in threading.enumerate()}


def test_what_makes_a_sampler_gets_the_base_and_the_bounds(small_model: Path, tmp_path: Path):
    bases: list[LoadedBase] = []

    def make(base: LoadedBase) -> Engine:
        bases.append(base)
        return Engine(base.module, base.tokenizer)

    async def register() -> None:
        async with LocalBackend(path=tmp_path, sampler=make, max_rows=7, max_cache_bytes=1 << 20) as backend:
            await art.TrainableModel(name="m", project="p", base_model=str(small_model)).register(backend)

    asyncio.run(register())

    assert [(base.id, base.max_rows, base.max_cache_bytes) for base in bases] == [(str(small_model), 7, 1 << 20)]


class Shared(Engine):
    """Our engine, as one that has the GPU of the training beside it."""

    happened: ClassVar[list[str]] = []

    def publish(self, version: Version, adapter: Path | None) -> None:
        self.happened.append(f"publish {version.step}")
        super().publish(version, adapter)

    @contextmanager
    def resting(self) -> Generator[None]:
        self.happened.append("rest")
        try:
            yield
        finally:
            self.happened.append("wake")


def test_a_sampler_that_shares_the_gpu_rests_in_each_step_and_wakes_before_what_came_of_it_is_served(
    small_model: Path, tmp_path: Path
):
    happened = Shared.happened
    happened.clear()

    async def body() -> None:
        async with LocalBackend(path=tmp_path, sampler=lambda base: Shared(base.module, base.tokenizer)) as backend:
            model = art.TrainableModel(name="m", project="p", base_model=str(small_model))
            await model.register(backend)
            await digits.train(model, 1)
            with pytest.raises(TrainingDataError):
                await backend.train(model, [art.TrajectoryGroup([art.Trajectory()])], strict=True)
            await digits.train(model, 1)

    asyncio.run(body())

    step = happened.index("rest")
    assert happened[step : step + 3] == ["rest", "wake", "publish 1"]
    assert happened[-3:] == ["rest", "wake", "publish 2"]
    assert happened.count("rest") == happened.count("wake")
