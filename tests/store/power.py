"""What a power failure may leave of a folder: changes recorded while an operation runs, then played with some missing.

A small model of what POSIX promises. A file's bytes are on the disk once the file was synced, a name once its folder
was; until then each is there, missing, or (bytes) there in part, and independently of every other. A rename is there
or not; of a file that changes its folder both names may be there. A folder is in one place.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any

CHANGING = {"os.rename", "os.link", "os.mkdir", "os.rmdir", "os.remove", "os.chmod"}
ROOT = 0
MOST_STATES = 40
"""At one moment; where more are possible, those one step from all and from nothing, and a drawn rest."""

Place = tuple[int, str]
Tree = dict[str, bytes | None]
"""Paths and what lies there: bytes, or None for a folder."""


@dataclass(frozen=True)
class Change:
    """A name that came, went or moved."""

    item: int
    source: Place | None
    target: Place | None


@dataclass(frozen=True)
class Write:
    item: int
    content: bytes


@dataclass(frozen=True)
class Sync:
    item: int


@dataclass
class Seen:
    """A folder at one moment: names, and the bytes of files."""

    names: dict[Place, int] = field(default_factory=dict[Place, int])
    files: dict[int, bytes] = field(default_factory=dict[int, bytes])


class Recorder:
    """Writes down every change below a folder, in order: what is different each time something is about to change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log: list[Change | Write | Sync] = []
        self._numbers: dict[int, int] = {root.stat().st_ino: ROOT}
        self._fresh = itertools.count(1)
        self._lock = RLock()
        self.before = self._last = self._look()

    def record(self, act: Callable[[], object]) -> None:
        """Run an operation to its end; the log ends where it returned."""
        fsync = os.fsync

        def synced(handle: int) -> None:
            with self._lock:
                self._catch_up()
                fsync(handle)
                if (item := self._numbers.get(os.fstat(handle).st_ino)) is not None:
                    self.log.append(Sync(item))

        os.fsync = synced
        _watching.append(self)
        try:
            act()
        finally:
            _watching.remove(self)
            os.fsync = fsync
        self._catch_up()

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in CHANGING or (event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE):
            with self._lock:
                self._catch_up()

    def _catch_up(self) -> None:
        found, last = self._look(), self._last
        gone = {place: item for place, item in last.names.items() if found.names.get(place) != item}
        for place, item in found.names.items():
            if last.names.get(place) != item:
                source = next((old for old, other in gone.items() if other == item), None)
                if source:
                    del gone[source]
                self.log.append(Change(item, source, place))
        replaced = {place for place in gone if place in found.names}
        self.log += [Change(item, place, None) for place, item in gone.items() if place not in replaced]
        self.log += [Write(item, content) for item, content in found.files.items() if content != last.files.get(item)]
        self._last = found

    def _look(self) -> Seen:
        seen, there = Seen(), {self.root.stat().st_ino}
        folders = [(ROOT, str(self.root))]
        while folders:
            number, folder = folders.pop()
            for entry in os.scandir(folder):
                there.add(entry.inode())
                item = self._numbers.setdefault(entry.inode(), next(self._fresh))
                seen.names[number, entry.name] = item
                if entry.is_dir(follow_symlinks=False):
                    folders.append((item, entry.path))
                else:
                    seen.files[item] = Path(entry.path).read_bytes()
        self._numbers = {inode: item for inode, item in self._numbers.items() if inode in there}
        return seen


_watching: list[Recorder] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    for recorder in _watching:
        recorder.see(event, arguments)


sys.addaudithook(_hook)


def failures(recorder: Recorder, seed: int = 0) -> Iterator[tuple[bool, Tree]]:
    """Yield what a power failure may leave at any moment, each once, and whether the operation had returned."""
    chance, known = random.Random(seed), set[object]()
    log = recorder.log
    # What may be left between two syncs may also be left just before the second.
    for end in [number for number, entry in enumerate(log) if isinstance(entry, Sync)] + [len(log)]:
        for tree in _left(recorder.before, log[:end], chance):
            key = (end == len(log), frozenset(tree.items()))
            if key not in known:
                known.add(key)
                yield end == len(log), tree


