"""What crosses the wire: requests as pydantic models.

Knows OpenAI's names and rules; neither the tokenizer nor the engine. What is accepted and has no effect is listed in
the classes; everything else that has no effect is refused, so that no setting is ignored unseen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from typing import Annotated, Any, Literal, Self, TypeVar, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    model_validator,
)

from art.http.body import parse_json
from art.http.parts import (
    MAX_GRAMMAR_CHARACTERS,
    MAX_NAME_CHARACTERS,
    MAX_PARTS,
    MAX_TOOLS,
    ChosenTool,
    Function,
    Message,
    Name,
    ResponseFormat,
    Schema,
    StreamOptions,
    Strict,
    StructuredOutputs,
    Tool,
)
from art.http.refusal import RequestError
from art.settings import nearest

MAX_CHOICES = 128
MAX_TOP_LOGPROBS = 20
MAX_TEMPERATURE = 100.0
MIN_REPETITION_PENALTY = 0.01
"""A smaller one makes infinities of logits that it divides."""
MAX_MESSAGES = 4096
MAX_STOPS = 4
MAX_STOP_IDS = 64
MAX_TOKEN_ID = (1 << 31) - 1
MAX_STOP_CHARACTERS = 512
MAX_BIASES = 1024
ALIKE = 0.8
"""How much the name of an argument that nobody knows has in common with the one that was meant."""
MAX_ARGUMENTS = 256
"""No request has so many: among more there are some that nobody knows."""


TokenId = Annotated[int, Field(ge=0, le=MAX_TOKEN_ID)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]
Read = TypeVar("Read", bound=BaseModel)
NO_CONTENT = {
    "model", "seed", "stream", "stream_options", "logprobs", "top_logprobs", "return_token_ids", "modalities",
    "timeout", "user", "metadata", "parallel_tool_calls", "prediction", "prompt_cache_key", "prompt_cache_retention",
    "repeated", "safety_identifier", "service_tier", "store", "return_tokens_as_token_ids", "verbosity", "priority",
    # Of these, only values that change nothing are accepted.
    "add_generation_prompt", "best_of", "continue_final_message", "echo", "ignore_eos", "include_reasoning",
    "include_stop_str_in_output", "length_penalty", "min_tokens", "skip_special_tokens",
    "spaces_between_special_tokens", "suffix", "use_beam_search", "guided_decoding_backend",
}  # fmt: skip
"""What a request may ask for without asking for another answer."""
INSTEAD = {
    "audio": "Answers are text.",
    "enable_thinking": "Send it in chat_template_kwargs.",
    "extra_body": "Its entries stand in the body itself.",
    "function_call": "Send tool_choice.",
    "functions": "Send tools.",
    "reasoning": "Send reasoning_effort.",
    "repeat_penalty": "Send repetition_penalty.",
    "thinking": "Send what the model's template reads in chat_template_kwargs.",
    "web_search_options": "Nothing is searched for; offer a function as one of the tools.",
}
"""What to send in the place of names that others know."""


def _few_biases(value: object) -> object:
    """Count before each is looked at: that makes an error of each."""
    if isinstance(value, dict) and len(cast("dict[str, Any]", value)) > MAX_BIASES:
        raise ValueError(f"it names more than {MAX_BIASES} tokens")
    return value


Biases = Annotated[
    dict[Annotated[str, Field(pattern=r"^\d{1,9}$")], Bias], Field(max_length=MAX_BIASES), BeforeValidator(_few_biases)
]


class SamplingRequest(Strict):
    """What every request may ask for, whichever its form."""

    model: Name
    temperature: Annotated[float, Field(ge=0, le=MAX_TEMPERATURE, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    """Not OpenAI's; 0 and -1 keep all."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 64)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: Biases | None = None
    # vLLM's.
    repetition_penalty: Annotated[float, Field(ge=MIN_REPETITION_PENALTY, le=10)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    guided_json: Schema | None = None
    guided_regex: Annotated[str, Field(max_length=MAX_GRAMMAR_CHARACTERS)] | None = None
    guided_choice: Annotated[list[Name], Field(min_length=1, max_length=MAX_PARTS)] | None = None
    guided_grammar: Annotated[str, Field(max_length=MAX_GRAMMAR_CHARACTERS)] | None = None
    structured_outputs: StructuredOutputs | None = None
    """The same four, as vLLM has them now."""
    stop_token_ids: Annotated[list[TokenId], Field(max_length=MAX_STOP_IDS)] | None = None
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    """Both without effect: every answer has them, and spells tokens by them."""

    # vLLM's too; only these values, which change nothing, are accepted.
    best_of: Literal[1] | None = None
    echo: Literal[False] | None = None
    ignore_eos: Literal[False] | None = None
    include_stop_str_in_output: Literal[False] | None = None
    length_penalty: Literal[1] | None = None
    min_tokens: Literal[0] | None = None
    skip_special_tokens: Literal[True] | None = None
    spaces_between_special_tokens: Literal[True] | None = None
    use_beam_search: Literal[False] | None = None

    # Accepted, and without effect here: they are about libraries, accounts and transport.
    guided_decoding_backend: str | None = None
    priority: int | None = None
    timeout: float | None = None
    user: str | None = None

    @model_validator(mode="after")
    def _streams(self) -> Self:
        if self.stream_options and not self.stream:
            raise ValueError("stream_options needs stream to be true")
        return self

    @property
    def is_chat(self) -> bool:
        """Whether the prompt is a conversation, in which the model's own marks mean something."""
        return True

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def limit(self) -> int | None:
        """How many tokens may be sampled, None where the request does not say."""
        return self.max_tokens

    @property
    def shown_logprobs(self) -> int | None:
        """How many of the likeliest tokens are shown with each token; None where not even that token's text is."""
        return None

    @property
    def form(self) -> ResponseFormat | None:
        return None

    @property
    def must_call(self) -> bool:
        return False

    @property
    def calls_once(self) -> bool:
        """Whether an answer may have one call at most."""
        return False

    @property
    def callable_tools(self) -> list[Function]:
        """The functions that an answer may call."""
        return []

    @property
    def offered_tools(self) -> list[dict[str, Any]]:
        """The tools that may be called, as the template wants them."""
        return []

    def content(self) -> str:
        """What decides the answer, as canonical JSON: all but names, transport and the seed."""
        without = NO_CONTENT - {"parallel_tool_calls"} if self.calls_once else NO_CONTENT
        return json.dumps(self.model_dump(mode="json", exclude=without, exclude_none=True), sort_keys=True)


class ChatRequest(SamplingRequest):
    """The body of POST /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)]
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS, fail_fast=True)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChosenTool | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    """A variable of the template; one that does not know it writes the same prompt."""
    chat_template_kwargs: dict[str, Any] | None = None
    """Not OpenAI's; variables of the tokenizer's chat template, such as `enable_thinking`."""

    parallel_tool_calls: bool | None = None
    """False lets an answer have one call."""

    # Only these values, which change nothing, are accepted.
    add_generation_prompt: Literal[True] | None = None
    continue_final_message: Literal[False] | None = None
    include_reasoning: Literal[True] | None = None
    modalities: list[Literal["text"]] | None = None

    # Accepted, and without effect here: they are about accounts, billing, caching, transport and OpenAI's own models.
    metadata: dict[str, Any] | None = None
    prediction: dict[str, Any] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    verbosity: Literal["low", "medium", "high"] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs to be true")
        if self.must_call and not self.callable_tools:
            raise ValueError("tool_choice demands a call, but tools has no such function")
        return self

    @property
    def limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def shown_logprobs(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def form(self) -> ResponseFormat | None:
        return self.response_format

    @property
    def template_variables(self) -> dict[str, Any]:
        effort = {"reasoning_effort": self.reasoning_effort} if self.reasoning_effort else {}
        return {**effort, **(self.chat_template_kwargs or {})}

    @property
    def must_call(self) -> bool:
        return self.tool_choice == "required" or isinstance(self.tool_choice, ChosenTool)

    @property
    def calls_once(self) -> bool:
        return self.parallel_tool_calls is False

    @property
    def callable_tools(self) -> list[Function]:
        if self.tool_choice == "none":
            return []
        chosen = self.tool_choice.function.name if isinstance(self.tool_choice, ChosenTool) else None
        return [tool.function for tool in self.tools or () if chosen in (None, tool.function.name)]

    @property
    def offered_tools(self) -> list[dict[str, Any]]:
        if self.tool_choice == "none":
            return []
        return [tool.model_dump(exclude_none=True) for tool in self.tools or ()]


def parse_chat_request(body: bytes) -> ChatRequest:
    """Read a chat request; raises `RequestError` that names the parameter."""
    return read_as(ChatRequest, parse_json(body))


def read_as(kind: type[Read], document: object) -> Read:
    """Read a document of a body; raises `RequestError` that names the parameter."""
    if isinstance(document, dict) and len(document) > MAX_ARGUMENTS:
        # One error for each of a hundred thousand would stop all threads for a second.
        document = {name: document[name] for name in islice(cast("dict[str, Any]", document), MAX_ARGUMENTS)}
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise _as_request_error(error, kind.model_fields) from error


def _as_request_error(error: ValidationError, known: Iterable[str]) -> RequestError:
    # A union reports each of its branches; the deepest location is the branch that was meant.
    first = max(error.errors(include_url=False, include_context=False), key=lambda each: _depth(each["loc"]))
    param = ".".join(str(part) for part in first["loc"] if not _is_branch(part)) or None
    if first["type"] == "extra_forbidden":
        name = (param or "")[:MAX_NAME_CHARACTERS]
        advice = f" {INSTEAD[name]}" if name in INSTEAD else nearest(name, known, alike=ALIKE)
        message = f"Unrecognized request argument supplied: {param}.{advice}"
        return RequestError(message, param=param, code="unknown_parameter")
    where = f"{param}: " if param else ""
    problem = first["msg"].removeprefix("Value error, ")
    return RequestError(f"Invalid request: {where}{problem}.", param=param, code="invalid_value")


def _depth(location: tuple[int | str, ...]) -> int:
    return len(location)


def _is_branch(part: int | str) -> bool:
    return isinstance(part, str) and (part in ("str", "int", "float", "constrained-str") or "[" in part)
