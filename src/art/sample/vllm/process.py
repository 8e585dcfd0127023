"""A server's process: started, watched, and stopped with all that it started. Knows processes; not what they answer."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from art.sample.vllm import keeper

STOP_S = keeper.GRACE_S + 5
LINE_AT_MOST = 300
_ERROR = re.compile(r"\b\w*Error: .*")


class Process:
    """A command that ends when this process ends, however that is. What it prints goes to a file."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        handle, name = tempfile.mkstemp(prefix="art-vllm-", suffix=".log")
        self.log = Path(name)
        self._keeps_log = False
        with open(handle, "wb") as log:  # noqa: PTH123 - an open descriptor, not a path
            self._keeper = subprocess.Popen(  # noqa: S603 - a list, and no shell
                [sys.executable, "-I", keeper.__file__, *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                # Ctrl-C is for us; the pipe tells the keeper.
                start_new_session=True,
            )

    @property
    def exit_status(self) -> int | None:
        """None while it runs."""
        return self._keeper.poll()

    def stop(self) -> None:
        """End it and all that it started. May be called again."""
        assert self._keeper.stdin is not None
        self._keeps_log = self._keeps_log or self.exit_status is not None
        with suppress(BrokenPipeError):
            self._keeper.stdin.close()
        try:
            self._keeper.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
        if not self._keeps_log:
            self.log.unlink(missing_ok=True)

    def keep_log(self) -> Path:
        """Leave the log where it is; without this, stopping a command that runs removes it."""
        self._keeps_log = True
        return self.log

    def last_words(self) -> str:
        """Give the first error that it names, which is the cause of the others; or else the last line."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").split("\n") if line.strip()]
        errors = (_ERROR.search(line) for line in lines if "WARNING" not in line)
        telling = next((error[0] for error in errors if error), None) or (lines or ["it printed nothing"])[-1]
        return telling[:LINE_AT_MOST]
