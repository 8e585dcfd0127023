"""What is served: each version's adapter, what is being sampled with it, and the prompts that it has computed."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection

from art.adapter.adapted import LowRanks
from art.sample.own.cache import Prompt, Rows
from art.sample.version import Version

IDLE_PROMPT_TOKENS = 8192
"""How many tokens of prompts that no row uses a version keeps for requests to come."""


class Cohort:
    """A version that is served: its adapter, and what is being sampled with it."""

    def __init__(self, version: Version, low_ranks: LowRanks) -> None:
        self.version = version
        self.low_ranks = low_ranks
        self.rows = Rows()
        self.prompts = Prompts()
        self.wanted: Counter[tuple[int, ...]] = Counter()
        """The prompts of requests that are still waiting."""

    @property
    def is_idle(self) -> bool:
        return not self.rows and not self.wanted

    @property
    def cache_bytes(self) -> int:
        """What keys and values of its rows and prompts take."""
        return self.rows.size_bytes + self.prompts.size_bytes

    def drop(self) -> None:
        """Let go of the adapter's tensors and of the prompts."""
        self.low_ranks = {}
        self.prompts = Prompts()

    def want(self, prompt_ids: tuple[int, ...]) -> None:
        self.wanted[prompt_ids] += 1

    def unwant(self, prompt_ids: tuple[int, ...]) -> None:
        self.wanted[prompt_ids] -= 1
        if not self.wanted[prompt_ids]:
            del self.wanted[prompt_ids]


class Prompts:
    """Prefilled prompts, the least recently used first."""

    def __init__(self) -> None:
        self._prompts: OrderedDict[tuple[int, ...], Prompt] = OrderedDict()

    def find(self, token_ids: tuple[int, ...], *, exact: bool = False) -> Prompt | None:
        prompt = self._prompts.get(token_ids)
        if prompt is None or (exact and not prompt.is_exact):
            return None
        self._prompts.move_to_end(token_ids)
        return prompt

    def keep(self, prompt: Prompt) -> None:
        self._prompts[prompt.token_ids] = prompt

    @property
    def size_bytes(self) -> int:
        return sum(prompt.size_bytes for prompt in self._prompts.values())

    def trim(self, most_tokens: int = IDLE_PROMPT_TOKENS, *, spare: Collection[tuple[int, ...]] = ()) -> None:
        """Forget idle prompts, the least recently used first, until the rest fits; `spare` are about to be used."""
        idle = [prompt for prompt in self._prompts.values() if not prompt.users and prompt.token_ids not in spare]
        tokens = sum(len(prompt) for prompt in idle)
        for prompt in idle:
            if tokens <= most_tokens:
                return
            del self._prompts[prompt.token_ids]
            tokens -= len(prompt)
