"""What is to begin in a turn: choices of requests, those of one prompt together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from art.sample.generation import Generation
from art.sample.own.cohort import Cohort


@dataclass(frozen=True, eq=False, kw_only=True)
class Order:
    """Choices of one request that are to begin now."""

    generation: Generation
    cohort: Cohort
    seed: int
    choices: tuple[int, ...]
    is_repeated: bool
    """Whether other requests or choices are known that share the prompt."""


def is_shared(alike: Sequence[Order], fresh: Collection[tuple[int, ...]]) -> bool:
    """Say whether rows that begin after one prompt read its own keys; one that nobody else asks for is copied."""
    first = alike[0]
    is_known = first.generation.prompt_ids not in fresh
    return len(alike) > 1 or first.is_repeated or first.generation.sampling.seed is not None or is_known


def alike_orders(orders: Iterable[Order]) -> Iterable[list[Order]]:
    """Put orders of one prompt together, the seeded apart from the others."""
    groups: dict[tuple[tuple[int, ...], bool], list[Order]] = {}
    for order in orders:
        generation = order.generation
        groups.setdefault((generation.prompt_ids, generation.sampling.seed is not None), []).append(order)
    return groups.values()
