"""Whether the plain decoder has the bits of the model's own step, tried once for each model that it may be for.

What a family's code computes may change with a release of transformers, and how a kernel rounds with a processor.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from art.adapter.adapted import AdaptedModel, LowRanks
from art.adapter.attention import Rules
from art.adapter.layers import linear_layers
from art.adapter.packed import is_plain
from art.adapter.product import ADAPTER_DTYPE, LowRank
from art.sample.own.cache import CachedRow, Prompt, Rows
from art.sample.own.forward import decode_by_model
from art.sample.own.plain import PlainDecoder
from art.sample.own.prefill import prefill, prefill_alike
from art.sample.own.segments import DecodePass

PROMPT_TOKENS, ROWS = 5, 3
ALIKE_TOKENS = (19, 2, 40)
"""Of prompts that are computed in one pass, and each alone."""

_logger = logging.getLogger(__name__)


@torch.no_grad()
def plain_decoder(adapted: AdaptedModel) -> PlainDecoder | None:
    """Give the decoder of a plain model; None where its step has not the bits of the model's own."""
    if not is_plain(adapted.model):
        return None
    name = type(adapted.model).__name__
    try:
        decoder = _tried(adapted)
    except (AttributeError, LookupError, RuntimeError, TypeError) as error:
        _logger.info("%s is decoded by its own code, which is not built as was thought: %s", name, error)
        return None
    if decoder is None:
        _logger.info("%s is decoded by its own code, whose numbers are others", name)
    return decoder


def _tried(adapted: AdaptedModel) -> PlainDecoder | None:
    rows, adapters = _rows(adapted), ({}, _low_ranks(adapted))
    ids_B = torch.tensor([row.last_token for row in rows], device=adapted.model.device)
    positions_B = torch.full_like(ids_B, PROMPT_TOKENS)
    listening = _Listening(rows, alike_only=False, device=ids_B.device)

    def logits(decode: Callable[[], Tensor]) -> list[Tensor]:
        each: list[Tensor] = []
        for low_ranks in adapters:
            with adapted.replaced(low_ranks):
                each.append(decode())
        return each

    own = logits(lambda: decode_by_model(adapted.model, ids_B, positions_B, listening))
    for at_once in (True, False):
        plain = PlainDecoder(adapted, listening.rules, at_once=at_once)
        step = DecodePass(rows, alike_only=False, device=ids_B.device)
        ours = logits(partial(plain, ids_B, positions_B, step, is_exact=False))
        if all(map(torch.equal, own, ours)):
            plain.prompts_alike = plain.rounds_alike and all(_computes_alike(adapted, each) for each in adapters)
            return plain
    return None


def _computes_alike(adapted: AdaptedModel, low_ranks: LowRanks) -> bool:
    """Tell whether prompts in one pass have the bits that each has alone; an adapted output layer is left out."""
    names = {id(layer): name for name, layer in linear_layers(adapted.model).items()}
    head = names.get(id(adapted.model.get_output_embeddings()))
    alone, together = ([_prompt(adapted, tokens) for tokens in ALIKE_TOKENS] for _ in range(2))
    with adapted.replaced({name: part for name, part in low_ranks.items() if name != head}):
        prefill_alike(adapted, together)
        for prompt in alone:
            prefill(adapted.model, [prompt])
    return all(
        torch.equal(one, other)
        for prompt, beside in zip(alone, together, strict=True)
        for one, other in zip(_computed(prompt), _computed(beside), strict=True)
    )


def _computed(prompt: Prompt) -> list[Tensor]:
    assert prompt.logits_V is not None
    return [*prompt.keys, *prompt.values, prompt.logits_V]


def _prompt(adapted: AdaptedModel, tokens: int) -> Prompt:
    vocabulary = adapted.model.config.get_text_config().vocab_size
    return Prompt(tuple(7 * place % vocabulary for place in range(tokens)))


class _Listening(DecodePass):
    """A step that keeps what the layers say about how they attend."""

    def __init__(self, rows: Sequence[CachedRow], *, alike_only: bool, device: torch.device) -> None:
        super().__init__(rows, alike_only=alike_only, device=device)
        self.rules: dict[int, Rules] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, rules: Rules) -> Tensor:
        self.rules[layer] = rules
        return super().attend(layer, query, key, value, rules)


def _rows(adapted: AdaptedModel) -> list[CachedRow]:
    """Give rows behind a prompt, each with its first token about to be stored."""
    vocabulary = adapted.model.config.get_text_config().vocab_size
    prompt = _prompt(adapted, PROMPT_TOKENS)
    with adapted.replaced({}):
        prefill(adapted.model, [prompt])
    rows = Rows()
    for place in range(ROWS):
        row = CachedRow(last_token=11 * place % vocabulary)
        rows.add(row, prompt, shared=True, coming=ROWS)
        row.length += 1
    return rows.all()


def _low_ranks(adapted: AdaptedModel) -> LowRanks:
    """Give an adapter of rank 1 on every layer."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=ADAPTER_DTYPE).to(adapted.model.device)

    return {name: LowRank(drawn(1, size.inputs), drawn(size.outputs, 1), 0.1) for name, size in adapted.sizes.items()}
