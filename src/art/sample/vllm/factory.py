"""From what a backend is told to a sampler over vLLM servers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from art.adapter.four_bits import quantisation_of
from art.errors import ConfigurationError
from art.sample.base import LoadedBase, stop_ids_of
from art.sample.vllm.connection import Address
from art.sample.vllm.launch import KEY, Launch
from art.sample.vllm.sampler import VLLMSampler


@dataclass(frozen=True, kw_only=True)
class VLLM:
    """Samples with vLLM: `LocalBackend(sampler=VLLM(max_rank=64))`.

    `urls` are servers that run; without any, one is started from `VLLM_PYTHON`, or `vllm` on the path, and stopped with
    the backend. The other fields are for that one.
    """

    urls: tuple[str, ...] = ()
    max_rank: int = 32
    """The largest rank of an adapter. vLLM computes with so large ones, so more than is needed costs speed."""
    max_loras: int = 4
    """Of how many versions answers are sampled at once, of all models together; others wait."""
    memory_share: float = 0.5
    """Of a GPU's memory; training needs the rest."""
    sleeps: bool | None = None
    """Whether the server leaves the GPU to each training step; unless it is said, where training has that GPU too."""
    options: tuple[str, ...] = ()
    """Further options of `vllm serve`."""
    port: int = 0
    timeout_s: float = 900.0
    """How long the server may take to start."""

    def __call__(self, base: LoadedBase) -> VLLMSampler:
        """Make a sampler over a base; it starts, or asks its servers, with its first use.

        Raises `ConfigurationError` for a base in 4 bits, whose numbers vLLM's kernels do not give, and for a server
        that is to sleep and cannot.
        """
        if kind := quantisation_of(base.module):
            raise ConfigurationError(
                f"{base.id} is trained in {kind}, and a vLLM server would sample from other numbers. Leave sampler= "
                "out, or load_in_4bit."
            )
        if self.sleeps and (self.urls or not _is_on_gpu(base)):
            where = "one that runs belongs to others too" if self.urls else "one on a CPU answers nobody once it slept"
            raise ConfigurationError(
                f"VLLM(sleeps=True) is for a server that is started on a GPU, and {where}. Leave sleeps out."
            )
        key = os.environ.get(KEY)
        sources = [Address.parse(url, key=key) for url in self.urls] or [self.launch(base)]
        return VLLMSampler(
            sources,
            stop_ids=stop_ids_of(base.module, base.tokenizer),
            vocabulary=base.module.config.get_text_config().vocab_size,
            max_rows=base.max_rows,
        )

    def launch(self, base: LoadedBase) -> Launch:
        """Give how a server of a base is started."""
        folder = Path(base.id)
        return Launch(
            base=str(folder.absolute()) if folder.is_dir() else base.id,
            revision=getattr(base.module.config, "_commit_hash", None),
            dtype=str(base.module.dtype).removeprefix("torch."),
            is_on_gpu=_is_on_gpu(base),
            sleeps=_is_shared(base) if self.sleeps is None else self.sleeps,
            port=self.port,
            max_rank=self.max_rank,
            max_loras=self.max_loras,
            max_rows=base.max_rows,
            memory_share=self.memory_share,
            options=self.options,
            timeout_s=self.timeout_s,
        )


def _is_on_gpu(base: LoadedBase) -> bool:
    return base.module.device.type == "cuda"


def _is_shared(base: LoadedBase) -> bool:
    """Tell whether training has the GPU that a server takes, which is the first."""
    return _is_on_gpu(base) and not base.module.device.index
