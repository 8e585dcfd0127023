"""Runs one operation on copies of a world, and another process's before its first, second, third ... look at the disk.

Started by `test_interleaved.py` in a process of its own: an audit hook cannot be taken out again. What is not an error
that says what became of the world is printed, and so is a world that is not sound afterwards.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from art.errors import ConflictError, NotFoundError
from art.format import layout
from art.names import ModelRef
from art.ops.folders import checkout
from art.ops.garbage import collect_garbage, find_garbage
from art.ops.keep import policies_of
from art.ops.moving import MoveRequest, move
from art.ops.removal import remove
from art.ops.retention import plan_retention
from art.ops.telling import Teller, TrackerReport
from art.ops.verify import verify
from art.remote.remote import Remote
from art.store.history import HistoryStore
from art.store.pins import set_pin
from art.store.store import CheckpointStore
from art.track.known import maker
from art.ui.desk import Desk

from .conftest import write_checkpoint, write_foreign, write_run

LOOKS = {"open", "os.listdir", "os.scandir", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.link", "fcntl.flock"}
BLOCKED_S, STUCK_S = 0.1, 30
"""How long another process may take before it counts as waiting for a lock, and as waiting for ever."""
MAIN, BRANCH, FRESH, FOREIGN = (ModelRef("shop", name) for name in ("agent-1", "agent-2", "fresh", "foreign"))


def bucket(store: CheckpointStore) -> Remote:
    return Remote.open((store.root.parent / "bucket").as_uri())


def commit(store: CheckpointStore) -> None:
    newest = store.newest(MAIN)
    write_checkpoint(store, MAIN, newest.ref.step + 1 if newest else 1, parent=newest)


def fork(store: CheckpointStore) -> None:
    store.fork(store.open(MAIN.at(2)), FRESH)


def overwrite(store: CheckpointStore) -> None:
    store.fork(store.open(BRANCH.at(3)), MAIN, overwrite=True)


def rewind(store: CheckpointStore) -> None:
    store.rewind(store.open(MAIN.at(1)))


def restore(store: CheckpointStore) -> None:
    store.restore(MAIN)


def clear(store: CheckpointStore) -> None:
    """Delete everything, as far as it is there, so that the folders above go too."""
    for model in (MAIN, BRANCH, FRESH):
        for step in store.steps(model):
            store.delete(store.open(model.at(step)))


def collect(store: CheckpointStore) -> None:
    find_garbage(store)
    collect_garbage(store)


def keep(store: CheckpointStore) -> None:
    list(remove(store, plan_retention(store, store.models(), policies_of("newest:1")).removal))


def push(store: CheckpointStore) -> None:
    move(MoveRequest(source=store, destination=bucket(store), model=MAIN))


def pull(store: CheckpointStore) -> None:
    move(MoveRequest(source=bucket(store), destination=store, model=MAIN))


def fork_from_there(store: CheckpointStore) -> None:
    remote = bucket(store)
    remote.fetch_fork(remote.select(MAIN).checkpoint, FRESH, store)


def rewind_there(store: CheckpointStore) -> None:
    remote = bucket(store)
    remote.rewind(remote.open_checkpoint(MAIN.at(1)))


def pin(store: CheckpointStore) -> None:
    set_pin(store.root, MAIN.at(3), store.open(MAIN.at(3)).digest, pinned=True)


def tell(store: CheckpointStore) -> None:
    teller = Teller(store, TrackerReport("jsonl", maker("jsonl", store.root / layout.TRACKERS)))
    teller.tell(MAIN)
    teller.close()


def page(store: CheckpointStore) -> None:
    desk = Desk(store)
    desk.status(), desk.tree(), desk.disk(), desk.cleanup()
    for model in desk.models():
        desk.history(model)


def check(store: CheckpointStore) -> None:
    assert not any(report.is_damaged for report in verify(store, store.models()))


def take_out(store: CheckpointStore) -> None:
    checkout(store.select(MAIN).checkpoint, store.root.parent / "taken out")


def look(store: CheckpointStore) -> None:
    for model in store.models():
        store.set_aside(model), store.newest_sound(model)
        if newest := store.newest(model):
            list(store.lineage(newest.ref))


FIRST = {
    act.__name__: act
    for act in (
        *(commit, fork, overwrite, rewind, restore, collect, keep, push, pull, fork_from_there, rewind_there),
        *(pin, tell, page, check, take_out, look),
    )
}
OTHERS = {act.__name__: act for act in (clear, overwrite, rewind, collect, pull)}


def make_world(folder: Path) -> None:
    """Lay out two models with asides, one of another program, debris, and a bucket that has another past."""
    store = CheckpointStore(folder / "root")
    (folder / "bucket").mkdir(parents=True)
    write_run(store, MAIN, 1, 2, 3)
    write_run(store, BRANCH, 2, 3)
    HistoryStore(store.root).append(MAIN, 1, split="train", metrics={"reward": 0.5})
    store.fork(store.open(MAIN.at(3)), BRANCH, overwrite=True)
    push(store)
    bucket(store).rewind(bucket(store).open_checkpoint(MAIN.at(2)))
    commit(store)
    store.rewind(store.open(MAIN.at(3)))
    write_foreign(store.root / layout.checkpoint_path(FOREIGN.at(1)))
    (store.root / layout.checkpoint_path(FOREIGN.at(2))).mkdir()
    (store.staging / "abandoned").mkdir(parents=True)


def perform(act: Callable[[CheckpointStore], None], root: Path) -> int:
    try:
        act(CheckpointStore(root))
    except (NotFoundError, ConflictError):
        return 0
    except Exception:  # noqa: BLE001 - whatever it is, it is told and counted
        traceback.print_exc(file=sys.stdout)
        return 1
    return 0


def interleave(root: Path, first: str, other: str, point: int) -> tuple[int, bool]:
    """Perform one operation, and the other at a point of it; gives how many failed, and whether it has that point."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        status = perform(OTHERS[other], root) if os.read(read, 1) else 0
        sys.stdout.flush()
        os._exit(status)
    os.close(read)
    seen, statuses = 0, list[int]()

    def waited(until_s: float) -> None:
        while not statuses and time.monotonic() < until_s:
            ended, status = os.waitpid(pid, os.WNOHANG)
            statuses.extend([status] if ended else [])
            time.sleep(0.001)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        is_near = event != "open" or str(arguments[0]).startswith(str(root.parent))
        if event not in LOOKS or not is_near or seen >= point:
            return
        seen += 1
        if seen == point:
            os.write(write, b"g")
            waited(time.monotonic() + BLOCKED_S)

    sys.addaudithook(hook)
    failed, is_reached, seen = perform(FIRST[first], root), seen == point, point
    os.close(write)
    waited(time.monotonic() + STUCK_S)
    return failed + (statuses != [0]), is_reached


