"""`art fork`, `rewind`, `rm` and `gc`: what they do to a store, and what they say."""

import json
from pathlib import Path

from art.names import ModelRef
from art.store.store import CheckpointStore
from store.conftest import tree, write_foreign

from .conftest import BRANCH, MAIN, Art

NEW = ModelRef("shop", "agent-3")


def test_fork_begins_a_model_at_the_same_step(art: Art, store: CheckpointStore):
    done = art("fork", "agent-1", "agent-3", "--not-after", "120", "--json")

    document = json.loads(done.stdout)
    assert done.returncode == 0
    assert (document["source"], document["destination"]) == ("shop/agent-1@100", "shop/agent-3@100")
    assert document["considered"] == 2
    assert store.steps(NEW) == [100]


def test_fork_takes_an_exact_step(art: Art, store: CheckpointStore):
    done = art("fork", "shop/agent-1@50", "shop/agent-3")

    assert done.stdout.startswith("shop/agent-3@50 is a fork of shop/agent-1@50\n")
    assert store.steps(NEW) == [50]


def test_fork_tells_what_was_considered_when_asked(art: Art, store: CheckpointStore):
    (store.root / "shop/models/agent-1/checkpoints/0160").mkdir()

    done = art("fork", "agent-1", "agent-3", "-v")

    assert "considered 4 steps, chose the newest whole one" in done.stdout
    assert "skipped step 160" in done.stdout


def test_fork_records_what_was_reset(art: Art, store: CheckpointStore):
    done = art("fork", "agent-1", "agent-3", "--reset", "optimizer", "--reset", "random")

    manifest = store.select(NEW).checkpoint.manifest
    assert manifest.reset == ("optimizer", "random")
    assert "starts afresh: optimizer, random" in done.stdout


def test_fork_refuses_a_part_it_does_not_know(art: Art, store: CheckpointStore):
    done = art("fork", "agent-1", "agent-3", "--reset", "brain")

    assert done.returncode == 1
    assert "'brain' cannot be reset" in done.stderr
    assert store.steps(NEW) == []


def test_the_same_fork_again_does_nothing(art: Art, store: CheckpointStore):
    art("fork", "agent-1@100", "agent-3")
    before = tree(store.root)

    done = art("fork", "agent-1@100", "agent-3", "--json")

    assert json.loads(done.stdout)["repeated"] is True
    assert tree(store.root) == before


def test_another_fork_into_a_model_is_refused_with_its_steps(art: Art, store: CheckpointStore):
    before = tree(store.root)

    done = art("fork", "agent-1@50", "agent-2")

    assert done.returncode == 1
    assert "it has steps 100, 150, 200" in done.stderr
    assert "--continue-if-exists, or set its steps aside with --overwrite" in done.stderr
    assert tree(store.root) == before


def test_overwrite_sets_aside(art: Art, store: CheckpointStore):
    done = art("fork", "agent-1@50", "agent-2", "--overwrite")

    assert done.returncode == 0
    assert "set aside 100,150,200" in done.stdout
    assert store.steps(BRANCH) == [50]


def test_a_fork_of_a_foreign_checkpoint_says_that_the_optimizer_starts_afresh(art: Art, store: CheckpointStore):
    write_foreign(store.root / "shop/models/theirs/checkpoints/0007")

    done = art("fork", "shop/theirs", "agent-3")

    assert done.returncode == 0
    assert "no optimizer" in done.stdout


def test_a_fork_onto_itself_is_a_rewind(art: Art, store: CheckpointStore):
    done = art("fork", "agent-1@100", "agent-1")

    assert "shop/agent-1@100 is the newest of its model again" in done.stdout
    assert store.steps(MAIN) == [50, 100]


def test_a_fork_with_two_limits_is_a_usage_error(art: Art):
    done = art("fork", "agent-1@100", "agent-3", "--not-after", "50")

    assert done.returncode == 2
    assert "names its step already" in done.stderr


def test_rewind_and_undo(art: Art, store: CheckpointStore):
    away = art("rewind", "agent-1@50")
    after = store.steps(MAIN)
    back = art("rewind", "--undo", "agent-1")

    assert "set aside: 100,150 (2 checkpoints)" in away.stdout
    assert "art rewind --undo shop/agent-1 --id 1" in away.stdout
    assert after == [50]
    assert "stands at step 150" in back.stdout
    assert store.steps(MAIN) == [50, 100, 150]


def test_undo_without_anything_set_aside_is_an_error(art: Art):
    done = art("rewind", "--undo", "agent-1")

    assert done.returncode == 1
    assert done.stderr.startswith("art: shop/agent-1 has no checkpoints set aside")


def test_rm_asks_nobody_and_deletes_nothing_without_a_terminal(art: Art, store: CheckpointStore):
    before = tree(store.root)

    done = art("rm", "agent-1@150")

    assert done.returncode == 1
    assert "--yes" in done.stderr
    assert tree(store.root) == before


def test_rm_deletes_what_is_named_and_leaves_forks_whole(art: Art, store: CheckpointStore):
    done = art("rm", "agent-1@50", "agent-1@100", "--yes")

    assert done.returncode == 0
    assert store.steps(MAIN) == [150]
    assert art("verify", "agent-2").returncode == 0


def test_rm_of_a_missing_step_deletes_none(art: Art, store: CheckpointStore):
    done = art("rm", "agent-1@50", "agent-1@51", "--yes")

    assert done.returncode == 1
    assert "agent-1@51" in done.stderr
    assert store.steps(MAIN) == [50, 100, 150]


def test_gc_lists_and_then_deletes_debris(art: Art, store: CheckpointStore):
    torn = store.root / "shop/models/agent-1/checkpoints/0160"
    torn.mkdir()
    (torn / "adapter_model.safetensors").write_bytes(b"half")

    listed = art("gc", "--dry-run")
    still_there = torn.exists()
    deleted = json.loads(art("gc", "--json").stdout)

    assert "shop/models/agent-1/checkpoints/0160" in listed.stdout
    assert still_there
    assert [Path(entry["path"]) for entry in deleted["debris"]] == [torn]
    assert not torn.exists()
    assert store.steps(MAIN) == [50, 100, 150]
