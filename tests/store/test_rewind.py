"""Rewinding: later steps are set aside, never deleted, and come back."""

from pathlib import Path

import pytest

from art.errors import CheckpointNotFoundError, ConflictError, CorruptCheckpointError
from art.names import ModelRef
from art.store.store import CheckpointStore

from .conftest import tree, write_checkpoint, write_foreign, write_run


def test_a_rewind_makes_an_earlier_step_the_newest(store: CheckpointStore, main: ModelRef):
    first, *_ = write_run(store, main, 1, 2, 3)

    aside = store.rewind(first)

    assert store.steps(main) == [1]
    assert store.select(main).checkpoint == first
    assert aside is not None
    assert (aside.steps, aside.kept, aside.reason) == ((2, 3), 1, "rewound to 1")
    assert store.set_aside(main) == [aside]


def test_a_rewind_deletes_no_byte(store: CheckpointStore, main: ModelRef):
    first, *_ = write_run(store, main, 1, 2, 3)
    before = sorted(tree(store.root).values())

    store.rewind(first)

    after = [content for path, content in tree(store.root).items() if not path.endswith("record.json")]
    assert sorted(after) == before


def test_a_rewind_to_the_newest_step_does_nothing(store: CheckpointStore, main: ModelRef):
    *_, newest = write_run(store, main, 1, 2)
    before = tree(store.root)

    assert store.rewind(newest) is None
    assert tree(store.root) == before


def test_a_rewind_can_be_undone(store: CheckpointStore, main: ModelRef):
    first, *later = write_run(store, main, 1, 2, 3)
    store.rewind(first)

    restored = store.restore(main)

    assert restored.steps == (2, 3)
    assert [store.open(checkpoint.ref) for checkpoint in later] == later
    assert store.set_aside(main) == []


def test_a_rewind_takes_debris_and_foreign_steps_along(store: CheckpointStore, main: ModelRef):
    first = write_checkpoint(store, main, 1)
    write_foreign(store.root / "shop/models/agent-1/checkpoints/2")
    (store.root / "shop/models/agent-1/checkpoints/0003").mkdir()

    store.rewind(first)

    assert [path.name for path in first.path.parent.iterdir()] == ["0001"]


def test_training_again_over_the_same_numbers_and_restoring_loses_neither(store: CheckpointStore, main: ModelRef):
    first, *old = write_run(store, main, 1, 2, 3)
    store.rewind(first)
    again = write_checkpoint(store, main, 2, parent=first, reward=0.9)

    store.restore(main)
    with_old = [store.open(main.at(step)) for step in store.steps(main)]
    store.restore(main)

    assert with_old == [first, *old]
    assert store.steps(main) == [1, 2]
    assert store.open(main.at(2)) == again
    assert [aside.steps for aside in store.set_aside(main)] == [(2, 3)]


def test_what_was_set_aside_is_chosen_by_its_number(store: CheckpointStore, main: ModelRef):
    first, second, _ = write_run(store, main, 1, 2, 3)
    earlier, later = store.rewind(second), store.rewind(first)
    assert earlier is not None
    assert later is not None

    store.restore(main, later.id)
    store.restore(main, earlier.id)

    assert store.steps(main) == [1, 2, 3]


def test_restoring_what_is_not_there_tells_what_is(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    first, *_ = write_run(store, main, 1, 2)
    with pytest.raises(CheckpointNotFoundError, match="shop/agent-1 has no checkpoints set aside; it has nothing"):
        store.restore(main)
    store.rewind(first)
    with pytest.raises(CheckpointNotFoundError, match="no checkpoints set aside as 7; it has 1"):
        store.restore(main, 7)
    with pytest.raises(CheckpointNotFoundError):
        store.restore(branch)

    assert store.models() == [main]


def test_rewinding_past_a_damaged_step_is_the_way_out(store: CheckpointStore, main: ModelRef):
    first, second = write_run(store, main, 1, 2)
    (second.path / "trainer.json").unlink()
    with pytest.raises(CorruptCheckpointError):
        store.select(main)

    store.rewind(first)

    assert store.select(main).checkpoint == first


def test_a_fork_does_not_notice_that_its_source_was_rewound(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    first, second = write_run(store, main, 1, 2)
    forked = store.fork(second, branch).checkpoint

    store.rewind(first)

    store.verify(store.open(forked.ref))


def test_a_journal_that_is_damaged_is_named(store: CheckpointStore, main: ModelRef):
    write_checkpoint(store, main, 1)
    journal = store.root / "shop/models/agent-1/journal.json"
    journal.write_text("{")

    with pytest.raises(CorruptCheckpointError, match=r"journal\.json is not JSON: .* may lie in set_aside"):
        store.newest(main)


def test_steps_are_listed_in_order_of_number_when_set_aside(store: CheckpointStore, main: ModelRef, tmp_path: Path):
    first, *_ = write_run(store, main, 1, 9999, 10000)

    aside = store.rewind(first)

    assert aside is not None
    assert aside.steps == (9999, 10000)


def test_a_step_that_was_begun_before_a_rewind_is_not_kept(store: CheckpointStore, main: ModelRef):
    first, second = write_run(store, main, 1, 2)
    with store.stage(main.at(3)) as stage:
        (stage.path / "trainer.json").write_text("{}")
        store.rewind(first)

        with pytest.raises(ConflictError, match="was rewound or replaced meanwhile: it has step 1"):
            stage.commit(parent=second)

    assert store.steps(main) == [1]
