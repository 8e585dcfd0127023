"""The operations as tools of the Model Context Protocol, for an agent that runs experiments: `art mcp`."""
