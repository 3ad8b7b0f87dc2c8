"""Wiring only: settings, URLs, the ASGI application and system checks. Nothing imports this room."""
