"""What a `Choice` says about how it was sampled: its tokens, their log-probabilities, which weights.

Knows the fields that our inference, ART's server and vLLM add to a choice; knows no conversation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from openai.types.chat.chat_completion import Choice
from openai.types.chat.chat_completion_token_logprob import ChatCompletionTokenLogprob
from pydantic import BaseModel, ConfigDict, ValidationError

from art.errors import TrainingDataError

TOKEN_ID_PREFIX = "token_id:"
MAX_ID_DIGITS = 10
STAYS_WITH_LITELLM = "provider_specific_fields"
WITH_THE_FIRST_TOKEN = ("temperature", "version")
"""What our inference says of an answer with its first token too, because clients that rebuild it keep the tokens."""


def not_finite(reward: Any) -> Any:
    """Read a number that JSON had none for: what cannot be learned from is not made learnable by writing it."""
    return math.nan if reward is None else reward


@dataclass(frozen=True, kw_only=True)
class SampledTokens:
    """What our inference says about how a `Choice` was sampled; travels as extra fields of the choice.

    `prompt_ids` is None when another server sampled it and did not say.
    """

    prompt_ids: tuple[int, ...] | None
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """Log-probability of each token under the sampling temperature, before top_p and top_k cut."""
    temperature: float
    version: str | None = None
    """Which weights answered, as our inference names them: `project/model#publication@step`."""

    def as_fields(self) -> dict[str, Any]:
        """The extra fields of the choice, in JSON types."""
        fields: dict[str, Any] = {
            "prompt_token_ids": list(self.prompt_ids or ()),
            "token_ids": list(self.token_ids),
            "token_logprobs": list(self.logprobs),
            "temperature": self.temperature,
        }
        return fields if self.version is None else {**fields, "version": self.version}


class _Fields(BaseModel):
    """The fields as they arrive: from a server, or from a file that anybody may have written."""

    model_config = ConfigDict(extra="ignore", defer_build=True)

    prompt_token_ids: tuple[int, ...] | None = None
    token_ids: tuple[int, ...] | None = None
    token_logprobs: tuple[float | None, ...] | None = None
    temperature: float | None = None
    version: str | None = None


def find_sampled(choice: Choice) -> SampledTokens | None:
    """Read how a choice was sampled, None also where what it says of that makes no sense."""
    try:
        return sampled_tokens(choice)
    except TrainingDataError:
        return None


def sampled_tokens(choice: Choice) -> SampledTokens | None:
    """Read how a choice was sampled: our own extra fields, or what stays of them where a client rebuilt the choice.

    That is `logprobs` whose tokens are spelled `token_id:123`, as ART's server does, or vLLM's `token_ids` beside them.
    Raises `TrainingDataError` for fields of another form.
    """
    extra = choice.model_extra or {}
    if "token_logprobs" not in extra:
        extra = {**((choice.message.model_extra or {}).get(STAYS_WITH_LITELLM) or {}), **extra}
    content = (choice.logprobs.content if choice.logprobs else None) or []
    first = content[0].model_extra or {} if content else {}
    fields = _read({**{name: first.get(name) for name in WITH_THE_FIRST_TOKEN}, **extra})
    token_ids = fields.token_ids or _spelled_ids(content)
    logprobs = fields.token_logprobs or [entry.logprob for entry in content]
    if "token_logprobs" not in extra and not (token_ids and content):
        return None
    return SampledTokens(
        prompt_ids=fields.prompt_token_ids or None,
        token_ids=tuple(token_ids),
        logprobs=tuple(map(not_finite, logprobs)),
        temperature=1.0 if fields.temperature is None else fields.temperature,
        version=fields.version,
    )


def _read(extra: dict[str, Any]) -> _Fields:
    try:
        return _Fields.model_validate(extra)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(map(str, problem["loc"]))
        raise TrainingDataError(f"A Choice says with {field} how it was sampled: {problem['msg']}.") from error


def _spelled_ids(content: Sequence[ChatCompletionTokenLogprob]) -> list[int]:
    """Give the ids that the tokens are spelled as; none where one of them is text."""
    ids = [entry.token.removeprefix(TOKEN_ID_PREFIX) for entry in content if entry.token.startswith(TOKEN_ID_PREFIX)]
    are_ids = len(ids) == len(content) and all(each.isdecimal() and len(each) <= MAX_ID_DIGITS for each in ids)
    return [int(each) for each in ids] if are_ids else []
