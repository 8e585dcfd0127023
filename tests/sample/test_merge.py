"""Attention over two parts joined: a row's bits do not depend on its place among the others."""

from __future__ import annotations

import pytest
import torch

from art.sample.own.attention import merge

SIZE = 64


# SmolLM2 has 3 key heads of 3 queries each: 16 rows fill no whole number of a processor's vectors.
@pytest.mark.parametrize("heads", [(3, 3), (2, 2), (1, 1), (2, 7), (5, 1)])
@pytest.mark.parametrize("rows", [1, 4, 16])
def test_a_row_has_the_same_bits_at_every_place(rows: int, heads: tuple[int, int]) -> None:
    draw = torch.Generator().manual_seed(0)
    tried = 96
    first, second = (torch.randn(tried, *heads, SIZE, generator=draw) for _ in range(2))
    first_total, second_total = (torch.randn(tried, *heads, generator=draw) * 4 for _ in range(2))

    def merged(at: torch.Tensor) -> torch.Tensor:
        return merge(first[at], first_total[at], second[at], second_total[at])

    for start in range(0, tried - rows + 1, rows):
        at = torch.arange(start, start + rows)
        assert torch.equal(merged(at).roll(1, 0), merged(at.roll(1)))
        assert torch.equal(merged(at)[:1], merged(at[:1]))
