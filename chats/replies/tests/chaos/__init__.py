"""What breaks in production, done to real processes on purpose: `python -m chats.replies.tests.chaos --help`.

A scenario plays people who talk to a deployment of two nodes and a worker while something goes wrong, and writes
what it saw into a report. Afterwards one audit, the same for all, looks for whatever was lost, doubled or left over.
"""
