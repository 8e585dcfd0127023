"""Forms tried in a process of their own before the server compiles them: some take minutes, or end the process.

Knows a process and grammars as text; neither requests nor tokenizers.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from art.errors import InferenceError

REMEMBERED = 1024
PATIENCE_S = 60.0
"""Of a form whose process gets no time to compute; what computes is over long before."""
DIES_OF_A_FORM = {-signal.SIGPROF, -signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS}
TOO_HARD = "it takes too long to compile, or is nested too deeply; ask for a simpler one"


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What forms are tried with: the tokenizer as its library writes it, and the limits of the parser."""

    tokenizer: str
    stop_ids: Sequence[int]
    limits: Mapping[str, Any]


class FormTrials:
    """Says what is wrong with a form. The process starts with the first one; what was tried is remembered."""

    def __init__(self, terms: Callable[[], Terms]) -> None:
        self._terms = terms
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._known: OrderedDict[bytes, str | None] = OrderedDict()
        self._ending: weakref.finalize[[subprocess.Popen[str]], FormTrials] | None = None
        self._closed = False

    def problem(self, grammar: str) -> str | None:
        """Say why a form cannot be kept to, None when it can; raises `InferenceError` when it cannot be tried."""
        key = hashlib.sha256(grammar.encode()).digest()
        with self._lock:
            if key not in self._known:
                self._known[key] = self._try(grammar)
                if len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
            self._known.move_to_end(key)
            return self._known[key]

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._closed = True
        if process := self._process:
            process.kill()
        with self._lock:
            self._stop()

    def _try(self, grammar: str) -> str | None:
        try:
            process = self._process or self._start()
        except (OSError, ValueError) as error:
            self._stop()
            raise InferenceError(f"Forms of answers cannot be tried here: {error}") from error
        try:
            return _ask(process, grammar)
        except (OSError, ValueError) as error:
            if self._stop() in DIES_OF_A_FORM:
                return TOO_HARD
            raise InferenceError("A form of an answer could not be tried; ask again.") from error

    def _start(self) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "RAYON_NUM_THREADS": "1"}
        self._process = process = subprocess.Popen(
            [sys.executable, "-P", "-m", "art.http.forms_apart"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            encoding="utf-8",
        )
        # Whoever lets go of all this without closing it leaves no process.
        self._ending = weakref.finalize(self, _end, process)
        if self._closed:
            process.kill()
        terms = self._terms()
        _ask(process, {"tokenizer": terms.tokenizer, "stop_ids": [*terms.stop_ids], "limits": {**terms.limits}})
        return process

    def _stop(self) -> int | None:
        """End the process, if there is one; gives how it ended."""
        process, self._process = self._process, None
        return self._ending() if process and self._ending else None


def _end(process: subprocess.Popen[str]) -> int:
    process.kill()
    for pipe in filter(None, (process.stdin, process.stdout)):
        with suppress(OSError):
            pipe.close()
    return process.wait()


def _ask(process: subprocess.Popen[str], question: object) -> str | None:
    """Send a line and read one; raises `OSError` or `ValueError` where the process is gone."""
    assert process.stdin
    assert process.stdout
    ending = threading.Timer(PATIENCE_S, process.kill)
    ending.daemon = True
    ending.start()
    try:
        process.stdin.write(json.dumps(question) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())
    finally:
        ending.cancel()
