"""The API and the program ask for the same operations, and what they leave and report is the same."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import art
from art.cli import main
from art.errors import ArtError, DestinationNotEmptyError
from art.format.manifest import Manifest
from art.hf import Branch
from art.local import LocalBackend
from art.names import CheckpointRef, ModelRef
from art.ops.moving import Moved
from art.ops.verify import verify
from art.remote.remote import Remote
from art.store.history import HistoryStore
from art.store.store import CheckpointStore
from art.tools.experiments import Experiments
from art.ui.app import create_app
from art.ui.desk import Desk
from store.conftest import tree, write_run

MAIN, BRANCH = ModelRef("shop", "agent-1"), ModelRef("shop", "agent-2")


@pytest.fixture(params=["file", "moto"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        for name in ("api", "program"):
            (tmp_path / "bucket" / name).mkdir(parents=True)
        return f"file://{tmp_path}/bucket"
    return f"s3://{request.getfixturevalue('moto_bucket')}/runs"


@pytest.fixture
def roots(tmp_path: Path) -> tuple[Path, Path]:
    """The same root twice: one for each door."""
    write_run(CheckpointStore(tmp_path / "api"), MAIN, 1, 2, 3)
    return tmp_path / "api", Path(shutil.copytree(tmp_path / "api", tmp_path / "program"))


class Doors:
    """Asks through both."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def program(self, *arguments: str, root: Path) -> dict[str, Any]:
        self._monkeypatch.setattr(sys, "argv", ["art", *arguments, "--root", str(root), "--json"])
        with pytest.raises(SystemExit) as end:
            main()
        printed = self._capsys.readouterr()
        assert not end.value.code, printed.err
        return json.loads(printed.out)

    def let_go(self, root: Path, *, metric: str) -> None:
        async def body() -> None:
            async with LocalBackend(path=root) as backend:
                model = art.TrainableModel(name=MAIN.name, project=MAIN.project, base_model="tiny")
                await backend.delete_checkpoints(model, best_metric=metric)

        asyncio.run(body())

    def api(self, name: str, root: Path, **words: Any) -> Any:
        async def body() -> Any:
            async with LocalBackend(path=root) as backend:
                model = art.TrainableModel(name=MAIN.name, project=MAIN.project, base_model="tiny")
                return await getattr(backend, f"_experimental_{name}")(model, **words)

        return asyncio.run(body())


@pytest.fixture
def doors(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Doors:
    return Doors(monkeypatch, capsys)


def test_a_push_and_a_pull_are_the_same_through_both_doors(
    doors: Doors, url: str, roots: tuple[Path, Path], tmp_path: Path
):
    api_root, program_root = roots
    pushed: Moved = doors.api("push_to_s3", api_root, s3_bucket=f"{url}/api")
    told = doors.program("push", "shop/agent-1", f"{url}/program", root=program_root)

    pulled: Moved = doors.api("pull_from_s3", tmp_path / "to api", s3_bucket=f"{url}/api", only_step="latest")
    brought = doors.program("pull", f"{url}/program::shop/agent-1", root=tmp_path / "to program")

    assert [(each["ref"], each["digest"], each["sent_bytes"], each["there_bytes"]) for each in told["pushed"]] == [
        (str(each.ref), each.digest, each.moved_bytes, each.reused_bytes) for each in pushed.checkpoints
    ]
    (step,) = pulled.checkpoints
    assert (brought["ref"], brought["digest"]) == (str(step.ref), step.digest)
    assert (brought["fetched_bytes"], brought["reused_bytes"]) == (pulled.moved_bytes, pulled.reused_bytes)
    assert tree(tmp_path / "to api") == tree(tmp_path / "to program")


def test_a_rewind_is_the_same_through_both_doors_and_in_both_places(doors: Doors, url: str, roots: tuple[Path, Path]):
    api_root, program_root = roots
    remote = Remote.open(url)
    for step in (1, 2, 3):
        remote.push(CheckpointStore(api_root).open(MAIN.at(step)))

    report = doors.api("fork_checkpoint", api_root, from_model=MAIN.name, not_after_step=1)
    here = doors.program("rewind", "shop/agent-1@1", root=program_root)
    there = doors.program("rewind", f"{url}::shop/agent-1@1", root=program_root)

    assert here == there
    assert here["set_aside"] == list(report.set_aside.steps)
    places = (CheckpointStore(api_root), CheckpointStore(program_root), remote)
    assert [place.steps(MAIN) for place in places] == [[1]] * 3
    assert [[each.steps for each in place.set_aside(MAIN)] for place in places] == [[(2, 3)]] * 3
    back = [
        doors.program("rewind", "--undo", name, root=program_root) for name in ("shop/agent-1", f"{url}::shop/agent-1")
    ]
    assert back[0] == back[1]
    assert places[1].steps(MAIN) == places[2].steps(MAIN) == [1, 2, 3]


def test_deleting_and_verifying_are_the_same_in_both_places(doors: Doors, url: str, roots: tuple[Path, Path]):
    _, root = roots
    doors.program("push", "shop/agent-1", url, root=root)

    names = ("shop/agent-1", f"{url}::shop/agent-1")
    verified = [doors.program("verify", name, root=root) for name in names]
    deleted = [doors.program("rm", f"{name}@1..2", "--yes", root=root)["deleted"] for name in names]

    assert verified[0] == verified[1]
    assert deleted[0] == deleted[1] == ["shop/agent-1@1", "shop/agent-1@2"]
    reports = [verify(place, [MAIN]) for place in (CheckpointStore(root), Remote.open(url))]
    assert reports[0] == reports[1]


def test_what_a_script_lets_go_of_is_what_the_policies_of_the_program_do(doors: Doors, roots: tuple[Path, Path]):
    api_root, program_root = roots
    for root in roots:
        for step, reward in ((1, 0.2), (2, 0.9), (3, 0.4)):
            HistoryStore(root).append(MAIN, step, split="val", metrics={"reward": reward})

    doors.let_go(api_root, metric="val/reward")
    told = doors.program("gc", "shop/agent-1", "--keep", "best:val/reward", "--yes", root=program_root)

    assert told["deleted"] == ["shop/agent-1@1"]
    assert CheckpointStore(api_root).steps(MAIN) == CheckpointStore(program_root).steps(MAIN) == [2, 3]


LOGGED = [{"step": 2, "loss": 0.9}, {"step": 3, "eval_loss": 0.7}, {"step": 4, "loss": 0.5, "lr": 0.1}]


def of_a_trainer(folder: Path, step: int) -> Path:
    """What a Trainer leaves at a step, its log included."""
    folder = folder / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    log = [line for line in LOGGED if line["step"] <= step]
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "model.safetensors"):
        (folder / name).write_bytes(f"{name} {step}".encode())
    return folder


