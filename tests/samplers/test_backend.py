"""A backend samples from what it was given."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import art
from art.errors import ConfigurationError
from art.local import LocalBackend
from art.sample.base import LoadedBase
from art.sample.own.engine import Engine


def test_a_sampler_that_nobody_has_is_refused(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="'faster'"):
        LocalBackend(path=tmp_path, sampler="faster")


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
