"""What `art plan` says beside bytes that are counted, on models of real dimensions: SmolLM2 fp32 and Qwen3-0.6B bf16.

Weights are all the same number, for what they are does not matter. `bench/plan.py` prints the table of
docs/design/measurements.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.extend(str(Path(__file__).parents[1] / name) for name in ("tests", "tests/train"))

import torch
from machine import print_header
from test_memory import QWEN3_06B, SMOLLM2, group, random_base

from allocated import Allocated
from art.adapter.attention import use_own_attention
from art.adapter.lora import TrainedAdapter
from art.config import LoRAConfig
from art.footprint import dimensions_of, pass_bytes
from art.sample.own.cache import CachedRow, Prompt, Rows
from art.sample.own.prefill import prefill
from art.train.forward import Scorer
from art.train.recompute import StorageCount

RANK = 8
MIB = 1 << 20
SIZES = {"SmolLM2-135M, float32": (SMOLLM2, torch.float32), "Qwen3-0.6B, bfloat16": (QWEN3_06B, torch.bfloat16)}


def rows_of(name: str) -> Iterator[tuple[str, float, float]]:
    """Give what was planned and what was counted, in bytes."""
    shape, dtype = SIZES[name]
    base = random_base(**shape, dtype=dtype)
    dimensions = dimensions_of(base.config.to_dict(), str(dtype).removeprefix("torch."))  # pyright: ignore
    assert dimensions is not None
    adapter = TrainedAdapter(base, lora=LoRAConfig(rank=RANK), base_name="")
    adapter.start(0)
    scorer = Scorer(adapter.model, as_now=adapter.as_now)
    batch = group(prompt=192, answer=48, members=8)
    tokens = len(batch.token_T)
    needed = pass_bytes(dimensions, tokens=tokens, rank=RANK)
    yield "base", dimensions.base_bytes, bytes_of(base.parameters())
    yield "adapter", dimensions.adapter_bytes(RANK), bytes_of(adapter.parameters.values())
    yield f"keys and values, 64 rows of {tokens}", *keys(base, dimensions, tokens)
    frozen = {each.untyped_storage().data_ptr() for each in adapter.model.parameters()}
    for what, limit, planned in (("kept", 1 << 50, needed.kept), ("inputs of layers", 0, needed.again)):
        count = StorageCount(frozen)
        with count.counting():
            scorer.score(batch, limit_bytes=limit)
        # What is kept once, beside the layers: the last norm, and the head's gradient.
        head = len(batch.target_N) * shape["hidden_size"] * dtype.itemsize + tokens * shape["hidden_size"] * 4
        yield f"a pass of {tokens} tokens: {what}", planned, count.total_bytes + sum(scorer.memory.counted_bytes) - head
    known = [*base.parameters(), *base.buffers(), *adapter.parameters.values(), *vars(batch).values()]
    with Allocated(each for each in known if isinstance(each, torch.Tensor)) as allocated:
        scorer.score(batch, limit_bytes=0).logp_N.sum().backward()
    yield f"a pass of {tokens} tokens, most at once", needed.again + needed.work, allocated.most_bytes


def keys(base: Any, dimensions: Any, tokens: int) -> tuple[float, float]:
    from art.footprint import capacity_of

    prompt, rows = Prompt(tuple(range(16))), Rows()
    use_own_attention(base)
    with torch.no_grad():
        prefill(base, [prompt])
    for place in range(64):
        rows.add(CachedRow(last_token=0), prompt, shared=False, most_tokens=tokens - 16, coming=64 - place)
    return 64 * capacity_of(tokens) * dimensions.key_value_bytes(), rows.size_bytes


def bytes_of(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def main() -> None:
    print_header("A plan beside counted bytes")
    print("| model | what | planned, MiB | counted, MiB | planned / counted |\n|---|---|---|---|---|")
    for name in SIZES:
        for what, planned, counted in rows_of(name):
            print(
                f"| {name} | {what} | {planned / MIB:,.1f} | {counted / MIB:,.1f} | {planned / counted:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
