"""The children that are ranks: started together, asked together, and stopped together.

Knows processes and lines; nothing of training.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from art.errors import RankError
from art.train.ranks.wire import as_line, raised_of

GRACE_S = 5.0
"""How long the other ranks have to refuse what one has refused."""
LEAST_S = 0.5
RENDEZVOUS, TIMEOUT_S = "ART_RANKS_RENDEZVOUS", "ART_RANKS_TIMEOUT_S"


class RankProcesses:
    """As many children as there are ranks. When one is lost, all are stopped, and a new start begins with new ones."""

    def __init__(self, count: int, *, timeout_s: float) -> None:
        self.count = count
        self._timeout_s = timeout_s
        self._children: list[subprocess.Popen[bytes]] = []
        self._lines: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        self._folder: Path | None = None

    @property
    def are_running(self) -> bool:
        return bool(self._children)

    @property
    def pids(self) -> list[int]:
        return [child.pid for child in self._children]

    def start(self, opening: dict[str, Any]) -> None:
        """Start the children and let them load the base."""
        self._folder = Path(tempfile.mkdtemp(prefix="art-ranks-"))
        self._lines = queue.SimpleQueue()
        self._children = [self._child(rank, self._folder) for rank in range(self.count)]
        for rank, child in enumerate(self._children):
            listener = threading.Thread(target=_listen, args=(rank, child.stdout, self._lines), daemon=True)
            listener.start()
        self.ask({"opening": opening})

    def ask(self, message: dict[str, Any], *, ranks: Sequence[int] | None = None) -> list[Any]:
        """Send a message to the ranks, all unless some are named, and give their answers.

        Raises what all of them refuse it with, and they are as before. Otherwise raises `RankError`, or what one has
        refused it with, and all are stopped.
        """
        chosen = range(self.count) if ranks is None else ranks
        line = as_line(message)
        settled = False
        try:
            for rank in chosen:
                self._send(rank, line)
            answers = self._answers(len(chosen))
            refused = [answer["refused"] for answer in answers if "refused" in answer]
            settled = not refused or (len(refused) == len(chosen) and len({kind for kind, _ in refused}) == 1)
        finally:
            if not settled:
                self.stop()
        if refused:
            raise raised_of(refused[0])
        return [answer["told"] for answer in answers]

    def stop(self) -> None:
        """End all children, whatever they are doing."""
        for child in self._children:
            child.kill()
        for child in self._children:
            child.wait()
            for pipe in filter(None, (child.stdin, child.stdout)):
                with suppress(BrokenPipeError):
                    pipe.close()
        self._children = []
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _child(self, rank: int, folder: Path) -> subprocess.Popen[bytes]:
        local = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
        environment = {
            **local,
            **os.environ,
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(self.count),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            RENDEZVOUS: str(folder / "rendezvous"),
            TIMEOUT_S: str(self._timeout_s),
        }
        with _log(folder, rank).open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "art.train.ranks"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                # Ctrl-C is for the backend, which then ends its ranks.
                start_new_session=True,
            )

    def _send(self, rank: int, line: bytes) -> None:
        pipe = self._children[rank].stdin
        assert pipe is not None
        try:
            pipe.write(line)
            pipe.flush()
        except BrokenPipeError:
            raise self._lost(rank) from None

    def _answers(self, count: int) -> list[dict[str, Any]]:
        """Wait for so many answers, in the order of ranks; after a refusal not for long."""
        answers: dict[int, dict[str, Any]] = {}
        until: float | None = None
        while len(answers) < count:
            try:
                rank, line = self._lines.get(timeout=None if until is None else max(0, until - time.monotonic()))
            except queue.Empty:
                break
            if not line and until is None:
                raise self._lost(rank)
            if not line:
                break
            answers[rank] = json.loads(line)
            if "refused" in answers[rank] and until is None:
                until = time.monotonic() + GRACE_S
        return [answers[rank] for rank in sorted(answers)]

    def _lost(self, noticed: int) -> RankError:
        """Say which rank was lost first: the others end because of it."""
        time.sleep(LEAST_S)
        ended = {rank: code for rank, child in enumerate(self._children) if (code := child.poll()) is not None}
        rank = min(ended, key=lambda rank: (ended[rank] >= 0, rank != noticed), default=noticed)
        code = ended.get(rank)
        how = "closed its answers" if code is None else f"exit status {code}"
        if code is not None and code < 0:
            how = f"killed by {signal.Signals(-code).name}"
        return RankError(
            f"Rank {rank} of {self.count} ended ({how}{self._last_words(rank)}), and nothing was committed. The ranks "
            "start again from the newest checkpoint with the next step; train on the same groups again."
        )

    def _last_words(self, rank: int) -> str:
        assert self._folder is not None
        lines = _log(self._folder, rank).read_text(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return last and f": {last}"


def _log(folder: Path, rank: int) -> Path:
    return folder / f"rank-{rank}.log"


def _listen(rank: int, pipe: IO[bytes], lines: queue.SimpleQueue[tuple[int, bytes]]) -> None:
    """Hand on each answer, and that there are no more."""
    with suppress(ValueError):  # closed by `stop`
        for line in pipe:
            lines.put((rank, line))
    lines.put((rank, b""))
