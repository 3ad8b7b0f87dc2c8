"""A server of tools made with the official package, as people write theirs. Its argument: stdio, or a port."""

import asyncio
import os
import sys

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp_types import ToolAnnotations

server = MCPServer("reference")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def add(a: int, b: int) -> int:
    """Add two numbers"""
    return a + b


@server.tool()
async def count(steps: int, seconds: float, ctx: Context) -> str:
    """Count, and say how far it is"""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps, f"step {step}")
        await asyncio.sleep(seconds)
    return "Counted"


@server.tool()
def fail() -> str:
    """Always fails"""
    raise ValueError("the engine is on fire")


@server.tool()
def environment() -> list[str]:
    """The names of the variables that this program has"""
    return sorted(os.environ)


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        server.run("streamable-http", port=int(sys.argv[1]))
