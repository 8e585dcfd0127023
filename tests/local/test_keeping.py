"""A backend that keeps what policies keep: real training, and what lies on the disk and in the remote afterwards."""

import asyncio
from pathlib import Path

import pytest

import art
import digits
from art.errors import ConfigurationError
from art.local import LocalBackend
from art.remote.remote import Remote
from art.store.pins import set_pin
from art.store.store import CheckpointStore

REF = art.ModelRef("p", "one")


def trained(small_model: Path, root: Path, steps: int, **settings: object) -> CheckpointStore:
    async def body() -> None:
        async with LocalBackend(path=root, **settings) as backend:
            one = art.TrainableModel(name="one", project="p", base_model=str(small_model))
            await one.register(backend)
            for _ in range(steps):
                await digits.train(one, 1)

    asyncio.run(body())
    return CheckpointStore(root)


def test_after_each_step_what_no_policy_keeps_is_gone(small_model: Path, tmp_path: Path) -> None:
    store = trained(small_model, tmp_path, 4, keep="newest:1, every:2")

    assert store.steps(REF) == [2, 4]


def test_a_pin_outlives_the_steps_after_it(small_model: Path, tmp_path: Path) -> None:
    store = trained(small_model, tmp_path, 1)
    set_pin(tmp_path, REF.at(1), store.open(REF.at(1)).digest, pinned=True)

    trained(small_model, tmp_path, 2, keep="newest:1")

    assert store.steps(REF) == [1, 3]


def test_everything_is_pushed_before_it_goes(small_model: Path, tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    url = f"file://{tmp_path}/bucket"

    store = trained(small_model, tmp_path / "root", 3, keep="newest:1", remote=url)

    assert store.steps(REF) == [3]
    assert Remote.open(url).steps(REF) == [1, 2, 3]


def test_a_policy_that_is_none_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'latest' is no policy; write some of newest:2"):
        LocalBackend(path=tmp_path, keep="latest")
