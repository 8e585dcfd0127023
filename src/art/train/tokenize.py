"""Turns conversations into rows of tokens: what the model read, and what it sampled, exactly as it sampled it.

Knows the tokenizer, for prompts that another server did not spell out; knows no tensor. Text the model wrote is
never tokenised again: the same text can have several spellings in tokens, and only one of them was sampled.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from jinja2 import TemplateError
from openai.types.chat.chat_completion import Choice

from art.errors import TrainingDataError
from art.trajectories import History, SampledTokens, Trajectory, sampled_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Span:
    """A stretch of a row that the model sampled: these tokens are trained on."""

    start: int
    logprobs: tuple[float, ...]
    """The sampler's log-probability of each token, under `temperature`."""
    temperature: float

    @property
    def end(self) -> int:
        return self.start + len(self.logprobs)


@dataclass(frozen=True)
class Row:
    """A sequence of tokens as the model saw it, ending with the last token it sampled."""

    token_ids: tuple[int, ...]
    spans: tuple[Span, ...]

    @property
    def prompt_length(self) -> int:
        return self.spans[0].start


@dataclass(frozen=True)
class Limits:
    """What the model can read."""

    vocabulary: int
    context: int | None
    """The longest sequence, None where the model's configuration states none."""


def trajectory_rows(
    trajectory: Trajectory, tokenizer: PreTrainedTokenizerBase, *, limits: Limits, where: str
) -> list[Row]:
    """Give the rows of all conversations of a trajectory; raises `TrainingDataError`, its message begun by `where`."""
    rows = [row for history in trajectory.histories() for row in _conversation_rows(history, tokenizer, where=where)]
    for row in rows:
        _check_row(row, limits, where=where)
    return rows


def _conversation_rows(history: History, tokenizer: PreTrainedTokenizerBase, *, where: str) -> Iterator[Row]:
    items = history.messages_and_choices
    positions = [position for position, item in enumerate(items) if isinstance(item, Choice)]
    if not positions:
        raise TrainingDataError(
            f"{where}: the conversation has no Choice, so nothing in it was sampled by the model. "
            "Put response.choices[0] itself into messages_and_choices, not its text."
        )
    row: Row | None = None
    for position in positions:
        sampled = _sampled(cast(Choice, items[position]), where=where)
        if not sampled.token_ids:
            continue
        prompt_ids = sampled.prompt_ids or _rendered_prompt(history, position, tokenizer, where=where)
        span = Span(len(prompt_ids), sampled.logprobs, sampled.temperature)
        continues = row is not None and prompt_ids[: len(row.token_ids)] == row.token_ids
        if row is not None and not continues:
            yield row
        earlier = row.spans if row is not None and continues else ()
        row = Row(prompt_ids + sampled.token_ids, (*earlier, span))
    if row is not None:
        yield row


def _sampled(choice: Choice, *, where: str) -> SampledTokens:
    sampled = sampled_tokens(choice)
    if sampled is None:
        raise TrainingDataError(
            f"{where}: a Choice carries no token ids, so it cannot be trained on as it was sampled. Sample it "
            "from this model's own inference, or from a server that returns logprobs with tokens as token ids."
        )
    if len(sampled.token_ids) != len(sampled.logprobs):
        raise TrainingDataError(
            f"{where}: a Choice has {len(sampled.token_ids)} tokens but {len(sampled.logprobs)} log-probabilities."
        )
    if not all(math.isfinite(logprob) for logprob in sampled.logprobs):
        raise TrainingDataError(f"{where}: a Choice has a log-probability that is not a finite number.")
    if not (math.isfinite(sampled.temperature) and sampled.temperature >= 0):
        raise TrainingDataError(f"{where}: a Choice was sampled at temperature {sampled.temperature}.")
    return sampled


def _rendered_prompt(
    history: History, position: int, tokenizer: PreTrainedTokenizerBase, *, where: str
) -> tuple[int, ...]:
    """Spell the conversation before a choice in tokens, as a server with this chat template would have."""
    messages = [_template_message(cast("dict[str, Any]", message)) for message in history.messages()[:position]]
    try:
        token_ids = tokenizer.apply_chat_template(
            messages,
            tools=cast("list[Any] | None", history.tools),
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
        )
    except (TemplateError, ValueError, TypeError) as error:
        raise TrainingDataError(
            f"{where}: a Choice does not say which tokens its prompt had, and the chat template of the tokenizer "
            f"cannot render the messages before it: {error}"
        ) from error
    return tuple(cast("list[int]", token_ids))


def _template_message(message: dict[str, Any]) -> dict[str, Any]:
    """Give a message as chat templates expect it: content as text, arguments of tool calls as objects."""
    content = message.get("content")
    if not isinstance(content, str):
        parts = cast("Sequence[dict[str, Any]]", content or ())
        content = "".join(part.get("text", "") for part in parts)
    calls = [_template_call(call) for call in message.get("tool_calls") or ()]
    return {**message, "content": content, **({"tool_calls": calls} if calls else {})}


def _template_call(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, dict):
        return call
    try:
        arguments = json.loads(function.get("arguments", ""))
    except (ValueError, TypeError):
        return call
    return {**call, "function": {**function, "arguments": arguments}}


def _check_row(row: Row, limits: Limits, *, where: str) -> None:
    length = len(row.token_ids)
    if row.prompt_length == 0:
        raise TrainingDataError(f"{where}: a Choice has an empty prompt, so nothing predicts its first token.")
    if limits.context is not None and length > limits.context:
        raise TrainingDataError(
            f"{where}: {length} tokens ({row.prompt_length} of prompt) do not fit the model's context of "
            f"{limits.context}. Shorten the prompt or lower max_completion_tokens."
        )
    if min(row.token_ids) < 0 or max(row.token_ids) >= limits.vocabulary:
        raise TrainingDataError(
            f"{where}: token {max(row.token_ids)} is outside the model's vocabulary of {limits.vocabulary}. "
            "Was it sampled by another model?"
        )
