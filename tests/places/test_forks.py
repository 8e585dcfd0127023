"""Forks between places: the same rules and the same report in every direction, through every door."""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import art
from adapters import LAYER
from art.cli import forks, main
from art.cli.addresses import ModelAddress
from art.cli.render import output
from art.errors import ConfigurationError, CorruptCheckpointError, DestinationNotEmptyError, LoRAShapeMismatchError
from art.format.pick import NEWEST, AtMost, Best, Exact, Pick
from art.local import LocalBackend
from art.names import ModelRef
from art.ops.fork import ForkOutcome, ForkReport, ForkRequest, IfExists, fork
from art.remote.remote import Remote
from art.store.history import HistoryStore
from art.store.store import CheckpointStore
from store.conftest import tree, write_foreign, write_run

MAIN, BRANCH = ModelRef("shop", "agent-1"), ModelRef("shop", "agent-2")
Program = Callable[..., subprocess.CompletedProcess[str]]
DIRECTIONS = ["disk to disk", "bucket to disk", "disk to bucket", "bucket to bucket", "bucket to another"]


@dataclass(frozen=True)
class World:
    """Two places, and a request from one to the other."""

    source: CheckpointStore | Remote
    destination: CheckpointStore | Remote

    def fork(self, pick: Pick = NEWEST, **changed: Any) -> ForkReport:
        request = ForkRequest(
            source=self.source, source_model=MAIN, pick=pick, destination=self.destination, model=BRANCH
        )
        return fork(replace(request, **changed))


@pytest.fixture(params=DIRECTIONS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """A model with steps 1, 2 and 3 in the source, in each direction."""
    disk = CheckpointStore(tmp_path / "root")
    places: dict[str, CheckpointStore | Remote] = {"disk": disk}
    for name in ("bucket", "another"):
        (tmp_path / name).mkdir()
        places[name] = Remote.open(f"file://{tmp_path}/{name}")
    source, _, destination = request.param.partition(" to ")
    elsewhere = disk if source == "disk" else CheckpointStore(tmp_path / "elsewhere")
    for checkpoint in write_run(elsewhere, MAIN, 1, 2, 3):
        if isinstance(bucket := places[source], Remote):
            bucket.push(checkpoint)
    return World(places[source], places[destination])


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Program:
    """Run `art` in this process."""

    def run(*arguments: str, root: Path) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["art", *arguments, "--root", str(root)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(["art", *arguments], int(end.value.code or 0), printed.out, printed.err)

    return run


def test_what_a_fork_was_made_to_try_is_recorded_and_compared(world: World):
    report = world.fork(Exact(2), settings={"learning_rate": 1e-5})
    again = world.fork(Exact(2), settings={"learning_rate": 1e-5})

    assert report.manifest.ancestry[-1].settings == {"learning_rate": 1e-5}
    assert again.outcome is ForkOutcome.REPEATED
    with pytest.raises(DestinationNotEmptyError):
        world.fork(Exact(2), settings={"learning_rate": 5e-6})


def test_a_fork_has_the_step_and_the_files_of_its_source(world: World):
    report = world.fork(AtMost(2))

    source = world.source.select(MAIN, Exact(2)).checkpoint
    forked = world.destination.select(BRANCH).checkpoint
    assert (report.outcome, report.ref, report.step) == (ForkOutcome.FORKED, BRANCH.at(2), 2)
    assert (report.selected, report.considered) == (MAIN.at(2), 2)
    assert forked.manifest == report.manifest
    assert forked.manifest.files == source.manifest.files
    assert forked.manifest.parent is not None
    assert (forked.manifest.parent.ref, forked.manifest.parent.digest) == (MAIN.at(2), source.digest)
    assert forked.manifest.ancestry[0].pick == AtMost(2)


def test_every_byte_of_a_fork_is_accounted_for(world: World):
    report = world.fork()

    moved = report.sent_bytes or report.fetched_bytes
    assert report.shared_bytes + report.copied_bytes + moved + report.reused_bytes == report.manifest.size_bytes


@pytest.mark.parametrize("pick", [NEWEST, AtMost(3), Exact(3)], ids=str)
def test_the_same_fork_again_does_nothing(world: World, pick: Pick):
    world.fork(pick)

    again = world.fork(pick)

    assert (again.outcome, again.step) == (ForkOutcome.REPEATED, 3)
    assert world.destination.steps(BRANCH) == [3]


@pytest.mark.parametrize("then", [Exact(2), NEWEST, AtMost(2)], ids=str)
def test_a_fork_after_one_of_an_exact_step_is_refused(world: World, then: Pick):
    world.fork(Exact(1))

    with pytest.raises(DestinationNotEmptyError):
        world.fork(then)

    assert world.destination.steps(BRANCH) == [1]


def test_a_fork_with_other_resets_is_refused(world: World):
    world.fork()

    with pytest.raises(DestinationNotEmptyError):
        world.fork(reset=("optimizer",))


def test_a_model_that_exists_goes_on_when_asked_and_nothing_is_compared(world: World):
    first = world.fork(Exact(1), if_exists=IfExists.CONTINUE)

    then = world.fork(Exact(99), if_exists=IfExists.CONTINUE, reset=("optimizer",))

    assert (first.outcome, then.outcome, then.step) == (ForkOutcome.FORKED, ForkOutcome.CONTINUED, 1)
    assert world.destination.steps(BRANCH) == [1]


def test_what_is_reset_is_left_out(world: World):
    report = world.fork(reset=("optimizer", "random"))

    assert report.manifest.reset == ("optimizer", "random")
    assert "optimizer.safetensors" not in world.destination.select(BRANCH).checkpoint.names


@pytest.mark.parametrize("reset", [("adapter",), ("brain",)])
def test_a_part_that_cannot_be_reset_changes_nothing(world: World, reset: tuple[str, ...]):
    with pytest.raises(ConfigurationError, match="cannot be reset"):
        world.fork(reset=reset)

    assert world.destination.steps(BRANCH) == []


def test_a_refusal_of_the_destination_comes_before_any_byte(world: World):
    def refuse(_: object) -> None:
        raise LoRAShapeMismatchError("no")

    with pytest.raises(LoRAShapeMismatchError):
        world.fork(check=refuse)

    assert world.destination.steps(BRANCH) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, ["x"]) for field in ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "lora_bias")),
        ("bias", "all"),
        ("init_lora_weights", "pissa"),
        ("from_tomorrow", 1),
    ],
)
def test_an_adapter_that_nobody_could_continue_is_not_forked(tmp_path: Path, field: str, value: object):
    store = CheckpointStore(tmp_path)
    folder = write_foreign(tmp_path / "shop/models/agent-1/checkpoints/0007")
    config = json.loads((folder / "adapter_config.json").read_bytes())
    (folder / "adapter_config.json").write_text(json.dumps(config | {field: value}))
    before = tree(tmp_path)

    with pytest.raises(LoRAShapeMismatchError, match=rf"agent-1@7 cannot be continued.*{field}"):
        World(store, store).fork()

    assert tree(tmp_path) == before


