"""Packed weights have the bits of the weights that they were made from, and are in memory once."""

from __future__ import annotations

import copy
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from art.adapter.adapted import AdaptedModel, LowRanks
from art.adapter.layers import linear_layers
from art.adapter.packed import PackedLinear, pack
from art.adapter.product import HAS_ONEDNN, LowRank
from small import byte_tokenizer, small_causal_lm

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"attention_bias": True},
    "mistral": {},
    "qwen2": {},
    "qwen3": {"tie_word_embeddings": False},
}
TOKENS = (2, 3, 16, 41, 300)
pytestmark = pytest.mark.skipif(not HAS_ONEDNN, reason="oneDNN does not multiply float32 here")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return byte_tokenizer()


def made(tokenizer: PreTrainedTokenizerFast, family: str = "qwen3", **more: Any) -> PreTrainedModel:
    base = small_causal_lm(tokenizer, family=family, **FAMILIES.get(family, {}), **more).eval()
    drawn = torch.Generator().manual_seed(1)
    for name, parameter in base.named_parameters():
        if name.endswith("bias"):
            # A fresh model's are zero, which would hide one that is left out.
            parameter.data = torch.randn(parameter.shape, generator=drawn)
    return base


def packed_layers(model: nn.Module) -> list[PackedLinear]:
    return [module for module in model.modules() if isinstance(module, PackedLinear)]


def an_adapter(adapted: AdaptedModel) -> LowRanks:
    draw = torch.Generator().manual_seed(0)
    return {
        name: LowRank(
            torch.randn(4, size.inputs, generator=draw).requires_grad_(),
            torch.randn(size.outputs, 4, generator=draw).requires_grad_(),
            0.02,
        )
        for name, size in adapted.sizes.items()
    }


def trained(base: PreTrainedModel, tokens: int) -> list[Tensor]:
    """Give a pass's logits and all gradients: of the tokens, and of an adapter on every layer."""
    adapted = AdaptedModel(base)
    adapter = an_adapter(adapted)
    adapted.set(adapter)
    ids = torch.arange(tokens)[None] * 7 % 256
    x: Any = adapted.model.get_input_embeddings()(ids).detach().requires_grad_()
    logits = adapted.model(inputs_embeds=x).logits
    logits.square().mean().backward()
    leaves = [x, *(half for part in adapter.values() for half in (part.A_RI, part.B_OR))]
    return [logits, *(leaf.grad for leaf in leaves if leaf.grad is not None)]


class Products(TorchDispatchMode):
    """Counts what oneDNN multiplies."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += "_linear_pointwise" in str(func)
        return func(*args, **(kwargs or {}))


def onednns(layer: nn.Linear, x: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(
        nn.functional.pad(x, (0, 0, 0, 1)), layer.weight, layer.bias, "none", [], ""
    )[:3]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tokens", TOKENS)
def test_a_pass_and_its_gradients_have_the_bits_of_plain_weights(
    tokenizer: PreTrainedTokenizerFast, family: str, tokens: int
) -> None:
    plain, base = made(tokenizer, family), made(tokenizer, family)
    pack(base)

    assert len(packed_layers(base)) == 7 * plain.config.num_hidden_layers
    for one, other in zip(trained(plain, tokens), trained(base, tokens), strict=True):
        assert torch.equal(one, other)


@torch.no_grad()
def test_a_lone_row_is_the_same_but_for_rounding(tokenizer: PreTrainedTokenizerFast) -> None:
    plain, base = made(tokenizer), made(tokenizer)
    pack(base)

    logits, expected = (AdaptedModel(each).model(torch.tensor([[5]])).logits for each in (base, plain))

    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


def test_neighbours_multiply_once_for_each_input(tokenizer: PreTrainedTokenizerFast) -> None:
    base = made(tokenizer, "llama")
    pack(base)
    adapted = AdaptedModel(base)
    ids = torch.arange(9)[None]

    with torch.no_grad(), Products() as sampled:
        adapted.model.model(ids)  # pyright: ignore[reportCallIssue]
    embeddings: Any = adapted.model.get_input_embeddings()
    x = embeddings(ids).detach().requires_grad_()
    with Products() as learnt:
        adapted.model.model(inputs_embeds=x)  # pyright: ignore[reportCallIssue]

    assert sampled.count == learnt.count == 4 * base.config.num_hidden_layers


@torch.no_grad()
def test_another_input_is_multiplied_anew(tokenizer: PreTrainedTokenizerFast) -> None:
    base, plain = made(tokenizer, "llama"), made(tokenizer, "llama")
    pack(base)
    trees: list[Any] = [base, plain]
    layer, expected = (each.get_decoder().layers[0].self_attn for each in trees)
    one, other = torch.randn(2, 3, base.config.hidden_size)

    for x in (one, other, one):
        for name in ("k_proj", "q_proj", "k_proj"):
            assert torch.equal(getattr(layer, name)(x), onednns(getattr(expected, name), x))


def test_the_numbers_are_in_memory_once_and_can_be_read_and_saved(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    base = made(tokenizer)
    before = {name: each.clone() for name, each in base.state_dict().items()}
    linear = [weakref.ref(layer.weight) for layer in linear_layers(base).values() if layer is not base.lm_head]

    pack(base)

    assert not any(weight() is not None for weight in linear)
    trees = [AdaptedModel(base), AdaptedModel(base)]
    groups = [{id(layer.group.packed) for layer in packed_layers(tree.model)} for tree in trees]
    assert groups[0] == groups[1] == {id(layer.group.packed) for layer in packed_layers(base)}
    after = base.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], each) for name, each in before.items())
    base.save_pretrained(tmp_path)
    again = type(base).from_pretrained(tmp_path)
    assert all(torch.equal(each, before[name]) for name, each in again.state_dict().items())


@torch.no_grad()
def test_trees_compute_side_by_side(tokenizer: PreTrainedTokenizerFast) -> None:
    base = made(tokenizer)
    pack(base)
    trees = [AdaptedModel(base) for _ in range(3)]
    inputs = [torch.arange(place, place + 40)[None] for place in range(3)]
    expected = [copy.deepcopy(base)(ids).logits for ids in inputs]
    alike: list[bool] = []

    def compute(place: int) -> None:
        with torch.no_grad():
            alike.extend(torch.equal(trees[place].model(inputs[place]).logits, expected[place]) for _ in range(20))

    threads = [threading.Thread(target=compute, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert alike == [True] * 60


@pytest.mark.parametrize("kind", ["bfloat16", "another family"])
def test_other_models_stay_as_they_are(tokenizer: PreTrainedTokenizerFast, kind: str) -> None:
    base: Any = made(tokenizer) if kind == "bfloat16" else small_causal_lm(tokenizer, family="gemma2")
    base.to(torch.bfloat16 if kind == "bfloat16" else torch.float32)

    pack(base)

    assert not packed_layers(base)
