"""Parley as a server of tools for other agents: MCP over streamable HTTP at `/mcp`. No request needs the one before.

The package `mcp` speaks the protocol (docs/adr/0008-parley-as-mcp-server.md). `server` and what it imports load it, so
they are loaded on first use; the rest of this room knows no more of it than that it is an ASGI application.
"""
