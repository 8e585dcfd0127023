"""What was answered lately, so that an answer that a client has rebuilt is known again by its tokens.

Knows tokens and their log-probabilities; neither conversations nor training. Thread-safe.
"""

from __future__ import annotations

import threading
from array import array
from collections import Counter, OrderedDict
from dataclasses import dataclass

from blake3 import blake3

from art.sampled import SampledTokens

MOST_BYTES = 64 << 20
ENTRY_BYTES = 300
"""What an answer takes beside the tokens of its prompt."""
LEAST_LOGPROB = -9999.0
"""What is written for all below."""


@dataclass(frozen=True)
class _Prompt:
    digest: bytes
    content: bytes

    @classmethod
    def of(cls, token_ids: tuple[int, ...]) -> _Prompt:
        content = array("I", token_ids).tobytes()
        return cls(blake3(content).digest(length=16), content)


@dataclass(frozen=True)
class _Origin:
    prompt: bytes
    """Its digest: answers to one prompt share it."""
    temperature: float
    version: str | None

    def asked_as(self, other: _Origin) -> bool:
        """Tell whether another answer was asked for with the same prompt."""
        return (self.prompt, self.temperature) == (other.prompt, other.temperature)


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
        self._prompts: dict[bytes, bytes] = {}
        self._uses: Counter[bytes] = Counter()
        self._last: tuple[tuple[int, ...], _Prompt] = ((), _Prompt.of(()))
        self._lock = threading.Lock()

    def note(self, answer: SampledTokens) -> None:
        """Remember how an answer was sampled; one that several prompts were answered with is known of none."""
        key = _key(answer)
        with self._lock:
            prompt = self._prompt(answer.prompt_ids or ())
            origin = _Origin(prompt.digest, answer.temperature, answer.version)
            known = self._origins.pop(key, None)
            kept = origin if known is None or known.asked_as(origin) else UNCERTAIN
            self._keep(key, kept, prompt)
            if known:
                self._let_go(known)
            while self._bytes > self._most_bytes:
                self._let_go(self._origins.popitem(last=False)[1])

    def find(self, answer: SampledTokens) -> SampledTokens | None:
        """Give an answer with its prompt, temperature and version; None where it is not known."""
        try:
            key = _key(answer)
        except OverflowError:  # a number that no token has
            return None
        with self._lock:
            origin = self._origins.get(key, UNCERTAIN)
            prompt = self._prompts.get(origin.prompt)
        if origin is UNCERTAIN or prompt is None:
            return None
        return SampledTokens(
            prompt_ids=tuple(array("I", prompt)),
            token_ids=answer.token_ids,
            logprobs=answer.logprobs,
            temperature=origin.temperature,
            version=origin.version,
        )

    def _prompt(self, token_ids: tuple[int, ...]) -> _Prompt:
        """Give a prompt's bytes; those of one request's answers are made once."""
        if self._last[0] is not token_ids:
            self._last = (token_ids, _Prompt.of(token_ids))
        return self._last[1]

    def _keep(self, key: bytes, origin: _Origin, prompt: _Prompt) -> None:
        self._origins[key] = origin
        self._bytes += ENTRY_BYTES
        if origin is not UNCERTAIN:
            self._bytes += 0 if self._uses[origin.prompt] else len(prompt.content)
            self._uses[origin.prompt] += 1
            self._prompts.setdefault(origin.prompt, prompt.content)

    def _let_go(self, origin: _Origin) -> None:
        self._bytes -= ENTRY_BYTES
        if origin is UNCERTAIN:
            return
        self._uses[origin.prompt] -= 1
        if not self._uses[origin.prompt]:
            del self._uses[origin.prompt]
            self._bytes -= len(self._prompts.pop(origin.prompt))


def _key(answer: SampledTokens) -> bytes:
    logprobs = array("d", (max(logprob, LEAST_LOGPROB) for logprob in answer.logprobs))
    return blake3(array("q", answer.token_ids).tobytes() + b"|" + logprobs.tobytes()).digest(length=16)
