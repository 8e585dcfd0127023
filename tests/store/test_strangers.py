"""Folders that a stranger made: reading them touches nothing outside, and nothing in them that is not a step."""

import json
import struct
from pathlib import Path

import pytest

from art.errors import CheckpointNotFoundError, CorruptCheckpointError
from art.names import ModelRef
from art.store.store import CheckpointStore

from .conftest import tree, write_checkpoint, write_foreign, write_run

MODEL = "shop/models/agent-1"
STEP = f"{MODEL}/checkpoints/0002"
OUTSIDE = [
    "{home}/.ssh/id_ed25519",
    "../home/.ssh/id_ed25519",
    f"{MODEL}/checkpoints/../../../../../home/.ssh/id_ed25519",
    f"{MODEL}/checkpoints/linked/id_ed25519",
    f"{MODEL}/linked/0007",
    "shop/models/agent-2/checkpoints/0001",
    "other/models/agent-1/checkpoints/0001",
    ".staging/../../home/.ssh",
    ".staging",
    MODEL,
    f"{MODEL}/checkpoints",
    f"{MODEL}/history.jsonl",
    f"{MODEL}/set_aside/0001/record.json",
    "",
    "/",
    f"/{STEP}",
    f"{MODEL}//checkpoints/0002",
    f"{STEP}\0",
]


@pytest.fixture
def home(tmp_path: Path, store: CheckpointStore) -> Path:
    """A user's own files, and a store whose model has links that lead to them."""
    home = tmp_path / "home"
    (home / ".ssh/0007").mkdir(parents=True)
    (home / ".ssh/id_ed25519").write_text("private")
    write_run(store, ModelRef("shop", "agent-1"), 1, 2)
    write_checkpoint(store, ModelRef("shop", "agent-2"), 1)
    write_checkpoint(store, ModelRef("other", "agent-1"), 1)
    (store.root / MODEL / "linked").symlink_to(home / ".ssh")
    (store.root / MODEL / "checkpoints/linked").symlink_to(home / ".ssh")
    return home


def plant_journal(store: CheckpointStore, *moves: tuple[str, str], record_id: object = 1) -> None:
    fields = {"id": record_id, "time": "2026-01-01T00:00:00Z", "reason": "rewound to 1", "kept": 1, "moves": moves}
    (store.root / MODEL / "journal.json").write_text(json.dumps(fields))


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("as_target", [False, True], ids=["source", "target"])
def test_a_journal_moves_nothing_but_steps_of_its_own_model(
    store: CheckpointStore, main: ModelRef, home: Path, path: str, as_target: bool
):
    path = path.replace("{home}", str(home))
    aside = f"{MODEL}/set_aside/0001/0002"
    plant_journal(store, (STEP, path) if as_target else (path, aside))
    before = tree(home.parent)

    for read in (store.steps, store.newest, store.folders, store.set_aside):
        with pytest.raises(CorruptCheckpointError, match=r"journal\.json asks to move .* Nothing was moved"):
            read(main)

    assert tree(home.parent) == before


def test_a_journal_is_refused_as_a_whole(store: CheckpointStore, main: ModelRef, home: Path):
    good = (STEP, f"{MODEL}/set_aside/0001/0002")
    plant_journal(store, good, (str(home / ".ssh/id_ed25519"), f"{MODEL}/set_aside/0001/0003"))
    before = tree(home.parent)

    with pytest.raises(CorruptCheckpointError):
        store.steps(main)

    assert tree(home.parent) == before


@pytest.mark.parametrize("place", ["set_aside", "checkpoints"])
def test_a_journal_follows_no_link_out_of_its_model(store: CheckpointStore, main: ModelRef, tmp_path: Path, place: str):
    write_run(store, main, 1, 2)
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "0001").mkdir(parents=True)
    folder = store.root / MODEL / place
    if folder.exists():
        folder.rename(folder.with_name("moved"))
    folder.symlink_to(elsewhere)
    plant_journal(store, (f"{MODEL}/checkpoints/0001", f"{MODEL}/set_aside/0001/0001"))

    with pytest.raises(CorruptCheckpointError, match="asks to move"):
        store.steps(main)

    assert [path.name for path in elsewhere.iterdir()] == ["0001"]


@pytest.mark.parametrize("record_id", [0, -1, 10**30, "x", None, [1], float("inf")])
def test_a_journal_whose_number_is_none_is_named(store: CheckpointStore, main: ModelRef, home: Path, record_id: object):
    plant_journal(store, (STEP, f"{MODEL}/set_aside/0001/0002"), record_id=record_id)
    before = tree(home.parent)

    with pytest.raises(CorruptCheckpointError, match=r"journal\.json is not (a journal: id: |JSON: )"):
        store.steps(main)

    assert tree(home.parent) == before


def test_weights_that_are_a_terabyte_of_holes_are_not_read(store: CheckpointStore, main: ModelRef):
    write_run(store, main, 1)
    folder = write_foreign(store.root / MODEL / "checkpoints/0002")
    header = json.dumps({"a": {"dtype": "F32", "shape": [1 << 38], "data_offsets": [0, 1 << 40]}}).encode()
    weights = folder / "adapter_model.safetensors"
    with weights.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        try:
            file.truncate(file.tell() + (1 << 40))
        except OSError:
            pytest.skip("this file system has no file of a terabyte")

    assert store.newest(main).ref.step == 1
    with pytest.raises(CheckpointNotFoundError, match=r"1,099,511,627,868 bytes, and the disk .* holes.*has step 1\."):
        store.open(main.at(2))
    assert weights.stat().st_size > 1 << 40
