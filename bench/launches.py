"""How many operations a decoding step launches: on a GPU each is a kernel, whose launch costs what the kernel may not.

Counts the calls that reach the device's kernels, on any machine, for a model of two and one of three layers: the
difference is what a layer costs. `bench/launches.py [cuda]`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import torch
from machine import print_header
from torch.utils._python_dispatch import TorchDispatchMode

from art.adapter.adapted import AdaptedModel
from art.adapter.attention import use_own_attention
from art.adapter.neighbours import lay_together
from art.sample.own.cache import CachedRow, Prompt, Rows
from art.sample.own.forward import decode
from art.sample.own.prefill import prefill
from art.sample.own.trial import plain_decoder
from art.sample.sampling import Draw, Sampling, draw
from small import byte_tokenizer, small_causal_lm

# Those that only look at memory otherwise.
VIEWS = {
    "view", "_unsafe_view", "transpose", "t", "slice", "select", "unsqueeze", "squeeze", "expand", "reshape", "permute",
    "detach", "alias", "split", "split_with_sizes", "unbind", "as_strided", "empty", "new_empty", "lift_fresh",
}  # fmt: skip
SYNCS = {"_local_scalar_dense", "is_nonzero", "nonzero", "equal"}
CASES = {"1 prompt x 1 row": (1, 1), "1 x 64": (1, 64), "8 x 8": (8, 8), "32 x 2": (32, 2)}


class Count(TorchDispatchMode):
    """Counts what is launched, and how often the host waits for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.launches = self.syncs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.launches += name not in VIEWS
        self.syncs += name in SYNCS
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def decoding(prompts: int, rows_each: int, *, layers: int, device: str = "cpu") -> int:
    """Give how many operations one decoding step launches."""
    base = small_causal_lm(byte_tokenizer(), num_hidden_layers=layers).to(device).eval()
    lay_together(base)
    adapted = AdaptedModel(base)
    model = adapted.model
    use_own_attention(model)
    plain = plain_decoder(adapted)
    rows = Rows()
    for number in range(prompts):
        prompt = Prompt(tuple(range(number, number + 20)))
        prefill(model, [prompt])
        for place in range(rows_each):
            coming = (prompts - number) * rows_each - place
            rows.add(CachedRow(last_token=7), prompt, shared=True, coming=coming)
    rows.make_room(rows.all())
    return counted(lambda: decode(model, rows.all(), exact_places=None, plain=plain)).launches


def drawing(rows: int, *, device: str = "cpu") -> Count:
    """Count what choosing the tokens of rows with top_p and top_k takes."""
    draws = [Draw(Sampling(max_tokens=1, top_p=0.9, top_k=20, top_logprobs=2), 0.5) for _ in range(rows)]
    logits_BV = torch.randn(rows, 500, device=device)
    return counted(lambda: draw(logits_BV, draws))


def counted(body: Callable[[], object]) -> Count:
    with Count() as count:
        body()
    return count


def main(device: str) -> None:
    print_header("Launches of a decoding step")
    print("| rows | a layer | the rest |\n|---|---|---|")
    for name, (prompts, rows_each) in CASES.items():
        two, three = (decoding(prompts, rows_each, layers=layers, device=device) for layers in (2, 3))
        print(f"| {name} | {three - two} | {two - 2 * (three - two)} |")
    print("\n| rows with top_p and top_k | launches | waits for the device |\n|---|---|---|")
    for rows in (1, 64):
        count = drawing(rows, device=device)
        print(f"| {rows} | {count.launches} | {count.syncs} |")


if __name__ == "__main__":
    main("cuda" if sys.argv[1:] == ["cuda"] else "cpu")
