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
    options: tuple[str, ...] = ()
    """Further options of `vllm serve`."""
    port: int = 0
    timeout_s: float = 900.0
    """How long the server may take to start."""

    def __call__(self, base: LoadedBase) -> VLLMSampler:
        """Make a sampler over a base; it starts, or asks its servers, with its first use.

        Raises `ConfigurationError` for a base in 4 bits, whose numbers vLLM's kernels do not give.
        """
        if kind := quantisation_of(base.module):
            raise ConfigurationError(
                f"{base.id} is trained in {kind}, and a vLLM server would sample from other numbers. Leave sampler= "
                "out, or load_in_4bit."
            )
        key = os.environ.get(KEY)
        sources = [Address.parse(url, key=key) for url in self.urls] or [self._launch(base)]
        return VLLMSampler(
            sources,
            stop_ids=stop_ids_of(base.module, base.tokenizer),
            vocabulary=base.module.config.get_text_config().vocab_size,
            max_rows=base.max_rows,
        )

    def _launch(self, base: LoadedBase) -> Launch:
        folder = Path(base.id)
        return Launch(
            base=str(folder.absolute()) if folder.is_dir() else base.id,
            revision=getattr(base.module.config, "_commit_hash", None),
            dtype=str(base.module.dtype).removeprefix("torch."),
            is_on_gpu=base.module.device.type == "cuda",
            port=self.port,
            max_rank=self.max_rank,
            max_loras=self.max_loras,
            max_rows=base.max_rows,
            memory_share=self.memory_share,
            options=self.options,
            timeout_s=self.timeout_s,
        )
