"""Products of a layer: the numbers of the formula, and bits of a row that no other row decides."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from art.adapter.adapted import AdaptedModel
from art.adapter.product import HAS_ONEDNN, MANY_TOKENS, LowRank, add_low_rank, float32_products, multiply
from small import byte_tokenizer, small_causal_lm

# Inputs and outputs: even ones, and such as fill no vector of the processor.
SIZES = [(576, 192), (64, 259), (37, 100)]
BLOCKED = pytest.mark.skipif(not HAS_ONEDNN, reason="torch has no oneDNN here")


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("tokens", [1, 7])
def test_a_layer_in_bfloat16_has_the_numbers_and_the_gradient_of_the_formula(tokens: int, has_bias: bool) -> None:
    x, weight = (drawn(*shape, seed=seed, dtype=torch.bfloat16) for seed, shape in enumerate([(tokens, 37), (100, 37)]))
    bias = drawn(100, seed=2, dtype=torch.bfloat16) if has_bias else None
    x.requires_grad_()
    wide = x.detach().double().requires_grad_()

    found = multiply(x, weight, bias)

    expected = nn.functional.linear(wide, weight.double(), None if bias is None else bias.double())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), expected, rtol=1e-2, atol=1e-2)
    for each in (found, expected):
        each.backward(torch.ones_like(each))
    assert x.grad is not None
    torch.testing.assert_close(x.grad.double(), wide.grad, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("tokens", [1, 3, MANY_TOKENS + 1])
@pytest.mark.parametrize("is_strided", [False, True])
def test_a_layer_and_its_adapter_have_the_gradients_of_the_formula(tokens: int, is_strided: bool) -> None:
    x, weight, bias = drawn(2, tokens, 37), drawn(100, 37, seed=1), drawn(100, seed=2)
    A, B = drawn(8, 37, seed=3), drawn(100, 8, seed=4)
    if is_strided:
        x = x.transpose(0, 1).contiguous().transpose(0, 1)
    ours, plain = ([each.clone().double() if wide else each.clone() for each in (x, A, B)] for wide in (False, True))
    for each in (*ours, *plain):
        each.requires_grad_()

    found = add_low_rank(multiply(ours[0], weight, bias), ours[0], LowRank(ours[1], ours[2], 0.5))

    layer = plain[0] @ weight.double().T + bias.double()
    expected = layer + 0.5 * (plain[0] @ plain[1].T) @ plain[2].T
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
    gradient = drawn(2, tokens, 100, seed=5)
    found.backward(gradient)
    expected.backward(gradient.double())
    for each, other in zip(ours, plain, strict=True):
        assert each.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(each.grad.double(), other.grad, rtol=1e-4, atol=1e-3 * tokens**0.5)


@BLOCKED
@pytest.mark.parametrize("size", SIZES)
def test_the_bits_of_a_row_depend_on_no_other_row_and_on_no_thread(size: tuple[int, int]) -> None:
    inputs, outputs = size
    x, weight = drawn(130, inputs), drawn(outputs, inputs, seed=1)
    threads = torch.get_num_threads()

    every = multiply(x, weight)
    fewer = {rows: multiply(x[:rows], weight) for rows in range(2, 70)}
    try:
        torch.set_num_threads(3 - threads if threads < 3 else 1)
        otherwise = multiply(x, weight)
    finally:
        torch.set_num_threads(threads)

    assert all(torch.equal(found, every[:rows]) for rows, found in fewer.items())
    assert torch.equal(multiply(x.flip(0), weight).flip(0), every)
    assert torch.equal(otherwise, every)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rows", [1, 16, 40, 200])
def test_in_a_pass_of_so_many_rows_the_bits_of_one_depend_on_no_other_and_not_on_its_place(
    rows: int, size: tuple[int, int], dtype: torch.dtype
) -> None:
    inputs, outputs = size
    x, others = drawn(rows, inputs, dtype=dtype), drawn(rows, inputs, seed=2, dtype=dtype) * 100
    weight = drawn(outputs, inputs, seed=1, dtype=dtype)

    every = multiply(x, weight)

    for place in {0, rows // 2, rows - 1}:
        beside = others.clone()
        beside[place] = x[0]
        assert torch.equal(multiply(beside, weight)[place], every[0])


@BLOCKED
def test_every_plain_layer_of_a_model_is_multiplied_so() -> None:
    adapted = AdaptedModel(small_causal_lm(byte_tokenizer()))
    layer = adapted.model.get_output_embeddings()
    assert isinstance(layer, nn.Linear)
    x = drawn(5, layer.in_features)

    with torch.no_grad():
        found = layer(x)
        by_torch = nn.functional.linear(x, layer.weight)

    assert torch.equal(found, multiply(x, layer.weight))
    assert float32_products(x.device) == "onednn"
    torch.testing.assert_close(found, by_torch)


MANY_LENGTHS = """
import resource, sys, torch
from art.adapter.product import multiply
torch.set_num_threads(1)
dtype = getattr(torch, sys.argv[1])
weight, x = torch.ones(96, 64, dtype=dtype), torch.ones(900, 64, dtype=dtype)
for rows in (1, 900):
    multiply(x[:rows], weight)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for rows in range(1, 900):
    multiply(x[:rows], weight)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@BLOCKED
@pytest.mark.skipif(sys.platform != "linux", reason="the unit of a process's memory differs")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_passes_of_many_lengths_keep_few_programs_in_memory(dtype: str) -> None:
    done = subprocess.run([sys.executable, "-c", MANY_LENGTHS, dtype], capture_output=True, text=True, check=True)

    # A program for each of the 900 lengths would take 300 MiB and more.
    assert int(done.stdout) < 64 << 10
