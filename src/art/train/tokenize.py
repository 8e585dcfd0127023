"""Turns conversations into rows of tokens: what the model read, and what it sampled, exactly as it sampled it.

Knows the tokenizer, for prompts that another server did not spell out; knows no tensor. Text the model wrote is
never tokenised again: the same text can have several spellings in tokens, and only one of them was sampled.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, cast

from jinja2 import TemplateError

from art.errors import TrainingDataError
from art.spelling import template_message
from art.trajectories import History, SampledTokens, Trajectory, as_choice, sampled_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LEAST_LOGPROB, ROUNDING = -1e4, 1e-2
"""Bounds of a log-probability: servers write -9999 for what they never sample, and bfloat16 rounds above zero."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """A stretch of a row that the model sampled: these tokens are trained on.

    Two are equal when they have the same numbers, wherever these came from.
    """

    start: int
    logprobs: tuple[float, ...]
    """The sampler's log-probability of each token, under `temperature`; NaN where it did not say."""
    temperature: float
    turn: int | None = field(default=None, compare=False)
    """Which of its main conversation's Choices it is; None in an additional history."""
    truncated: bool = field(default=False, compare=False)
    """Whether the answer ended at the token limit."""
    masked: bool = False
    """Read, but not learned from."""
    version: str | None = field(default=None, compare=False)
    """Which weights sampled it, None where nobody says."""
    rendered: bool = field(default=False, compare=False)
    """Whether its prompt was spelled here, and not by the sampler."""
    age: int | None = field(default=None, compare=False)
    """How many training steps ago it was sampled, None where nobody knows."""

    @property
    def comparable(self) -> bool:
        """Whether trainer and sampler should agree on it: the weights are the same, as far as anybody knows."""
        return self.age == 0 or (self.rendered and self.version is None)

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
class ReadingLimits:
    """What the model can read."""

    vocabulary: int
    context: int | None
    """The longest sequence, None where the model's configuration states none."""
    rope: int | None = None
    """Beyond how many tokens positions mean something else, None where they never do."""


class Reading(Enum):
    """Whose tokens are trained on."""

    SAMPLED = "of Choices that say how they were sampled"
    SPOKEN = "of every answer, also one that is only text, which the chat template spells"


def trajectory_rows(
    trajectory: Trajectory,
    tokenizer: PreTrainedTokenizerBase,
    *,
    limits: ReadingLimits,
    where: str,
    reading: Reading = Reading.SAMPLED,
) -> list[Row]:
    """Give the rows of all conversations in which the model spoke; raises `TrainingDataError`, begun by `where`."""
    spoken = [history for history in trajectory.histories() if _answers(history, reading)]
    if not spoken:
        raise TrainingDataError(
            f"{where}: the conversation has no Choice, so nothing in it was sampled by the model. "
            "Put response.choices[0] itself into messages_and_choices, not its text."
        )
    rows: list[Row] = []
    for history in spoken:
        turns = _turns(history, tokenizer, reading=reading, where=where)
        rows += _joined(turns if history is trajectory else (replace(turn, number=None) for turn in turns))
    for row in rows:
        _check_row(row, limits, where=where)
    return rows


@dataclass(frozen=True, kw_only=True)
class _Turn:
    """One answer: what was read before it, and what was said."""

    prompt_ids: tuple[int, ...]
    sampled: SampledTokens
    number: int | None
    truncated: bool

    def span(self) -> Span:
        sampled = self.sampled
        return Span(
            start=len(self.prompt_ids),
            logprobs=sampled.logprobs,
            temperature=sampled.temperature,
            turn=self.number,
            truncated=self.truncated,
            version=sampled.version,
            rendered=sampled.prompt_ids is None,
        )


def _turns(history: History, tokenizer: PreTrainedTokenizerBase, *, reading: Reading, where: str) -> Iterator[_Turn]:
    choices = itertools.count()
    for place in _answers(history, reading):
        choice = as_choice(history.messages_and_choices[place])
        number = next(choices) if choice else None
        sampled = _sampled(history, place, tokenizer, reading=reading, where=where)
        if sampled.token_ids:
            yield _Turn(
                prompt_ids=sampled.prompt_ids or _rendered_prompt(history, place, tokenizer, where=where),
                sampled=sampled,
                number=number,
                truncated=choice is not None and choice.finish_reason == "length",
            )


def _answers(history: History, reading: Reading) -> list[int]:
    """Give the places where the model spoke."""
    items = enumerate(history.messages_and_choices)
    return [place for place, item in items if as_choice(item) or _is_answer(item, reading)]


