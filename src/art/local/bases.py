"""Base models in memory: each is loaded once and shared by every adapter that is trained or served on it."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from art.errors import ConfigurationError, ModelNotFoundError
from art.format.manifest import BaseModelInfo
from art.local.agreement import check_agreement
from art.sample.own.engine import Engine
from art.train.fingerprint import base_fingerprint

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Base:
    """A base model, its tokenizer, and the engine that samples from it."""

    info: BaseModelInfo
    module: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    engine: Engine

    @property
    def version(self) -> str:
        """What the engine calls the base without any adapter."""
        return f"{self.info.id}@0"


class Bases:
    """The base models of one backend."""

    def __init__(self, *, device: str, dtype: str | None, max_rows: int, max_cache_bytes: int | None = None) -> None:
        self._device = choose_device(device)
        self._dtype = choose_dtype(dtype, self._device)
        self._max_rows, self._max_cache_bytes = max_rows, max_cache_bytes
        self._lock = threading.Lock()
        self._open: dict[str, Base] = {}

    def open(self, base_model: str) -> Base:
        """Give a base model, loading and trying it the first time.

        Raises `ModelNotFoundError`, and `ConfigurationError` for one that computes otherwise in our passes.
        """
        with self._lock:
            if base_model not in self._open:
                self._open[base_model] = self._load(base_model)
            return self._open[base_model]

    def close(self) -> None:
        """Stop every engine."""
        with self._lock:
            for base in self._open.values():
                base.engine.close()
            self._open.clear()

    def _load(self, base_model: str) -> Base:
        module, tokenizer = load_base(base_model, device=self._device, dtype=self._dtype)
        check_agreement(module)
        info = BaseModelInfo(
            id=base_model,
            revision=getattr(module.config, "_commit_hash", None),
            fingerprint=base_fingerprint(module, tokenizer),
        )
        base = Base(
            info=info,
            module=module,
            tokenizer=tokenizer,
            engine=Engine(module, tokenizer, max_rows=self._max_rows, max_cache_bytes=self._max_cache_bytes),
        )
        base.engine.publish(base.version, None)
        return base


def load_base(
    base_model: str, *, device: torch.device, dtype: torch.dtype
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Read a causal language model and its tokenizer, ready to be shared; raises `ModelNotFoundError`."""
    try:
        with _quiet():
            tokenizer: Any = AutoTokenizer.from_pretrained(base_model)
            module: Any = AutoModelForCausalLM.from_pretrained(base_model, dtype=dtype)
    except (OSError, ValueError) as error:
        raise ModelNotFoundError(
            f"The base model {base_model!r} cannot be loaded: {str(error).splitlines()[0]} "
            "Give a Hugging Face repository id that is in reach, or a folder that holds a causal language model."
        ) from error
    return module.to(device).eval().requires_grad_(False), tokenizer


@contextmanager
def _quiet() -> Generator[None]:
    """Leave the terminal to the script: transformers draws a bar for every load."""
    was_on = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            transformers_logging.enable_progress_bar()


def choose_device(device: str) -> torch.device:
    """Turn `auto` into CUDA where there is one; raises `ConfigurationError` for a device that is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with suppress(RuntimeError):
        chosen = torch.device(device)
        if chosen.type == "cpu" or (chosen.type == "cuda" and torch.cuda.is_available()):
            return chosen
    raise ConfigurationError(f"device={device!r} is not here; use 'auto', 'cpu' or, with a GPU, 'cuda'.")


def choose_dtype(dtype: str | None, device: torch.device) -> torch.dtype:
    """Give the dtype of the base's weights: fp32 on CPU, bf16 on CUDA, unless told otherwise. Adapters are fp32."""
    if dtype is None:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if dtype not in DTYPES:
        raise ConfigurationError(f"dtype={dtype!r} is not known; use one of {', '.join(DTYPES)}.")
    return DTYPES[dtype]
