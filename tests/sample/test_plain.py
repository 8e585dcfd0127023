"""The decoder of plain models has the bits of the models' own code, and is used for no other."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from art.adapter.adapted import AdaptedModel, LowRanks
from art.adapter.attention import Rules, use_own_attention
from art.adapter.neighbours import joined, lay_together
from art.adapter.packed import pack
from art.adapter.product import LowRank, float32_products
from art.sample.own.attention import part, part_alike, rounds_alike
from art.sample.own.cache import CachedRow, Prompt, Rows
from art.sample.own.forward import decode
from art.sample.own.plain import PlainDecoder
from art.sample.own.prefill import prefill, prefill_alike
from art.sample.own.trial import plain_decoder
from small import small_causal_lm

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 8},
    "qwen2": {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
    "qwen3": {},
}
PROMPTS = ((3, 1), (20, 4), (9, 1), (14, 2))
"""Tokens of prompts, and how many rows continue each; a single one has a copy."""
STEPS = 4


def adapted_model(base: PreTrainedModel) -> AdaptedModel:
    adapted = AdaptedModel(base.eval())
    use_own_attention(adapted.model)
    return adapted


def adapter_of(adapted: AdaptedModel) -> LowRanks:
    draw = torch.Generator().manual_seed(0)
    return {
        name: LowRank(torch.randn(8, size.inputs, generator=draw), torch.randn(size.outputs, 8, generator=draw), 0.02)
        for name, size in adapted.sizes.items()
    }


def prompt_of(length: int) -> Prompt:
    return Prompt(tuple((length + 7 * place) % 256 for place in range(length)))


def decoded(adapted: AdaptedModel, plain: PlainDecoder | None, *, exact_places: int | None = None) -> Tensor:
    """Give the logits of some steps of rows behind prompts that are shared and that are not."""
    rows = Rows()
    for length, count in PROMPTS:
        prefill(adapted.model, [prompt := prompt_of(length)])
        for place in range(count):
            rows.add(CachedRow(last_token=place), prompt, shared=count > 1)
    steps: list[Tensor] = []
    for _ in range(STEPS):
        rows.make_room(rows.all())
        steps.append(decode(adapted.model, rows.all(), exact_places=exact_places, plain=plain))
    return torch.stack(steps)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("is_adapted", [False, True])
@pytest.mark.parametrize("lay", [lay_together, pack])
@torch.no_grad()
def test_a_step_has_the_bits_of_the_models_own_code(
    tokenizer: PreTrainedTokenizerFast,
    family: str,
    dtype: torch.dtype,
    is_adapted: bool,
    lay: Callable[[PreTrainedModel], None],
) -> None:
    base: Any = small_causal_lm(tokenizer, family=family, **FAMILIES[family])
    base.to(dtype)
    lay(base)
    adapted = adapted_model(base)
    adapted.set(adapter_of(adapted) if is_adapted else {})

    plain = plain_decoder(adapted)

    assert plain is not None
    assert torch.equal(decoded(adapted, plain), decoded(adapted, None))


@torch.no_grad()
def test_a_model_of_another_family_is_decoded_by_its_own_code(tokenizer: PreTrainedTokenizerFast) -> None:
    assert plain_decoder(adapted_model(small_causal_lm(tokenizer, family="gemma2"))) is None


@pytest.mark.parametrize("kind", ["other numbers", "another shape"])
def test_a_model_whose_code_computes_something_else_is_decoded_by_that(
    tokenizer: PreTrainedTokenizerFast, kind: str
) -> None:
    adapted = adapted_model(small_causal_lm(tokenizer, family="llama"))
    decoder: Any = adapted.model.get_decoder()
    layer = decoder.layers[1]
    if kind == "other numbers":
        layer.mlp.register_forward_hook(lambda _module, _inputs, out: out * 1.001)
    else:
        layer.self_attn.qkv_proj = layer.self_attn.q_proj
        layer.self_attn.forward = lambda hidden_states, **_: (layer.self_attn.qkv_proj(hidden_states), None)
        del layer.self_attn.q_proj

    assert plain_decoder(adapted) is None


def without_neighbours(adapted: AdaptedModel, plain: PlainDecoder, rows: list[tuple[int, int]]) -> dict[Any, Tensor]:
    """Give for each row, a prompt's length and a first token, the logits of its steps, all of them in one pass."""
    kept, prompts = Rows(), dict[int, Prompt]()
    named: dict[CachedRow, tuple[int, int]] = {}
    for length, token in rows:
        if length not in prompts:
            prefill(adapted.model, [prompts.setdefault(length, prompt_of(length))])
        named[row := CachedRow(last_token=token)] = (length, token)
        kept.add(row, prompts[length], shared=True)
    steps: dict[Any, list[Tensor]] = {each: [] for each in rows}
    for _ in range(STEPS):
        kept.make_room(kept.all())
        logits_BV = decode(adapted.model, kept.all(), exact_places=16, plain=plain)
        for row, logits_V in zip(kept.all(), logits_BV, strict=True):
            steps[named[row]].append(logits_V)
    return {each: torch.stack(found) for each, found in steps.items()}


