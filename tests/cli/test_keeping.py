"""`art gc --keep`, `art pin` and `art unpin`: what policies delete, here and in a bucket, and what they never do."""

import json
import os
from pathlib import Path

import pytest

from art.store.store import CheckpointStore
from store.conftest import tree

from .conftest import BRANCH, MAIN, Art


def test_a_plan_changes_nothing_and_says_why_each_stays(art: Art, store: CheckpointStore):
    before = tree(store.root)

    done = art("gc", "--keep", "newest:1", "--plan")

    assert tree(store.root) == before
    assert done.stdout.splitlines()[:4] == [
        "keeps shop/agent-1@100  shop/agent-2 was forked here",
        "keeps shop/agent-1@150  newest",
        "keeps shop/agent-2@200  newest",
        done.stdout.splitlines()[3],
    ]
    assert done.stdout.splitlines()[3].startswith(
        "Would delete shop/agent-1@50, shop/agent-2@100,150 (3 checkpoints), which frees "
    )


def test_what_no_policy_keeps_is_deleted(art: Art, store: CheckpointStore):
    done = art("gc", "agent-2", "--keep", "newest:1,best:train/reward:min", "--yes", "--json")

    document = json.loads(done.stdout)
    assert document["deleted"] == ["shop/agent-2@150"], "of step 100 the fork's parent knows the lowest reward"
    assert store.steps(BRANCH) == [100, 200]
    assert store.steps(MAIN) == [50, 100, 150]


def test_nothing_is_deleted_without_a_word_of_consent(art: Art, store: CheckpointStore):
    done = art("gc", "--keep", "newest:1")

    assert done.returncode == 1
    assert "add --yes" in done.stderr
    assert store.steps(MAIN) == [50, 100, 150]


def test_a_planned_byte_is_a_byte_that_the_disk_gets_back(art: Art, store: CheckpointStore):
    linked = store.open(MAIN.at(50)).path
    planned = json.loads(art("gc", "agent-1", "--keep", "newest:1", "--plan", "--json").stdout)["freed_bytes"]
    for path in linked.iterdir():
        os.link(path, store.root / f"elsewhere-{path.name}")

    with_links = json.loads(art("gc", "agent-1", "--keep", "newest:1", "--plan", "--json").stdout)["freed_bytes"]

    assert planned > with_links == 0


def test_a_pinned_checkpoint_stays_until_its_pin_is_taken_out(art: Art, store: CheckpointStore):
    art("pin", "agent-1@50")
    pinned = art("gc", "agent-1", "--keep", "newest:1", "--yes")
    kept = store.steps(MAIN)
    art("unpin", "agent-1@50")
    art("gc", "agent-1", "--keep", "newest:1", "--yes")

    assert "keeps shop/agent-1@50   pinned" in pinned.stdout
    assert kept == [50, 100, 150]
    assert store.steps(MAIN) == [100, 150]


def test_a_pin_is_of_a_checkpoint_and_not_of_a_step(art: Art, store: CheckpointStore):
    art("pin", "agent-2@150")
    store.rewind(store.open(BRANCH.at(100)))
    with store.stage(BRANCH.at(150)) as stage:
        (stage.path / "weights.bin").write_bytes(b"another one")
        stage.commit(parent=store.open(BRANCH.at(100)))
    with store.stage(BRANCH.at(200)) as stage:
        (stage.path / "weights.bin").write_bytes(b"later")
        stage.commit(parent=store.open(BRANCH.at(150)))

    art("gc", "agent-2", "--keep", "newest:1", "--yes")

    assert store.steps(BRANCH) == [200]


def test_the_same_holds_in_a_bucket(art: Art, store: CheckpointStore, tmp_path: Path):
    (tmp_path / "bucket").mkdir()
    url = f"file://{tmp_path}/bucket"
    art("pin", "agent-1@50")
    art("push", "agent-1", url)
    art("push", "agent-2", url)
    art("pin", f"{url}::shop/agent-2@100")

    done = art("gc", url, "--keep", "newest:1", "--yes", "--json")

    document = json.loads(done.stdout)
    assert document["deleted"] == ["shop/agent-2@150"]
    why = {kept["ref"]: kept["why"] for kept in document["kept"]}
    assert why["shop/agent-1@50"] == ["pinned"], "a push takes pins along"
    assert why["shop/agent-2@100"] == ["pinned"]
    assert why["shop/agent-1@100"] == ["shop/agent-2 was forked here"]


def test_a_damaged_checkpoint_is_left_alone(art: Art, store: CheckpointStore):
    (store.open(MAIN.at(50)).path / "trainer.json").unlink()

    done = art("gc", "agent-1", "--keep", "newest:1", "--yes")

    assert "keeps shop/agent-1@50   damaged" in done.stdout
    assert store.steps(MAIN) == [50, 100, 150]


def test_nothing_goes_while_a_model_cannot_be_listed(art: Art, store: CheckpointStore):
    folder = store.root / "shop/models/unclear"
    folder.mkdir()
    (folder / "journal.json").write_text("{")

    done = art("gc", "agent-1", "--keep", "newest:1", "--yes")

    assert done.returncode == 1
    assert "unclear/journal.json" in done.stderr
    assert store.steps(MAIN) == [50, 100, 150]


REFUSED = {
    "a step": ("agent-1@50", "--keep", "newest:1"),
    "a model without policies": ("agent-1",),
    "what is no policy": ("--keep", "oldest:1"),
    "the Hub": ("hf://org/repo", "--keep", "newest:1"),
}


@pytest.mark.parametrize("words", REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_is_refused(art: Art, store: CheckpointStore, words: tuple[str, ...]):
    before = tree(store.root)

    done = art("gc", *words)

    assert done.returncode != 0
    assert tree(store.root) == before
