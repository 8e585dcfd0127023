"""A bad step or a bad model is shown as such, and never hides the good ones."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from art.names import ModelRef
from art.ops.garbage import collect_garbage, find_garbage
from art.ops.held import StepState
from art.ops.tree import read_tree, related
from art.ops.verify import check, verify
from art.store.store import CheckpointStore
from store.conftest import tree, write_run

GOOD, BAD = ModelRef("shop", "good"), ModelRef("shop", "bad")


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    store = CheckpointStore(tmp_path / "root")
    write_run(store, GOOD, 1, 2)
    write_run(store, BAD, 1, 2, 3)
    return store


def spoil_manifest(folder: Path) -> None:
    replace(folder / "checkpoints/0002/checkpoint.json", b"{")


def remove_file(folder: Path) -> None:
    (folder / "checkpoints/0002/optimizer.safetensors").unlink()


def newer_format(folder: Path) -> None:
    replace(folder / "checkpoints/0002/checkpoint.json", b'{"format": 99}')


def copy_by_hand(folder: Path) -> None:
    manifest = (folder / "checkpoints/0001/checkpoint.json").read_bytes()
    replace(folder / "checkpoints/0002/checkpoint.json", manifest)


def strangers_journal(folder: Path) -> None:
    (folder / "journal.json").write_text(
        json.dumps({"id": 1, "time": "", "reason": "", "kept": 0, "moves": [["/a", "b"]]})
    )


def torn_journal(folder: Path) -> None:
    (folder / "journal.json").write_text("{")


def torn_record(folder: Path) -> None:
    (folder / "set_aside/0001").mkdir(parents=True)
    (folder / "set_aside/0001/record.json").write_text("[]")


BAD_STEPS = [spoil_manifest, remove_file, newer_format, copy_by_hand]
BAD_MODELS = [strangers_journal, torn_journal]


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize("spoil", BAD_STEPS)
def test_a_bad_step_is_one_bad_step(store: CheckpointStore, spoil: Callable[[Path], None]):
    spoil(store.root / "shop/models/bad")

    bad, good = read_tree(store, [BAD, GOOD], whole=True)
    reports = verify(store, [BAD, GOOD], progress=lambda *_: None)

    assert [step for step, opened in bad.opened.items() if opened.problem] == [2]
    assert [report.name for report in reports if report.is_wrong] == ["shop/bad@2"]
    assert len(reports) == 5
    assert (good.problem, bad.problem) == (None, None)
    assert find_garbage(store).problems == {}


@pytest.mark.parametrize("spoil", BAD_MODELS)
def test_a_model_that_cannot_be_listed_is_one_bad_model(store: CheckpointStore, spoil: Callable[[Path], None]):
    spoil(store.root / "shop/models/bad")
    torn = store.root / "shop/models/good/checkpoints/0003"
    torn.mkdir()

    bad, good = read_tree(store, [BAD, GOOD])
    reports = verify(store, [BAD, GOOD], progress=lambda *_: None)
    before = tree(store.root / "shop/models/bad")
    garbage = collect_garbage(store)

    assert "journal.json" in (bad.problem or "")
    assert good.problem is None
    assert [report.name for report in reports if report.is_wrong] == ["shop/bad"]
    assert [report.name for report in reports if not report.is_wrong] == ["shop/good@1", "shop/good@2", "shop/good@3"]
    assert set(garbage.problems) == {BAD}
    assert [folder.path for folder in garbage.debris] == [torn]
    assert tree(store.root / "shop/models/bad") == before
    assert related(store, GOOD) == [GOOD]


def test_a_record_that_cannot_be_read_leaves_the_steps_listed(store: CheckpointStore):
    torn_record(store.root / "shop/models/bad")

    (bad,) = read_tree(store, [BAD])

    assert bad.steps == (1, 2, 3)
    assert "record.json" in (bad.problem or "")


def test_a_checkpoint_that_moves_while_it_is_verified_is_looked_at_again(store: CheckpointStore):
    first = store.open(BAD.at(1))
    stop = threading.Event()

    def rewind_and_restore() -> None:
        while not stop.is_set():
            store.rewind(first)
            store.restore(BAD)

    mover = threading.Thread(target=rewind_and_restore)
    mover.start()
    try:
        reports = [check(store, BAD.at(3)) for _ in range(60)]
    finally:
        stop.set()
        mover.join()

    assert {report.state for report in reports} <= {StepState.CHECKED, StepState.GONE}
    assert not any(report.is_wrong for report in reports)
