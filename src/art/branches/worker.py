"""One worker: `python -m art.branches.worker`, started by `Processes`, which tells it one task and reads one result.

It ends when who started it is gone: then its standard input ends.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import BinaryIO

from art.branches.executors import work_of
from art.branches.stopping import end_this_process
from art.branches.task import Result, Task
from art.branches.work import Script, perform_alone, perform_script


def main(answers: int) -> None:
    """Do the task and write its result."""
    orders = os.fdopen(os.dup(0), "rb")
    # What a script reads from its input is not our order.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    message = json.loads(orders.readline())
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    result = work(Task.from_json(message["task"]), message["work"])
    with os.fdopen(answers, "wb") as file:
        file.write(result.to_json().encode())


def work(task: Task, reference: dict[str, str]) -> Result:
    """Do a task in this process."""
    doing = work_of(reference)
    return perform_script(task, doing) if isinstance(doing, Script) else perform_alone(task, doing)


def _listen(orders: BinaryIO) -> None:
    orders.read()
    end_this_process()


if __name__ == "__main__":
    main(int(sys.argv[1]))
