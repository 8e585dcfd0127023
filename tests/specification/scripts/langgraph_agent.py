"""LangGraph: an agent with a tool, written as usual, whose chat model is trained."""

import asyncio
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool

import art
from art.langgraph import init_chat_model, wrap_rollout
from art.local import LocalBackend


@tool
def search(words: str) -> str:
    """Search the inbox."""
    return f"no mail about {words}"


async def rollout(question: str, reward: float) -> art.Trajectory:
    chat = init_chat_model("agent", temperature=1.0, max_completion_tokens=4)
    agent: Any = create_agent(chat, [search], system_prompt="You search an inbox.")
    await agent.ainvoke({"messages": [HumanMessage(content=question)]}, config={"recursion_limit": 8})
    return art.Trajectory(messages_and_choices=[], reward=reward, metadata={"question": question})


async def main() -> None:
    async with LocalBackend() as backend:
        model = art.TrainableModel(name="agent", project="mail", base_model="OpenPipe/Qwen3-14B-Instruct")
        await model.register(backend)
        groups = await art.gather_trajectory_groups(
            [
                art.TrajectoryGroup(wrap_rollout(model, rollout)("Who wrote?", reward) for reward in (0.0, 1.0))
                for _ in range(2)
            ],
            pbar_desc="gather",
        )
        result = await model.train(groups, config=art.TrainConfig(learning_rate=1e-5))
        assert result.metrics["trajectories_skipped"] == 0
        assert result.metrics["trajectories"] == 4


asyncio.run(main())
