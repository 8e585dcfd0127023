"""LangGraph: a ReAct agent whose chat model is trained on all that it says and calls."""

from __future__ import annotations

from typing import Any, Literal

from langchain.agents import create_agent
from langchain_core.tools import tool
from training import run

import art
from art.langgraph import init_chat_model, wrap_rollout


@tool
def divide(by: Literal[2, 3, 5]) -> str:
    """Divide the number by another one."""
    return f"divided by {by}"


async def ask(question: str) -> art.Trajectory:
    agent: Any = create_agent(init_chat_model(max_completion_tokens=8), [divide], system_prompt="Be brief.")
    state = await agent.ainvoke({"messages": [{"role": "user", "content": question}]})
    return art.Trajectory(reward=float(len(set(state["messages"][-1].content))))


async def rollout(model: art.TrainableModel, question: str) -> art.Trajectory:
    return await wrap_rollout(model, ask)(question)


if __name__ == "__main__":
    run("langgraph", rollout)
