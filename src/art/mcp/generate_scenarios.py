"""Asks a model for tasks that the tools of a server can do. Knows OpenAI's client; the model is any that speaks it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from openai import AsyncOpenAI, OpenAIError

from art.errors import ConfigurationError, JudgeError
from art.mcp.types import DIFFICULTIES, GeneratedScenarioCollection, MCPResource, MCPTool

MOST_TOKENS = 8000
TASK = """\
An agent has the tools and resources of an MCP server, listed below. Make up {count} tasks that somebody might give it.
Each task can be done with these tools and names none of them; together the tasks use many of them, alone and in
combination. Some take one call, others several and some thought. Each asks for a summary of what was found or done.
Give each a difficulty: 1 for a single call, up to 5 for an analysis in many steps.
{instructions}
<tools>
{tools}
</tools>
<resources>
{resources}
</resources>
Answer with JSON alone: {{"scenarios": [{{"task": "...", "difficulty": 1}}, ...]}}, {count} in all.
"""


async def generate_scenarios(
    tools: Sequence[MCPTool | Mapping[str, Any]],
    resources: Sequence[MCPResource | Mapping[str, Any]] = (),
    num_scenarios: int = 24,
    show_preview: bool = True,
    custom_instructions: str | None = None,
    generator_model: str = "openai/gpt-4.1-mini",
    generator_api_key: str | None = None,
    generator_base_url: str = "https://openrouter.ai/api/v1",
) -> GeneratedScenarioCollection:
    """Have a model make up tasks for an agent with these tools; `show_preview` prints the first of them.

    The key is `OPENROUTER_API_KEY` where none is given. Raises `ConfigurationError` without tools, resources or key,
    and `JudgeError` when the model does not answer, or not with `num_scenarios` tasks.
    """
    key = generator_api_key or os.environ.get("OPENROUTER_API_KEY")
    if not key:
        raise ConfigurationError("Scenarios need a model's key: give generator_api_key, or set OPENROUTER_API_KEY.")
    if not tools and not resources:
        raise ConfigurationError("Scenarios are made up from tools or resources; give at least one.")
    prompt = TASK.format(
        count=num_scenarios,
        instructions=custom_instructions or "",
        tools=_listed(tools),
        resources=_listed(resources),
    )
    async with AsyncOpenAI(api_key=key, base_url=generator_base_url) as client:
        collection = GeneratedScenarioCollection.from_json(await _ask(client, generator_model, prompt, num_scenarios))
    if len(collection) != num_scenarios:
        raise JudgeError(
            f"{generator_model} made up {len(collection)} scenarios, not {num_scenarios}. Ask again, or for fewer."
        )
    if show_preview:
        collection.print_difficulty_distribution()
        collection.preview()
    return collection


def preview_scenarios(scenarios: Iterable[Mapping[str, Any]], n: int = 5) -> None:
    """Print the first scenarios of a list of mappings."""
    GeneratedScenarioCollection.from_dicts(scenarios).preview(n)


async def _ask(client: AsyncOpenAI, model: str, prompt: str, count: int) -> str:
    try:
        answer = await client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": prompt}],
            max_completion_tokens=MOST_TOKENS,
            response_format={"type": "json_schema", "json_schema": {"name": "scenarios", "schema": _schema(count)}},
        )
    except OpenAIError as error:
        raise JudgeError(f"{model} made up no scenarios: {error}") from error
    return answer.choices[0].message.content or ""


def _schema(count: int) -> dict[str, object]:
    difficulty = {"type": "integer", "minimum": DIFFICULTIES[0], "maximum": DIFFICULTIES[-1]}
    scenario = _object({"task": {"type": "string"}, "difficulty": difficulty})
    return _object({"scenarios": {"type": "array", "items": scenario, "minItems": count, "maxItems": count}})


def _object(properties: dict[str, Any]) -> dict[str, object]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def _listed(described: Sequence[MCPTool | MCPResource | Mapping[str, Any]]) -> str:
    fields = [each.to_dict() if isinstance(each, MCPTool | MCPResource) else dict(each) for each in described]
    return json.dumps(fields, indent=1, ensure_ascii=False, default=str)