@pytest.fixture(params=[1, 2, 3, 4])
def threads(request: pytest.FixtureRequest) -> Generator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape",
    [
        {"family": "qwen3"},
        {"family": "llama", "hidden_size": 100, "head_dim": 20, "intermediate_size": 192},
        {"family": "mistral", "sliding_window": 8, "intermediate_size": 4868},
    ],
    ids=["even", "odd", "wide"],
)
@pytest.mark.parametrize("is_adapted", [False, True])
@torch.no_grad()
def test_an_exact_row_has_the_same_bits_in_a_pass_of_any_size(
    tokenizer: PreTrainedTokenizerFast, threads: int, shape: dict[str, Any], is_adapted: bool
) -> None:
    base = small_causal_lm(tokenizer, **shape)
    pack(base)
    adapted = adapted_model(base)
    adapted.set(adapter_of(adapted) if is_adapted else {})
    plain = plain_decoder(adapted)
    assert plain is not None
    assert plain.rounds_alike == (float32_products(base.device) == "onednn")
    chosen = random.Random(0)
    every = [(length, token) for length in (3, 20, 9) for token in range(11)]

    alone = {each: without_neighbours(adapted, plain, [each])[each] for each in every}

    for count in (2, 5, 17, 33):
        for each, logits in without_neighbours(adapted, plain, chosen.sample(every, count)).items():
            assert torch.equal(logits, alone[each]), (count, each)


@pytest.mark.parametrize(
    "shape", [{}, {"hidden_size": 100, "head_dim": 20, "intermediate_size": 1217}], ids=["even", "odd"]
)
@pytest.mark.parametrize("is_adapted", [False, True])
@torch.no_grad()
def test_prompts_in_one_pass_have_the_bits_that_each_has_alone(
    tokenizer: PreTrainedTokenizerFast, threads: int, shape: dict[str, Any], is_adapted: bool
) -> None:
    base = small_causal_lm(tokenizer, family="llama", **shape)
    pack(base)
    adapted = adapted_model(base)
    plain = plain_decoder(adapted)
    assert plain is not None
    # Rows of an adapted output layer are not those of the tokens; with one, prompts are computed alone.
    parts = {name: part for name, part in adapter_of(adapted).items() if name != plain.head_name}
    adapted.set(parts if is_adapted else {})
    if not plain.prompts_alike:
        pytest.skip("this processor does not round alike")
    lengths = (2, 33, 5, 64, 17, 120)
    alone, beside = ([prompt_of(length) for length in lengths] for _ in range(2))

    for prompt in alone:
        prefill(adapted.model, [prompt])
    prefill_alike(adapted, beside)

    for one, other in zip(alone, beside, strict=True):
        assert one.logits_V is not None
        assert other.logits_V is not None
        assert other.is_exact
        assert torch.equal(one.logits_V, other.logits_V)
        assert all(map(torch.equal, one.keys + one.values, other.keys + other.values))


@pytest.mark.parametrize("window", [None, 8])
@torch.no_grad()
def test_an_exact_row_attends_beside_rows_of_other_short_prompts(
    tokenizer: PreTrainedTokenizerFast, threads: int, window: int | None
) -> None:
    base = small_causal_lm(tokenizer, family="mistral", sliding_window=window)
    adapted = adapted_model(base)
    plain = plain_decoder(adapted)
    assert plain is not None
    rows = [(length, length % 7) for length in (3, 4, 5, 9, 15, 16, 17, 18, 40)]

    beside = without_neighbours(adapted, plain, rows)

    for each in rows:
        assert torch.equal(beside[each], without_neighbours(adapted, plain, [each])[each]), each


def test_a_kernel_that_rounds_by_threads_is_found_out(threads: int):
    rows, heads, queries, tokens = 6, 3, 3, 48
    query, keys, values = (torch.randn(rows, heads, count, 64) for count in (queries, tokens, tokens))
    mask = torch.zeros(rows, 1, 1, tokens)
    mask[1, ..., -5:] = -1e30
    attend = partial(part_alike, rules=Rules(scale=0.125))

    beside, _ = attend(query, keys, values, mask=mask)
    alone = [attend(query[[row]], keys[[row]], values[[row]], mask=mask[[row]])[0] for row in range(rows)]

    assert torch.equal(beside, torch.cat(alone)) or not rounds_alike()
    assert rounds_alike() or threads > 1
    expected, _ = part(query, keys, values, Rules(scale=0.125), mask=mask)
    torch.testing.assert_close(beside, expected)


def counted_bytes(model: PreTrainedModel) -> int:
    storages = [parameter.untyped_storage() for parameter in model.parameters()]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def test_weights_that_are_laid_together_are_the_same_and_in_memory_once(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    base: Any = small_causal_lm(tokenizer, family="llama")
    before, size_bytes = {name: each.clone() for name, each in base.named_parameters()}, counted_bytes(base)

    lay_together(base)

    layer = base.get_decoder().layers[0]
    q, k, v = (getattr(layer.self_attn, name).weight for name in ("q_proj", "k_proj", "v_proj"))
    together = joined([q, k, v])
    assert together is not None
    assert torch.equal(together, torch.cat([q, k, v]))
    assert joined([k, q]) is None
    assert all(torch.equal(each, before[name]) for name, each in base.named_parameters())
    assert counted_bytes(base) == size_bytes
    base.save_pretrained(tmp_path)
    again = type(base).from_pretrained(tmp_path)
    assert all(torch.equal(each, before[name]) for name, each in again.named_parameters())