def is_sound(root: Path) -> bool:
    store = CheckpointStore(root)
    store.collect()
    remote = bucket(store)
    places = [(place, place.models()) for place in (store, remote)]
    damaged = [report for place, models in places for report in verify(place, models) if report.is_damaged]
    asides = [aside for model in store.models() for aside in store.set_aside(model)]
    return not damaged and not store.debris() and all(aside.steps and not aside.problem for aside in asides)


def main(first: str, other: str, folder: str, every: str) -> None:
    world, copy = Path(folder, "world"), Path(folder, "copy")
    if _status_of(lambda: make_world(world)):
        sys.exit("there is no world")
    for point in range(1, 1000, int(every)):
        shutil.copytree(world, copy)
        status = _status_of(lambda point=point: _trial(copy / "root", first, other, point))
        shutil.rmtree(copy)
        if status:
            sys.exit(None if status == 1 else f"{other} at look {point} of {first} did harm")
    sys.exit("it never came to its end")


def _trial(root: Path, first: str, other: str, point: int) -> None:
    failed, is_reached = interleave(root, first, other, point)
    if failed or not is_sound(root):
        sys.stdout.flush()
        os._exit(2)
    os._exit(0 if is_reached else 1)


def _status_of(act: Callable[[], None]) -> int:
    """Run something in a child: threads of the client library begin there, and this process can fork again."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
        except Exception:  # noqa: BLE001 - whatever it is, it is told and counted
            traceback.print_exc(file=sys.stdout)
            sys.stdout.flush()
            os._exit(3)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