def test_an_adapter_with_the_scale_of_rslora_is_forked(tmp_path: Path):
    store = CheckpointStore(tmp_path)
    folder = write_foreign(tmp_path / "shop/models/agent-1/checkpoints/0007")
    config = json.loads((folder / "adapter_config.json").read_bytes())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"use_rslora": True}))

    assert World(store, store).fork().ref == BRANCH.at(7)


def test_a_fork_of_the_best_takes_the_lowest_loss_and_the_highest_reward(tmp_path: Path):
    store = CheckpointStore(tmp_path)
    write_run(store, MAIN, 1, 2, 3)
    for step, value in ((1, 0.9), (2, 0.1), (3, 0.5)):
        HistoryStore(store.root).append(MAIN, step, split="val", metrics={"loss": value, "reward": value})

    lowest = World(store, store).fork(Best("val/loss"))
    highest = World(store, store).fork(Best("val/reward"), model=ModelRef("shop", "agent-3"))

    assert (lowest.ref.step, highest.ref.step) == (2, 1)


def header_of(**tensors: tuple[str, list[int]]) -> bytes:
    """A file of weights with these tensors, of these types and shapes."""
    sizes = {"BF16": 2, "I8": 1}
    header, end = dict[str, object](), 0
    for name, (dtype, shape) in tensors.items():
        begin, end = end, end + sizes[dtype] * math.prod(shape)
        header[f"{LAYER}.{name}.weight"] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(end)


@pytest.mark.parametrize("bucket", [False, True], ids=["disk", "bucket"])
@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ({"lora_A": ("BF16", [4, 3]), "lora_B": ("BF16", [3, 4])}, "states rank 8, but for"),
        ({"lora_A": ("BF16", [8, 3])}, "only one of A and B"),
        ({"lora_A": ("I8", [8, 3]), "lora_B": ("I8", [3, 8])}, "in I8"),
        ({"lora_magnitude_vector": ("BF16", [8])}, "lora_magnitude_vector.*not implemented here"),
        ({}, "adapts no layer"),
    ],
)
def test_an_adapter_whose_tensors_nobody_continues_is_refused_before_a_byte_moves(
    tmp_path: Path, bucket: bool, tensors: dict[str, tuple[str, list[int]]], problem: str
):
    store = CheckpointStore(tmp_path / "root")
    folder = write_foreign(store.root / "shop/models/agent-1/checkpoints/0007")
    (folder / "adapter_model.safetensors").write_bytes(header_of(**tensors))
    if bucket:
        (tmp_path / "bucket").mkdir()
        Remote.open(f"file://{tmp_path}/bucket").push(store.open(MAIN.at(7)))
    source = Remote.open(f"file://{tmp_path}/bucket") if bucket else store
    empty = CheckpointStore(tmp_path / "empty")

    with pytest.raises((LoRAShapeMismatchError, CorruptCheckpointError), match=f"agent-1@7 cannot be .*{problem}"):
        fork(ForkRequest(source=source, source_model=MAIN, destination=empty, model=BRANCH))

    assert not empty.root.exists()


