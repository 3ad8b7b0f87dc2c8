"""The nouns of a conversation, one file each."""

from chats.models.chat import Chat, ChatTag
from chats.models.message import Message
from chats.models.reply import Reply
from chats.models.tool_call import ToolCall, ToolGrant

__all__ = ["Chat", "ChatTag", "Message", "Reply", "ToolCall", "ToolGrant"]
