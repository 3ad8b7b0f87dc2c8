"""What can go wrong with servers of tools, in words for people."""

from accounts.errors import Conflict, Invalid


class ToolServerError(Exception):
    """A look at a server, or a call of its tool, failed. `message` is one sentence of cause and next step.

    `is_begun`: the server may have begun what it was asked for. `is_personal`: it says nothing about how the server is
    for anybody else. `detail`: what only those read who have set it up.
    """

    code = "tool_server_failed"

    def __init__(self, message: str, *, is_begun: bool = False, is_personal: bool = False, detail: str = "") -> None:
        super().__init__(message)
        self.message, self.detail = message, detail
        self.is_begun, self.is_personal = is_begun, is_personal


class ServerUnreachable(ToolServerError):
    code = "tool_server_unreachable"


class ServerSilent(ToolServerError):
    """It took longer than it may."""

    code = "tool_server_timeout"


class SignInNeeded(ToolServerError):
    """It lets nobody in without a credential, or not with this one: what was asked for was not begun.

    `status` is 401 or 403, or 0 when it was not even asked; `challenge` is its WWW-Authenticate.
    """

    code = "tool_server_sign_in"

    def __init__(self, message: str, *, status: int = 0, challenge: str = "") -> None:
        super().__init__(message)
        self.status, self.challenge = status, challenge


class IssuerRefused(ToolServerError):
    """The authorization server says no. `reason` is its code for why, as in RFC 6749, or ""."""

    code = "tool_server_sign_in"

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class SignInFailed(Invalid):
    """A person's way to a credential ended without one."""

    code = "sign_in_failed"
    message = "This sign-in did not work. Begin again on the page of the server."


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
    "IssuerRefused",
    "ServerChanged",
    "ServerNonsense",
    "ServerSilent",
    "ServerUnreachable",
    "SignInFailed",
    "SignInNeeded",
    "ToolServerError",
]
