"""RULER: a judge model scores the trajectories of a group from 0 to 1, relative to each other.

Knows what the judge is asked and how its answer is read; LiteLLM, an extra, knows how the judge is reached.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from art.errors import ConfigurationError, JudgeError
from art.metrics import MetricsBuilder
from art.trajectories import TrajectoryGroup

Conversation = Sequence[ChatCompletionMessageParam]

_log = logging.getLogger("art")

COSTS_AS = "judge/ruler"
DEFAULT_JUDGE = "openai/o3"
DEFAULT_RUBRIC = """\
- A trajectory that reaches its goal scores clearly higher than one that does not.
- Of two that reach it, the one that takes fewer steps and detours scores slightly higher.
- A small difference in quality is a small difference in score.
- One that comes part of the way scores something for it.
"""
TASK = """\
You see several trajectories of an agent that was given one task. Infer its goal from the system and user messages.
Score each trajectory from 0 to 1, relative to the others, by this rubric:

{rubric}
The messages that all trajectories begin with are given once, as <context>.
Answer with JSON alone: {{"scores": [{{"trajectory_id": "1", "explanation": "...", "score": 0.5}}, ...]}}
"""


class RulerScore(BaseModel):
    """What the judge thinks of one trajectory."""

    trajectory_id: Annotated[str, BeforeValidator(str)]
    explanation: str = ""
    score: float = Field(ge=0, le=1)


class _Verdict(BaseModel):
    scores: list[RulerScore]


TrajectoryScore, Response = RulerScore, _Verdict
"""ART's names of a score and of a judge's whole answer."""


async def ruler(
    message_lists: Sequence[Conversation],
    judge_model: str = DEFAULT_JUDGE,
    extra_litellm_params: Mapping[str, Any] | None = None,
    rubric: str = DEFAULT_RUBRIC,
    tools: Sequence[Any] | None = None,
    *,
    debug: bool = False,
) -> list[RulerScore]:
    """Have a judge score conversations relative to each other; gives a score for each, in their order.

    What it cost is added to the `MetricsBuilder` that is active, as `judge/ruler`.
    Raises `JudgeError` when the judge does not answer, or not with one score for each conversation.
    """
    if not message_lists:
        return []
    questions = judge_messages(message_lists, rubric, tools=tools)
    answer = await _ask(judge_model, questions, extra_litellm_params or {})
    if debug:
        sys.stderr.write(f"[RULER] {judge_model}: {answer}\n")
    return read_scores(answer, len(message_lists))


async def ruler_score_group(
    group: TrajectoryGroup,
    judge_model: str = DEFAULT_JUDGE,
    extra_litellm_params: Mapping[str, Any] | None = None,
    rubric: str = DEFAULT_RUBRIC,
    *,
    swallow_exceptions: bool = False,
    debug: bool = False,
) -> TrajectoryGroup | None:
    """Give a copy of a group whose rewards are the judge's scores; with `swallow_exceptions` None when judging fails.

    The rewards that were there become the metric `independent_reward`, the scores also the metric `ruler_score`, and
    the explanation is each trajectory's last log. Rollouts that failed stay in the group.
    """
    judged = group.model_copy(deep=True)
    for trajectory in judged:
        if trajectory.additional_histories:
            raise ConfigurationError("RULER judges one conversation per trajectory; this one has additional_histories.")
    try:
        scores = await ruler(
            [trajectory.messages() for trajectory in judged],
            judge_model,
            extra_litellm_params,
            rubric,
            tools=judged.trajectories[0].tools if len(judged) else None,
            debug=debug,
        )
    except JudgeError as error:
        if not swallow_exceptions:
            raise
        _log.warning("RULER leaves a group out: %s", error)
        return None
    for trajectory, scored in zip(judged, scores, strict=True):
        trajectory.metrics["independent_reward"] = trajectory.reward
        trajectory.metrics["ruler_score"] = trajectory.reward = scored.score
        trajectory.log(f"RULER explanation: {scored.explanation}")
    return judged


def judge_messages(
    message_lists: Sequence[Conversation], rubric: str, *, tools: Sequence[Any] | None
) -> list[dict[str, str]]:
    """Write what the judge reads: the task and the rubric, what all conversations begin with, and how each goes on."""
    common = common_prefix(message_lists)
    parts = [f"<context>\n{_json(message_lists[0][:common])}\n</context>"] if common else []
    if tools:
        parts.append(f"<tools>\n{_json(tools)}\n</tools>")
    parts += [
        f'<trajectory id="{number}">\n{_json(messages[common:])}\n</trajectory>'
        for number, messages in enumerate(message_lists, start=1)
    ]
    task = {"role": "system", "content": TASK.format(rubric=rubric)}
    return [task, {"role": "user", "content": "\n\n".join(parts)}]


def common_prefix(message_lists: Sequence[Conversation]) -> int:
    """Count the messages that all conversations begin with; each keeps its last one to itself."""
    if len(message_lists) < 2:
        return 0
    own = min(len(messages) for messages in message_lists) - 1
    first = message_lists[0]
    differing = (
        place for place in range(own) if any(messages[place] != first[place] for messages in message_lists[1:])
    )
    return max(0, next(differing, own))


def read_scores(answer: str, count: int) -> list[RulerScore]:
    """Read the judge's answer: one score for each of `count` trajectories, in their order; raises `JudgeError`."""
    start, end = answer.find("{"), answer.rfind("}")
    try:
        verdict = _Verdict.model_validate_json(answer[start : end + 1])
    except ValidationError as error:
        reasons = "; ".join(each["msg"] for each in error.errors(include_url=False))
        raise JudgeError(f"The judge's answer cannot be read ({reasons}): {answer[:500]!r}") from error
    by_id = {scored.trajectory_id: scored for scored in verdict.scores}
    wanted = [str(number) for number in range(1, count + 1)]
    if len(verdict.scores) != count or sorted(by_id) != sorted(wanted):
        scored = ", ".join(score.trajectory_id for score in verdict.scores) or "none"
        raise JudgeError(f"The judge scored the trajectories {scored}; there are {count}, numbered from 1.")
    return [by_id[number] for number in wanted]


async def _ask(judge_model: str, messages: list[dict[str, str]], params: Mapping[str, Any]) -> str:
    try:
        import litellm  # pyright: ignore[reportMissingImports] - an extra
        from openai import OpenAIError
    except ImportError as error:
        raise ConfigurationError("RULER asks its judge through LiteLLM; pip install 'artfork[judge]'.") from error
    schema = {"type": "json_schema", "json_schema": {"name": "scores", "schema": _Verdict.model_json_schema()}}
    try:
        answer: Any = await litellm.acompletion(
            **{"model": judge_model, "messages": messages, "response_format": schema, **params}
        )
    except OpenAIError as error:  # LiteLLM's own errors are OpenAI's
        raise JudgeError(f"The judge {judge_model} did not answer: {error}") from error
    if builder := MetricsBuilder.find_active():
        builder.add_response_cost(COSTS_AS, answer, provider=judge_model.partition("/")[0], model_name=judge_model)
    return answer.choices[0].message.content or ""


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, default=str)
