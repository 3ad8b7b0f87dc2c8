"""Signing in to servers of tools (OAuth 2.1, as MCP has it): each person for themselves, also where a server is shared.

`wire` is the only module that talks to authorization servers, `rows` the only one that reads and writes rows; `flow`
and `tokens` go between them. Every address that metadata names was chosen by a stranger: all go through the one guard.
"""
