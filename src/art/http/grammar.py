"""Answers that have a form: what a request demands of it becomes a grammar, and the grammar a mask over tokens.

Knows llguidance and how tool calls are written; neither HTTP nor the engine.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from transformers import PreTrainedTokenizerFast

from art.http.branching import MOST_BRANCHES, branches_of_grammar, branches_of_schema
from art.http.calling.dialect import ANY_OBJECT, SPACED, Offered
from art.http.chat import LAST_TOKENS, ChatFormat
from art.http.form_trials import FormTrials, Terms
from art.http.parts import StructuredOutputs
from art.http.protocol import SamplingRequest
from art.http.refusal import RequestError
from art.sample.shaping import NewShaper, Shaper

LIMITS: Mapping[str, Any] = {
    # Of what a form is compiled to: a tenth of a second, and ten thousand choices fit.
    "initial_lexer_fuel": 200_000,
    # Of one mask, in which no other row gets a token: some hundredths of a second where forms in use take one.
    "step_lexer_fuel": 20_000,
    "step_max_items": 2000,
    # What a parser follows at once. 250 optional fields fit.
    "max_items_in_row": 1000,
}
MAX_FORM_CHARACTERS = 1 << 18
"""Of a form as a grammar. Longer ones are compiled for seconds, in which no other thread runs."""
SHOWN_CHARACTERS = 300


class Grammars:
    """Compiles what requests demand, for one tokenizer."""

    def __init__(self, chat: ChatFormat, stop_ids: Collection[int]) -> None:
        self._chat = chat
        self._stop_ids = sorted(stop_ids)
        self._trials = FormTrials(self._terms)
        self._compiled: LLTokenizer | None = None
        self._lock = threading.Lock()

    def shaper(self, request: SamplingRequest) -> NewShaper | None:
        """Give the mask of a request that demands a form, None for any other; raises `RequestError`."""
        try:
            demanded = self._demanded(request)
        except ValueError as error:
            message = f"What the answer must be cannot be enforced: {error}"
            raise RequestError(message, code="invalid_value") from error
        if demanded is None:
            return None
        grammar, param = demanded
        _check_size(grammar, _branches(request), param)
        vocabulary = self._vocabulary()
        if problem := self._trials.problem(grammar):
            message = f"{param} cannot be enforced: {_first_line(problem)}"
            raise RequestError(message, param=param, code="invalid_value")
        matcher = LLMatcher(vocabulary, grammar, log_level=0, limits=LLParserLimits(**LIMITS))
        # Here, where nobody waits for it: the costliest mask is mostly the first.
        first_mask = matcher.deep_copy().compute_bitmask()

        def begin(prompt_ids: Sequence[int]) -> Shaper:
            masking = _Masking(matcher.deep_copy(), first_mask)
            thinks = request.is_chat and self._chat.opens_thought(prompt_ids)
            return _AfterThought(masking, self._chat) if thinks else masking

        return begin

    def close(self) -> None:
        """End the process that tries forms, if there is one."""
        self._trials.close()

    def _demanded(self, request: SamplingRequest) -> tuple[str, str] | None:
        """Give the grammar that the request demands, and the argument that demands it."""
        if request.must_call:
            return LLMatcher.grammar_from_lark(self._chat.dialect.grammar(offered(request), self._mark)), "tools"
        return _form(request) or _guided(request)

    def _mark(self, text: str) -> str:
        token_id = self._chat.tokenizer.get_vocab().get(text)
        return f"<[{token_id}]>" if token_id in self._chat.special_ids else json.dumps(text)

    def _vocabulary(self) -> LLTokenizer:
        with self._lock:
            if self._compiled is None:
                try:
                    self._compiled = LLTokenizer(self._core(), eos_token=self._stop_ids)
                except ValueError as error:
                    message = f"This model's tokenizer cannot keep answers to a form: {error}"
                    raise RequestError(message, code="invalid_value") from error
            return self._compiled

    def _core(self) -> str:
        """Give the tokenizer as its library writes it; raises `ValueError` for one that is not of that library."""
        tokenizer = self._chat.tokenizer
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise ValueError("it is none of the tokenizers library")  # noqa: TRY004 - refused like any other
        core = copy.copy(tokenizer.backend_tokenizer)
        core.no_padding()
        core.no_truncation()
        return core.to_str()

    def _terms(self) -> Terms:
        return Terms(tokenizer=self._core(), stop_ids=self._stop_ids, limits=LIMITS)


def _first_line(problem: str) -> str:
    return next(iter(problem.splitlines()), "")[:SHOWN_CHARACTERS]


def _check_size(grammar: str, branches: int, param: str) -> None:
    """Refuse a form that would be compiled, or followed, for too long; raises `RequestError`."""
    if len(grammar) > MAX_FORM_CHARACTERS:
        message = f"{param} is longer than {MAX_FORM_CHARACTERS} characters, and cannot be enforced."
        raise RequestError(message, param=param, code="invalid_value")
    if branches > MOST_BRANCHES:
        message = f"{param} has {branches} alternatives, of {MOST_BRANCHES} at most, and cannot be enforced."
        raise RequestError(message, param=param, code="invalid_value")


def _branches(request: SamplingRequest) -> int:
    """Count the alternatives of what a request demands."""
    if request.must_call:
        return sum(branches_of_schema(function.parameters) for function in offered(request))
    newer = request.structured_outputs or StructuredOutputs.model_construct()
    form = request.form
    schemas = (form.json_schema.schema_ if form and form.json_schema else None, request.guided_json, newer.json_)
    grammars = (request.guided_grammar, newer.grammar)
    return sum(map(branches_of_schema, schemas)) + sum(branches_of_grammar(each) for each in grammars if each)


def demands_form(request: SamplingRequest) -> bool:
    """Tell whether a request may demand a form, without looking at it closely."""
    guides = (request.guided_json, request.guided_regex, request.guided_choice, request.guided_grammar)
    forms = (request.form, request.structured_outputs, *guides)
    return request.must_call or any(form is not None for form in forms)


class _Masking:
    """The mask of one answer; that of its first token is known already."""

    def __init__(self, matcher: LLMatcher, first_mask: bytes) -> None:
        self._matcher = matcher
        self._known: bytes | None = first_mask

    @property
    def problem(self) -> str | None:
        if not self._matcher.is_error():
            return None
        reason = _first_line(self._matcher.get_error())
        return f"the form that was asked for became too large while it was kept to: {reason}"

    def shape(self, logits_V: torch.Tensor) -> torch.Tensor:
        mask = self._matcher.compute_bitmask() if self._known is None else self._known
        packed = torch.frombuffer(bytearray(mask), dtype=torch.uint8)
        if self._matcher.is_error():
            # Its mask ends the answer here, which would look whole.
            return torch.full_like(logits_V, torch.nan)
        bits = (packed[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
        allowed_V = torch.zeros(len(logits_V), dtype=torch.bool)
        known = min(len(logits_V), bits.numel())
        allowed_V[:known] = bits.flatten()[:known].bool()
        return logits_V.masked_fill(~allowed_V.to(logits_V.device), -torch.inf)

    def take(self, token_id: int) -> None:
        self._known = None
        self._matcher.consume_token(token_id)


class _AfterThought:
    """Lets a thought that the prompt has begun run free, and keeps what is said after it to the form."""

    def __init__(self, masking: _Masking, chat: ChatFormat) -> None:
        self._masking = masking
        self._chat = chat
        self._last_ids: list[int] = []
        self._is_over = False

    @property
    def problem(self) -> str | None:
        return self._masking.problem

    def shape(self, logits_V: torch.Tensor) -> torch.Tensor:
        return self._masking.shape(logits_V) if self._is_over else logits_V

    def take(self, token_id: int) -> None:
        if self._is_over:
            self._masking.take(token_id)
            return
        self._last_ids = [*self._last_ids, token_id][-LAST_TOKENS:]
        self._is_over = self._chat.closes_thought(self._last_ids)


def offered(request: SamplingRequest) -> list[Offered]:
    """Give the functions that an answer may call, each with a schema."""
    return [
        Offered(name=function.name, parameters=function.parameters or ANY_OBJECT) for function in request.callable_tools
    ]


def _form(request: SamplingRequest) -> tuple[str, str] | None:
    form = request.form
    if form is None or form.type == "text":
        return None
    schema = form.json_schema.schema_ if form.json_schema else None
    return _json(ANY_OBJECT if schema is None else schema), "response_format"


def _guided(request: SamplingRequest) -> tuple[str, str] | None:
    """Give what one of vLLM's arguments demands, by its older names or in `structured_outputs`."""
    newer = request.structured_outputs or StructuredOutputs.model_construct()
    prefix = "structured_outputs." if request.structured_outputs else "guided_"
    schema = request.guided_json if newer.json_ is None else newer.json_
    if schema is not None or newer.json_object:
        return _json(ANY_OBJECT if schema is None else schema), f"{prefix}json"
    regex = request.guided_regex if newer.regex is None else newer.regex
    if regex is not None:
        return LLMatcher.grammar_from_regex(regex), f"{prefix}regex"
    if choices := newer.choice or request.guided_choice:
        return LLMatcher.grammar_from_lark(f"start: {' | '.join(map(json.dumps, choices))}"), f"{prefix}choice"
    grammar = request.guided_grammar if newer.grammar is None else newer.grammar
    return None if grammar is None else (LLMatcher.grammar_from_lark(grammar), f"{prefix}grammar")


def _json(schema: dict[str, Any]) -> str:
    return LLMatcher.grammar_from_json_schema(schema, overrides=SPACED)  # pyright: ignore[reportArgumentType]