@pytest.fixture(params=["disk", "file", "moto"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[CheckpointStore, str | None]:
    """A root with two models, and the URL of a bucket that has the first of them too; None where that is the source."""
    store = CheckpointStore(tmp_path / "program")
    pushed = write_run(store, MAIN, 1, 2, 3)
    for step, reward in ((1, 0.2), (2, 0.9), (3, 0.4)):
        HistoryStore(store.root).append(MAIN, step, split="train", metrics={"reward": reward})
    write_run(store, ModelRef("shop", "other"), 5)
    if request.param == "disk":
        return store, None
    (tmp_path / "bucket").mkdir()
    url = f"file://{tmp_path}/bucket"
    if request.param == "moto":
        url = f"s3://{request.getfixturevalue('moto_bucket')}/runs"
    for checkpoint in pushed:
        Remote.open(url).push(checkpoint)
    Remote.open(url).push_history(store, MAIN)
    return store, url


@pytest.mark.parametrize(
    ("into", "words", "name", "arguments"),
    [
        ("agent-2", {}, "agent-1", []),
        ("agent-2", {"not_after_step": 2}, "agent-1", ["--not-after", "2"]),
        ("agent-2", {"pick": AtMost(2)}, "agent-1", ["--not-after", "2"]),
        ("agent-2", {"pick": Exact(1)}, "agent-1@1", []),
        ("agent-2", {"pick": Best("train/reward")}, "agent-1", ["--best", "train/reward"]),
        ("agent-2", {"pick": Best("train/reward", "min")}, "agent-1", ["--best", "train/reward", "--mode", "min"]),
        ("agent-2", {"reset": ["optimizer"]}, "agent-1", ["--reset", "optimizer"]),
        ("agent-2", {"reset": ["random", "state"]}, "agent-1", ["--reset", "random", "--reset", "state"]),
        ("agent-1", {"not_after_step": 2}, "agent-1", ["--not-after", "2"]),
        ("agent-1", {"pick": Best("train/reward")}, "agent-1", ["--best", "train/reward"]),
        ("other", {"overwrite": True}, "agent-1", ["--overwrite"]),
        ("other", {"continue_if_exists": True}, "agent-1", ["--continue-if-exists"]),
    ],
)
def test_the_api_and_the_program_report_the_same(
    program: Program,
    tmp_path: Path,
    source: tuple[CheckpointStore, str | None],
    into: str,
    words: dict[str, Any],
    name: str,
    arguments: list[str],
):
    store, url = source
    api_root = Path(shutil.copytree(store.root, tmp_path / "api"))

    report = asyncio.run(_through_the_api(api_root, into, from_s3_bucket=url, **words))
    at = f"{url}::" if url else ""
    done = program("fork", f"{at}shop/{name}", f"shop/{into}", *arguments, "--json", root=store.root)

    assert done.returncode == 0, done.stderr
    expected = forks.document(report, ModelAddress(url, MAIN, None), ModelAddress(None, ModelRef("shop", into), None))
    told = json.loads(done.stdout)
    assert told.pop("schema") == output.SCHEMA
    for document in (expected, told):
        document["path"] = str(Path(document["path"]).relative_to(tmp_path).parts[1:])
        document["seconds"] = 0
    assert told == expected


async def _through_the_api(root: Path, into: str, **words: Any) -> ForkReport:
    async with LocalBackend(path=root) as backend:
        model = art.TrainableModel(name=into, project="shop", base_model="tiny")
        fork_checkpoint = backend._experimental_fork_checkpoint  # pyright: ignore[reportPrivateUsage]
        return await fork_checkpoint(model, from_model="agent-1", **words)


@pytest.mark.parametrize("bucket", [False, True], ids=["disk", "bucket"])
def test_another_exact_step_is_refused_through_both_doors(program: Program, tmp_path: Path, bucket: bool):
    store = CheckpointStore(tmp_path / "root")
    for checkpoint in write_run(store, MAIN, 1, 2, 3):
        if bucket:
            (tmp_path / "bucket").mkdir(exist_ok=True)
            Remote.open(f"file://{tmp_path}/bucket").push(checkpoint)
    url = f"file://{tmp_path}/bucket" if bucket else None
    name = f"{url}::shop/agent-1" if url else "shop/agent-1"
    first = program("fork", f"{name}@1", "shop/agent-2", root=store.root)

    second = program("fork", f"{name}@2", "shop/agent-2", root=store.root)
    with pytest.raises(DestinationNotEmptyError):
        asyncio.run(_through_the_api(store.root, "agent-2", from_s3_bucket=url, pick=Exact(2)))

    assert (first.returncode, second.returncode) == (0, 1)
    assert "cannot be forked into" in second.stderr
    assert store.steps(BRANCH) == [1]
