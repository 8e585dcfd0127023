"""What training and sampling take of a card's memory, from a model's configuration alone: no weight is read."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from art.config import LoRAConfig
from art.errors import ConfigurationError, ModelNotFoundError
from art.footprint import DTYPE_BYTES, PASSES, Dimensions, capacity_of, dimensions_of, pass_bytes
from art.format.json import parse_object
from art.store import regular

GB = 10**9
MAX_CONFIG_BYTES = 4 * 1024**2
"""As cards are sold."""
OVERHEAD_BYTES = GB
"""What CUDA, its libraries and gaps between tensors take."""
Dtype = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One thing that takes memory."""

    name: str
    size_bytes: int
    note: str


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A number of tokens for one pass, and whether it fits."""

    micro_batch_tokens: int
    kept_layers: int
    """How many layers need not be computed again."""
    fits: bool


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a model takes while it is trained and sampled from in one process."""

    base_model: str
    dtype: Dtype
    in_4bit: bool
    memory_bytes: int
    layers: int
    parts: tuple[Part, ...]
    """Without what the layers of a pass keep if there is room."""
    settings: tuple[Setting, ...]
    max_rows: int
    """How many rows of the length that was asked for fit with the pass that was asked for."""

    @property
    def total_bytes(self) -> int:
        return sum(part.size_bytes for part in self.parts)

    @property
    def fits(self) -> bool:
        return self.total_bytes <= self.memory_bytes


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What is to run in the memory."""

    dtype: Dtype = "bfloat16"
    """Of the base's weights."""
    in_4bit: bool = False
    """Whether its layers are held in 4 bits, and computed in that precision."""
    micro_batch_tokens: int = PASSES[0]
    rows: int = 64
    """Answers that are sampled at once."""
    row_tokens: int = 2048
    """Of a prompt and its answer together."""
    rank: int = LoRAConfig().rank
    versions: int = 2
    """Adapters that are served at once."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPE_BYTES:
            raise ConfigurationError(f"dtype={self.dtype!r} is not known; use one of {', '.join(DTYPE_BYTES)}.")
        counts = (self.micro_batch_tokens, self.rows, self.row_tokens, self.rank, self.versions)
        if min(counts) <= 0:
            raise ConfigurationError("Tokens, rows, rank and versions of a plan are above 0.")


def plan(base_model: str, demand: Demand | None = None, *, gpu_memory: float) -> Plan:
    """Say what training and sampling take of `gpu_memory` GB, and which settings fit.

    `base_model` is a folder or a repository of the Hub, of which only `config.json` is read. Raises
    `ModelNotFoundError`, and `ConfigurationError` for a model that is not counted here.
    """
    demand = demand or Demand()
    if not 0 < gpu_memory < math.inf:
        raise ConfigurationError(f"gpu_memory={gpu_memory} is no number of GB; a card has 24, 48, 80 or so.")
    dimensions = dimensions_of(_config_of(base_model), demand.dtype, in_4bit=demand.in_4bit)
    if dimensions is None:
        raise ConfigurationError(
            f"{base_model} is not counted: art plan knows decoders whose layers have attention and one feed-forward "
            "layer with a gate (Llama, Qwen, Gemma, Mistral and the like), without experts."
        )
    memory_bytes = int(gpu_memory * GB)
    row_bytes = capacity_of(demand.row_tokens) * dimensions.key_value_bytes()
    fixed = _fixed(dimensions, demand)
    one_pass = _pass_part(dimensions, demand)
    keys = Part(
        name="keys and values",
        size_bytes=demand.rows * row_bytes,
        note=f"{demand.rows} rows of {demand.row_tokens:,} tokens",
    )
    fixed_bytes = sum(part.size_bytes for part in fixed)
    return Plan(
        base_model=base_model,
        dtype=demand.dtype,
        in_4bit=dimensions.in_4bit,
        memory_bytes=memory_bytes,
        layers=dimensions.layers,
        parts=(*fixed, keys, one_pass),
        settings=_settings(dimensions, demand.rank, memory_bytes - fixed_bytes - keys.size_bytes),
        max_rows=max(0, (memory_bytes - fixed_bytes - one_pass.size_bytes) // row_bytes),
    )


def _fixed(dimensions: Dimensions, demand: Demand) -> tuple[Part, ...]:
    adapter, versions = dimensions.adapter_bytes(demand.rank), demand.versions
    return (
        Part(name="base", size_bytes=dimensions.base_bytes, note="its weights, once"),
        Part(name="adapter", size_bytes=adapter, note=f"rank {demand.rank} on all linear layers"),
        Part(name="moments", size_bytes=2 * adapter, note="AdamW's two"),
        Part(name="gradient", size_bytes=adapter, note="of the adapter"),
        Part(name="undo", size_bytes=3 * adapter, note="adapter and moments as they were before the step"),
        Part(name="versions", size_bytes=versions * adapter, note=f"{versions} adapters that are served"),
        Part(name="overhead", size_bytes=OVERHEAD_BYTES, note="CUDA and gaps"),
    )


def _pass_part(dimensions: Dimensions, demand: Demand) -> Part:
    tokens = demand.micro_batch_tokens
    needed = pass_bytes(dimensions, tokens=tokens, rank=demand.rank)
    return Part(
        name="activations",
        size_bytes=needed.again + needed.work,
        note=f"a pass of {tokens:,} tokens, every layer computed again",
    )


def _settings(dimensions: Dimensions, rank: int, left: int) -> tuple[Setting, ...]:
    settings: list[Setting] = []
    for tokens in PASSES:
        needed = pass_bytes(dimensions, tokens=tokens, rank=rank)
        spare = left - needed.again - needed.work
        gain = (needed.kept - needed.again) // dimensions.layers
        kept = max(0, min(dimensions.layers, spare // max(1, gain)))
        settings.append(Setting(micro_batch_tokens=tokens, kept_layers=kept, fits=spare >= 0))
    return tuple(settings)


def _config_of(base_model: str) -> dict[str, Any]:
    path = Path(base_model) / "config.json" if Path(base_model).is_dir() else _of_the_hub(base_model)
    # In the Hub's cache a file is a link.
    content = regular.find(Path(os.path.realpath(path)), max_bytes=MAX_CONFIG_BYTES)
    if content is None:
        raise ModelNotFoundError(f"There is no {path}.")
    return parse_object(content, where=str(path))


def _of_the_hub(base_model: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(hf_hub_download(base_model, "config.json"))
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ModelNotFoundError(
            f"The configuration of {base_model!r} cannot be had: {reason}. Give the id of a repository on the Hugging "
            "Face Hub (after `hf auth login`, where it is private or gated), or a folder with a config.json."
        ) from error
