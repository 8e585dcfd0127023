"""RULER: what the judge reads, how its answer is read, and a judge behind real HTTP through the real LiteLLM."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai.types.chat.chat_completion import Choice
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import art
from art.errors import ConfigurationError, JudgeError
from art.http.server import Listen, Server
from art.metrics import MetricsBuilder
from art.rewards import ruler, ruler_score_group
from art.rewards.ruler import common_prefix, judge_messages, read_scores

SYSTEM: Any = {"role": "system", "content": "You tell jokes."}
TASK: Any = {"role": "user", "content": "A joke about computers, please."}


def conversation(answer: str) -> list[Any]:
    return [SYSTEM, TASK, {"role": "assistant", "content": answer}]


def verdict(*scores: float) -> str:
    found = [{"trajectory_id": str(n), "explanation": f"because {n}", "score": s} for n, s in enumerate(scores, 1)]
    return json.dumps({"scores": found})


def group(*answers: str, **fields: Any) -> art.TrajectoryGroup:
    trajectories = [
        art.Trajectory(
            messages_and_choices=[
                SYSTEM,
                TASK,
                Choice.model_validate(
                    {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": answer}}
                ),
            ],
            reward=number / 10,
        )
        for number, answer in enumerate(answers)
    ]
    return art.TrajectoryGroup([*trajectories, RuntimeError("no answer")], **fields)


def test_what_all_conversations_begin_with_is_sent_once():
    questions = judge_messages([conversation("one"), conversation("two")], "- be kind", tools=None)

    text = questions[1]["content"]
    assert "- be kind" in questions[0]["content"]
    assert (text.count("You tell jokes."), text.count("about computers")) == (1, 1)
    assert (text.count("one"), text.count("two")) == (1, 1)


@pytest.mark.parametrize(("answers", "common"), [(["a"], 0), (["a", "b"], 2), (["a", "a"], 2), (["a", "b", "a"], 2)])
def test_each_conversation_keeps_its_last_message_to_itself(answers: list[str], common: int):
    assert common_prefix([conversation(answer) for answer in answers]) == common


def test_conversations_that_begin_differently_share_nothing():
    assert common_prefix([conversation("a"), []]) == 0
    assert common_prefix([conversation("a"), [TASK, SYSTEM, TASK]]) == 0


@pytest.mark.parametrize("wrapped", ["{}", "```json\n{}\n```", "Here it is: {} That is all."])
def test_scores_come_in_the_order_of_the_trajectories_whatever_stands_around_them(wrapped: str):
    scores = json.dumps({"scores": [{"trajectory_id": 2, "score": 1}, {"trajectory_id": "1", "score": 0.25}]})

    assert [scored.score for scored in read_scores(wrapped.replace("{}", scores), 2)] == [0.25, 1.0]


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ("", "cannot be read"),
        ("I cannot judge this.", "cannot be read"),
        ("{}", "cannot be read"),
        (
            '{"scores": [{"trajectory_id": "1", "score": 7}, {"trajectory_id": "2", "score": 0}]}',
            "less than or equal to 1",
        ),
        (verdict(0.5), "scored the trajectories 1; there are 2"),
        (verdict(0.5, 0.5, 0.5), "scored the trajectories 1, 2, 3; there are 2"),
        ('{"scores": []}', "scored the trajectories none; there are 2"),
        (verdict(0.1, 0.2).replace('"2"', '"1"'), "scored the trajectories 1, 1; there are 2"),
    ],
)
def test_an_answer_without_one_score_for_each_is_an_error(answer: str, complaint: str):
    with pytest.raises(JudgeError, match=complaint):
        read_scores(answer, 2)


class Judge:
    """A server that answers every question with `answer`, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answer = ""
        self.asked: list[dict[str, Any]] = []
        routes = [Route("/v1/chat/completions", self._reply, methods=["POST"])]
        self.server = Server(Starlette(routes=routes), Listen(key="key"))

    async def _reply(self, request: Request) -> Response:
        self.asked.append(await request.json())
        if not self.answer:
            return JSONResponse({"error": {"message": "no such judge"}}, status_code=400)
        message = {"role": "assistant", "content": self.answer}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        usage = {"prompt_tokens": 30, "completion_tokens": 4, "total_tokens": 34}
        head = {"id": "1", "object": "chat.completion", "created": 0, "model": "judge"}
        return JSONResponse({**head, "choices": [choice], "usage": usage})


