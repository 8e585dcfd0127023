"""Scenarios for agents that use the tools of an MCP server: tasks that a model makes up from what the tools can do.

Knows descriptions of tools and resources; speaks to no MCP server.
"""

from art.mcp.default_tools import complete_task_tool
from art.mcp.generate_scenarios import generate_scenarios
from art.mcp.types import GeneratedScenario, GeneratedScenarioCollection, MCPResource, MCPTool

__all__ = [
    "GeneratedScenario",
    "GeneratedScenarioCollection",
    "MCPResource",
    "MCPTool",
    "complete_task_tool",
    "generate_scenarios",
]
