"""A server of tools made with the official package: one that adds, and as many others as are wanted.

python -m benchmarks.mcp_server PORT OTHERS
"""

import sys

from mcp.server import MCPServer
from mcp_types import ToolAnnotations

READ_ONLY = ToolAnnotations(read_only_hint=True)


def add(a: int, b: int) -> int:
    """Add two numbers"""
    return a + b


def look_up(query: str, language: str = "en", newest_first: bool = True, limit: int = 10) -> str:
    """Find the entries that say most about a question, and return their titles, their authors and where they begin"""
    return f"{limit} entries about {query} in {language}, {newest_first}"


def main(port: int, others: int) -> None:
    server = MCPServer("bench")
    server.add_tool(add, annotations=READ_ONLY)
    for number in range(others):
        server.add_tool(look_up, name=f"look_up_{number}", annotations=READ_ONLY)
    server.run("streamable-http", port=port)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
