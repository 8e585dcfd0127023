"""A process that compiles forms and may die of one: what never ends or breaks there, breaks nothing in the server.

Reads a tokenizer, then one form after the other, as lines of JSON; answers each with what is wrong with it. A form that
takes too long ends the process. Imports no more than it must: it starts when somebody asks for the first form.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import threading
from contextlib import suppress
from typing import Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

CPU_S = 0.5
"""Of one form, its first masks included. Those that people write take a tenth of a second at most."""
WALKED = 2
"""Tokens that are taken: a grammar may be slow only once it has begun."""
STACK_BYTES = 2 << 20
"""Of the thread that compiles: a quarter of what a thread of the server has, so that what passes here fits there."""
MEMORY_BYTES = 4 << 30


def main() -> None:
    """Answer until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY:
        # macOS takes no limit of this kind.
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, most))
    threading.stack_size(STACK_BYTES)
    opening = json.loads(sys.stdin.readline())
    vocabulary = LLTokenizer(opening["tokenizer"], eos_token=opening["stop_ids"])
    limits = LLParserLimits(**opening["limits"])
    _answer(None)
    for line in sys.stdin:
        # Its signal ends the process.
        signal.setitimer(signal.ITIMER_PROF, CPU_S)
        answers: list[str | None] = []
        compiling = threading.Thread(target=_compile, args=(json.loads(line), vocabulary, limits, answers))
        compiling.start()
        compiling.join()
        signal.setitimer(signal.ITIMER_PROF, 0)
        _answer(answers[0])


def _compile(grammar: str, vocabulary: LLTokenizer, limits: Any, answers: list[str | None]) -> None:
    matcher = LLMatcher(vocabulary, grammar, log_level=0, limits=limits)
    mask = b"" if matcher.is_error() else matcher.compute_bitmask()
    answers.append(matcher.get_error() if matcher.is_error() else None)
    for _ in range(WALKED):
        place = next((place for place, bits in enumerate(mask) if bits), None)
        if place is None or matcher.is_error() or matcher.is_stopped():
            break
        matcher.consume_token(8 * place + (mask[place] & -mask[place]).bit_length() - 1)
        mask = b"" if matcher.is_error() or matcher.is_stopped() else matcher.compute_bitmask()


def _answer(problem: str | None) -> None:
    print(json.dumps(problem), flush=True)  # noqa: T201 - that is how it answers


if __name__ == "__main__":
    main()
