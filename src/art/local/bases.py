"""Base models in memory: each is loaded once and shared by every adapter that is trained or served on it."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from art.adapter.four_bits import quantisation_of
from art.adapter.loading import load_base
from art.adapter.neighbours import lay_together
from art.adapter.packed import pack
from art.errors import ConfigurationError
from art.format.manifest import BaseModelInfo
from art.local.agreement import check_agreement
from art.local.samplers import Samplers
from art.sample.sampler import Sampler
from art.settings import require_whole
from art.train.fingerprint import base_fingerprint
from art.visible import shown_value

_log = logging.getLogger("art")
MAX_RANKS = 1024
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Base:
    """A base model, its tokenizer, and what samples from it."""

    info: BaseModelInfo
    module: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    sampler: Sampler
    ranks: int = 1
    """How many processes train over it."""
    template: str | dict[str, str] | None = None
    """The chat template of the tokenizer, where a script has set another one than the base's own."""


class Bases:
    """The base models of one backend."""

    def __init__(
        self,
        *,
        device: str,
        dtype: str | None,
        ranks: int = 1,
        samplers: Samplers | None = None,
    ) -> None:
        self._device = choose_device(device)
        check_ranks(ranks, self._device)
        self._ranks = ranks
        self._dtype = choose_dtype(dtype, self._device)
        self._samplers = samplers or Samplers()
        self._lock = threading.Lock()
        self._open: dict[tuple[str, bool], Base] = {}

    def open(self, base_model: str, *, in_4bit: bool = False) -> Base:
        """Give a base model, loading and trying it the first time.

        Raises `ModelNotFoundError`, and `ConfigurationError` for one that computes otherwise in our passes.
        """
        with self._lock:
            if (base_model, in_4bit) not in self._open:
                self._open[base_model, in_4bit] = self._load(base_model, in_4bit=in_4bit)
            return self._open[base_model, in_4bit]

    def close(self) -> None:
        """Stop every sampler."""
        with self._lock:
            for base in self._open.values():
                base.sampler.close()
            self._open.clear()

    def _load(self, base_model: str, *, in_4bit: bool) -> Base:
        module, tokenizer = load_base(base_model, device=self._device, dtype=self._dtype, in_4bit=in_4bit)
        if self._ranks > 1 and quantisation_of(module):
            raise ConfigurationError(f"A base in 4 bits is trained in one process; leave ranks={self._ranks} out.")
        pack(module)
        lay_together(module)
        check_agreement(module)
        info = BaseModelInfo(
            id=base_model,
            revision=getattr(module.config, "_commit_hash", None),
            fingerprint=base_fingerprint(module, tokenizer),
        )
        sampler = self._samplers.open(base_model, module, tokenizer)
        return Base(info=info, module=module, tokenizer=tokenizer, sampler=sampler, ranks=self._ranks)


def choose_device(device: str) -> torch.device:
    """Turn `auto` into CUDA where there is one; raises `ConfigurationError` for a device that is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with suppress(RuntimeError, TypeError, ValueError):
        chosen = torch.device(device)
        if chosen.type == "cpu" or (chosen.type == "cuda" and torch.cuda.is_available()):
            return chosen
    devices = torch.cuda.device_count() or "no"
    raise ConfigurationError(
        f"device={shown_value(device)} is not here: torch finds {devices} CUDA device(s). Use 'cpu' or 'auto'; 'cuda' "
        "needs a GPU, its driver, and a build of torch for it."
    )


def choose_dtype(dtype: str | None, device: torch.device) -> torch.dtype:
    """Give the dtype of the base's weights: fp32 on CPU, bf16 on CUDA, unless told otherwise. Adapters are fp32."""
    if dtype is None:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if not isinstance(dtype, str) or dtype not in DTYPES:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"dtype={shown_value(dtype)} is not known; use one of {', '.join(DTYPES)}.")
    return DTYPES[dtype]


def check_ranks(ranks: int, device: torch.device) -> None:
    """Check that so many ranks can be started here; raises `ConfigurationError`."""
    require_whole("ranks", ranks, least=1, most=MAX_RANKS)
    if ranks == 1:
        return
    if device.index:
        raise ConfigurationError(f"ranks={ranks} take the first {ranks} GPUs, not {device}; give device='cuda'.")
    if device.type == "cuda" and ranks > torch.cuda.device_count():
        raise ConfigurationError(
            f"ranks={ranks} need a GPU each, and there are {torch.cuda.device_count()}. Give fewer ranks."
        )
    threads, cores = torch.get_num_threads(), os.cpu_count() or 1
    if device.type == "cpu" and ranks * threads > cores:
        _log.warning(
            "%d ranks of %d threads wait for each other on %d cores. Set OMP_NUM_THREADS=%d from a run's first step "
            "on: bits depend on the number of threads, and not on the number of ranks.",
            ranks, threads, cores, max(1, cores // ranks),
        )  # fmt: skip
