"""Runs one operation on copies of a world, and stops it at its first, second, third ... change to the disk.

Started by `test_crash.py` in a process of its own: an audit hook cannot be taken out again. Each copy is handled in a
child that is killed by SIGKILL, or sees the disk full, or Ctrl-C, just before the change. Stops after the first copy
in which the operation came to its end.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
from pathlib import Path

from art.names import ModelRef
from art.ops.repair import repair_all
from art.ops.verify import verify
from art.store.signatures import signature_name, write_signature
from art.store.store import CheckpointStore

from .conftest import write_checkpoint

CHANGES = {"os.rename", "os.link", "os.mkdir", "os.rmdir", "os.remove", "os.chmod"}
MAIN, BRANCH = ModelRef("shop", "agent-1"), ModelRef("shop", "agent-2")
NOT_DONE = 17


def commit(store: CheckpointStore) -> None:
    write_checkpoint(store, MAIN, 4, parent=store.newest(MAIN))


def fork(store: CheckpointStore) -> None:
    store.fork(store.open(MAIN.at(2)), ModelRef("other", "fresh"))


def overwrite(store: CheckpointStore) -> None:
    store.fork(store.open(MAIN.at(2)), BRANCH, overwrite=True)


def rewind(store: CheckpointStore) -> None:
    store.rewind(store.open(MAIN.at(1)))


def restore(store: CheckpointStore) -> None:
    store.restore(BRANCH)


def delete(store: CheckpointStore) -> None:
    store.delete(store.open(MAIN.at(3)))


def keep_signature(store: CheckpointStore) -> None:
    name = signature_name(store.open(MAIN.at(3)).digest or "", "0" * 64)
    write_signature(store.root, MAIN, name, b"a signature")


def read(store: CheckpointStore) -> None:
    """Open the newest of every model: finishes what an earlier crash left half done."""
    for model in store.models():
        store.newest(model)


def repair(store: CheckpointStore) -> None:
    reports = repair_all(store, verify(store, store.models(), progress=_unheard), progress=_unheard)
    if any(report.is_wrong for report in reports):
        raise OSError(str(reports))


def fall_back(store: CheckpointStore) -> None:
    """Stand at the newest sound checkpoint."""
    sound, damages = store.newest_sound(MAIN)
    assert sound is not None
    if damages:
        store.set_damaged_aside(sound, damages)


def _unheard(*_: int) -> None:
    pass


OF_DAMAGED = {act.__name__: act for act in (repair, fall_back)}
"""What is done about a damaged checkpoint."""
OPERATIONS = {
    act.__name__: act for act in (commit, fork, overwrite, rewind, restore, delete, keep_signature, read)
} | OF_DAMAGED


def stop_at(number: int, how: str) -> None:
    """Arrange for the given change to the disk not to happen."""
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event in CHANGES or _creates(event, arguments):
            seen += 1
            if seen == number:
                _stop(how)

    sys.addaudithook(hook)


def _creates(event: str, arguments: tuple[object, ...]) -> bool:
    return event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & os.O_CREAT)


def _stop(how: str) -> None:
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "interrupt":
        raise KeyboardInterrupt
    number = getattr(errno, how)
    raise OSError(number, os.strerror(number))


def _child(root: Path, operation: str, number: int, how: str) -> None:
    stop_at(number, how)
    try:
        OPERATIONS[operation](CheckpointStore(root))
    except (OSError, KeyboardInterrupt):
        os._exit(NOT_DONE)
    os._exit(0)


def main(operation: str, how: str, *folders: str) -> None:
    for world, copies in zip(folders[::2], folders[1::2], strict=True):
        _stop_everywhere(operation, how, Path(world), Path(copies))


def _stop_everywhere(operation: str, how: str, world: Path, copies: Path) -> None:
    copies.mkdir(parents=True)
    for number in range(1, 200):
        copy = copies / f"{number:03d}"
        shutil.copytree(world, copy)
        child = os.fork()
        if child == 0:
            _child(copy, operation, number, how)
        _, status = os.waitpid(child, 0)
        if status == 0:
            return
        stopped = os.WIFSIGNALED(status) if how == "kill" else os.waitstatus_to_exitcode(status) == NOT_DONE
        if not stopped:
            sys.exit(f"{operation} in {copy} ended with status {status}")
    sys.exit(f"{operation} never came to its end")


if __name__ == "__main__":
    main(*sys.argv[1:])
