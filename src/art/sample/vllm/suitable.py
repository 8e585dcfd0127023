"""Whether a server can serve rollouts that are trained on, found out by asking it."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from art.errors import ConfigurationError, InferenceError
from art.sample.sampling import Sampling
from art.sample.vllm.client import Client
from art.sample.vllm.wire import completion

LEAST_LORAS = 2
"""While requests finish on one version, others begin on the next."""
CERTAIN = 1e-3
BIAS = 100.0
IMPOSSIBLE_RANK = 1 << 20
_MAX_LORA = re.compile(r'vllm:lora_requests_info\{[^}]*max_lora="(\d+)"')
_MAX_RANK = re.compile(r"max_lora_rank (\d+)")


@dataclass(frozen=True, kw_only=True)
class Suitable:
    """What a server serves."""

    base: str
    """What it calls the base model."""
    context_length: int
    max_rank: int | None = None
    """None where the server did not tell, because it does not see our temporary files."""


async def check_suitable(client: Client) -> Suitable:
    """Ask a server for all that we need; raises one `ConfigurationError` that names every option that it lacks."""
    base, context = await _served(client)
    # In this order: a server counts its adapters from its first request on.
    options = await _logprobs(client, base)
    lacks, rank = await _adapters(client)
    if lacks := [*options, *lacks]:
        raise ConfigurationError(
            f"The vLLM server at {client.address} cannot serve rollouts that are trained on. Start it again with "
            f"{', '.join(lacks)}."
        )
    return Suitable(base=base, context_length=context, max_rank=rank)


async def _served(client: Client) -> tuple[str, int]:
    reply = await client.get("/v1/models")
    if reply.status == 401:
        raise ConfigurationError(f"The server at {client.address} wants a key. Set VLLM_API_KEY to it.")
    models = reply.body.get("data") or []
    bases = [
        model for model in models if isinstance(model, dict) and "max_model_len" in model and not model.get("parent")
    ]
    if not bases:
        raise ConfigurationError(f"The server at {client.address} is no vLLM server: it names no base model.")
    return bases[0]["id"], int(bases[0]["max_model_len"])


async def _logprobs(client: Client, base: str) -> list[str]:
    """Force two different tokens. Only log-probabilities of what was drawn from are near 0 for both."""
    for token in (0, 1):
        request = completion([0], sampling=Sampling(max_tokens=1))
        reply = await client.complete_at_once({**request, "model": base, "logit_bias": {str(token): BIAS}})
        if reply.status != 200:
            raise InferenceError(
                f"The vLLM server at {client.address} does not sample ({reply.status}): {reply.message}"
            )
        [logprob] = reply.body["choices"][0]["logprobs"]["token_logprobs"]
        if abs(logprob) > CERTAIN:
            return ["--logprobs-mode processed_logprobs"]
    return []


async def _adapters(client: Client) -> tuple[list[str], int | None]:
    """Offer an adapter of an impossible rank: the refusal tells the largest possible one."""
    with tempfile.TemporaryDirectory(prefix="art-vllm-") as name:
        folder = Path(name)
        config = {"peft_type": "LORA", "r": IMPOSSIBLE_RANK, "lora_alpha": 1, "target_modules": ["q_proj"]}
        (folder / "adapter_config.json").write_text(json.dumps(config))
        reply = await client.load(f"art-asks-{folder.name}", folder)
    if reply.status == 404 and "No adapter found" not in reply.message:
        return ["--enable-lora", "the environment variable VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"], None
    match = _MAX_LORA.search(await client.text("/metrics"))
    if match is None:
        return ["--enable-lora"], None
    lacks = [f"--max-loras {LEAST_LORAS} or more"] if int(match[1]) < LEAST_LORAS else []
    rank = _MAX_RANK.search(reply.message)
    return lacks, int(rank[1]) if rank else None


def narrowest(served: Sequence[Suitable]) -> Suitable:
    """Give what all of several servers serve."""
    ranks = [each.max_rank for each in served if each.max_rank is not None]
    return Suitable(
        base=served[0].base,
        context_length=min(each.context_length for each in served),
        max_rank=min(ranks, default=None),
    )
