"""What users of a framework do first, beyond its script: streams, tools, typed answers, handoffs; all trained on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict

import art
from art.langgraph import init_chat_model, wrap_rollout
from art.local import LocalBackend
from art.sampled import sampled_tokens
from art.trajectories import as_choice
from art.utils.litellm import convert_litellm_choice_to_openai
from small import write_small_model

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of the frameworks' own imports
ASKED = "Is 7 a prime number?"
MESSAGES: Any = [{"role": "user", "content": ASKED}]
MOST = 200
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"by": {"type": "integer", "enum": [2, 3, 5]}},
    "required": ["by"],
    "additionalProperties": False,
}
TOOL: Any = {"type": "function", "function": {"name": "divide", "parameters": PARAMETERS, "strict": True}}
Agent = Callable[[art.TrainableModel], Awaitable[Any]]


class Verdict(BaseModel):
    """Whether the number is a prime."""

    model_config = ConfigDict(extra="forbid")

    is_prime: bool
    certainty: Literal[0, 1, 2, 3]


def divide(by: Literal[2, 3, 5]) -> str:
    """Divide the number by another one."""
    return f"divided by {by}"


# The OpenAI SDK


async def stream_with_tools(model: art.TrainableModel) -> art.Trajectory:
    asked = {"model": model.name, "messages": MESSAGES, "tools": [TOOL], "tool_choice": "required", "max_tokens": MOST}
    async with model.openai_client().chat.completions.stream(**asked) as stream:
        _ = [event async for event in stream]
        (choice,) = (await stream.get_final_completion()).choices
    assert choice.message.tool_calls[0].function.parsed_arguments["by"] in (2, 3, 5)
    return art.Trajectory(messages_and_choices=[*MESSAGES, choice], tools=[TOOL])


async def calls_and_their_results(model: art.TrainableModel) -> None:
    chat = model.openai_client().chat.completions
    first = await chat.create(
        model=model.name, messages=MESSAGES, tools=[TOOL], tool_choice="required", parallel_tool_calls=True
    )
    said = first.choices[0].message
    results = [{"role": "tool", "tool_call_id": call.id, "content": "no"} for call in said.tool_calls or []]
    assert results
    await chat.create(model=model.name, messages=[*MESSAGES, said, *results], tools=[TOOL], max_tokens=4)  # pyright: ignore[reportArgumentType, reportCallIssue]


async def parse(model: art.TrainableModel) -> None:
    answer = await model.openai_client().chat.completions.parse(
        model=model.name, messages=MESSAGES, response_format=Verdict, max_tokens=MOST
    )
    assert isinstance(answer.choices[0].message.parsed, Verdict)


async def responses_with_tools(model: art.TrainableModel) -> None:
    responses, tool = model.openai_client().responses, {"type": "function", "name": "divide", "parameters": PARAMETERS}
    first = await responses.create(
        model=model.name, input=ASKED, tools=[{**tool, "strict": True}], tool_choice="required"
    )
    (call,) = [item for item in first.output if item.type == "function_call"]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "no"}
    continued: Any = [*MESSAGES, call.model_dump(exclude_none=True), result]
    await responses.create(model=model.name, input=continued, tools=[{**tool, "strict": True}], max_output_tokens=16)


async def responses_in_pieces(model: art.TrainableModel) -> None:
    async with model.openai_client().responses.stream(
        model=model.name, input=ASKED, text_format=Verdict, max_output_tokens=MOST
    ) as stream:
        _ = [event async for event in stream]
        assert isinstance((await stream.get_final_response()).output_parsed, Verdict)


# LiteLLM


async def litellm_in_pieces(model: art.TrainableModel) -> art.Trajectory:
    litellm = pytest.importorskip("litellm")
    asked = model.litellm_completion_params()
    stream = await litellm.acompletion(**asked, messages=MESSAGES, stream=True, max_tokens=6)
    whole = litellm.stream_chunk_builder([piece async for piece in stream], messages=MESSAGES)
    return art.Trajectory(messages_and_choices=[*MESSAGES, convert_litellm_choice_to_openai(whole.choices[0])])


async def litellm_whole(model: art.TrainableModel) -> art.Trajectory:
    litellm = pytest.importorskip("litellm")
    answer = await litellm.acompletion(**model.litellm_completion_params(), messages=MESSAGES, max_tokens=6)
    return art.Trajectory(messages_and_choices=[*MESSAGES, convert_litellm_choice_to_openai(answer.choices[0])])


# LangChain and LangGraph


async def langchain_rebuilt(model: art.TrainableModel) -> art.Trajectory:
    """Make a choice of what LangChain's message keeps."""
    chat: Any = pytest.importorskip("langchain_openai").ChatOpenAI(
        model=model.name, base_url=model.inference_base_url, api_key=model.inference_api_key, max_completion_tokens=6
    )
    said = await chat.ainvoke(ASKED)
    message = {"role": "assistant", "content": said.content}
    kept = {name: said.response_metadata[name] for name in ("finish_reason", "logprobs")}
    return art.Trajectory(messages_and_choices=[*MESSAGES, {"index": 0, "message": message, **kept}])  # pyright: ignore[reportArgumentType]


