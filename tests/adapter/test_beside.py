"""An adapter beside its base: PEFT's numbers, in its own precision, and no copy of the base."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from transformers import PreTrainedModel

from adapters import open_with_peft, write_random_adapter
from art.adapter.adapted import AdaptedModel
from art.adapter.files import read_adapter
from art.adapter.product import LowRank, add_low_rank
from art.config import LoRAConfig
from small import byte_tokenizer, small_causal_lm

# float32 sums in another order.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
FAMILIES: dict[str, dict[str, object]] = {
    "qwen3": {},
    "gemma3_text": {"sliding_window": 6},
    "phi3": {},
    "gpt2": {},
    "opt": {"word_embed_proj_dim": 64, "ffn_dim": 128},
    "mixtral": {"num_local_experts": 2},
}
IDS = torch.tensor([[5, 9, 33, 7, 250, 1]])


def make_base(family: str = "qwen3", *, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    return small_causal_lm(byte_tokenizer(), family=family, **FAMILIES[family]).to(dtype).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapted_model_computes_what_peft_computes(family: str, tmp_path: Path) -> None:
    base = make_base(family)
    folder = write_random_adapter(tmp_path / "adapter", base)
    adapted = AdaptedModel(base)

    adapted.set(read_adapter(folder, adapted.sizes, device=base.device))

    with torch.no_grad():
        expected = open_with_peft(folder, make_base(family), trainable=False)(input_ids=IDS).logits
        plain = base(input_ids=IDS).logits
        found = adapted.model(input_ids=IDS).logits
    torch.testing.assert_close(found, expected, **CLOSE)
    assert (found - plain).abs().max() > 0.1


def test_an_adapter_of_the_output_layer_leaves_tied_embeddings_alone(tmp_path: Path) -> None:
    base = make_base()
    assert base.config.tie_word_embeddings
    folder = write_random_adapter(tmp_path / "adapter", base, lora=LoRAConfig(rank=4, targets=("lm_head",)))
    adapted = AdaptedModel(base)

    adapted.set(read_adapter(folder, adapted.sizes, device=base.device))

    with torch.no_grad():
        expected = open_with_peft(folder, make_base(), trainable=False)(input_ids=IDS).logits
        torch.testing.assert_close(adapted.model(input_ids=IDS).logits, expected, **CLOSE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_is_that_of_the_formula(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    base_part, x, A, B = random(2, 5, 7), random(2, 5, 6), random(3, 6), random(7, 3)
    leaves = [tensor.to(dtype).requires_grad_() for tensor in (base_part, x)]
    leaves += [tensor.clone().requires_grad_() for tensor in (A, B)]
    plain = [tensor.detach().float().requires_grad_() for tensor in leaves]

    # Times one: a leaf cannot be used up.
    found = add_low_rank(leaves[0] * 1, leaves[1], LowRank(leaves[2], leaves[3], 0.5))
    expected = plain[0] + 0.5 * (plain[1] @ plain[2].T) @ plain[3].T

    assert found.dtype == dtype
    gradient = random(2, 5, 7).to(dtype)
    found.backward(gradient)
    expected.backward(gradient.float())
    torch.testing.assert_close(found, expected.to(dtype), rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-5)
    for leaf, other in zip(leaves, plain, strict=True):
        torch.testing.assert_close(
            leaf.grad.float(), other.grad, rtol=1e-2 if leaf.dtype != A.dtype else 1e-5, atol=1e-4
        )


def test_a_small_change_is_not_rounded_away_by_the_base() -> None:
    # bfloat16 has steps of 0.0078 from 1 on: added to a weight of 1, this adapter would be nothing.
    x, change = torch.eye(64, dtype=torch.bfloat16), 1e-4
    weight = torch.ones(64, 64, dtype=torch.bfloat16)
    part = LowRank(torch.ones(1, 64), torch.full((64, 1), change), 1.0)

    merged = x @ (weight.float() + part.B_OR @ part.A_RI).to(torch.bfloat16)
    # The base's part is cancelled, so that the sum's own rounding hides nothing.
    beside = add_low_rank(x @ weight - x @ weight, x, part)

    assert torch.equal(merged, x @ weight)
    torch.testing.assert_close(beside.float(), torch.full((64, 64), change), rtol=1e-2, atol=0)


def test_for_the_gradient_a_layers_input_is_kept_once_and_in_its_own_precision(tmp_path: Path) -> None:
    base = make_base(dtype=torch.bfloat16)
    folder = write_random_adapter(tmp_path / "adapter", base)
    adapted = AdaptedModel(base)
    low_ranks = read_adapter(folder, adapted.sizes, device=base.device)
    adapted.set({
        layer: LowRank(part.A_RI.requires_grad_(), part.B_OR.requires_grad_(), part.scale)
        for layer, part in low_ranks.items()
    })  # fmt: skip
    wide = {size.inputs for size in adapted.sizes.values()}
    kept: dict[int, Tensor] = {}
    ids = torch.randint(0, 256, (1, 50))

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        adapted.model(input_ids=ids)

    inputs = [tensor for tensor in kept.values() if tensor.ndim == 3 and tensor.shape[:2] == (1, 50)]
    copies = [tensor for tensor in kept.values() if tensor.shape[0] == 50 and tensor.shape[-1] in wide]
    assert inputs
    assert not [tensor.shape for tensor in copies if tensor.dtype == torch.float32]


def test_trainers_and_samplers_share_the_tensors_of_the_base(tmp_path: Path) -> None:
    base = make_base()
    folder = write_random_adapter(tmp_path / "adapter", base)
    gc.collect()

    models = [AdaptedModel(base) for _ in range(3)]
    for adapted in models:
        adapted.set(read_adapter(folder, adapted.sizes, device=base.device))
        adapted.model(input_ids=IDS)

    pointers = {parameter.data_ptr() for parameter in base.parameters()}
    for adapted in models:
        assert {parameter.data_ptr() for parameter in adapted.model.parameters()} == pointers
