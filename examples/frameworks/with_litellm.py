"""LiteLLM: its answers, whole and streamed, are turned into OpenAI's choices and trained on."""

from __future__ import annotations

from typing import Any

import litellm
from training import run

import art
from art.utils.litellm import convert_litellm_choice_to_openai


async def rollout(model: art.TrainableModel, question: str) -> art.Trajectory:
    messages: art.Messages = [{"role": "user", "content": question}]
    asked: dict[str, Any] = {**model.litellm_completion_params(), "max_tokens": 8}
    response: Any = await litellm.acompletion(messages=messages, **asked)
    said = art.Trajectory(messages_and_choices=[*messages, convert_litellm_choice_to_openai(response.choices[0])])

    again: art.Messages = [*said.messages(), {"role": "user", "content": "Say that again."}]
    stream: Any = await litellm.acompletion(messages=again, stream=True, logprobs=True, **asked)
    rebuilt: Any = litellm.stream_chunk_builder([chunk async for chunk in stream])
    said.messages_and_choices += [again[-1], convert_litellm_choice_to_openai(rebuilt.choices[0])]
    said.reward = float(len(response.choices[0].message.content or ""))
    return said


if __name__ == "__main__":
    run("litellm", rollout)
