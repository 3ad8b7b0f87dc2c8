"""What can go wrong with servers of tools, in words for people."""

from accounts.errors import Conflict, Invalid


class ToolServerError(Exception):
    """A look at a server, or a call of its tool, failed. `message` is one sentence of cause and next step.

    `is_begun`: the server may have begun what it was asked for.
    """

    code = "tool_server_failed"

    def __init__(self, message: str, *, is_begun: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.is_begun = is_begun


class ServerUnreachable(ToolServerError):
    code = "tool_server_unreachable"


class ServerSilent(ToolServerError):
    """It took longer than it may."""

    code = "tool_server_timeout"


class SignInNeeded(ToolServerError):
    """It lets nobody in without a credential, or not with this one."""

    code = "tool_server_sign_in"


class ServerNonsense(ToolServerError):
    """It answered, but not as MCP has it, or with more than anybody can take."""

    code = "tool_server_nonsense"


class CallRefused(ToolServerError):
    """The server says that this call can't be made. It was not begun."""

    code = "tool_call_refused"


class ServerChanged(Conflict):
    code = "tool_changed"
    message = "The server offers this tool differently by now. Look at the difference again, then decide."


__all__ = [
    "CallRefused",
    "Invalid",
    "ServerChanged",
    "ServerNonsense",
    "ServerSilent",
    "ServerUnreachable",
    "SignInNeeded",
    "ToolServerError",
]
