"""The files of a root: one of them says something else, and everything that a user asks of the root is asked.

Each question is answered, or refused with one error of ours that names the file. The other steps stay listed, the
other models usable, nothing outside the model's folder changes, and nothing lasts or fills the memory.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from art.errors import ArtError, ConflictError, MetricNotFoundError
from art.format import layout
from art.names import ModelRef
from art.ops.garbage import collect_garbage
from art.ops.rollouts import read_rollouts
from art.ops.telling import Teller, TrackerReport
from art.ops.trainer_log import metrics_of, read_log
from art.ops.verify import verify
from art.store import regular
from art.store.certificates import certificates_of
from art.store.history import HistoryStore
from art.store.liveness import find_run
from art.store.pins import pins_of
from art.store.state import States
from art.store.store import CheckpointStore
from art.track.json_lines import JsonLines
from art.ui.desk import Desk

from .mutation import Draw, mutated
from .world import MAIN, OTHER, STRANGER, bounded, changed, check_shown, copied, tree

FORK = ModelRef("shop", "fork")
MODEL = str(layout.model_path(MAIN))
ALL = {1, 2, 3, 5}
QUESTIONS, CHANGES = 8, 2
"""Of one example: many examples ask few things each."""


@dataclass(frozen=True)
class Subject:
    """A file, the form of what is in it, and the steps of its model that a bad one may hide."""

    path: str
    form: str
    hides: frozenset[int] = frozenset()

    @property
    def model(self) -> ModelRef:
        return STRANGER if "stranger" in self.path else MAIN


SUBJECTS = [
    Subject(f"{MODEL}/checkpoints/0002/checkpoint.json", "json", frozenset({2})),
    Subject(f"{MODEL}/checkpoints/0003/checkpoint.json", "json", frozenset({3})),
    Subject(f"{MODEL}/checkpoints/0002/trainer.json", "json"),
    Subject(f"{MODEL}/checkpoints/0002/adapter_model.safetensors", "tensors"),
    Subject(f"{MODEL}/checkpoints/0005/adapter_config.json", "json", frozenset({5})),
    Subject(f"{MODEL}/checkpoints/0005/adapter_model.safetensors", "tensors", frozenset({5})),
    Subject(f"{MODEL}/checkpoints/0005/trainer_state.json", "json"),
    Subject(f"{MODEL}/set_aside/0001/record.json", "json"),
    Subject(f"{MODEL}/set_aside/0001/0004/checkpoint.json", "json"),
    Subject(f"{MODEL}/history.jsonl", "lines"),
    Subject(f"{MODEL}/state.jsonl", "lines"),
    Subject(f"{MODEL}/pins.jsonl", "lines"),
    Subject(f"{MODEL}/run.json", "json"),
    Subject(f"{MODEL}/trackers/jsonl.json", "json"),
    Subject(f"{MODEL}/trackers/settings.jsonl", "lines"),
    Subject(f"{MODEL}/certificates.jsonl", "lines"),
    Subject(f"{MODEL}/trajectories/train/0002.jsonl", "lines"),
    Subject("shop/models/stranger/journal.json", "json"),
    Subject("shop/models/stranger/checkpoints/0002/checkpoint.json", "json"),
]  # fmt: skip


def check(world: Path, place: Path, source: bytes) -> None:
    """Change one file of a copy of the world as the bytes say, and ask everything."""
    draw = Draw(source)
    subject = draw.pick(SUBJECTS)
    with copied(world.parent, place) as copy:
        root = copy / "root"
        _spoil(root / subject.path, subject, draw)
        before = tree(copy)
        with bounded():
            _ask_some(root, subject, draw)
        _check_untouched(before, tree(copy), subject)


def _spoil(path: Path, subject: Subject, draw: Draw) -> None:
    content = path.read_bytes()
    path.parent.chmod(0o755)
    path.unlink()
    if draw.below(12) == 11:
        draw.pick(NO_FILES)(path)
    else:
        path.write_bytes(mutated(content, draw, form=subject.form))


def _link_to_nothing(path: Path) -> None:
    path.symlink_to("nowhere")


def _link_to_key(path: Path) -> None:
    path.symlink_to(_root_of(path).parent / "outside/key")


def _link_to_endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(path.parent)  # the address of a socket is short
        server.bind(path.name)
        os.chdir(here)


def _endless(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


NO_FILES: list[Callable[[Path], None]] = [
    os.mkfifo, Path.mkdir, _link_to_key, _link_to_endless, _link_to_nothing, _socket, _endless,
]  # fmt: skip


def _root_of(path: Path) -> Path:
    return next(above for above in path.parents if above.name == "root")


def _ask_some(root: Path, subject: Subject, draw: Draw) -> None:
    store = CheckpointStore(root)
    questions = list(_questions(store))
    for _ in range(QUESTIONS):
        _ask(draw.pick(questions), subject)
    if subject.model == MAIN:
        assert set(store.steps(MAIN)) >= ALL - subject.hides
    changes = list(_changes(store))
    for _ in range(CHANGES):
        _ask(draw.pick(changes), subject)
    assert {MAIN, OTHER} <= set(store.models())
    assert store.steps(OTHER) == [1]
    store.verify(store.select(OTHER).checkpoint)


def _ask(question: Callable[[], Any], subject: Subject) -> None:
    try:
        question()
    except (ConflictError, MetricNotFoundError):
        # What changed meanwhile is in the way: that has nothing to do with the file.
        pass
    except ArtError as error:
        check_shown(error, Path(subject.path).name, _tells_step(subject))


def _questions(store: CheckpointStore) -> Iterator[Callable[[], Any]]:
    """Yield whatever is asked of a root and changes nothing."""
    root, history = store.root, HistoryStore(store.root)
    for model, steps in ((MAIN, sorted(ALL)), (STRANGER, [1])):
        yield lambda model=model: store.steps(model)
        yield lambda model=model: store.select(model)
        yield lambda model=model: store.set_aside(model)
        yield lambda model=model: history.read(model)
        for ref in map(model.at, steps):
            yield lambda ref=ref: store.open(ref)
            yield lambda ref=ref: list(store.lineage(ref))
    yield lambda: store.verify(store.open(MAIN.at(2)))
    yield lambda: regular.read_object(store.open(MAIN.at(2)).path / "trainer.json")
    yield lambda: history.scores(store.segments(MAIN), "reward")
    yield lambda: States(root).find(MAIN, store.open(MAIN.at(3)))
    yield lambda: States(root).described(MAIN)
    yield lambda: pins_of(root, MAIN)
    yield lambda: certificates_of(root, MAIN)
    yield lambda: find_run(root, MAIN)
    yield lambda: read_rollouts(root, MAIN.at(2), "train")
    yield lambda: metrics_of(read_log(root / MODEL / "checkpoints/0005"))
    yield lambda: verify(store, store.models(), progress=lambda *_: None)
    yield from _documents(Desk(store))


def _documents(desk: Desk) -> Iterator[Callable[[], Any]]:
    for ask in (desk.status, desk.tree, desk.disk):
        yield lambda ask=ask: _as_json(ask())
    for step in (2, 3, 5):
        yield lambda step=step: _as_json(desk.step(MAIN.at(step)))
    yield lambda: _as_json(desk.history(MAIN))
    yield lambda: _as_json(desk.rollouts(MAIN.at(2)))
    yield lambda: _as_json(desk.comparison(MAIN.at(2), MAIN.at(3)))


def _changes(store: CheckpointStore) -> Iterator[Callable[[], Any]]:
    """Yield what a user does next, also after a refusal."""
    root = store.root
    told = root / layout.model_path(MAIN) / "told"
    yield lambda: collect_garbage(store)
    yield lambda: Teller(store, TrackerReport("jsonl", lambda: JsonLines(told), has_rollouts=True)).tell(MAIN)
    yield lambda: store.fork(store.select(MAIN).checkpoint, FORK)
    yield lambda: store.restore(MAIN)
    yield lambda: store.rewind(store.open(MAIN.at(1)))
    yield lambda: HistoryStore(root).append(MAIN, 1, split="train", metrics={"reward": 1.0})


def _as_json(document: Any) -> None:
    json.dumps(document, allow_nan=False).encode()


def _tells_step(subject: Subject) -> str:
    """Give how a step is named that a manifest calls another's, by the number that its folder has."""
    folder = Path(subject.path).parent.name
    return f"There is no checkpoint {subject.model}@{int(folder)} (" if folder.isdecimal() else subject.path


def _check_untouched(before: dict[str, object], after: dict[str, object], subject: Subject) -> None:
    allowed = [f"root/{layout.model_path(model)}/" for model in (MAIN, STRANGER, FORK)]
    touched = {name for name in changed(before, after) if not _is_below(name, [*allowed, "root/.staging"])}
    assert touched <= {f"root/{layout.model_path(FORK)}"}, touched


def _is_below(name: str, places: Iterable[str]) -> bool:
    return any(name.startswith(place) for place in places)