def test_a_commit_is_the_same_through_every_door(doors: Doors, tmp_path: Path):
    folders = {step: of_a_trainer(tmp_path / "out", step) for step in (2, 4)}

    for step, folder in folders.items():
        Branch(str(MAIN), root=tmp_path / "callback").commit(folder, step, log=LOGGED)
        doors.program("commit", str(folder), str(MAIN.at(step)), root=tmp_path / "program")
    doors.program(
        "watch", str(tmp_path / "out"), str(MAIN), "--every", "0.05", "--idle", "0.3", root=tmp_path / "watch"
    )

    committed = [described(tmp_path / door) for door in ("callback", "program", "watch")]
    assert committed[0] == committed[1] == committed[2]
    manifests, history = committed[0]
    assert [manifest.metrics for manifest in manifests] == [{"loss": 0.9}, {"eval_loss": 0.7, "loss": 0.5, "lr": 0.1}]
    assert history == [(2, {"train/loss": 0.9}), (3, {"val/loss": 0.7}), (4, {"train/loss": 0.5, "train/lr": 0.1})]


Way = Callable[[CheckpointStore, Remote, CheckpointRef], object]
"""Forks a checkpoint, which lies in both places, into one and the same model."""


def in_the_store(store: CheckpointStore, _: Remote, source: CheckpointRef) -> object:
    return store.fork(store.open(source), BRANCH)


def in_the_bucket(_: CheckpointStore, remote: Remote, source: CheckpointRef) -> object:
    return remote.fork(remote.open_checkpoint(source), BRANCH)


def out_of_the_bucket(store: CheckpointStore, remote: Remote, source: CheckpointRef) -> object:
    return remote.fetch_fork(remote.open_checkpoint(source), BRANCH, store)


def into_the_bucket(store: CheckpointStore, remote: Remote, source: CheckpointRef) -> object:
    return remote.push_fork(store.open(source), BRANCH)


def by_a_tool(store: CheckpointStore, _: Remote, source: CheckpointRef) -> object:
    return Experiments(store, allowed=["fork"]).fork(str(source), str(BRANCH))


def by_the_page(store: CheckpointStore, _: Remote, source: CheckpointRef) -> object:
    async def body() -> httpx.Response:
        page = httpx.ASGITransport(create_app(Desk(store), port=1, token="t", allow_fork=True))
        async with httpx.AsyncClient(transport=page, base_url="http://127.0.0.1:1") as client:
            wish = {"source": str(source), "destination": str(BRANCH)}
            return await client.post("/api/fork", json=wish, headers={"x-art-token": "t"})

    answer = asyncio.run(body())
    if answer.status_code != 200:
        raise DestinationNotEmptyError(answer.json()["error"])
    return answer


WAYS = (in_the_store, in_the_bucket, out_of_the_bucket, into_the_bucket, by_a_tool, by_the_page)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_another_step_into_the_same_model_is_refused_whatever_the_way(way: Way, tmp_path: Path):
    store = CheckpointStore(tmp_path / "root")
    (tmp_path / "bucket").mkdir()
    remote = Remote.open(f"file://{tmp_path}/bucket")
    for checkpoint in write_run(store, MAIN, 1, 2, 3):
        remote.push(checkpoint)

    way(store, remote, MAIN.at(2))
    way(store, remote, MAIN.at(2))
    for other in (1, 3):
        with pytest.raises(DestinationNotEmptyError, match="agent-2 cannot be forked into"):
            way(store, remote, MAIN.at(other))

    assert [*store.steps(BRANCH), *remote.steps(BRANCH)] == [2]


@pytest.mark.parametrize("way", [by_a_tool, by_the_page])
def test_a_fork_onto_itself_is_no_rewind_behind_these_doors(way: Way, tmp_path: Path):
    store = CheckpointStore(tmp_path)
    write_run(store, BRANCH, 1, 2)

    with pytest.raises(ArtError, match="would be rewound"):
        way(store, Remote.open("memory://"), BRANCH.at(1))

    assert store.steps(BRANCH) == [1, 2]


def described(root: Path) -> tuple[list[Manifest], list[tuple[int, object]]]:
    """What was committed and written down, without the times."""
    store = CheckpointStore(root)
    manifests = [store.open(MAIN.at(step)).manifest for step in store.steps(MAIN)]
    timeless = {"created_at": "", "parent": None}
    return [manifest.model_copy(update=timeless) for manifest in manifests], [
        (entry.step, entry.metrics) for entry in HistoryStore(root).read(MAIN)
    ]
