"""`art rm`: steps, ranges and whole models, here and in a bucket; what is kept, and what it says."""

import json
from pathlib import Path

import pytest

from art.store.store import CheckpointStore
from store.conftest import tree, write_foreign

from .conftest import BRANCH, MAIN, Art

NAMED = {
    "agent-1@100": [100],
    "agent-1@60..150": [100, 150],
    "agent-1@50..100": [50, 100],
    "agent-1@100..": [100, 150],
    "agent-1@..100": [50, 100],
    "agent-1": [50, 100, 150],
}


@pytest.mark.parametrize("name", NAMED)
def test_what_is_named_is_deleted_and_said(art: Art, store: CheckpointStore, name: str):
    before = tree(store.root)

    listed = json.loads(art("rm", name, "--dry-run", "--json").stdout)
    untouched = tree(store.root) == before
    deleted = json.loads(art("rm", name, "--yes", "--json").stdout)

    assert untouched
    assert listed["deleted"] == deleted["deleted"] == [f"shop/agent-1@{step}" for step in NAMED[name]]
    assert (listed["dry_run"], deleted["dry_run"]) == (True, False)
    assert store.steps(MAIN) == [step for step in (50, 100, 150) if step not in NAMED[name]]
    assert art("verify", "agent-2").returncode == 0


def test_several_names_may_overlap(art: Art, store: CheckpointStore):
    done = art("rm", "agent-1@50..100", "agent-1@100", "agent-2@200", "--yes")

    assert "Deleted shop/agent-1@50,100, shop/agent-2@200 (3 checkpoints), which freed" in done.stdout
    assert (store.steps(MAIN), store.steps(BRANCH)) == ([150], [100, 150])


def test_the_last_and_the_best_are_kept(art: Art, store: CheckpointStore):
    done = art("rm", "agent-1", "--keep-last", "1", "--keep-best", "train/reward", "--yes", "--json")

    document = json.loads(done.stdout)
    assert document["deleted"] == ["shop/agent-1@50"]
    assert document["kept"] == ["shop/agent-1@100", "shop/agent-1@150"]
    assert store.steps(MAIN) == [100, 150]


def test_the_best_has_a_direction(art: Art, store: CheckpointStore):
    unclear = art("rm", "agent-1", "--keep-best", "train/zeal", "--yes")
    lowest = art("rm", "agent-1", "--keep-best", "train/reward", "--mode", "min", "--yes", "--json")

    assert unclear.returncode == 1
    assert "say --mode" in unclear.stderr
    assert json.loads(lowest.stdout)["kept"] == ["shop/agent-1@150"]


REFUSED = {
    "no such step": ["agent-1@51"],
    "no step in the range": ["agent-1@51..60"],
    "no such model": ["shop/nobody"],
    "a range that runs back": ["agent-1@9..3"],
    "a range without ends": ["agent-1@.."],
    "a best that nobody has": ["agent-1", "--keep-best", "val/accuracy"],
    "one of several is missing": ["agent-1@50", "agent-2@51"],
}


@pytest.mark.parametrize("wish", REFUSED)
def test_what_cannot_be_deleted_deletes_nothing(art: Art, store: CheckpointStore, wish: str):
    before = tree(store.root)

    done = art("rm", *REFUSED[wish], "--yes")

    assert done.returncode == 1, done.stdout
    assert done.stderr.startswith("art: ")
    assert tree(store.root) == before


def test_a_bucket_loses_what_is_named_and_nothing_else(art: Art, store: CheckpointStore, tmp_path: Path):
    (tmp_path / "bucket").mkdir()
    url = f"file://{tmp_path}/bucket"
    art("push", "agent-1", url)
    before = tree(store.root)

    done = art("rm", f"{url}::shop/agent-1@50..", "--keep-last", "1", "--yes", "--json")

    assert json.loads(done.stdout)["deleted"] == ["shop/agent-1@50", "shop/agent-1@100"]
    left = json.loads(art("log", url, "--json").stdout)["models"][0]["checkpoints"]
    assert [step["step"] for step in left] == [150]
    assert tree(store.root) == before


def test_a_damaged_checkpoint_can_be_deleted(art: Art, store: CheckpointStore):
    (store.open(MAIN.at(100)).path / "optimizer.safetensors").unlink()

    assert art("rm", "agent-1@100", "--yes").returncode == 0
    assert store.steps(MAIN) == [50, 150]


def test_what_another_program_may_have_written_is_not_deleted_with_a_model(art: Art, store: CheckpointStore):
    theirs = store.root / "shop/models/agent-1/checkpoints/0160"
    theirs.mkdir()
    (theirs / "weights.bin").write_bytes(b"theirs")
    write_foreign(store.root / "shop/models/agent-1/checkpoints/0170")

    art("rm", "agent-1", "--yes")

    assert [path.name for path in theirs.parent.iterdir()] == ["0160"]


def test_what_a_fork_shares_is_not_counted_as_freed(art: Art):
    shared = json.loads(art("rm", "agent-1@100", "--dry-run", "--json").stdout)["freed_bytes"]
    own = json.loads(art("rm", "agent-1@50", "--dry-run", "--json").stdout)["freed_bytes"]

    assert 0 < shared <= own  # equal where the file system clones: what a clone shares cannot be told
