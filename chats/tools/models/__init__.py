"""McpServer, its tools, and what each person has decided about them."""

from chats.tools.models.server import McpServer
from chats.tools.models.tool import Tool, ToolChoice

__all__ = ["McpServer", "Tool", "ToolChoice"]
