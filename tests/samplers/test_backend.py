"""A backend samples from what it was given."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import openai
import pytest

import art
import digits
from art.errors import ConfigurationError
from art.local import LocalBackend
from art.sample.base import LoadedBase
from art.sample.own.engine import Engine
from art.sample.sampler import Traits

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
