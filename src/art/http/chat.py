"""From a chat request to the model's prompt, through the tokenizer's chat template.

Knows the tokenizer and OpenAI's messages; neither tensors nor HTTP. A tokenizer without a chat template speaks ChatML
(`<|im_start|>role`, newline, text, `<|im_end|>`), with tools described in the system message as Hermes and Qwen do.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Literal, cast

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from art.http.calling.dialects import find_dialect
from art.http.protocol import ChatRequest
from art.http.refusal import RequestError
from art.http.thinking import Thinker, find_marks
from art.spelling import template_message

END_OF_TURN = "<|im_end|>"
MARK = "0"
LAST_TOKENS = 32
"""Among so many last tokens of a prompt stands the mark that opens a thought."""
TEMPLATE_ERRORS = (TemplateError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError)
"""What a template, a program of the model's author, raises over messages that it does not expect."""
SAMPLE_CHARACTERS = 16
"""Of a long text so many characters for each token of the context are tokenised before the rest."""

CHATML = """
{%- set ns = namespace(first='') %}
{%- if messages[0].role == 'system' %}{% set ns.first = messages[0].content %}{% endif %}
{%- if tools %}
    {%- if ns.first %}{% set ns.first = ns.first + '\n\n' %}{% endif %}
    {%- set ns.first = ns.first + 'You may call these functions, described as JSON, one a line:\n' %}
    {%- for tool in tools %}{% set ns.first = ns.first + (tool | tojson) + '\n' %}{% endfor %}
    {%- set ns.first = ns.first + 'Write a call as <tool_call>{"name": ..., "arguments": {...}}</tool_call>.' %}
{%- endif %}
{%- if ns.first %}{{ '<|im_start|>system\n' + ns.first + '<|im_end|>\n' }}{% endif %}
{%- for message in messages %}
    {%- if not (loop.first and message.role == 'system') %}
        {{- '<|im_start|>' + message.role + '\n' + message.content }}
        {%- for call in message.tool_calls or [] %}
            {{- '<tool_call>' + ({'name': call.function.name, 'arguments': call.function.arguments} | tojson) }}
            {{- '</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}
"""