def in_langchain(ask: Callable[[], Awaitable[None]]) -> Agent:
    pytest.importorskip("langchain")

    async def rollout() -> art.Trajectory:
        await ask()
        return art.Trajectory()

    return lambda model: wrap_rollout(model, rollout)()


async def langchain_in_pieces_and_batches() -> None:
    chat = init_chat_model(max_completion_tokens=MOST)
    whole: Any = None
    async for piece in chat.bind_tools([divide], tool_choice="any").astream(ASKED):
        whole = piece if whole is None else whole + piece
    assert whole.tool_calls[0]["name"] == "divide"
    await init_chat_model(max_completion_tokens=4).abatch(["a", "b"])


async def langchain_structured() -> None:
    for method in ("json_schema", "function_calling"):
        chat = init_chat_model(max_completion_tokens=MOST).with_structured_output(Verdict, method=method)  # pyright: ignore[reportArgumentType]
        assert isinstance(await chat.ainvoke(ASKED), Verdict)


async def langgraph_react() -> None:
    from langgraph.prebuilt import create_react_agent

    agent = create_react_agent(init_chat_model(max_completion_tokens=MOST), [divide], response_format=Verdict)
    found = await agent.ainvoke({"messages": [("user", ASKED)]}, config={"recursion_limit": 20})
    assert isinstance(found["structured_response"], Verdict)


async def langchain_agent() -> None:
    from langchain.agents import create_agent
    from langchain.agents.structured_output import ProviderStrategy, ToolStrategy

    for how in (ToolStrategy(Verdict), ProviderStrategy(Verdict)):
        agent = create_agent(init_chat_model(max_completion_tokens=MOST), response_format=how)
        found = await agent.ainvoke({"messages": [("user", ASKED)]})  # pyright: ignore[reportArgumentType]
        assert isinstance(found["structured_response"], Verdict)


# pydantic-ai


async def pydantic_ai_outputs(model: art.TrainableModel) -> None:
    pytest.importorskip("pydantic_ai")
    from pydantic_ai import Agent, NativeOutput, ToolOutput
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    chat = OpenAIChatModel(model.name, provider=OpenAIProvider(openai_client=model.openai_client()))
    settings: Any = {"max_tokens": MOST}
    for output in (Verdict, NativeOutput(Verdict), ToolOutput(Verdict, name="verdict")):
        agent: Any = Agent(chat, output_type=output, tools=[divide], retries=3, model_settings=settings)
        with agent.override(tools=[]):
            assert isinstance((await agent.run(ASKED)).output, Verdict)
    async with Agent(chat, output_type=Verdict, model_settings=settings).run_stream(ASKED) as stream:
        assert isinstance(await stream.get_output(), Verdict)


# instructor


async def instructor_modes(model: art.TrainableModel) -> None:
    instructor = pytest.importorskip("instructor")
    for mode in (instructor.Mode.TOOLS, instructor.Mode.TOOLS_STRICT, instructor.Mode.JSON_SCHEMA):
        chat = instructor.from_openai(model.openai_client(), mode=mode).chat.completions
        asked = {"model": model.name, "messages": MESSAGES, "response_model": Verdict, "max_tokens": MOST}
        assert isinstance(await chat.create(**asked, max_retries=2), Verdict)
    assert [part async for part in chat.create_partial(**asked)]


# openai-agents


async def agents_handoff(model: art.TrainableModel) -> None:
    agents = pytest.importorskip("agents")
    untraced = agents.RunConfig(tracing_disabled=True)
    for kind in (agents.OpenAIResponsesModel, agents.OpenAIChatCompletionsModel):
        common = {"model": kind(model.name, openai_client=model.openai_client()), "instructions": "Be brief."}
        settings = agents.ModelSettings(max_tokens=MOST, tool_choice="required")
        judge = agents.Agent(name="Judge", output_type=Verdict, **common)
        triage = agents.Agent(name="Triage", handoffs=[judge], model_settings=settings, **common)
        result = await agents.Runner.run(triage, ASKED, run_config=untraced)
        assert (result.last_agent.name, type(result.final_output)) == ("Judge", Verdict)

        tooled = agents.Agent(
            name="Tooled", tools=[agents.function_tool(divide)], tool_use_behavior="stop_on_first_tool",
            model_settings=settings, **common,
        )  # fmt: skip
        streamed = agents.Runner.run_streamed(tooled, ASKED, run_config=untraced)
        _ = [event async for event in streamed.stream_events()]
        assert streamed.final_output.startswith("divided by")


