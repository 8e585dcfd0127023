"""Lineage: who came from whom, across forks, also when ancestors are gone."""

import pytest

from art.errors import CheckpointNotFoundError
from art.format.lineage import Segment
from art.names import ModelRef
from art.store.store import CheckpointStore

from .conftest import write_checkpoint, write_foreign, write_run

A, B, C = (ModelRef("shop", name) for name in ("a", "b", "c"))


@pytest.fixture
def family(store: CheckpointStore) -> CheckpointStore:
    """a: 1-4; b forked from a@2, then 3-5; c forked from b@4, then 5."""
    write_run(store, A, 1, 2, 3, 4)
    first = store.fork(store.open(A.at(2)), B).checkpoint
    for step in (3, 4, 5):
        first = write_checkpoint(store, B, step, parent=first)
    second = store.fork(store.open(B.at(4)), C).checkpoint
    write_checkpoint(store, C, 5, parent=second)
    return store


def names(store: CheckpointStore, model: ModelRef, step: int) -> list[str]:
    found = store.lineage(model.at(step))
    return [f"{ref.model.name}{ref.step}{'' if checkpoint else ' gone'}" for ref, checkpoint in found]


def test_lineage_runs_newest_first_across_forks(family: CheckpointStore):
    assert names(family, C, 5) == ["c5", "c4", "b4", "b3", "b2", "a2", "a1"]


def test_lineage_goes_on_behind_a_deleted_source(family: CheckpointStore):
    family.delete(family.open(B.at(4)))

    assert names(family, C, 5) == ["c5", "c4", "b4 gone", "b3", "b2", "a2", "a1"]


def test_lineage_goes_on_behind_a_deleted_model(family: CheckpointStore):
    for step in family.steps(B):
        family.delete(family.open(B.at(step)))

    assert names(family, C, 5) == ["c5", "c4", "b4 gone", "a2", "a1"]


def test_lineage_does_not_take_a_step_that_was_trained_again_for_the_parent(family: CheckpointStore):
    family.rewind(family.open(A.at(1)))
    write_checkpoint(family, A, 2, parent=family.open(A.at(1)), reward=0.9)

    assert names(family, B, 2) == ["b2", "a2 gone", "a1"]


def test_lineage_ends_when_two_models_were_forked_from_each_other(store: CheckpointStore):
    forked = store.fork(write_checkpoint(store, A, 5), B).checkpoint
    store.fork(forked, A, overwrite=True)

    assert names(store, A, 5) == ["a5", "b5", "a5 gone"]


def test_lineage_ends_when_a_foreign_source_was_replaced_by_its_fork(store: CheckpointStore):
    write_foreign(store.root / "shop/models/a/checkpoints/5")
    forked = store.fork(store.open(A.at(5)), B).checkpoint
    store.fork(forked, A, overwrite=True)

    assert names(store, A, 5) == ["a5", "b5", "a5 gone"]


def test_segments_cut_the_past_at_the_forks(family: CheckpointStore):
    assert family.segments(C) == [Segment(A, 0, 2), Segment(B, 2, 4), Segment(C, 4, None)]
    assert family.segments(A) == [Segment(A, 0, None)]
    assert family.segments(ModelRef("shop", "unknown")) == [Segment(ModelRef("shop", "unknown"), 0, None)]


@pytest.mark.parametrize(("step", "holder"), [(1, A), (2, B), (3, B), (4, C), (5, C)])
def test_an_ancestor_is_found_in_the_model_it_was_trained_in(family: CheckpointStore, step: int, holder: ModelRef):
    assert family.ancestor(C, step).ref == holder.at(step)


@pytest.mark.parametrize(("step", "holder"), [(4, B), (2, A)])
def test_the_step_of_a_fork_is_found_on_its_other_side_too(family: CheckpointStore, step: int, holder: ModelRef):
    family.delete(family.open((C if step == 4 else B).at(step)))

    assert family.ancestor(C, step).ref == holder.at(step)


def test_a_step_of_another_branch_is_no_ancestor(family: CheckpointStore):
    assert family.open(B.at(5))
    assert family.ancestor(C, 5).ref == C.at(5)
    assert family.ancestor(A, 3).ref == A.at(3)


def test_an_ancestor_that_never_was_is_an_error(family: CheckpointStore):
    with pytest.raises(CheckpointNotFoundError, match="no checkpoint shop/a@0; it has steps 1, 2, 3, 4"):
        family.ancestor(C, 0)


def test_a_fork_of_an_untrained_fork_remembers_both(store: CheckpointStore):
    write_run(store, A, 1, 2)
    first = store.fork(store.open(A.at(2)), B).checkpoint

    second = store.fork(first, C).checkpoint

    assert [hop.ref for hop in second.manifest.ancestry] == [A.at(2), B.at(2)]
    assert names(store, C, 2) == ["c2", "b2", "a2", "a1"]
    assert store.ancestor(C, 1).ref == A.at(1)
    assert [segment.model for segment in store.segments(C) if 2 in segment] == [A, B, C]
