"""McpServer, its tools, what each person has decided about them, and how each has signed in."""

from chats.tools.models.credential import Credential, SignIn
from chats.tools.models.server import McpServer
from chats.tools.models.tool import Tool, ToolChoice

__all__ = ["Credential", "McpServer", "SignIn", "Tool", "ToolChoice"]
