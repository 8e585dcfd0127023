"""LiteLLM: its answers, whole and streamed, are turned into OpenAI's choices and trained on."""

from __future__ import annotations

from typing import Any

import litellm
from training import run

import art
from art.utils.litellm import convert_litellm_choice_to_openai


async def rollout(model: art.TrainableModel, question: str) -> art.Trajectory:
    messages: art.Messages = [{"role": "user", "content": question}]
    settings: dict[str, Any] = {**model.litellm_completion_params(), "max_tokens": 8}
    response: Any = await litellm.acompletion(messages=messages, **settings)
    trajectory = art.Trajectory(messages_and_choices=[*messages, convert_litellm_choice_to_openai(response.choices[0])])

    again: art.Messages = [*trajectory.messages(), {"role": "user", "content": "Say that again."}]
    stream: Any = await litellm.acompletion(messages=again, stream=True, logprobs=True, **settings)
    rebuilt: Any = litellm.stream_chunk_builder([chunk async for chunk in stream])
    trajectory.messages_and_choices += [again[-1], convert_litellm_choice_to_openai(rebuilt.choices[0])]
    trajectory.reward = float(len(response.choices[0].message.content or ""))
    return trajectory


if __name__ == "__main__":
    run("litellm", rollout)
