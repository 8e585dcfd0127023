"""Does what it is told on stdin, each operation in a child of its own that may be killed.

An operation, a URL and a root make a line; it answers with the child's process id, and when that has ended, with its
status. Started by `test_crash.py`: a child of a process without threads begins in a moment, with all modules there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from art.format.pick import AtMost, Exact
from art.names import ModelRef
from art.ops.fork import ForkRequest, IfExists
from art.ops.fork import fork as fork_into
from art.ops.moving import MoveRequest, move
from art.ops.removal import Keep, StepRange, plan_removal
from art.ops.removal import remove as remove_from
from art.ops.rewind import restore as restore_in
from art.ops.rewind import rewind as rewind_in
from art.remote.remote import Remote
from art.store.store import CheckpointStore

MAIN, BRANCH, FRESH, FORKED = (ModelRef("shop", name) for name in ("agent-1", "agent-2", "fresh", "forked"))


def fork(remote: Remote, _: CheckpointStore) -> None:
    fork_into(ForkRequest(source=remote, source_model=MAIN, pick=AtMost(1), destination=remote, model=FORKED))


def fork_onto_a_model(remote: Remote, _: CheckpointStore) -> None:
    _fork_onto(remote, at=2)


def fork_onto_a_step_that_is_taken(remote: Remote, _: CheckpointStore) -> None:
    _fork_onto(remote, at=1)


def _fork_onto(remote: Remote, *, at: int) -> None:
    request = ForkRequest(
        source=remote,
        source_model=MAIN,
        pick=Exact(at),
        destination=remote,
        model=BRANCH,
        if_exists=IfExists.OVERWRITE,
    )
    fork_into(request)


def fork_from_this_disk(remote: Remote, store: CheckpointStore) -> None:
    fork_into(ForkRequest(source=store, source_model=FRESH, destination=remote, model=FORKED))


def fork_to_this_disk(remote: Remote, store: CheckpointStore) -> None:
    fork_into(ForkRequest(source=remote, source_model=MAIN, destination=store, model=FORKED))


def rewind(remote: Remote, _: CheckpointStore) -> None:
    rewind_in(remote, MAIN.at(1))


def restore(remote: Remote, _: CheckpointStore) -> None:
    restore_in(remote, BRANCH)


def remove(remote: Remote, _: CheckpointStore) -> None:
    for _ref in remove_from(remote, plan_removal(remote, [StepRange(MAIN, 2, 2)], Keep())):
        pass


def push(remote: Remote, store: CheckpointStore) -> None:
    move(MoveRequest(source=store, destination=remote, model=FRESH))


def pull(remote: Remote, store: CheckpointStore) -> None:
    move(MoveRequest(source=remote, destination=store, model=MAIN, pick=Exact(1)))


OPERATIONS = {
    act.__name__: act
    for act in (
        fork,
        fork_onto_a_model,
        fork_onto_a_step_that_is_taken,
        fork_from_this_disk,
        fork_to_this_disk,
        rewind,
        restore,
        remove,
        push,
        pull,
    )
}


def main() -> None:
    for line in sys.stdin:
        operation, url, root = line.rstrip("\n").split("\t")
        child = os.fork()
        if child == 0:
            OPERATIONS[operation](Remote.open(url), CheckpointStore(Path(root)))
            os._exit(0)
        _say(child)
        _say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
