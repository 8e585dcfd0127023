"""Which sampler answers over a base: our own engine, or what the backend was given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from art.errors import ArtError, ConfigurationError
from art.local.same_base import check_same_base
from art.sample.base import LoadedBase, NewSampler
from art.sample.own.engine import Engine
from art.sample.sampler import Sampler
from art.sample.version import BASE
from art.settings import require_whole
from art.visible import shown_value

OWN = "own"
MAX_ROWS = 1 << 16
Chosen = str | Sequence[str] | NewSampler
"""`"own"`, `"vllm"`, the address of a vLLM server or several ones, or what makes a sampler."""


@dataclass(frozen=True, kw_only=True)
class Samplers:
    """Makes a sampler for each base model of a backend."""

    chosen: Chosen = OWN
    exact: bool = False
    """Whether runs are to repeat, so that seeds have to be exact."""
    max_rows: int = 64
    max_cache_bytes: int | None = None

    def __post_init__(self) -> None:
        require_whole("max_rows", self.max_rows, least=1, most=MAX_ROWS)
        if self.max_cache_bytes is not None:
            require_whole("max_cache_bytes", self.max_cache_bytes, least=1, most=1 << 60)
        self._make()

    def open(self, base_model: str, module: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Sampler:
        """Make a sampler that serves the base; whoever asked closes it. Raises an `ArtError`."""
        base = LoadedBase(
            id=base_model,
            module=module,
            tokenizer=tokenizer,
            max_rows=self.max_rows,
            max_cache_bytes=self.max_cache_bytes,
        )
        sampler = self._make()(base)
        try:
            self._check(sampler)
            sampler.publish(BASE, None)
            if not isinstance(sampler, Engine):
                check_same_base(sampler, module)
        except ArtError:
            sampler.close()
            raise
        return sampler

    def _make(self) -> NewSampler:
        return self.chosen if callable(self.chosen) else _named(self.chosen)

    def _check(self, sampler: Sampler) -> None:
        if self.exact and not sampler.traits.exact_seeds:
            raise ConfigurationError(
                f"deterministic=True needs a sampler whose seeds are exact, and {type(sampler).__name__}'s are not. "
                f"Leave deterministic out, or sample with sampler={OWN!r}."
            )


def _named(name: str | Sequence[str]) -> NewSampler:
    """Give what makes the sampler of this name; raises `ConfigurationError` for one that none has."""
    if name == OWN:
        return _own
    several: object = (name,) if isinstance(name, str) else name
    urls = tuple(map(str, several)) if isinstance(several, list | tuple) and name != "vllm" else ()
    if name != "vllm" and not (urls and all(url.startswith(("http://", "https://")) for url in urls)):
        raise ConfigurationError(
            f"sampler={shown_value(name)} is not known; use {OWN!r}, 'vllm', the address of a vLLM server, or "
            "a function that makes a sampler."
        )
    # Only who samples with vLLM loads what speaks to it.
    from art.sample.vllm.factory import VLLM

    return VLLM(urls=urls)


def _own(base: LoadedBase) -> Sampler:
    return Engine(base.module, base.tokenizer, max_rows=base.max_rows, max_cache_bytes=base.max_cache_bytes)