@pytest.fixture(scope="module")
def running() -> Iterator[Judge]:
    judge = Judge()
    judge.server.start()
    yield judge
    judge.server.stop()


@pytest.fixture
def judge(running: Judge, monkeypatch: pytest.MonkeyPatch) -> Judge:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    pytest.importorskip("litellm", reason="LiteLLM is an extra: pip install 'artfork[judge]'")
    running.asked.clear()
    running.answer = ""
    return running


def params(judge: Judge, **more: Any) -> dict[str, Any]:
    return {"api_base": judge.server.base_url, "api_key": "key", "max_retries": 0, **more}


LITELLM = pytest.mark.filterwarnings("ignore")  # of LiteLLM's own imports


@LITELLM
def test_a_judge_scores_a_group_and_the_group_that_was_given_stays_as_it_was(judge: Judge):
    judge.answer = verdict(0.9, 0.1)
    given = group("funny", "dull", metadata={"topic": "computers"})

    judged = asyncio.run(ruler_score_group(given, "openai/judge", params(judge, temperature=0.5), rubric="- laugh"))

    assert judged is not None
    assert [trajectory.reward for trajectory in judged] == [0.9, 0.1]
    assert [trajectory.metrics for trajectory in judged] == [
        {"independent_reward": 0.0, "ruler_score": 0.9},
        {"independent_reward": 0.1, "ruler_score": 0.1},
    ]
    assert judged.trajectories[1].logs == ["RULER explanation: because 2"]
    assert ([failed.message for failed in judged.exceptions], judged.metadata) == (
        ["no answer"],
        {"topic": "computers"},
    )
    assert [trajectory.reward for trajectory in given] == [0.0, 0.1]
    assert judge.asked[0]["temperature"] == 0.5
    assert "- laugh" in judge.asked[0]["messages"][0]["content"]


@LITELLM
@pytest.mark.parametrize("answer", ["", "no idea", verdict(0.5)])
def test_a_judge_that_fails_is_an_error_or_leaves_the_group_out(judge: Judge, answer: str):
    judge.answer = answer

    with pytest.raises(JudgeError):
        asyncio.run(ruler_score_group(group("a", "b"), "openai/judge", params(judge)))
    left_out = asyncio.run(ruler_score_group(group("a", "b"), "openai/judge", params(judge), swallow_exceptions=True))

    assert left_out is None


@LITELLM
def test_message_lists_are_scored_without_a_group(judge: Judge, capsys: pytest.CaptureFixture[str]):
    judge.answer = verdict(0.2, 0.8)

    scores = asyncio.run(ruler([conversation("a"), conversation("b")], "openai/judge", params(judge), debug=True))

    assert [(scored.trajectory_id, scored.score) for scored in scores] == [("1", 0.2), ("2", 0.8)]
    assert "because 2" in capsys.readouterr().err


@LITELLM
def test_what_a_judge_cost_is_counted_where_a_builder_is_active(judge: Judge):
    judge.answer = verdict(0.2, 0.8)
    builder = MetricsBuilder("train")
    builder.register_model_pricing("openai/judge", prompt_per_million=1e6, completion_per_million=2e6)

    with builder.activate_context():
        asyncio.run(ruler_score_group(group("a", "b"), "openai/judge", params(judge)))
    asyncio.run(ruler_score_group(group("a", "b"), "openai/judge", params(judge)))

    assert builder.flush_now()["costs/train/judge/ruler"] == 30 + 2 * 4


def test_nothing_to_judge_asks_nobody():
    assert asyncio.run(ruler([], "openai/judge")) == []


def test_a_trajectory_of_several_conversations_is_refused():
    given = group("a")
    given.trajectories[0].additional_histories.append(art.History(messages_and_choices=[TASK]))

    with pytest.raises(ConfigurationError, match="additional_histories"):
        asyncio.run(ruler_score_group(given, "openai/judge"))