class ChatFormat:
    """How conversations are written for one tokenizer, and where an answer ends."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._template = None if tokenizer.chat_template else CHATML
        self.dialect = find_dialect(template_text(tokenizer))
        self.thinking = find_marks(template_text(tokenizer))
        self.special_ids = _special_ids(tokenizer)
        self.stop_ids, self.stop_texts = self._end_of_turn()
        thinking = (self.thinking.start, self.thinking.end) if self.thinking else ()
        markers = {*self.dialect.marks, *thinking}
        self.silent_ids = frozenset(
            token_id
            for token_id in tokenizer.all_special_ids
            if tokenizer.convert_ids_to_tokens(token_id) not in markers
        )
        """Tokens that are no part of an answer's text."""
        self._longest_token = max(map(len, tokenizer.get_vocab()))
        self._reserved = set(inspect.signature(tokenizer.apply_chat_template).parameters) | {"messages"}

    def prompt_ids(self, request: ChatRequest, *, context: int) -> tuple[int, ...]:
        """Write the conversation up to where the assistant speaks.

        Raises `RequestError` where the template refuses, and where no room is left for an answer.
        """
        messages = [template_message(message.model_dump(exclude_none=True)) for message in request.messages]
        variables = request.template_variables
        if own := sorted(self._reserved & variables.keys()):
            raise RequestError(
                f"chat_template_kwargs must not set {', '.join(own)}.",
                param="chat_template_kwargs",
                code="invalid_value",
            )
        try:
            text = self._render(messages, request.offered_tools, **variables)
        except TEMPLATE_ERRORS as error:
            raise RequestError(
                f"The model's chat template cannot write these messages: {error}", param="messages"
            ) from error
        return self._fitting(text, context)

    def text_ids(self, text: str, *, context: int) -> tuple[int, ...]:
        """Tokenise a text that is no conversation, as the tokenizer begins texts."""
        return self._fitting(text, context, what="prompt")

    def thinker(self, prompt_ids: Sequence[int]) -> Thinker:
        """Give what tells an answer's thoughts from its words."""
        return Thinker(self.thinking, opened=self.opens_thought(prompt_ids))

    def opens_thought(self, prompt_ids: Sequence[int]) -> bool:
        """Tell whether the prompt has begun a thought that the answer goes on with."""
        return self.thinking is not None and self._tail(prompt_ids).endswith(self.thinking.start)

    def closes_thought(self, token_ids: Sequence[int]) -> bool:
        return self.thinking is not None and self._tail(token_ids).endswith(self.thinking.end)

    def _tail(self, token_ids: Sequence[int]) -> str:
        return self.text(list(token_ids[-LAST_TOKENS:])).rstrip()

    def _fitting(self, text: str, context: int, *, what: Literal["messages", "prompt"] = "messages") -> tuple[int, ...]:
        """Tokenise a prompt, or no more of it than it takes to see that it is too long."""
        least = len(text) // self._longest_token
        if least >= context:
            raise _too_long(context, f"at least {least}", what)
        start = text[: context * SAMPLE_CHARACTERS]
        if len(start) < len(text) and (least := len(self._encode(start))) > 2 * context:
            # Twice: where the text was cut, its tokens may be others.
            raise _too_long(context, f"at least {least}", what)
        token_ids = self._encode(text) if what == "messages" else tuple(self.tokenizer.encode(text))
        if len(token_ids) >= context:
            raise _too_long(context, str(len(token_ids)), what)
        return token_ids

    def text(self, token_ids: list[int]) -> str:
        """Write the tokens as text; an incomplete character ends in U+FFFD."""
        text = self.tokenizer.decode(token_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text

    def _render(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]], *, open_turn: bool = True, **variables: Any
    ) -> str:
        text = self.tokenizer.apply_chat_template(
            messages,
            tools=tools or None,  # pyright: ignore[reportArgumentType]
            chat_template=self._template,
            add_generation_prompt=open_turn,
            tokenize=False,
            **variables,
        )
        assert isinstance(text, str)
        return text

    def _encode(self, text: str) -> tuple[int, ...]:
        # The template writes the special tokens itself.
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def _end_of_turn(self) -> tuple[frozenset[int], tuple[str, ...]]:
        """Find what the template writes after an assistant's words: a special token, or ChatML's text."""
        turns = [{"role": "user", "content": MARK}, {"role": "assistant", "content": MARK}]
        try:
            tail = self._render(turns, [], open_turn=False).rpartition(MARK)[2].lstrip()
        except TEMPLATE_ERRORS:
            return frozenset(), ()
        first = next(iter(self._encode(tail)), None)
        if first is not None and first in self.special_ids:
            return frozenset({first}), ()
        return frozenset(), (END_OF_TURN,) if tail.startswith(END_OF_TURN) else ()


def _special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    added = {token_id for token_id, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset(added | set(tokenizer.all_special_ids))


def template_text(tokenizer: PreTrainedTokenizerBase) -> str:
    """Give the chat template, or all of them where there are several by name."""
    template: object = tokenizer.chat_template
    if isinstance(template, dict):
        return "\n".join(str(each) for each in cast("dict[str, object]", template).values())
    return template if isinstance(template, str) else CHATML


def _too_long(context: int, tokens: str, what: Literal["messages", "prompt"]) -> RequestError:
    return RequestError(
        f"This model's maximum context length is {context} tokens, but the {what} "
        f"{'take' if what == 'messages' else 'takes'} {tokens} tokens, which leaves no room for an answer. "
        f"Shorten the {what}.",
        param=what,
        code="context_length_exceeded",
    )
