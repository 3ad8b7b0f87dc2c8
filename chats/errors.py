"""Errors of conversations: a code and a sentence each. Their HTTP statuses are in `accounts.statuses`."""

from accounts.errors import Conflict, DomainError, Forbidden, Invalid, NotFound, TooLarge, TooMany

__all__ = [
    "ChatBusy",
    "Conflict",
    "DomainError",
    "Forbidden",
    "Invalid",
    "ModelUnavailable",
    "NotFound",
    "ReplyRunning",
    "TooLarge",
    "TooMany",
    "Unavailable",
]


class ModelUnavailable(Invalid):
    """The model is missing, disabled, or not for this person: the three look alike."""

    code = "model_unavailable"
    message = "Model not available. Choose another model and send again."


class ReplyRunning(Conflict):
    code = "reply_running"
    message = "This message is still being written. Stop its reply first."


class ChatBusy(Conflict):
    code = "chat_busy"
    message = "An answer is still being written in this chat. Wait for it or stop it."


class Unavailable(DomainError):
    code = "unavailable"
    message = "The server is too busy for this right now. Nothing was changed; try again in a few seconds."
