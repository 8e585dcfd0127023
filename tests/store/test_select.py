"""Selecting: the newest eligible step by number, with a reason for everything passed over."""

import json
import sys
from pathlib import Path

import pytest

from art.errors import CheckpointNotFoundError, CorruptCheckpointError, FormatVersionError, ModelNotFoundError
from art.format.pick import AtMost
from art.format.selection import MOST_SKIPPED
from art.names import ModelRef
from art.store.history import HistoryStore
from art.store.store import CheckpointStore

from .conftest import adapter_config, safetensors, tree, write_checkpoint, write_foreign, write_run


def checkpoints_of(store: CheckpointStore, model: ModelRef) -> Path:
    return store.root / model.project / "models" / model.name / "checkpoints"


def test_the_newest_step_is_selected(store: CheckpointStore, main: ModelRef):
    write_run(store, main, 1, 2, 3)

    selection = store.select(main)

    assert selection.checkpoint.ref.step == 3
    assert selection.considered == 3
    assert selection.skipped == ()


@pytest.mark.parametrize(("not_after", "expected"), [(50, 50), (51, 50), (100, 100), (149, 100), (10**6, 150)])
def test_the_newest_step_at_or_before_a_limit_is_selected(
    store: CheckpointStore, main: ModelRef, not_after: int, expected: int
):
    write_run(store, main, 50, 100, 150)

    assert store.select(main, AtMost(not_after)).checkpoint.ref.step == expected


def test_steps_compare_as_numbers(store: CheckpointStore, main: ModelRef):
    write_run(store, main, 9999, 10000)

    assert store.select(main).checkpoint.ref.step == 10000
    assert store.steps(main) == [9999, 10000]


def test_a_limit_before_every_step_names_the_steps_there_are(store: CheckpointStore, main: ModelRef):
    write_run(store, main, 50, 100, 150)

    with pytest.raises(CheckpointNotFoundError, match="at or before step 40; it has steps 50, 100, 150"):
        store.select(main, AtMost(40))


def test_an_unknown_model_names_the_models_there_are(store: CheckpointStore, main: ModelRef):
    with pytest.raises(ModelNotFoundError, match=r"has no models\. Train one, or name the root"):
        store.select(main)
    write_checkpoint(store, main, 1)
    with pytest.raises(ModelNotFoundError, match="no model shop/agent-3; there are shop/agent-1"):
        store.select(ModelRef("shop", "agent-3"))


def test_an_exact_step_that_is_absent_names_the_steps_there_are(store: CheckpointStore, main: ModelRef):
    write_run(store, main, *range(1, 31))

    with pytest.raises(CheckpointNotFoundError, match=r"steps 1, 2, 3, 4, 5, 6, \.\.\. 28, 29, 30 \(30 in all\)"):
        store.open(main.at(99))
    assert store.find(main.at(99)) is None


@pytest.mark.parametrize("name", ["5", "005", "0005", "000005"])
def test_a_step_is_found_whatever_its_padding(store: CheckpointStore, main: ModelRef, name: str):
    write_foreign(checkpoints_of(store, main) / name)

    assert store.select(main).checkpoint.path.name == name
    assert store.open(main.at(5)).path.name == name
    assert store.steps(main) == [5]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "neither checkpoint.json nor adapter_config.json"),
        ({"adapter_config.json": adapter_config()}, "nor adapter_model.safetensors"),
        (
            {"adapter_config.json": b"{", "adapter_model.safetensors": safetensors(b"w")},
            "is not JSON: Expecting",
        ),
        ({"adapter_config.json": b"[]", "adapter_model.safetensors": safetensors(b"w")}, "no JSON object"),
        ({"adapter_config.json": adapter_config(), "adapter_model.safetensors": b""}, "no safetensors header"),
        (
            {"adapter_config.json": adapter_config(), "adapter_model.safetensors": safetensors(b"weights")[:-3]},
            "has 72 of 75 bytes",
        ),
    ],
)
def test_a_half_written_step_is_skipped_with_the_reason(
    store: CheckpointStore, main: ModelRef, files: dict[str, bytes], reason: str
):
    write_checkpoint(store, main, 1)
    torn = checkpoints_of(store, main) / "0002"
    torn.mkdir()
    for name, content in files.items():
        (torn / name).write_bytes(content)

    selection = store.select(main)

    assert selection.checkpoint.ref.step == 1
    assert [skip.step for skip in selection.skipped] == [2]
    assert store.steps(main) == [1]
    assert reason in selection.skipped[0].reason


