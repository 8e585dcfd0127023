"""What was answered lately, so that an answer that a client has rebuilt is known again by its tokens.

Knows tokens and their log-probabilities; neither conversations nor training. Thread-safe.
"""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from dataclasses import dataclass

from blake3 import blake3

from art.sampled import SampledTokens

MOST_BYTES = 64 << 20
ENTRY_BYTES = 300
"""What an answer takes beside the tokens of its prompt."""
LEAST_LOGPROB = -9999.0
"""What is written for all below."""


@dataclass(frozen=True)
class _Origin:
    prompt_ids: bytes
    temperature: float
    version: str | None

    @property
    def size_bytes(self) -> int:
        return ENTRY_BYTES + len(self.prompt_ids)

    def asked_as(self, other: _Origin) -> bool:
        """Tell whether another answer was asked for with the same prompt."""
        return (self.prompt_ids, self.temperature) == (other.prompt_ids, other.temperature)


UNCERTAIN = _Origin(b"", -1.0, None)
"""Of an answer that was given to several prompts."""


class RecentAnswers:
    """Remembers prompt, temperature and version of as many answers as fit, the newest ones.

    An answer is known by its tokens and their log-probabilities, to the last bit: other weights give other ones.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._origins: OrderedDict[bytes, _Origin] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, answer: SampledTokens) -> None:
        """Remember how an answer was sampled; one that several prompts were answered with is known of none."""
        key = _key(answer)
        origin = _Origin(array("I", answer.prompt_ids or ()).tobytes(), answer.temperature, answer.version)
        with self._lock:
            known = self._origins.pop(key, None)
            self._bytes -= known.size_bytes if known else 0
            kept = origin if known is None or known.asked_as(origin) else UNCERTAIN
            self._origins[key] = kept
            self._bytes += kept.size_bytes
            while self._bytes > self._most_bytes:
                self._bytes -= self._origins.popitem(last=False)[1].size_bytes

    def find(self, answer: SampledTokens) -> SampledTokens | None:
        """Give an answer with its prompt, temperature and version; None where it is not known."""
        try:
            key = _key(answer)
        except OverflowError:  # a number that no token has
            return None
        with self._lock:
            origin = self._origins.get(key, UNCERTAIN)
        if origin is UNCERTAIN:
            return None
        return SampledTokens(
            prompt_ids=tuple(array("I", origin.prompt_ids)),
            token_ids=answer.token_ids,
            logprobs=answer.logprobs,
            temperature=origin.temperature,
            version=origin.version,
        )


def _key(answer: SampledTokens) -> bytes:
    logprobs = array("d", (max(logprob, LEAST_LOGPROB) for logprob in answer.logprobs))
    return blake3(array("q", answer.token_ids).tobytes() + b"|" + logprobs.tobytes()).digest(length=16)
