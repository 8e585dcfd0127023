"""OpenAI's SDK for Node: an agent in JavaScript asks, prints its choice as JSON, and the choice is trained on."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from openai.types.chat.chat_completion import Choice
from training import run

import art

AGENT = Path(__file__).with_name("openai_node.cjs")


async def rollout(model: art.TrainableModel, question: str) -> art.Trajectory:
    connection = {
        "ART_BASE_URL": str(model.inference_base_url),
        "ART_API_KEY": str(model.inference_api_key),
        "ART_MODEL": model.get_inference_name(),
    }
    agent = await asyncio.create_subprocess_exec(
        "node", str(AGENT), question, env={**os.environ, **connection}, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await agent.communicate()
    choice = Choice.model_validate_json(printed)
    return art.Trajectory(
        messages_and_choices=[{"role": "user", "content": question}, choice],
        reward=float(len(set(choice.message.content or ""))),
    )


if __name__ == "__main__":
    run("node", rollout)
