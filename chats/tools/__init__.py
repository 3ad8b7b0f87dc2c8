"""Tools over MCP: servers, what they offer, who may call it, and the calls themselves.

Knows nothing of chats: the agent loop and its approvals are in `chats.replies`.
"""