def test_nothing_but_half_written_steps_is_an_error_that_says_so(store: CheckpointStore, main: ModelRef):
    (checkpoints_of(store, main) / "0002").mkdir(parents=True)

    with pytest.raises(CheckpointNotFoundError, match=r"it has no checkpoints\. Step 2 was skipped: it has neither"):
        store.select(main)


def test_a_model_without_steps_says_what_writes_one(store: CheckpointStore, main: ModelRef):
    checkpoints_of(store, main).mkdir(parents=True)

    with pytest.raises(CheckpointNotFoundError, match="it has none yet: each training step writes one"):
        store.select(main)


def test_a_foreign_checkpoint_is_eligible_and_said_to_be_foreign(store: CheckpointStore, main: ModelRef):
    write_foreign(checkpoints_of(store, main) / "0007")

    checkpoint = store.select(main).checkpoint

    assert checkpoint.is_foreign
    assert checkpoint.manifest.carried == ("adapter",)
    assert checkpoint.manifest.lora is not None
    assert checkpoint.manifest.lora.rank == 8
    assert checkpoint.manifest.base_model is not None
    assert checkpoint.manifest.base_model.id == "tiny"


def test_a_copy_made_by_hand_is_skipped_and_named(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    first, _ = write_run(store, main, 1, 2)
    copy = checkpoints_of(store, branch) / "0009"
    copy.parent.mkdir(parents=True)
    write_checkpoint(store, branch, 3)
    first.path.rename(copy)

    selection = store.select(branch)

    assert selection.checkpoint.ref.step == 3
    assert "copy of shop/agent-1@1 made by hand" in selection.skipped[0].reason


def test_a_newer_format_asks_for_an_upgrade(store: CheckpointStore, main: ModelRef):
    checkpoint = write_checkpoint(store, main, 1)
    rewrite(checkpoint.path / "checkpoint.json", json.dumps({"format": 3, "surprise": True}).encode())

    with pytest.raises(FormatVersionError, match=r"has format 3; this release reads up to 2\. Upgrade artfork"):
        store.select(main)


def test_a_torn_manifest_is_an_error_that_names_it(store: CheckpointStore, main: ModelRef):
    checkpoint = write_checkpoint(store, main, 1)
    path = checkpoint.path / "checkpoint.json"
    rewrite(path, path.read_bytes()[:100])

    with pytest.raises(CorruptCheckpointError, match=r"0001/checkpoint\.json is not JSON"):
        store.select(main)


def test_a_truncated_file_is_named_with_both_sizes(store: CheckpointStore, main: ModelRef):
    checkpoint = write_checkpoint(store, main, 1)
    path = checkpoint.path / "optimizer.safetensors"
    size = path.stat().st_size
    rewrite(path, path.read_bytes()[:-1])

    with pytest.raises(CorruptCheckpointError, match=rf"optimizer\.safetensors has {size - 1} bytes.* says {size} "):
        store.select(main)


def test_a_missing_file_is_named_with_its_digest(store: CheckpointStore, main: ModelRef):
    checkpoint = write_checkpoint(store, main, 1)
    entry = next(entry for entry in checkpoint.manifest.files if entry.path == "trainer.json")
    (checkpoint.path / entry.path).unlink()

    with pytest.raises(CorruptCheckpointError, match=rf"trainer\.json is gone.*{entry.blake3}"):
        store.open(main.at(1))


def test_an_altered_file_is_named_with_both_digests(store: CheckpointStore, main: ModelRef):
    checkpoint = write_checkpoint(store, main, 1)
    path = checkpoint.path / "adapter_model.safetensors"
    content = path.read_bytes()
    rewrite(path, content[:-1] + bytes([content[-1] ^ 1]))

    opened = store.open(main.at(1))

    with pytest.raises(
        CorruptCheckpointError, match=r"adapter_model\.safetensors was altered: its digest is [0-9a-f]{64}"
    ):
        store.verify(opened)


def test_a_damaged_newest_step_is_an_error_and_not_skipped(store: CheckpointStore, main: ModelRef):
    _, second = write_run(store, main, 1, 2)
    (second.path / "optimizer.safetensors").unlink()

    with pytest.raises(CorruptCheckpointError):
        store.select(main)
    assert store.select(main, AtMost(1)).checkpoint.ref.step == 1


def test_the_best_step_by_a_metric_is_found_through_the_history(store: CheckpointStore, main: ModelRef):
    history = HistoryStore(store.root)
    write_run(store, main, 1, 2, 3)
    for step, reward in {1: 0.2, 2: 0.9, 3: 0.9, 4: 1.0}.items():
        history.append(main, step, split="val", metrics={"reward": reward})

    best = store.best(main, history.scores(store.segments(main), "val/reward"))

    assert best is not None
    assert best.ref.step == 3, "the newest of equals, and step 4 has no checkpoint"
    assert store.best(main, {}) is None


def test_selecting_among_many_steps_opens_one_manifest(store: CheckpointStore, main: ModelRef, opened: list[str]):
    newest = write_checkpoint(store, main, 10_000)
    for step in range(1, 1_000):
        (newest.path.parent / f"{step:04d}").mkdir()
    opened.clear()

    store.select(main)

    assert opened == [str(newest.path / "checkpoint.json")]


def test_reading_changes_nothing(store: CheckpointStore, main: ModelRef, branch: ModelRef):
    write_run(store, main, 1, 2)
    before = tree(store.root)

    store.models(), store.steps(main), store.select(main), store.set_aside(main), store.debris(), store.segments(main)
    store.newest(branch), store.find(branch.at(1)), list(store.lineage(main.at(2)))

    assert tree(store.root) == before
    assert not store.staging.exists()
    assert store.models() == [main]


def test_folders_that_are_no_steps_are_ignored(store: CheckpointStore, main: ModelRef):
    write_checkpoint(store, main, 1)
    for name in ("best", "-5", "1e3", ".0002", "²"):
        (checkpoints_of(store, main) / name).mkdir()

    assert store.steps(main) == [1]
    assert store.select(main).considered == 1


def rewrite(path: Path, content: bytes) -> None:
    """Change a committed file, as only a defective disk or a careless hand does."""
    path.chmod(0o644)
    path.write_bytes(content)


recording: list[list[str]] = []


def _record(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str):
        for opened in recording:
            opened.append(arguments[0])


sys.addaudithook(_record)


@pytest.fixture
def opened():
    """The paths of the files that were opened since."""
    found: list[str] = []
    recording.append(found)
    yield found
    recording.clear()


def test_a_search_among_very_many_folders_that_are_no_checkpoints_ends_and_never_says_that_there_is_none(
    store: CheckpointStore, main: ModelRef
):
    first = write_checkpoint(store, main, 1)
    for step in range(2, MOST_SKIPPED + 1):
        (first.path.parent / f"{step:04d}").mkdir()

    below = store.newest(main)
    (first.path.parent / f"{MOST_SKIPPED + 1:04d}").mkdir()

    assert below == first
    for look in (store.newest, store.select):
        with pytest.raises(CorruptCheckpointError, match=r"from 2 to 1001 hold no checkpoint"):
            look(main)
    assert store.open(main.at(1)) == first


def test_a_message_names_only_some_of_what_was_passed_over(store: CheckpointStore, main: ModelRef):
    for step in range(9):
        (store.root / f"shop/models/agent-1/checkpoints/{step:04d}").mkdir(parents=True)

    with pytest.raises(CheckpointNotFoundError, match=r"Step 4 was skipped: .* So were 4 others\.$"):
        store.select(main)
