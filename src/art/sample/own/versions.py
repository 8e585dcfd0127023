"""Versions of the model's weights: which there are, which is live, and the prompts that each has computed.

Knows plain tensors by the names of the model's parameters; not where they come from.
"""

from __future__ import annotations

import copy
from collections import Counter, OrderedDict
from collections.abc import Mapping

import torch
from transformers import PreTrainedModel

from art.errors import ConfigurationError
from art.sample.own.cache import Prompt, Rows

IDLE_PROMPT_TOKENS = 8192
"""How many tokens of prompts that no row uses a version keeps for requests to come."""


class Version:
    """Weights under a name, and what is being sampled with them."""

    def __init__(self, key: str, weights: Mapping[str, torch.Tensor]) -> None:
        self.key = key
        self.weights = dict(weights)
        self.rows = Rows()
        self.prompts = Prompts()
        self.wanted: Counter[tuple[int, ...]] = Counter()
        """The prompts of requests that are still waiting."""

    @property
    def is_idle(self) -> bool:
        return not self.rows and not self.wanted

    def want(self, prompt_ids: tuple[int, ...]) -> None:
        self.wanted[prompt_ids] += 1

    def unwant(self, prompt_ids: tuple[int, ...]) -> None:
        self.wanted[prompt_ids] -= 1
        if not self.wanted[prompt_ids]:
            del self.wanted[prompt_ids]


class Prompts:
    """Prefilled prompts, the least recently used first."""

    def __init__(self) -> None:
        self._prompts: OrderedDict[tuple[int, ...], Prompt] = OrderedDict()

    def find(self, token_ids: tuple[int, ...], *, exact: bool = False) -> Prompt | None:
        prompt = self._prompts.get(token_ids)
        if prompt is None or (exact and not prompt.is_exact):
            return None
        self._prompts.move_to_end(token_ids)
        return prompt

    def keep(self, prompt: Prompt) -> None:
        self._prompts[prompt.token_ids] = prompt

    def trim(self) -> None:
        """Forget idle prompts, the least recently used first, until the rest fits."""
        idle = [prompt for prompt in self._prompts.values() if not prompt.users]
        tokens = sum(len(prompt) for prompt in idle)
        for prompt in idle:
            if tokens <= IDLE_PROMPT_TOKENS:
                return
            del self._prompts[prompt.token_ids]
            tokens -= len(prompt)


class LiveModel:
    """A module tree of our own over the base's tensors, which any version's weights can be put into."""

    def __init__(self, base: PreTrainedModel) -> None:
        # Parameters of our own over the same storage: putting a version's tensor into one leaves the base's alone.
        ours = {id(each): torch.nn.Parameter(each.detach(), requires_grad=False) for each in base.parameters()}
        self.model: PreTrainedModel = copy.deepcopy(base, memo=dict(ours)).eval()
        self._parameters = dict(self.model.named_parameters(remove_duplicate=False))
        self._base = {name: parameter.data for name, parameter in self._parameters.items()}
        self._live: Version | None = None

    def fit(self, key: str, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Check the weights of a version and move them to the model's device and dtype."""
        fitting: dict[str, torch.Tensor] = {}
        for name, tensor in weights.items():
            base = self._base.get(name)
            if base is None or base.shape != tensor.shape:
                has = "no parameter of this name" if base is None else f"shape {tuple(base.shape)}"
                raise ConfigurationError(
                    f"Version {key} brings {name} of shape {tuple(tensor.shape)}, but the base model has {has}."
                )
            fitting[name] = tensor.detach().to(device=base.device, dtype=base.dtype)
        return fitting

    def switch(self, version: Version | None) -> PreTrainedModel:
        """Make the version's weights live, the base's where it has none, and return the model."""
        if version is self._live:
            return self.model
        for name in self._live.weights if self._live else ():
            self._parameters[name].data = self._base[name]
        for name, tensor in (version.weights if version else {}).items():
            self._parameters[name].data = tensor
        self._live = version
        return self.model

    def drop(self, version: Version) -> None:
        """Let go of the version's tensors."""
        if version is self._live:
            self.switch(None)
        version.weights = {}
        version.prompts = Prompts()
