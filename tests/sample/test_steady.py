"""A row of an exact pass has the same bits at every place, whatever the shape of a layer and the number of threads."""

from __future__ import annotations

from collections.abc import Callable, Generator

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from art.sample.own.attention import merge
from art.sample.own.steady import row_by_row

PLACES = 16
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "gelu": functional.gelu,
    "gelu of tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "softplus": functional.softplus,
    "mish": functional.mish,
    "elu": functional.elu,
    "sigmoid": torch.sigmoid,
    "sigmoid of a scaled one": lambda x: x * (1.702 * x).sigmoid(),
    "tanh": torch.tanh,
    "power": lambda x: x.abs() ** 1.5,
}


@pytest.fixture(params=[1, 3, 6])
def threads(request: pytest.FixtureRequest) -> Generator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_activation_gives_a_row_the_same_bits_at_every_place(threads: int, name: str, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(0)
    for width in (9, 250, 1536, 4864, 11008):
        row = (torch.randn(width, generator=draw) * 3).to(dtype)

        with row_by_row(PLACES):
            rows = FUNCTIONS[name](row.repeat(PLACES, 1, 1))

        assert all(torch.equal(each, rows[0]) for each in rows), width


# SmolLM2 has 3 key heads of 3 queries each: 16 rows fill no whole number of a processor's vectors.
@pytest.mark.parametrize("heads", [(3, 3), (2, 2), (1, 1), (2, 7), (5, 1)])
@pytest.mark.parametrize("rows", [1, 4, 16])
def test_two_parts_of_attention_are_joined_with_the_same_bits_at_every_place(rows: int, heads: tuple[int, int]) -> None:
    draw = torch.Generator().manual_seed(0)
    tried = 96
    first, second = (torch.randn(tried, *heads, 64, generator=draw) for _ in range(2))
    first_total, second_total = (torch.randn(tried, *heads, generator=draw) * 4 for _ in range(2))

    def merged(at: torch.Tensor) -> torch.Tensor:
        with row_by_row(len(at)):
            return merge(first[at], first_total[at], second[at], second_total[at])

    for start in range(0, tried - rows + 1, rows):
        at = torch.arange(start, start + rows)
        assert torch.equal(merged(at).roll(1, 0), merged(at.roll(1)))
        assert torch.equal(merged(at)[:1], merged(at[:1]))
