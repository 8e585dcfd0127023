"""A root from a stranger, told to trackers that write files: nothing outside of it is made, changed or waited for."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from art.errors import ArtError, CorruptCheckpointError
from art.format import layout
from art.local.reports import reports_of
from art.ops.telling import Teller
from art.store.store import CheckpointStore
from fuzz.world import bounded, tree
from trackers.stories import AGENT, new_store, train

FILES = ("jsonl", "tensorboard")
RUN = "shop/agent-1"
WAYS = ["trackers", "trackers/{}", "trackers/{}/shop", f"trackers/{{}}/{RUN}"]


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    (tmp_path / "outside/train").mkdir(parents=True)
    for name in ("history.jsonl", "run.json", "train/0000.jsonl", "key"):
        (tmp_path / "outside" / name).write_text("private")
    store = new_store(tmp_path)
    train(store, AGENT, 0.25)
    return store


def tell(store: CheckpointStore, tracker: str) -> None:
    (report,) = reports_of(tracker, store.root, rollouts=True)
    teller = Teller(store, report)
    try:
        teller.tell(AGENT)
    finally:
        teller.close()


@pytest.mark.parametrize("run", ["../../../outside", "{}/outside", "agent-2", ".", ""])
def test_a_run_is_called_as_its_model_and_leads_nowhere_else(store: CheckpointStore, tmp_path: Path, run: str):
    tell(store, "jsonl")
    cursor = store.root / layout.told_path(AGENT, "jsonl")
    cursor.write_text(json.dumps({**json.loads(cursor.read_text()), "run": run.format(tmp_path)}))
    before = tree(tmp_path)
    train(store, AGENT, 0.5)

    with pytest.raises(CorruptCheckpointError, match=r"trackers/jsonl\.json calls run 1 of shop/agent-1"):
        tell(store, "jsonl")

    after = tree(tmp_path)
    assert {name for name in after.keys() - before.keys() if not name.startswith("root/shop/models")} == set()
    assert all(after[name] == before[name] for name in before if name.startswith("outside"))


@pytest.mark.parametrize("tracker", FILES)
@pytest.mark.parametrize("way", WAYS)
def test_no_link_leads_a_trackers_files_out_of_the_root(store: CheckpointStore, tmp_path: Path, tracker: str, way: str):
    pytest.importorskip("tensorboard" if tracker == "tensorboard" else "art")
    link = store.root / way.format(tracker)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(tmp_path / "outside")
    before = tree(tmp_path / "outside")

    with pytest.raises(ArtError, match=f"{link} is a symbolic link"):
        tell(store, tracker)

    assert tree(tmp_path / "outside") == before


def link_to_file(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "history.jsonl")


def link_to_folder(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def pipe(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def endless(path: Path, outside: Path) -> None:
    path.symlink_to("/dev/zero")


NAMES = ["history.jsonl", "rollouts", "rollouts/train", "rollouts/train/0000.jsonl", "run.json"]
PUTS = [link_to_file, link_to_folder, pipe, endless]


@pytest.mark.parametrize("put", PUTS)
@pytest.mark.parametrize(
    "name", ["history.jsonl", "rollouts", "rollouts/train", "rollouts/train/0000.jsonl", "run.json"]
)
def test_what_is_no_file_of_ours_is_replaced_or_refused(
    store: CheckpointStore, tmp_path: Path, name: str, put: Callable[[Path, Path], None]
):
    path = store.root / "trackers/jsonl" / RUN / name
    path.parent.mkdir(parents=True)
    put(path, tmp_path / "outside")
    before = tree(tmp_path / "outside")

    refusals = list[str]()
    with bounded():
        try:
            tell(store, "jsonl")
        except ArtError as error:
            refusals.append(str(error))

    assert tree(tmp_path / "outside") == before
    assert all(str(path.parent) in refusal for refusal in refusals)
    assert refusals or (path.is_file() and not path.is_symlink())
