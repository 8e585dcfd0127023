"""NeMo Agent Toolkit: a function of a workflow whose language model is trained on what it answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from nat.builder.builder import Builder
from nat.builder.framework_enum import LLMFrameworkEnum
from nat.builder.function_info import FunctionInfo
from nat.builder.workflow_builder import WorkflowBuilder
from nat.cli.register_workflow import register_function
from nat.data_models.component_ref import LLMRef
from nat.data_models.function import FunctionBaseConfig
from nat.llm.openai_llm import OpenAIModelConfig
from nat.plugins.langchain.llm import openai_langchain  # registers LangChain's client for the model
from training import run

import art

assert openai_langchain


class JudgeConfig(FunctionBaseConfig, name="judge_of_numbers"):
    """A function that asks its model about a number."""

    llm: LLMRef


@register_function(config_type=JudgeConfig, framework_wrappers=[LLMFrameworkEnum.LANGCHAIN])
async def judge_of_numbers(config: JudgeConfig, builder: Builder) -> AsyncIterator[FunctionInfo]:
    chat: Any = await builder.get_llm(config.llm, wrapper_type=LLMFrameworkEnum.LANGCHAIN)

    async def judge(question: str) -> str:
        return str((await chat.ainvoke(question)).content)

    yield FunctionInfo.from_fn(judge, description="Judge a number.")


async def rollout(model: art.TrainableModel, question: str) -> art.Trajectory:
    answers: list[str] = []

    async def ask() -> None:
        async with WorkflowBuilder() as builder:
            await builder.add_llm(
                "trained",
                OpenAIModelConfig(
                    model_name=model.get_inference_name(),
                    base_url=model.inference_base_url,
                    api_key=model.inference_api_key,
                    temperature=1.0,
                    max_tokens=8,
                ),
            )
            function = await builder.add_function("judge", JudgeConfig(llm=LLMRef("trained")))
            answers.append(await function.ainvoke(question, to_type=str))

    trajectory = await art.trajectory(ask())
    trajectory.reward = float(len(answers[0]))
    return trajectory


if __name__ == "__main__":
    run("nemo-agent-toolkit", rollout)
