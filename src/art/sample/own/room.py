"""How many answers may begin within a bound on what keys and values take.

Knows sizes in tokens and bytes; no tensor and no queue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from art.footprint import capacity_of, padded
from art.sample.generation import Generation
from art.sample.own.cohort import Cohort


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a request takes of the cache at most."""

    prompt_bytes: int
    """Once, however many of its choices begin; nothing where the prompt is there already."""
    choice_bytes: int
    """For each choice."""

    def bytes_of(self, choices: int) -> int:
        return self.prompt_bytes + choices * self.choice_bytes


def needs_of(generation: Generation, cohort: Cohort, *, token_bytes: int, is_coming: bool) -> Needs:
    """Give what a request takes; `is_coming` says that its prompt is computed for another one that begins now."""
    prompt_tokens, most_tokens = len(generation.prompt_ids), generation.sampling.max_tokens
    is_seeded = generation.sampling.seed is not None
    is_there = is_coming or cohort.prompts.find(generation.prompt_ids, exact=is_seeded) is not None
    # Where a prompt is shared, a choice has only its own tokens.
    is_shared = is_there or is_seeded or generation.n > 1
    row_tokens = capacity_of(most_tokens if is_shared else prompt_tokens + most_tokens)
    return Needs(
        prompt_bytes=0 if is_there else padded(prompt_tokens) * token_bytes,
        choice_bytes=row_tokens * token_bytes,
    )


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What keys and values may take, and what they take now."""

    most_bytes: int
    held_bytes: Callable[[], int]
    give_up: Callable[[], object]
    """Forgets prompts that nobody uses."""

    def fitting(self, needs: Callable[[], Needs], *, promised_bytes: int) -> int:
        """Give how many choices with such needs fit beside what was promised; idle prompts make room for them."""
        for make_room in (self.give_up, None):
            wanted = needs()
            left = self.most_bytes - promised_bytes - self.held_bytes() - wanted.prompt_bytes
            if left >= wanted.choice_bytes or make_room is None:
                return max(0, left // wanted.choice_bytes)
            make_room()
        return 0
