"""A run goes on from the newest whole checkpoint where its mirror is damaged too."""

import asyncio
from pathlib import Path
from typing import Any

import art
import digits
from art.local import LocalBackend
from art.names import ModelRef
from art.remote.remote import Remote
from art.store.store import CheckpointStore

ONE = ModelRef("p", "one")


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()
    path.write_bytes(content)


async def train(small_model: Path, root: Path, steps: int, **settings: Any) -> None:
    async with LocalBackend(path=root, **settings) as backend:
        one = art.TrainableModel(name="one", project="p", base_model=str(small_model))
        await one.register(backend)
        await digits.train(one, steps)


def test_what_is_damaged_in_the_remote_too_makes_way_there_as_well(small_model: Path, tmp_path: Path) -> None:
    root, bucket = tmp_path / "root", tmp_path / "bucket"
    bucket.mkdir()
    remote, store = Remote.open(f"file://{bucket}"), CheckpointStore(root)
    asyncio.run(train(small_model, root, 2, remote=str(remote)))
    weights = "p/models/one/checkpoints/0002/adapter_model.safetensors"
    for place in (root, bucket):
        alter(place / weights)

    asyncio.run(train(small_model, root, 1, remote=str(remote), on_corrupt="previous"))

    assert [aside.steps for aside in remote.set_aside(ONE)] == [(2,)]
    assert remote.open_checkpoint(ONE.at(2)).digest == store.open(ONE.at(2)).digest
    store.verify(store.open(ONE.at(2)))