def lay_out(tree: Tree, folder: Path) -> Path:
    """Make a folder of what was left."""
    folder.mkdir(parents=True)
    for path, content in sorted(tree.items()):
        if content is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(content)
    return folder


def _left(before: Seen, log: list[Change | Write | Sync], chance: random.Random) -> Iterator[Tree]:
    changes = [(number, entry) for number, entry in enumerate(log) if isinstance(entry, Change)]
    fates = [_fates(change, log[number:]) for number, change in changes]
    contents = {item: _contents(item, before, log) for item in {*before.files, *_written(log)}}
    for chosen in _choices([*fates, *contents.values()], chance):
        names = dict(before.names)
        for (_, change), fate in zip(changes, chosen, strict=False):
            _apply(change, fate, names, is_file=change.item in contents)
        yield _tree(names, dict(zip(contents, chosen[len(changes) :], strict=True)))


def _written(log: list[Change | Write | Sync]) -> set[int]:
    return {entry.item for entry in log if isinstance(entry, Write)}


def _fates(change: Change, later: list[Change | Write | Sync]) -> list[str]:
    synced = {entry.item for entry in later if isinstance(entry, Sync)}
    source, target = (place and place[0] for place in (change.source, change.target))
    if source is None or target is None:
        return ["kept"] if (target if source is None else source) in synced else ["lost", "kept"]
    both = ["twice"] if source != target and source not in synced else []
    if target in synced or source in synced:
        return ["kept", *both] if target in synced else ["kept"]
    return ["lost", *both, "kept"]


def _contents(item: int, before: Seen, log: list[Change | Write | Sync]) -> list[bytes]:
    durable = latest = before.files.get(item, b"")
    for entry in log:
        if isinstance(entry, Write) and entry.item == item:
            latest = entry.content
        elif isinstance(entry, Sync) and entry.item == item:
            durable = latest
    kept = len(durable) if latest.startswith(durable) else 0
    torn = latest[: (kept + len(latest)) // 2]
    return list(dict.fromkeys([durable, torn, latest])) if durable != latest else [latest]


def _choices(options: list[list[Any]], chance: random.Random) -> Iterator[tuple[Any, ...]]:
    possible = 1
    for each in options:
        possible *= len(each)
    if possible <= MOST_STATES:
        yield from itertools.product(*options)
        return
    nothing, everything = tuple(each[0] for each in options), tuple(each[-1] for each in options)
    yield from (nothing, everything)
    one_off = [
        (*most[:place], option, *most[place + 1 :])
        for most in (nothing, everything)
        for place, each in enumerate(options)
        for option in each
        if option != most[place]
    ]
    drawn = (tuple(chance.choice(each) for each in options) for _ in range(MOST_STATES))
    yield from itertools.islice(itertools.chain(one_off, drawn), max(MOST_STATES, len(one_off) + MOST_STATES // 4))


def _apply(change: Change, fate: str, names: dict[Place, int], *, is_file: bool) -> None:
    if fate == "lost":
        return
    if change.source and names.get(change.source) == change.item and fate == "kept":
        del names[change.source]
    if change.target:
        if not is_file:
            for place in [place for place, item in names.items() if item == change.item]:
                del names[place]
        names[change.target] = change.item


def _tree(names: dict[Place, int], contents: dict[int, bytes]) -> Tree:
    below: dict[int, list[tuple[str, int]]] = {}
    for (folder, name), item in names.items():
        below.setdefault(folder, []).append((name, item))
    tree: Tree = {}
    waiting = [(ROOT, "")]
    while waiting:
        folder, path = waiting.pop()
        for name, item in below.get(folder, []):
            tree[f"{path}{name}"] = contents.get(item)
            if item not in contents:
                waiting.append((item, f"{path}{name}/"))
    return tree
