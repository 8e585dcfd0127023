"""Where keys and values lie: nothing is copied to make room, slabs stay full, and what is empty is let go."""

from __future__ import annotations

import random

import pytest
import torch

from allocated import Allocated
from art.sample.own.cache import CachedRow, Prompt, Rows

LAYERS, HEADS, SIZE = 3, 2, 8
TOKEN_BYTES = 2 * LAYERS * HEADS * SIZE * 4


def prompt_of(tokens: int, seed: int = 0) -> Prompt:
    generator = torch.Generator().manual_seed(seed)
    prompt = Prompt(tuple(range(tokens)))
    for tensors in (prompt.keys, prompt.values):
        tensors += [torch.randn(1, HEADS, tokens, SIZE, generator=generator) for _ in range(LAYERS)]
    return prompt


@pytest.mark.parametrize("most_tokens", [None, 200])
def test_making_room_copies_nothing(most_tokens: int | None) -> None:
    rows, prompt = Rows(), prompt_of(10)

    with Allocated([*prompt.keys, *prompt.values]) as allocated:
        for _ in range(64):
            rows.add(CachedRow(last_token=1), prompt, shared=True, most_tokens=most_tokens)

    assert allocated.most_bytes == rows.size_bytes
    assert len({id(row.slab) for row in rows.all()}) <= (64 if most_tokens else 4)


def test_rows_that_are_bounded_take_what_they_have_and_no_more() -> None:
    rows, prompt = Rows(), prompt_of(10)

    for place in range(24):
        rows.add(CachedRow(last_token=1), prompt, shared=True, most_tokens=200, coming=24 - place)

    assert rows.size_bytes == 24 * 256 * TOKEN_BYTES
    assert len({id(row.slab) for row in rows.all()}) == 1


def test_one_long_row_takes_one_slot() -> None:
    rows, prompt = Rows(), prompt_of(4000)

    rows.add(CachedRow(last_token=1), prompt, shared=False)

    assert rows.size_bytes == 4096 * TOKEN_BYTES


def test_rows_that_come_grow_and_leave_keep_their_numbers_and_the_slabs_stay_full() -> None:
    chosen, rows, kept = random.Random(0), Rows(), dict[CachedRow, list[torch.Tensor]]()
    for turn in range(400):
        live = rows.all()
        if live and chosen.random() < 0.3:
            row = chosen.choice(live)
            rows.remove(row)
            del kept[row]
        elif chosen.random() < 0.5:
            prompt = prompt_of(chosen.choice([3, 60, 64, 120]), seed=turn)
            row = CachedRow(last_token=1)
            rows.add(row, prompt, shared=False, coming=chosen.choice([1, 1, 5]))
            kept[row] = [tensor[0].clone() for tensor in (*prompt.keys, *prompt.values)]
        rows.make_room(rows.all())
        for row in rows.all():
            new = torch.randn(2 * LAYERS, HEADS, SIZE)
            for place, tensor in enumerate(row.slab.tensors):
                tensor[row.slot, :, row.length] = new[place]
                kept[row][place] = torch.cat([kept[row][place], new[place][:, None]], dim=1)
            row.length += 1
        for slabs in rows._slabs.values():
            assert all(slab.is_full for slab in slabs[:-1])
            assert slabs[-1].rows

    assert len(kept) == len(rows) > 10
    for row in rows.all():
        assert row.slab.rows[row.slot] is row
        assert all(map(torch.equal, row.slab.tokens_of(row.slot, row.length), kept[row]))
    for row in rows.all():
        rows.remove(row)
    assert rows.size_bytes == 0
