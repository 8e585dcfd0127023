"""A decoding step: where the model's attention finds its keys, and where it leaves new ones.

Knows the cache and attention; neither requests nor sampling. A pass is handed to the model twice: as its cache, which
takes the new keys and values, and as the argument `art_pass`, which attends to all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache, partial
from inspect import signature

import torch
from transformers import PreTrainedModel

from art.adapter.rope import is_long, rope_limit
from art.sample.own.cache import CachedRow
from art.sample.own.plain import LEAST_ALIKE, PlainDecoder
from art.sample.own.segments import DecodePass, Pass
from art.sample.own.steady import row_by_row


def decode(
    model: PreTrainedModel, rows: Sequence[CachedRow], *, exact_places: int | None, plain: PlainDecoder | None = None
) -> torch.Tensor:
    """Advance each row by its last token and return the logits of the next [rows, vocabulary], float32.

    With `exact_places`, a row's numbers do not depend on the other rows: every pass has this many places, and every row
    attends alone. Matrix products round differently with the number of their rows, but not with what those hold. A
    plain decoder whose products round alike for any number of rows needs no such number. It computes the step, where
    there is one, in place of the model.
    """
    limit = rope_limit(model.config)
    order = sorted(range(len(rows)), key=lambda place: is_long(rows[place].position + 1, limit))
    shorter = sum(not is_long(row.position + 1, limit) for row in rows)
    if 0 < shorter < len(rows):
        parts = [[rows[place] for place in part] for part in (order[:shorter], order[shorter:])]
        logits_BV = torch.cat([decode(model, part, exact_places=exact_places, plain=plain) for part in parts])
        return logits_BV[torch.tensor(order, device=logits_BV.device).argsort()]
    step = partial(_decode, model, plain=plain)
    if exact_places is None:
        return step(rows, places=len(rows), is_exact=False)
    if plain and plain.rounds_alike:
        return step(rows, places=max(len(rows), LEAST_ALIKE), is_exact=True)
    chunks = [rows[start : start + exact_places] for start in range(0, len(rows), exact_places)]
    return torch.cat([step(chunk, places=exact_places, is_exact=True) for chunk in chunks])


def _decode(
    model: PreTrainedModel, rows: Sequence[CachedRow], *, places: int, is_exact: bool, plain: PlainDecoder | None
) -> torch.Tensor:
    padding = [0] * (places - len(rows))
    ids_B = torch.tensor([row.last_token for row in rows] + padding, device=model.device)
    positions_B = torch.tensor([row.position for row in rows] + padding, device=model.device)
    for row in rows:
        row.length += 1
    step = DecodePass(rows, alike_only=is_exact, device=model.device)
    with row_by_row(places) if is_exact else nullcontext():
        if plain:
            return plain(ids_B, positions_B, step, is_exact=is_exact)[: len(rows)].float()
        return decode_by_model(model, ids_B, positions_B, step)[: len(rows)].float()


def decode_by_model(
    model: PreTrainedModel, ids_B: torch.Tensor, positions_B: torch.Tensor, step: DecodePass
) -> torch.Tensor:
    """Give the logits of what follows [rows, vocabulary] by the model's own forward pass."""
    ids_B1, positions_B1 = ids_B[:, None], positions_B[:, None]
    kept = kept_in(model, step)
    return model(input_ids=ids_B1, position_ids=positions_B1, use_cache=True, art_pass=step, **kept).logits[:, -1]


def kept_in(model: PreTrainedModel, step: Pass) -> dict[str, Pass]:
    """Give a pass as the argument that takes a cache."""
    return {_cache_argument(type(model)): step}


@cache
def _cache_argument(kind: type[PreTrainedModel]) -> str:
    """Name the argument: transformers 5.24 calls it `cache`, and forgets the name of before with 5.40."""
    return "cache" if "cache" in signature(kind.forward).parameters else "past_key_values"
