"""The API and the program ask for the same operations, and what they leave and report is the same."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import art
from art.cli import main
from art.local import LocalBackend
from art.names import ModelRef
from art.ops.moving import Moved
from art.ops.verify import verify
from art.remote.remote import Remote
from art.store.store import CheckpointStore
from store.conftest import tree, write_run

MAIN = ModelRef("shop", "agent-1")


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
