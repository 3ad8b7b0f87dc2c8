"""Talking to AI models: wire formats, streams, errors. Pure async; knows nothing of Django or of rows."""
