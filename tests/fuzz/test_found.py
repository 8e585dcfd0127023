"""Faults that fuzzing found, each by its name; the bytes that led there lie in `corpus/`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from adapters import adapter_bytes
from art.errors import ArtError, CorruptCheckpointError, LoRAShapeMismatchError
from art.format.adapter import check_config
from art.local.logbook import means
from art.names import ModelRef
from art.ops.recording import read_lines
from art.ops.rollouts import read_rollouts
from art.ops.watching import Watcher
from art.remote.remote import Remote
from art.store.history import HistoryStore
from art.store.state import States
from art.store.store import CheckpointStore
from art.train.state import read_optimizer, read_progress
from store.conftest import tree, write_run

from .world import group

MAIN = ModelRef("shop", "agent-1")
MODEL = "shop/models/agent-1"


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    store = CheckpointStore(tmp_path / "root")
    write_run(store, MAIN, 1)
    return store


def link_outside(path: Path) -> None:
    outside = path.parents[3] / "private"
    outside.write_text('{"checkpoint": null, "state": {"private": 1}}')
    path.symlink_to(outside)


def endless(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


@pytest.mark.parametrize("put", [os.mkfifo, Path.mkdir, link_outside, endless])
def test_a_state_that_is_no_file_is_refused_by_name(store: CheckpointStore, put: Callable[[Path], None]):
    put(store.root / MODEL / "state.jsonl")

    with pytest.raises(CorruptCheckpointError, match=r"agent-1/state\.jsonl"):
        States(store.root).find(MAIN, None)


@pytest.mark.parametrize(
    "line", [b"[" * 100_000, b'{"checkpoint": null, "state": {"x": NaN}}', b"\xff", b"7"], ids=repr
)
def test_a_line_that_is_no_note_does_not_hide_the_one_before(store: CheckpointStore, line: bytes):
    States(store.root).append(MAIN, None, {"next": 7})
    with (store.root / MODEL / "state.jsonl").open("ab") as file:
        file.write(line + b"\n")

    assert States(store.root).find(MAIN, None) == {"next": 7}


def changed(path: str, value: object) -> bytes:
    """A recorded group with another value at a path."""
    fields: Any = json.loads(group().model_dump_json())
    *above, last = [int(part) if part.isdecimal() else part for part in path.split("/")]
    place = fields
    for part in above:
        place = place[part]
    place[last] = value
    return json.dumps(fields).encode()


MESSAGES = "trajectories/0/messages_and_choices"
OTHER_FORMS = {
    "trajectories": None,
    "exceptions": 7,
    "trajectories/0": "x",
    MESSAGES: 7,
    f"{MESSAGES}/0": 7,
    f"{MESSAGES}/0/role": None,
    f"{MESSAGES}/0/content": 7,
    f"{MESSAGES}/0/content/0": 7,
    f"{MESSAGES}/2/tool_calls": 7,
    f"{MESSAGES}/2/tool_calls/0": "x",
    f"{MESSAGES}/2/tool_calls/0/function": None,
    f"{MESSAGES}/4/message": "x",
    f"{MESSAGES}/4/token_ids": 7,
    f"{MESSAGES}/4/token_logprobs": ["x"],
    f"{MESSAGES}/4/temperature": "hot",
    f"{MESSAGES}/4/prompt_token_ids": 7,
    "trajectories/0/tools": 7,
    "trajectories/0/reward": "Infinity",
    "trajectories/1/reward": 1e308,
    "trajectories/0/additional_histories": [{"messages_and_choices": 7}],
}


@pytest.mark.parametrize("path", OTHER_FORMS)
def test_recorded_rollouts_of_another_form_are_left_out(store: CheckpointStore, path: str):
    good = group().model_dump_json()
    lines = [changed(path, OTHER_FORMS[path]).decode(), good]
    HistoryStore(store.root).append_trajectories(MAIN, 1, split="train", trajectories=lines)

    read = list(read_lines(line.encode() for line in lines))
    shown = read_rollouts(store.root, MAIN.at(1), "train")

    assert [each.model_dump_json() for each in read] == [good]
    assert len(shown) == 1


@pytest.mark.parametrize("rewards", [[None], [None, None], [None, 0.5]], ids=repr)
def test_a_rollout_whose_reward_is_no_number_is_left_out_and_not_its_group(
    store: CheckpointStore, rewards: list[float | None]
):
    fields: Any = json.loads(group().model_dump_json())
    trajectories = [{**fields["trajectories"][0], "reward": reward} for reward in rewards]
    line = json.dumps({**fields, "trajectories": trajectories})
    HistoryStore(store.root).append_trajectories(MAIN, 1, split="train", trajectories=[line])

    shown = read_rollouts(store.root, MAIN.at(1), "train")

    assert [[rollout.reward for rollout in each.rollouts] for each in shown] == ([[0.5]] if 0.5 in rewards else [])
    assert set(means(list(read_lines([line.encode()])))) >= {"reward", "reward_std_dev"}


@pytest.mark.parametrize("name", ["a\x1b[31m", "x" * 300_000, "\u202egnol"], ids=["control", "long", "direction"])
def test_a_field_of_an_adapter_is_named_so_that_a_terminal_can_show_it(name: str):
    with pytest.raises(LoRAShapeMismatchError) as caught:
        check_config({"r": 8, "lora_alpha": 16, name: 7}, where="it")

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


def test_a_path_in_a_journal_is_not_repeated_at_length(store: CheckpointStore):
    moves = [["x" * 300_000, "y" * 300_000]]
    journal = {"id": 1, "time": "2026-01-01T00:00:00Z", "reason": "", "kept": None, "moves": moves}
    (store.root / MODEL / "journal.json").write_text(json.dumps(journal))

    with pytest.raises(CorruptCheckpointError, match="asks to move") as caught:
        store.steps(MAIN)

    assert len(str(caught.value)) < 1500


HEADERS = {
    "a type of control characters": {"dtype": "\x1b[2J", "shape": [1], "data_offsets": [0, 1]},
    "a shape that takes all memory": {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]},
}


@pytest.mark.parametrize("entry", HEADERS.values(), ids=HEADERS.keys())
def test_moments_are_refused_by_what_their_header_says(tmp_path: Path, entry: dict[str, Any]):
    header = json.dumps({"step": entry}).encode()
    with (tmp_path / "optimizer.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + entry["data_offsets"][1])

    with pytest.raises(CorruptCheckpointError, match=r"optimizer\.safetensors") as caught:
        read_optimizer(tmp_path, {"x": nn.Parameter(torch.zeros(2))})

    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["trainer.json", "adapter_config.json"])
def test_a_document_without_an_end_takes_no_memory(tmp_path: Path, name: str):
    from art.adapter.files import read_adapter_shape

    (tmp_path / "adapter_model.safetensors").write_bytes(adapter_bytes(b"weights"))
    endless(tmp_path / name)
    read = read_progress if name == "trainer.json" else read_adapter_shape

    with pytest.raises(ArtError, match=f"{name} is not JSON: it has .* bytes"):
        read(tmp_path)


@pytest.mark.parametrize("place", ["trajectories", "trajectories/train"])
@pytest.mark.parametrize("way", ["push", "pull"])
def test_a_history_is_neither_sent_nor_fetched_through_a_link(tmp_path: Path, way: str, place: str):
    (tmp_path / "bucket").mkdir()
    remote, home = Remote.open(f"file://{tmp_path}/bucket"), tmp_path / "home"
    (home / "train").mkdir(parents=True)
    private = {home / "0001.jsonl": b"private\n", home / "train/0001.jsonl": b"private\n"}
    for path, content in private.items():
        path.write_bytes(content)
    store, linked = CheckpointStore(tmp_path / "root"), CheckpointStore(tmp_path / "linked")
    HistoryStore(store.root).append_trajectories(MAIN, 1, split="train", trajectories=["{}"])
    link = linked.root / MODEL / place
    link.parent.mkdir(parents=True)
    link.symlink_to(home)
    if way == "pull":
        remote.push_history(store, MAIN)
    before = tree(tmp_path / "bucket")

    with pytest.raises(CorruptCheckpointError, match=f"{place} is a symbolic link"):
        (remote.push_history if way == "push" else remote.fetch_history)(linked, MAIN)

    assert {path: path.read_bytes() for path in private} == private
    assert tree(tmp_path / "bucket") == before


def test_a_note_of_a_trainer_that_is_a_pipe_is_not_waited_for(store: CheckpointStore, tmp_path: Path):
    folder = tmp_path / "run"
    (folder / "global_step_1").mkdir(parents=True)
    (folder / "global_step_1/weights").write_bytes(b"x")
    os.mkfifo(folder / "latest_checkpointed_iteration.txt")
    watcher = Watcher(store, folder, ModelRef("shop", "watched"))

    assert [watcher.look(), watcher.look()] == [[], []]
    assert watcher.pending == [1]
