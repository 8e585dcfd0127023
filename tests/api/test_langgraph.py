"""A LangGraph agent, with the real packages, whose chat model is trained."""

import asyncio
from typing import Any

import pytest
from openai.types.chat.chat_completion import Choice

import art
from api.world import World
from art.errors import ConfigurationError
from art.langgraph import init_chat_model, wrap_rollout

pytestmark = pytest.mark.filterwarnings("ignore")  # of LangChain's own imports

EXTRA = "LangGraph is an extra: pip install 'artfork[langgraph]'"


class Answered(art.Trajectory):
    """A user's own trajectory."""

    answer: str | None = None


async def rollout(question: str, reward: float) -> Answered:
    messages = pytest.importorskip("langchain_core.messages", reason=EXTRA)
    prebuilt = pytest.importorskip("langgraph.prebuilt", reason=EXTRA)
    tools = pytest.importorskip("langchain_core.tools", reason=EXTRA)

    @tools.tool
    def search(words: str) -> str:
        """Search for words."""
        return f"nothing about {words}"

    agent = prebuilt.create_react_agent(init_chat_model(max_completion_tokens=4, temperature=1.0), [search])
    said = await agent.ainvoke({"messages": [messages.SystemMessage("Be brief."), messages.HumanMessage(question)]})
    return Answered(reward=reward, answer=said["messages"][-1].content, metadata={"question": question})


def test_what_an_agent_says_becomes_its_trajectory_and_is_trained_on(world: World):
    pytest.importorskip("langchain_openai", reason=EXTRA)

    async def body() -> tuple[list[art.TrajectoryGroup], art.TrainResult]:
        wrapped = wrap_rollout(world.model, rollout)
        groups = await art.gather_trajectory_groups(
            [art.TrajectoryGroup(wrapped("hi", reward) for reward in (0.0, 1.0))], pbar_desc=None
        )
        return groups, await world.backend.train(world.model, groups)

    groups, result = world.run(body())

    trajectory = groups[0].trajectories[0]
    assert isinstance(trajectory, Answered)
    assert [message["role"] for message in trajectory.messages()] == ["system", "user", "assistant"]
    assert isinstance(trajectory.messages_and_choices[-1], Choice)
    assert trajectory.tools
    assert [tool["function"]["name"] for tool in trajectory.tools] == ["search"]
    assert trajectory.answer == trajectory.messages()[-1].get("content")
    assert result.metrics["trajectories"] == 2


def test_a_trajectory_that_says_itself_what_was_sampled_stays_as_it_is(world: World):
    async def own() -> art.Trajectory:
        question: Any = [{"role": "user", "content": "hi"}]
        completion = await world.model.openai_client().chat.completions.create(
            model="agent", messages=question, max_completion_tokens=4
        )
        return art.Trajectory(messages_and_choices=[*question, completion.choices[0]], reward=1)

    trajectory = world.run(wrap_rollout(world.model, own)())

    assert len(trajectory.messages()) == 2
    assert trajectory.additional_histories == []


def test_outside_of_a_rollout_there_is_no_chat_model():
    pytest.importorskip("langchain_openai", reason=EXTRA)

    with pytest.raises(ConfigurationError, match="inside a rollout"):
        init_chat_model("agent")


def test_without_langchain_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "langchain_openai", None)

    with pytest.raises(ConfigurationError, match=r"artfork\[langgraph\]"):
        init_chat_model("agent")


def test_a_rollout_that_asks_nobody_keeps_its_trajectory(world: World):
    async def silent() -> art.Trajectory:
        await asyncio.sleep(0)
        return art.Trajectory(reward=0.5)

    assert world.run(wrap_rollout(world.model, silent)()).reward == 0.5


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"model_provider": "anthropic"}, "model_provider='anthropic'"),
        ({"configurable_fields": "any"}, "takes no configurable_fields"),
        ({"config_prefix": "x"}, "takes no config_prefix"),
    ],
)
def test_what_needs_another_provider_is_refused(given: Any, why: str):
    with pytest.raises(ConfigurationError, match=why):
        init_chat_model(**given)


def test_arguments_of_arts_make_a_chat_model(world: World):
    openais = pytest.importorskip("langchain_openai", reason=EXTRA)

    async def rollout() -> art.Trajectory:
        chat = init_chat_model(model_provider="openai", invoke_timeout=7.0)
        assert (type(chat), chat.request_timeout) == (openais.ChatOpenAI, 7.0)
        assert init_chat_model(chat) is chat
        return art.Trajectory()

    world.run(wrap_rollout(world.model, rollout)())