def _is_answer(item: object, reading: Reading) -> bool:
    if reading is not Reading.SPOKEN or not isinstance(item, dict) or item.get("role") != "assistant":
        return False
    return item.get("weight") != 0  # as OpenAI's files for fine-tuning say of what is only read


def _joined(turns: Iterable[_Turn]) -> Iterator[Row]:
    """Put turns into one row as long as each one's prompt begins with all tokens before it."""
    row: Row | None = None
    for turn in turns:
        continues = row is not None and turn.prompt_ids[: len(row.token_ids)] == row.token_ids
        if row is not None and not continues:
            yield row
        earlier = row.spans if row is not None and continues else ()
        row = Row(turn.prompt_ids + turn.sampled.token_ids, (*earlier, turn.span()))
    if row is not None:
        yield row


def _sampled(
    history: History, place: int, tokenizer: PreTrainedTokenizerBase, *, reading: Reading, where: str
) -> SampledTokens:
    choice = as_choice(history.messages_and_choices[place])
    try:
        sampled = sampled_tokens(choice) if choice else None
    except TrainingDataError as error:
        raise TrainingDataError(f"{where}: {error}") from error
    if sampled is not None:
        return _checked(sampled, where=where)
    if reading is Reading.SPOKEN:
        return _rendered_answer(history, place, tokenizer, where=where)
    raise TrainingDataError(
        f"{where}: a Choice carries no token ids, so it cannot be trained on as it was sampled. Sample it "
        "from this model's own inference, or from a server that returns logprobs with tokens as token ids."
    )


def _checked(sampled: SampledTokens, *, where: str) -> SampledTokens:
    if len(sampled.token_ids) != len(sampled.logprobs):
        raise TrainingDataError(
            f"{where}: a Choice has {len(sampled.token_ids)} tokens but {len(sampled.logprobs)} log-probabilities."
        )
    impossible = next((logprob for logprob in sampled.logprobs if not LEAST_LOGPROB <= logprob <= ROUNDING), None)
    if impossible is not None:
        raise TrainingDataError(f"{where}: a Choice has a log-probability of {impossible:g}, which none can have.")
    if not (math.isfinite(sampled.temperature) and sampled.temperature >= 0):
        raise TrainingDataError(f"{where}: a Choice was sampled at temperature {sampled.temperature}.")
    return sampled


def _rendered_prompt(
    history: History, position: int, tokenizer: PreTrainedTokenizerBase, *, where: str
) -> tuple[int, ...]:
    """Spell the conversation before a choice in tokens, as a server with this chat template would have."""
    return _rendered(history, history.messages()[:position], tokenizer, to_answer=True, where=where)


def _rendered_answer(
    history: History, position: int, tokenizer: PreTrainedTokenizerBase, *, where: str
) -> SampledTokens:
    """Spell an answer that is only text, to the token that ends it, as the chat template would have it said."""
    messages = history.messages()
    prompt_ids = _rendered(history, messages[:position], tokenizer, to_answer=True, where=where)
    whole_ids = _rendered(history, messages[: position + 1], tokenizer, to_answer=False, where=where)
    if whole_ids[: len(prompt_ids)] != prompt_ids:
        raise TrainingDataError(
            f"{where}: the chat template spells the conversation before an answer differently once the answer is "
            "there, so it does not say which tokens the model is to say. Train on Choices that were sampled."
        )
    answer_ids = whole_ids[len(prompt_ids) :]
    # What a template writes behind the end of a turn is not the model's to say.
    ends = [place for place, token in enumerate(answer_ids, start=1) if token == tokenizer.eos_token_id]
    answer_ids = answer_ids[: max(ends, default=len(answer_ids))]
    return SampledTokens(
        prompt_ids=prompt_ids, token_ids=answer_ids, logprobs=(math.nan,) * len(answer_ids), temperature=1.0
    )


def _rendered(
    history: History,
    messages: Sequence[Any],
    tokenizer: PreTrainedTokenizerBase,
    *,
    to_answer: bool,
    where: str,
) -> tuple[int, ...]:
    try:
        token_ids = tokenizer.apply_chat_template(
            [template_message(message) for message in messages],
            tools=cast("list[Any] | None", history.tools),
            add_generation_prompt=to_answer,
            tokenize=True,
            return_dict=False,
        )
    except (TemplateError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise TrainingDataError(
            f"{where}: a Choice does not say which tokens its prompt had, and the chat template of the tokenizer "
            f"cannot render the messages before it: {error}"
        ) from error
    return tuple(cast("list[int]", token_ids))


def _check_row(row: Row, limits: ReadingLimits, *, where: str) -> None:
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
