"""Tools and resources of an MCP server as descriptions, and tasks that were made up from them."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self, cast

from pydantic import TypeAdapter, ValidationError

from art.errors import ConfigurationError, JudgeError

DIFFICULTIES = range(1, 6)
BAR = 30
"""The longest bar of a distribution, in characters."""


@dataclass
class MCPTool:
    """What a tool does, and the JSON schema of its arguments."""

    name: str
    description: str
    parameters: dict[str, Any]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read a tool from a mapping; what it lacks is empty."""
        return cls(data.get("name", ""), data.get("description", ""), data.get("parameters", {}))

    def to_dict(self) -> dict[str, Any]:
        """Give the tool as a mapping."""
        return asdict(self)

    def to_tool_schema(self) -> dict[str, Any]:
        """Give the tool as `tools=` of a chat completion takes it."""
        return {"type": "function", "function": self.to_dict()}


@dataclass(kw_only=True)
class MCPResource:
    """Something that a server lets an agent read."""

    uri: str
    name: str
    description: str
    mime_type: str | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read a resource from a mapping; what it lacks is empty."""
        texts = {name: data.get(name, "") for name in ("uri", "name", "description")}
        return cls(**texts, mime_type=data.get("mimeType") or data.get("mime_type"))

    def to_dict(self) -> dict[str, Any]:
        """Give the resource as a mapping, under MCP's names."""
        kind = {"mimeType": self.mime_type} if self.mime_type else {}
        return {"uri": self.uri, "name": self.name, "description": self.description, **kind}


@dataclass
class GeneratedScenario:
    """A task, and how hard it is from 1 to 5."""

    task: str
    difficulty: int

    def __post_init__(self) -> None:
        if not isinstance(self.difficulty, int) or self.difficulty not in DIFFICULTIES:
            raise ConfigurationError(
                f"The difficulty of a scenario is {self.difficulty!r}; it is a number from 1 to 5."
            )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read a scenario from a mapping."""
        return cls(data["task"], data["difficulty"])

    def to_dict(self) -> dict[str, Any]:
        """Give the scenario as a mapping."""
        return asdict(self)

    def preview(self, max_length: int = 120) -> str:
        """Give the task, cut where it is longer."""
        return self.task if len(self.task) <= max_length else f"{self.task[:max_length].strip()}…"


class GeneratedScenarioCollection(Sequence[GeneratedScenario]):
    """Scenarios that are cut, mixed and shown together; none of the methods changes the collection."""

    def __init__(self, scenarios: Iterable[GeneratedScenario]) -> None:
        self.scenarios = list(scenarios)

    @classmethod
    def from_dicts(cls, data: Iterable[Mapping[str, Any]]) -> Self:
        """Read scenarios from mappings."""
        return cls(map(GeneratedScenario.from_dict, data))

    @classmethod
    def from_json(cls, json_str: str) -> Self:
        """Read what `to_json` wrote, or a list; raises `JudgeError` for text that holds no scenarios."""
        try:
            value = json.loads(json_str)
            listed = cast("dict[str, Any]", value).get("scenarios") if isinstance(value, dict) else value
            return cls(TypeAdapter(list[GeneratedScenario]).validate_python(listed))
        except (ValueError, ValidationError) as error:
            raise JudgeError(f"There are no scenarios in {json_str[:500]!r}: {error}") from error

    def to_dicts(self) -> list[dict[str, Any]]:
        """Give the scenarios as mappings."""
        return [scenario.to_dict() for scenario in self]

    def to_json(self, indent: int | None = None) -> str:
        """Write the scenarios as JSON."""
        return json.dumps({"scenarios": self.to_dicts()}, indent=indent)

    def __len__(self) -> int:
        return len(self.scenarios)

    def __iter__(self) -> Iterator[GeneratedScenario]:
        return iter(self.scenarios)

    def __getitem__(self, index: Any) -> Any:
        return self.scenarios[index]

    def shuffle(self) -> Self:
        """Give the scenarios in another order."""
        return type(self)(random.sample(self.scenarios, len(self)))

    def split(self, train_size: int) -> tuple[Self, Self]:
        """Give the first `train_size` scenarios, and the others; raises `ConfigurationError` where there are fewer."""
        if train_size > len(self):
            raise ConfigurationError(f"train_size is {train_size}; there are {len(self)} scenarios.")
        return type(self)(self.scenarios[:train_size]), type(self)(self.scenarios[train_size:])

    def filter_by_difficulty(self, min_difficulty: int = 1, max_difficulty: int = 5) -> Self:
        """Give the scenarios of these difficulties, both ends included."""
        return type(self)(each for each in self if min_difficulty <= each.difficulty <= max_difficulty)

    def get_difficulty_distribution(self) -> Counter[int]:
        """Count the scenarios of each difficulty."""
        return Counter(scenario.difficulty for scenario in self)

    def get_summary(self) -> dict[str, Any]:
        """Give how many scenarios there are, how hard and how long."""
        count = len(self) or 1
        return {
            "total_scenarios": len(self),
            "difficulty_distribution": dict(self.get_difficulty_distribution()),
            "avg_difficulty": sum(each.difficulty for each in self) / count,
            "avg_task_length": sum(len(each.task) for each in self) / count,
        }

    def preview(self, n: int = 5, max_task_length: int = 120) -> None:
        """Print the first scenarios."""
        for number, each in enumerate(self.scenarios[:n], start=1):
            sys.stdout.write(f"   {number}. {each.preview(max_task_length)}  (difficulty {each.difficulty}/5)\n")

    def print_difficulty_distribution(self) -> None:
        """Print a bar for each difficulty."""
        counts = self.get_difficulty_distribution()
        for difficulty in DIFFICULTIES:
            bar = "█" * min(counts[difficulty], BAR)
            sys.stdout.write(f"   {difficulty}/5: {counts[difficulty]:3d}  {bar}\n")
