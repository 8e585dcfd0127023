"""How many bytes a model takes in training and sampling, from its dimensions alone.

Arithmetic only: knows no file and no tensor. Tests compare it with bytes that are counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

ADAPTER_BYTES = 4
"""Of one value of an adapter or of a moment, whatever the base's precision is."""
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
SCALED_TOGETHER, SCALES_TOGETHER = 64, 256
"""In 4 bits: numbers that share a scale of one byte, and scales that share one of four."""
SMALLEST_SLAB, PAD_TO = 64, 16
LAYER_WORK = 1.4
"""What a layer takes while its gradient is computed, in times of what it keeps: counted, 1.3 to 1.4."""
PIECE_OF_LOGITS = 2**24
"""Logits that are there at once in training."""
PASSES = (16_384, 8_192, 4_096, 2_048, 1_024, 512)
"""Tokens of a pass that are tried, the most first."""
MAX_COUNT = 2**31
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
_NORMED_HEADS = {"qwen3", "gemma3", "gemma3_text", "olmo2", "olmo3"}


def capacity_of(tokens: int) -> int:
    """Give how many tokens of keys and values are reserved for a row that has so many at most."""
    return max(SMALLEST_SLAB, 1 << (tokens - 1).bit_length())


def padded(tokens: int) -> int:
    """Give how many tokens of keys and values are reserved for a prompt, or read for a row: whole lines of memory."""
    return -(-tokens // PAD_TO) * PAD_TO


@dataclass(frozen=True, kw_only=True)
class Dimensions:
    """A dense decoder whose feed-forward layer has a gate, as nearly all have."""

    hidden: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    head: int
    vocabulary: int
    is_tied: bool
    has_normed_heads: bool
    value_bytes: int
    """Of one value of the base."""
    in_4bit: bool = False
    """Whether the layers' matrices are held in 4 bits."""

    @property
    def linear_sizes(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of a layer's seven matrices."""
        queries, keys = self.heads * self.head, self.key_heads * self.head
        attention = ((self.hidden, queries), (self.hidden, keys), (self.hidden, keys), (queries, self.hidden))
        return *attention, (self.hidden, self.inner), (self.hidden, self.inner), (self.inner, self.hidden)

    @property
    def base_bytes(self) -> int:
        matrices = self.layers * sum(self._matrix_bytes(inputs * outputs) for inputs, outputs in self.linear_sizes)
        embeddings = self.vocabulary * self.hidden * (1 if self.is_tied else 2)
        norms = (2 * self.layers + 1) * self.hidden
        return matrices + (embeddings + norms) * self.value_bytes

    def _matrix_bytes(self, values: int) -> int:
        if not self.in_4bit:
            return values * self.value_bytes
        scales = math.ceil(values / SCALED_TOGETHER)
        return values // 2 + scales + 4 * math.ceil(scales / SCALES_TOGETHER)

    def adapter_bytes(self, rank: int) -> int:
        return self.layers * rank * sum(map(sum, self.linear_sizes)) * ADAPTER_BYTES

    def key_value_bytes(self) -> int:
        """Give what a token of a conversation takes while it is sampled."""
        return 2 * self.layers * self.key_heads * self.head * self.value_bytes

    def opened_bytes(self) -> int:
        """Give what a layer's largest matrix takes while a product opens its 4 bits."""
        largest = max(inputs * outputs for inputs, outputs in self.linear_sizes)
        return largest * self.value_bytes if self.in_4bit else 0

    def layer_bytes(self, rank: int) -> int:
        """Give what a layer keeps of a token for the backward pass, unless it is computed again."""
        attention = (2 * self.heads + 2 * self.key_heads) * self.head * self.value_bytes + 4 * self.heads
        normed = (self.heads + self.key_heads) * 4 * (self.head + 1) if self.has_normed_heads else 0
        norms = 2 * (4 * self.hidden + 4 + self.hidden * self.value_bytes)
        feed_forward = 4 * self.inner * self.value_bytes
        low_rank = len(self.linear_sizes) * rank * ADAPTER_BYTES
        return attention + normed + norms + feed_forward + low_rank

    def input_bytes(self) -> int:
        """Give what a layer that is computed again keeps of a token."""
        return self.hidden * self.value_bytes

    def head_bytes(self) -> int:
        """Give what the output layer needs at once: logits, their softmax, and its logarithm."""
        return PIECE_OF_LOGITS * (self.value_bytes + 3 * 4)


@dataclass(frozen=True, kw_only=True)
class PassBytes:
    """What a training pass of so many tokens needs, beside the weights."""

    kept: int
    """All layers' tensors."""
    again: int
    """All layers' inputs."""
    work: int
    """A layer's tensors and their gradients while it is computed backward, and the output layer's."""


def pass_bytes(dimensions: Dimensions, *, tokens: int, rank: int) -> PassBytes:
    """Give what a pass needs, with and without computing layers again."""
    layer = tokens * dimensions.layer_bytes(rank)
    return PassBytes(
        kept=dimensions.layers * layer,
        again=dimensions.layers * tokens * dimensions.input_bytes(),
        # A layer's tensors with the gradients that are there at once; the output layer is done with before them.
        work=max(int(LAYER_WORK * layer), dimensions.head_bytes()) + dimensions.opened_bytes(),
    )


def longest_pass(dimensions: Dimensions, *, rank: int, room_bytes: int) -> int:
    """Give how many tokens a pass may have, with all layers computed again, so that it fits; the least if none does."""
    for tokens in PASSES:
        needed = pass_bytes(dimensions, tokens=tokens, rank=rank)
        if needed.again + needed.work <= room_bytes:
            return tokens
    return PASSES[-1]


def dimensions_of(
    config: Mapping[str, Any], dtype: Literal["float32", "bfloat16", "float16"], *, in_4bit: bool = False
) -> Dimensions | None:
    """Read a model's configuration as transformers writes it; None for a kind that is not counted here.

    Weights that were saved in 4 bits are held so, whether that is asked for or not.
    """
    text = config.get("text_config") or config
    if not isinstance(text, Mapping) or any(text.get(name) for name in _EXPERTS):
        return None
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    hidden, inner, layers, heads, vocabulary = (_count(text.get(name)) for name in names)
    if not (hidden and inner and layers and heads and vocabulary):
        return None
    key_heads, head = _count(text.get("num_key_value_heads") or heads), _count(text.get("head_dim") or hidden // heads)
    if not (key_heads and head):
        return None
    return Dimensions(
        hidden=hidden,
        inner=inner,
        layers=layers,
        heads=heads,
        key_heads=key_heads,
        head=head,
        vocabulary=vocabulary,
        # Left out of a file where it is what transformers takes it for.
        is_tied=bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", True))),
        has_normed_heads=str(text.get("model_type")) in _NORMED_HEADS,
        value_bytes=DTYPE_BYTES[dtype],
        in_4bit=in_4bit or bool((config.get("quantization_config") or {}).get("load_in_4bit")),
    )


def _count(value: Any) -> int | None:
    """Read a count as some model may have it; None for anything else."""
    return value if type(value) is int and 0 < value <= MAX_COUNT else None