# DSPy


async def dspy_chain(model: art.TrainableModel) -> None:
    dspy = pytest.importorskip("dspy")
    asked = model.litellm_completion_params()
    key = {"api_base": asked["base_url"], "api_key": asked["api_key"]}
    speaking = dspy.LM(asked["model"], **key, temperature=1.0, max_tokens=30, cache=False, engine="litellm")
    with dspy.context(lm=speaking, adapter=dspy.ChatAdapter()), pytest.raises(Exception, match="failed to parse"):
        # A random model ends no text; what it said on the way is trained on all the same.
        await dspy.ChainOfThought("question -> certainty: int").acall(question=ASKED)


def versions_of(group: art.TrajectoryGroup) -> set[str | None]:
    """Give which weights the answers say that they come from."""
    items = [item for said in group for history in said.histories() for item in history.messages_and_choices]
    sampled = [sampled_tokens(choice) for choice in map(as_choice, items) if choice]
    return {tokens.version if tokens else None for tokens in sampled}


RETURN_TRAJECTORIES = (stream_with_tools, litellm_whole, litellm_in_pieces, langchain_rebuilt)
CAPTURED = (
    calls_and_their_results, parse, responses_with_tools, responses_in_pieces, pydantic_ai_outputs, instructor_modes,
    agents_handoff, dspy_chain,
)  # fmt: skip
IN_LANGCHAIN = (langchain_in_pieces_and_batches, langchain_structured, langgraph_react, langchain_agent)


@pytest.mark.parametrize("agent", [*RETURN_TRAJECTORIES, *CAPTURED, *IN_LANGCHAIN], ids=lambda agent: agent.__name__)
def test_what_users_do_first_is_trained_on(agent: Any, tmp_path: Path) -> None:
    base = write_small_model(tmp_path / "roomy", max_position_embeddings=16384)

    async def rollout(model: art.TrainableModel, reward: float) -> art.Trajectory:
        if agent in CAPTURED:
            said = await art.trajectory(agent(model))
        else:
            said = await (in_langchain(agent) if agent in IN_LANGCHAIN else agent)(model)
        said.reward = reward
        return said

    async def train() -> art.TrainResult:
        async with LocalBackend(path=tmp_path / "root", deterministic=True) as backend:
            model = art.TrainableModel(name="agent", project="uses", base_model=str(base))
            await model.register(backend)
            group = art.TrajectoryGroup([await rollout(model, reward) for reward in (0.0, 1.0)])
            assert versions_of(group) == {"uses/agent#0@0"}
            return await model.train([group], art.TrainConfig(strict=True))

    result = asyncio.run(train())

    assert result.metrics["trajectories"] == 2
    assert result.metrics["ratio"] == pytest.approx(1.0, abs=1e-3)


async def pydantic_ai_rebuilt(model: art.TrainableModel, reward: float) -> art.Trajectory:
    """Make a choice of what pydantic-ai keeps, which is OpenAI's fields alone."""
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    chat = OpenAIChatModel(model.name, provider=OpenAIProvider(openai_client=model.openai_client()))
    settings: Any = {"max_tokens": 6, "openai_logprobs": True, "temperature": 0.8}
    run = await Agent(chat, model_settings=settings).run(ASKED)
    kept: Any = run.all_messages()[-1].provider_details
    message = {"role": "assistant", "content": run.output}
    said = {"index": 0, "finish_reason": "stop", "message": message, "logprobs": {"content": kept["logprobs"]}}
    return art.Trajectory(messages_and_choices=[*MESSAGES, said], reward=reward)  # pyright: ignore[reportArgumentType]


def test_a_choice_that_was_rebuilt_from_pydantic_ai_is_known_again(tmp_path: Path) -> None:
    pytest.importorskip("pydantic_ai")
    base = write_small_model(tmp_path / "roomy", max_position_embeddings=16384)

    async def train() -> art.TrainResult:
        async with LocalBackend(path=tmp_path / "root") as backend:
            model = art.TrainableModel(name="agent", project="uses", base_model=str(base))
            await model.register(backend)
            group = art.TrajectoryGroup([await pydantic_ai_rebuilt(model, reward) for reward in (0.0, 1.0)])
            assert versions_of(group) == {None}
            return await model.train([group], art.TrainConfig(strict=True))

    metrics = asyncio.run(train()).metrics

    # Neither weights nor temperature stand in it, and both are known.
    assert metrics["age_max"] == 0
    assert metrics["ratio"] == pytest.approx(1.0, abs=1e-3)
