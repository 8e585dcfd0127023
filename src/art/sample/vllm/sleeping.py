"""Putting a server to sleep and waking it, and whether it answers as before. Knows calls; not when they are made.

A server whose sleep went wrong may answer with other weights, and say nothing (vLLM 0.27.1 lost its adapters so:
https://github.com/vllm-project/vllm/issues/53888). So it is asked before and after.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from art.errors import InferenceError
from art.sample.vllm.client import Client, Reply

ASKED = tuple(range(2, 34))
"""Token ids of a prompt that every vocabulary has."""
SAME = 0.05
"""Mean distance of log-probabilities in nats. The same prompt alone gives the same numbers; other weights do not."""
Answers = dict[str, list[float]]
"""The log-probabilities of the prompt's tokens, by the model that was asked."""


async def put_to_sleep(client: Client, models: Iterable[str]) -> Answers:
    """Let a server that runs nothing sleep; gives how each model answered. Raises `InferenceError` if it is awake."""
    before = {model: await prompt_logprobs(client, model) for model in models}
    _require_done(client, "sleep", await client.sleep())
    if not await client.is_asleep():
        raise InferenceError(f"The vLLM server at {client.address} was put to sleep, and is awake.")
    return before


async def wake_up(client: Client, before: Answers) -> None:
    """Wake a server; raises `InferenceError` where it sleeps on, or answers otherwise than before."""
    _require_done(client, "wake", await client.wake())
    if await client.is_asleep() is not False:
        raise InferenceError(f"The vLLM server at {client.address} was woken, and sleeps on.")
    for model, logprobs in before.items():
        distance = _distance(logprobs, await prompt_logprobs(client, model))
        if not distance <= SAME:
            raise InferenceError(
                f"The vLLM server at {client.address} woke with other weights: the log-probabilities of {model} are "
                f"{distance:.2g} nats a token from those before."
            )


async def prompt_logprobs(client: Client, model: str) -> list[float]:
    """Ask a model for the log-probabilities of the tokens `ASKED`, of all but the first."""
    body = {"model": model, "prompt": list(ASKED), "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
    reply = await client.complete_at_once(body)
    if reply.status != 200:
        raise client.refused(reply)
    try:
        positions: list[dict[str, Any] | None] = reply.body["choices"][0]["prompt_logprobs"]
        # The first token follows nothing.
        return [position[str(token)]["logprob"] for token, position in zip(ASKED, positions, strict=True) if position]
    except (LookupError, TypeError, ValueError) as error:
        raise InferenceError(f"The vLLM server at {client.address} gives a prompt no log-probabilities.") from error


def _distance(one: list[float], other: list[float]) -> float:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


def _require_done(client: Client, what: str, reply: Reply) -> None:
    if reply.status != 200:
        raise InferenceError(f"The vLLM server at {client.address} does not {what} ({reply.status}): {reply.message}")
