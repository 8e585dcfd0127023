"""LangChain: a typed answer by `with_structured_output`, and a tool that must be called; both are trained on."""

from __future__ import annotations

from typing import Any, Literal

from langchain_core.tools import tool
from pydantic import BaseModel
from training import run

import art
from art.langgraph import init_chat_model, wrap_rollout


class Verdict(BaseModel):
    """Whether the number is a prime."""

    is_prime: bool
    certainty: Literal[0, 1, 2, 3]


@tool
def divide(by: Literal[2, 3, 5]) -> str:
    """Divide the number by another one."""
    return f"divided by {by}"


async def ask(question: str) -> art.Trajectory:
    chat = init_chat_model(max_completion_tokens=200)
    call: Any = await chat.bind_tools([divide], tool_choice="any").ainvoke(question)
    divisors = [each["args"]["by"] for each in call.tool_calls]
    verdict: Any = await chat.with_structured_output(Verdict).ainvoke(f"{question} It was divided by {divisors}.")
    return art.Trajectory(reward=float(verdict.certainty), metrics={"calls": len(call.tool_calls)})


async def rollout(model: art.TrainableModel, question: str) -> art.Trajectory:
    return await wrap_rollout(model, ask)(question)


if __name__ == "__main__":
    run("langchain", rollout)
