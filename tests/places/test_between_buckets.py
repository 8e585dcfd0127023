"""A model goes from one bucket into another as a push from a disk brings it; what is no whole adapter goes nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from art.errors import CheckpointExistsError, CorruptCheckpointError
from art.format.pick import Exact
from art.names import ModelRef
from art.ops.fork import ForkRequest, fork
from art.ops.moving import Moved, MoveRequest, move
from art.ops.verify import verify
from art.remote.remote import Remote
from art.store.history import HistoryStore
from art.store.signatures import signature_name, write_signature
from art.store.store import CheckpointStore
from cli.conftest import Art
from remote.making import put_foreign
from remote.servers import S3Server
from store.conftest import tree, write_checkpoint, write_run

MAIN, BRANCH = ModelRef("shop", "agent-1"), ModelRef("shop", "agent-2")
WAYS = ["moto to moto", "moto to file", "file to moto", "file to file"]
Place = CheckpointStore | Remote


@pytest.fixture
def here(tmp_path: Path) -> CheckpointStore:
    """A model with a history, a pin and a signature."""
    store = CheckpointStore(tmp_path / "here")
    checkpoints = write_run(store, MAIN, 1, 2)
    HistoryStore(store.root).append(MAIN, 1, split="train", metrics={"reward": 0.5})
    write_signature(store.root, MAIN, signature_name(checkpoints[1].digest or "", "0" * 64), b"a signature")
    return store


@pytest.fixture(params=WAYS)
def buckets(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Remote, Remote]:
    source, _, target = request.param.partition(" to ")
    return open_bucket(source, "source", request, tmp_path), open_bucket(target, "target", request, tmp_path)


def open_bucket(kind: str, name: str, request: pytest.FixtureRequest, folder: Path) -> Remote:
    if kind == "moto":
        return Remote.open(f"s3://{request.getfixturevalue('moto_bucket')}/{name}")
    (folder / name).mkdir()
    return Remote.open(f"file://{folder}/{name}")


def moved(source: Place, destination: Place) -> Moved:
    return move(MoveRequest(source=source, destination=destination, model=MAIN))


def test_a_model_arrives_as_it_is_with_all_that_belongs_to_it(
    buckets: tuple[Remote, Remote], here: CheckpointStore, tmp_path: Path
):
    source, target = buckets
    moved(here, source)
    source.set_pin(MAIN.at(1), here.open(MAIN.at(1)).digest, pinned=True)

    first, again = moved(source, target), moved(source, target)
    pulled = CheckpointStore(tmp_path / "pulled")
    moved(target, pulled)

    assert [each.digest for each in first.checkpoints] == [here.open(MAIN.at(step)).digest for step in (1, 2)]
    assert (again.moved_bytes, again.reused_bytes) == (0, first.moved_bytes)
    assert not any(report.is_wrong for report in verify(target, [MAIN]))
    assert target.pins(MAIN) == source.pins(MAIN)
    pins = "shop/models/agent-1/pins.jsonl"
    assert {name: content for name, content in tree(pulled.root).items() if name != pins} == tree(here.root)


def test_another_checkpoint_under_the_step_is_not_replaced(buckets: tuple[Remote, Remote], here: CheckpointStore):
    source, target = buckets
    moved(here, source)
    other = target.push(write_checkpoint(CheckpointStore(here.root.with_name("other")), MAIN, 2, reward=0.1))

    with pytest.raises(CheckpointExistsError):
        moved(source, target)

    assert target.open_checkpoint(MAIN.at(2)).digest == other.digest


def test_a_checkpoint_of_another_program_gets_a_manifest_on_the_way(moto: S3Server, moto_bucket: str):
    put_foreign(moto.client(), moto_bucket, "source/", MAIN.at(3))
    source, target = (Remote.open(f"s3://{moto_bucket}/{name}") for name in ("source", "target"))

    first, again = moved(source, target), moved(source, target)

    assert first.checkpoints[0].digest == again.checkpoints[0].digest == target.open_checkpoint(MAIN.at(3)).digest
    assert not any(report.is_wrong for report in verify(target, [MAIN]))


@pytest.mark.parametrize("missing", ["adapter_config.json", "adapter_model.safetensors"])
def test_what_is_no_whole_adapter_is_refused_before_a_byte_moves(
    buckets: tuple[Remote, Remote], tmp_path: Path, missing: str
):
    source, target = buckets
    store, empty = CheckpointStore(tmp_path / "here"), CheckpointStore(tmp_path / "empty")
    whole = write_checkpoint(CheckpointStore(tmp_path / "whole"), MAIN, 1)
    with store.stage(MAIN.at(1)) as stage:
        for name in {"adapter_config.json", "adapter_model.safetensors", "trainer.json"} - {missing}:
            stage.place(name).write_bytes((whole.path / name).read_bytes())
        checkpoint = stage.commit()
    source.push(checkpoint)

    for place, destination in ((store, target), (source, target), (source, empty)):
        with pytest.raises(CorruptCheckpointError, match=f"no whole adapter: it has no {missing}"):
            moved(place, destination)
    for place, destination in ((store, store), (store, target), (source, source), (source, target), (source, empty)):
        request = ForkRequest(source=place, source_model=MAIN, pick=Exact(1), destination=destination, model=BRANCH)
        with pytest.raises(CorruptCheckpointError, match=f"no whole adapter: it has no {missing}"):
            fork(request)

    assert not target.models()
    assert source.models() == store.models() == [MAIN]
    assert not empty.root.exists()


def test_the_program_pushes_from_a_bucket_into_another(art: Art, here: CheckpointStore, tmp_path: Path):
    urls = [f"file://{tmp_path}/{name}" for name in ("one", "two")]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    moved(here, Remote.open(urls[0]))

    done = art("push", f"{urls[0]}::shop/agent-1", urls[1], "--json", root=tmp_path / "nowhere")

    assert [step["ref"] for step in json.loads(done.stdout)["pushed"]] == ["shop/agent-1@1", "shop/agent-1@2"]
    assert Remote.open(urls[1]).steps(MAIN) == [1, 2]
