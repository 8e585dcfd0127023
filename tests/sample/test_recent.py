"""Answers that are known again by their tokens: which are, which are not, and how many."""

from __future__ import annotations

from dataclasses import replace

import pytest

from art.http.recent import ENTRY_BYTES, RecentAnswers
from art.sampled import SampledTokens

ANSWER = SampledTokens(
    prompt_ids=(1, 2, 3), token_ids=(4, 5), logprobs=(-0.5, -1e9), temperature=0.7, version="p/agent#1@2"
)


def rebuilt(answer: SampledTokens) -> SampledTokens:
    """Leave what a client keeps that knows OpenAI's fields alone."""
    logprobs = tuple(max(logprob, -9999.0) for logprob in answer.logprobs)
    return replace(answer, prompt_ids=None, logprobs=logprobs, temperature=1.0, version=None)


def test_an_answer_is_known_again_by_its_tokens():
    recent = RecentAnswers()
    recent.note(ANSWER)

    known = recent.find(rebuilt(ANSWER))

    assert known == replace(ANSWER, logprobs=(-0.5, -9999.0))


@pytest.mark.parametrize(
    "other",
    [
        replace(ANSWER, token_ids=(4, 6)),
        replace(ANSWER, logprobs=(-0.5000000001, -1e9)),
        replace(ANSWER, token_ids=(), logprobs=()),
        replace(ANSWER, token_ids=(4, 10**30)),
    ],
)
def test_another_answer_is_not(other: SampledTokens):
    recent = RecentAnswers()
    recent.note(ANSWER)

    assert recent.find(rebuilt(other)) is None


def test_the_newest_weights_count_and_an_answer_to_two_prompts_is_known_of_neither():
    recent = RecentAnswers()
    recent.note(ANSWER)
    recent.note(later := replace(ANSWER, version="p/agent#2@3"))
    known = recent.find(rebuilt(ANSWER))
    recent.note(replace(ANSWER, prompt_ids=(9,)))

    assert known
    assert known.version == later.version
    assert recent.find(rebuilt(ANSWER)) is None
    recent.note(ANSWER)
    assert recent.find(rebuilt(ANSWER)) is None


def test_the_oldest_answers_are_forgotten_when_there_are_too_many():
    recent = RecentAnswers(most_bytes=3 * ENTRY_BYTES)
    answers = [replace(ANSWER, prompt_ids=(), token_ids=(number,)) for number in range(5)]
    for answer in answers:
        recent.note(answer)

    assert [recent.find(rebuilt(answer)) is not None for answer in answers] == [False, False, True, True, True]


def test_answers_to_one_prompt_share_it_until_the_last_of_them_is_forgotten():
    prompt = tuple(range(100))
    recent = RecentAnswers(most_bytes=4 * ENTRY_BYTES + 4 * len(prompt))
    answers = [replace(ANSWER, prompt_ids=tuple(prompt), token_ids=(number,)) for number in range(4)]
    for answer in answers:
        recent.note(answer)
    known = [recent.find(rebuilt(answer)) for answer in answers]

    for number in range(3):
        recent.note(replace(ANSWER, prompt_ids=(1,), token_ids=(10 + number,)))

    assert [each and each.prompt_ids for each in known] == [prompt] * 4
    assert [recent.find(rebuilt(answer)) is not None for answer in answers] == [False, False, False, False]
    assert recent.find(rebuilt(replace(ANSWER, token_ids=(12,)))) is not None
