"""The seam of inference: what the server and the sessions need of whatever samples.

Knows folders of adapters, token ids and a request's sampling values; neither HTTP, nor tokenizers, nor the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from art.sample.generation import Generation
from art.sample.sampling import Sampling
from art.sample.version import Version


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What a sampler can do beyond sampling; what it cannot, is refused to whoever asks for it."""

    exact_seeds: bool = False
    """A request's seed repeats tokens and log-probabilities bit for bit, whatever else is being sampled."""
    truncated_logprobs: bool = False
    """Log-probabilities are those after `top_p`, `top_k` and `min_p` have cut. Ours are those before."""
    shapes_logits: bool = False
    """Calls `Sampling.shapers` with each token's logits: penalties, `logit_bias` and grammars work."""
    max_rank: int | None = None
    """The largest rank of an adapter that can be published; None is any."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a sampler is doing now."""

    rows: int
    """Choices that are being sampled."""
    waiting: int
    """Requests that wait for a place."""


class Sampler(Protocol):
    """Samples from versions of one base model. Thread-safe; making one starts nothing, its first use does."""

    @property
    def context_length(self) -> int:
        """How many tokens a prompt and its answer may have together."""
        ...

    @property
    def stop_ids(self) -> frozenset[int]:
        """The tokens that end an answer according to the model and its tokenizer."""
        ...

    @property
    def traits(self) -> Traits: ...

    def publish(self, version: Version, adapter: Path | None) -> None:
        """Serve the adapter in a committed checkpoint's folder as this version, the base alone for None.

        Returns when requests can name the version; running ones finish on theirs. Raises an `ArtError`
        (`LoRAShapeMismatchError`, `CorruptCheckpointError`, `InferenceError`), and nothing is published then.
        """
        ...

    def retire(self, version: Version) -> None:
        """Take no new requests for the version; those that run finish on it. Harmless for one that is not there."""
        ...

    def submit(self, version: Version, prompt_ids: Sequence[int], *, sampling: Sampling, n: int = 1) -> Generation:
        """Queue a request; call it in the event loop that will iterate over the tokens. Waits for nothing.

        An answer ends at the context's end as at `max_tokens`. Raises `NotFoundError` (no such version),
        `ConfigurationError` (a prompt that cannot be), `QueueFullError`, and `InferenceError` when closed. What goes
        wrong later is raised by the iteration, as an `InferenceError`.
        """
        ...

    def load(self) -> Load:
        """Tell what is going on; waits for nothing."""
        ...

    def close(self) -> None:
        """Fail what runs or waits, and end every thread. May be called again."""
        ...


@runtime_checkable
class SharingSampler(Protocol):
    """What a sampler has beside the rest that may share a device with training."""

    def resting(self) -> AbstractContextManager[None]:
        """Leave the device to training while the block runs: running requests end first, new ones wait for its end.

        Leaving the block raises nothing, so that a step is committed whatever becomes of the sampler.
        """
        ...
