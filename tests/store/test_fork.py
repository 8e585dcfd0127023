"""Forking: the same step, the same bytes, a recorded parent, and nothing else is touched."""

import os

import pytest

from adapters import adapter_bytes
from art.errors import CheckpointNotFoundError, ConfigurationError, DestinationNotEmptyError
from art.format.lineage import hop_from
from art.format.pick import NEWEST, AtMost, Best, Exact, Pick
from art.names import ModelRef
from art.store.history import HistoryStore
from art.store.sharing import Sharing
from art.store.stage import Forked
from art.store.store import CheckpointStore

from .conftest import tree, write_checkpoint, write_foreign, write_run

CHECKPOINT_FILES = {
    "checkpoint.json",
    "adapter_config.json",
    "adapter_model.safetensors",
    "optimizer.safetensors",
    "trainer.json",
}


def test_a_fork_keeps_the_step_number(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    source = write_checkpoint(store, main, 500)

    forked = store.fork(source, branch)

    assert forked.checkpoint.ref == branch.at(500)
    assert forked.newest_step == 500
    assert not forked.repeated
    assert store.steps(branch) == [500]


def test_a_fork_may_lie_in_another_project(store: CheckpointStore, main: ModelRef):
    source = write_checkpoint(store, main, 5)

    forked = store.fork(source, ModelRef("other", "fresh"))

    assert forked.checkpoint.path == store.root / "other/models/fresh/checkpoints/0005"


def test_a_fork_holds_the_files_of_the_checkpoint_and_nothing_else(
    store: CheckpointStore, main: ModelRef, branch: ModelRef
):
    history = HistoryStore(store.root)
    history.append(main, 5, split="train", metrics={"reward": 1.0})
    history.append_trajectories(main, 5, split="train", trajectories=["{}"])
    source = write_checkpoint(store, main, 5)

    forked = store.fork(source, branch).checkpoint

    found = {path.relative_to(store.root / "shop/models/agent-2") for path in forked.path.parents[1].rglob("*.*")}
    assert {str(path) for path in found} == {f"checkpoints/0005/{name}" for name in CHECKPOINT_FILES}
    for entry in source.manifest.files:
        assert (forked.path / entry.path).read_bytes() == (source.path / entry.path).read_bytes()
    store.verify(forked)


def test_a_fork_leaves_its_source_as_it_was(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    source = write_checkpoint(store, main, 5)
    before = tree(source.path)

    store.fork(source, branch)

    assert tree(source.path) == before
    assert store.open(main.at(5)) == source


def test_a_fork_moves_no_bytes(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    source = write_checkpoint(store, main, 5)

    forked = store.fork(source, branch)

    assert forked.copied_bytes == 0
    assert forked.shared_bytes == source.manifest.size_bytes
    if forked.sharing == {Sharing.HARD_LINK}:
        for entry in source.manifest.files:
            assert (forked.checkpoint.path / entry.path).samefile(source.path / entry.path)
    else:
        assert forked.sharing == {Sharing.REFLINK}


def test_a_fork_records_where_it_came_from(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    source = write_checkpoint(store, main, 5)

    manifest = store.fork(source, branch, pick=AtMost(7)).checkpoint.manifest

    assert manifest.parent is not None
    assert (manifest.parent.ref, manifest.parent.digest, manifest.parent.remote) == (source.ref, source.digest, None)
    assert [(hop.ref, hop.digest, hop.pick) for hop in manifest.ancestry] == [(source.ref, source.digest, AtMost(7))]
    assert (manifest.base_model, manifest.lora) == (source.manifest.base_model, source.manifest.lora)
    assert manifest.metrics == source.manifest.metrics


def test_a_fork_survives_the_deletion_of_its_source(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    source = write_checkpoint(store, main, 5)
    forked = store.fork(source, branch).checkpoint

    store.delete(source)

    store.verify(store.open(forked.ref))


def test_a_fork_into_a_model_with_checkpoints_names_its_steps(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    write_run(store, branch, 5, 6)
    source = write_checkpoint(store, main, 5)
    before = tree(store.root)

    with pytest.raises(DestinationNotEmptyError, match=r"agent-2 cannot be forked into: it has steps 5, 6\..*over"):
        store.fork(source, branch)

    assert tree(store.root) == before


def test_a_fork_into_a_model_that_is_ahead_is_refused(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    write_checkpoint(store, branch, 9)

    with pytest.raises(DestinationNotEmptyError, match="it has step 9"):
        store.fork(write_checkpoint(store, main, 5), branch)


def test_a_fork_into_a_model_with_a_foreign_checkpoint_is_refused(
    store: CheckpointStore, main: ModelRef, branch: ModelRef
):
    write_foreign(store.root / "shop/models/agent-2/checkpoints/0003")

    with pytest.raises(DestinationNotEmptyError):
        store.fork(write_checkpoint(store, main, 5), branch)


def test_a_fork_into_a_model_with_a_copy_made_by_hand_is_refused(
    store: CheckpointStore, main: ModelRef, branch: ModelRef
):
    first, second = write_run(store, main, 1, 2)
    place = store.root / "shop/models/agent-2/checkpoints/0002"
    place.parent.mkdir(parents=True)
    second.path.rename(place)

    with pytest.raises(DestinationNotEmptyError):
        store.fork(first, branch)

    assert (place / "checkpoint.json").exists()


def test_debris_in_the_destination_is_no_obstacle(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    for step in (5, 9):
        (store.root / f"shop/models/agent-2/checkpoints/{step:04d}").mkdir(parents=True)

    store.fork(write_checkpoint(store, main, 5), branch)

    assert store.steps(branch) == [5]


def test_the_same_fork_again_does_nothing(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    source = write_checkpoint(store, main, 5)
    first = store.fork(source, branch)
    before = tree(store.root)

    again = store.fork(source, branch)

    assert again == Forked(checkpoint=first.checkpoint, newest_step=5, repeated=True)
    assert tree(store.root) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_same_fork_after_training_went_on_resumes_at_the_newest_step(
    store: CheckpointStore, main: ModelRef, branch: ModelRef, overwrite: bool
):
    source = write_checkpoint(store, main, 5)
    forked = store.fork(source, branch, overwrite=overwrite).checkpoint
    write_checkpoint(store, branch, 6, parent=forked)

    again = store.fork(source, branch, overwrite=overwrite)

    assert again == Forked(checkpoint=forked, newest_step=6, repeated=True)
    assert store.steps(branch) == [5, 6]


@pytest.mark.parametrize("pick", [NEWEST, AtMost(8), Best("val/reward")], ids=str)
def test_the_same_fork_after_the_source_moved_on_does_nothing(
    store: CheckpointStore, main: ModelRef, branch: ModelRef, pick: Pick
):
    source = write_checkpoint(store, main, 5)
    store.fork(source, branch, pick=pick)
    moved_on = write_checkpoint(store, main, 8, parent=source)

    again = store.fork(moved_on, branch, pick=pick)

    assert again.repeated
    assert again.checkpoint.ref == branch.at(5)


def test_a_fork_of_an_earlier_step_is_another_fork(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    first, second = write_run(store, main, 5, 8)
    store.fork(second, branch)

    with pytest.raises(DestinationNotEmptyError):
        store.fork(first, branch)
    assert store.fork(first, branch, overwrite=True).newest_step == 5


def test_a_fork_with_another_limit_is_another_fork(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    first, second = write_run(store, main, 5, 8)
    store.fork(first, branch, pick=AtMost(5))

    with pytest.raises(DestinationNotEmptyError):
        store.fork(second, branch, pick=AtMost(8))


@pytest.mark.parametrize("then", [Exact(8), NEWEST, AtMost(8), Best("val/reward")], ids=str)
def test_a_fork_after_one_of_an_exact_step_is_another_fork(
    store: CheckpointStore, main: ModelRef, branch: ModelRef, then: Pick
):
    first, second = write_run(store, main, 5, 8)
    store.fork(first, branch, pick=Exact(5))

    with pytest.raises(DestinationNotEmptyError):
        store.fork(second, branch, pick=then)

    assert store.steps(branch) == [5]


@pytest.mark.parametrize("again", [Exact(5), NEWEST, AtMost(6), Best("val/reward")], ids=str)
def test_the_same_checkpoint_is_the_same_fork_however_it_was_chosen(
    store: CheckpointStore, main: ModelRef, branch: ModelRef, again: Pick
):
    source = write_checkpoint(store, main, 5)
    store.fork(source, branch, pick=AtMost(7))

    assert store.fork(source, branch, pick=again).repeated


def test_a_fork_of_the_best_may_have_come_from_a_later_step(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    first, second = write_run(store, main, 5, 8)
    store.fork(second, branch, pick=Best("val/reward"))

    assert store.fork(first, branch, pick=Best("val/reward")).repeated
    with pytest.raises(DestinationNotEmptyError):
        store.fork(first, branch, pick=Best("val/loss"))


def test_a_fork_of_a_step_that_was_trained_again_is_another_fork(
    store: CheckpointStore, main: ModelRef, branch: ModelRef
):
    first, second = write_run(store, main, 5, 8)
    store.fork(second, branch)
    store.rewind(first)

    with pytest.raises(DestinationNotEmptyError):
        store.fork(write_checkpoint(store, main, 8, parent=first, reward=0.9), branch)


def test_a_fork_with_other_resets_is_another_fork(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    source = write_checkpoint(store, main, 5)
    store.fork(source, branch)

    with pytest.raises(DestinationNotEmptyError):
        store.fork(source, branch, reset=["optimizer"])


def test_what_is_reset_is_recorded_and_left_out(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    source = write_checkpoint(store, main, 5)

    forked = store.fork(source, branch, reset=["optimizer", "random"]).checkpoint

    assert forked.manifest.reset == ("optimizer", "random")
    assert forked.manifest.carried == ("adapter", "schedule", "state")
    assert not (forked.path / "optimizer.safetensors").exists()
    assert {entry.path for entry in forked.manifest.files} == CHECKPOINT_FILES - {
        "checkpoint.json",
        "optimizer.safetensors",
    }


def test_a_fork_of_a_fork_keeps_what_was_reset_before(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    first = store.fork(write_checkpoint(store, main, 5), branch, reset=["optimizer"]).checkpoint

    second = store.fork(first, ModelRef("shop", "agent-3"), reset=["random"]).checkpoint

    assert second.manifest.reset == ("optimizer", "random")
    assert [hop.reset for hop in second.manifest.ancestry] == [("optimizer",), ("random",)]


def test_training_on_ends_a_reset(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    forked = store.fork(write_checkpoint(store, main, 5), branch, reset=["optimizer"]).checkpoint

    trained = write_checkpoint(store, branch, 6, parent=forked)

    assert trained.manifest.reset == ()
    assert "optimizer" in trained.manifest.carried
    assert trained.manifest.ancestry == forked.manifest.ancestry


def test_a_part_that_does_not_exist_cannot_be_reset(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    source = write_checkpoint(store, main, 5)

    with pytest.raises(ConfigurationError, match="'adapter' cannot be reset by a fork; these can: optimizer, schedule"):
        store.fork(source, branch, reset=["adapter"])

    assert store.models() == [main]


def test_an_overwriting_fork_sets_aside_what_was_there(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    replaced = write_run(store, branch, 5, 6)

    forked = store.fork(write_checkpoint(store, main, 5), branch, overwrite=True)

    assert store.steps(branch) == [5]
    assert forked.set_aside is not None
    assert forked.set_aside.steps == (5, 6)
    assert store.set_aside(branch) == [forked.set_aside]
    store.restore(branch)
    assert [store.open(checkpoint.ref) for checkpoint in replaced] == replaced


def test_an_overwriting_fork_into_an_empty_model_sets_nothing_aside(
    store: CheckpointStore, main: ModelRef, branch: ModelRef
):
    forked = store.fork(write_checkpoint(store, main, 5), branch, overwrite=True)

    assert forked.set_aside is None
    assert store.set_aside(branch) == []


def test_the_same_overwriting_fork_made_meanwhile_is_found_done(
    store: CheckpointStore, main: ModelRef, branch: ModelRef
):
    source = write_checkpoint(store, main, 5)
    write_checkpoint(store, branch, 9)
    hop = hop_from(source.ref, source.digest)

    with store.stage(branch.at(5)) as stage:
        store.fork(source, branch, overwrite=True)
        late = stage.commit_fork(source.manifest, hop, share_from=source, overwrite=True)

    assert late.repeated
    assert [aside.steps for aside in store.set_aside(branch)] == [(9,)]


def test_a_foreign_checkpoint_is_forked_with_its_adapter_only(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    write_foreign(store.root / "shop/models/agent-1/checkpoints/5")

    forked = store.fork(store.open(main.at(5)), branch)

    assert forked.checkpoint.ref == branch.at(5)
    assert not forked.checkpoint.is_foreign
    assert forked.checkpoint.manifest.carried == ("adapter",)
    assert forked.checkpoint.manifest.parent is not None
    assert forked.checkpoint.manifest.parent.digest is None
    store.verify(forked.checkpoint)


def test_a_foreign_checkpoint_is_never_hard_linked(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    folder = write_foreign(store.root / "shop/models/agent-1/checkpoints/5")

    forked = store.fork(store.open(main.at(5)), branch)
    (folder / "adapter_model.safetensors").write_bytes(adapter_bytes(b"written again"))

    assert Sharing.HARD_LINK not in forked.sharing
    store.verify(forked.checkpoint)


def test_a_foreign_checkpoint_that_changes_meanwhile_is_not_forked(
    store: CheckpointStore, main: ModelRef, branch: ModelRef
):
    folder = write_foreign(store.root / "shop/models/agent-1/checkpoints/5", b"before")
    source = store.open(main.at(5))
    (folder / "adapter_model.safetensors").write_bytes(adapter_bytes(b"after!"))

    with pytest.raises(CheckpointNotFoundError, match="shop/agent-1@5 was deleted or replaced meanwhile"):
        store.fork(source, branch)

    assert store.models() == [main]


def test_a_source_that_was_trained_again_meanwhile_is_not_forked(
    store: CheckpointStore, main: ModelRef, branch: ModelRef
):
    first, source = write_run(store, main, 1, 2)
    store.rewind(first)
    write_checkpoint(store, main, 2, reward=0.9)

    with pytest.raises(CheckpointNotFoundError, match="deleted or replaced meanwhile"):
        store.fork(source, branch)

    assert store.models() == [main]


def test_a_source_that_was_deleted_meanwhile_is_named(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    source, _ = write_run(store, main, 1, 2)
    store.delete(source)

    with pytest.raises(CheckpointNotFoundError, match="agent-1@1 was deleted or replaced meanwhile; it has step 2"):
        store.fork(source, branch)


def test_a_fork_copies_where_links_cannot_be_made(
    store: CheckpointStore, main: ModelRef, branch: ModelRef, monkeypatch: pytest.MonkeyPatch
):
    source = write_checkpoint(store, main, 5)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, os.strerror(1))

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr("fcntl.ioctl", refuse)
    forked = store.fork(source, branch)

    assert forked.sharing == {Sharing.COPY}
    assert forked.copied_bytes == source.manifest.size_bytes
    store.verify(forked.checkpoint)
