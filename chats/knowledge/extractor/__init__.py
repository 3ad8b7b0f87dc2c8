"""Reads one file and ends: a process of its own, with little memory and time, that knows no settings and no database.

`chats.knowledge.extraction` starts it. What it reads may have been made to do harm; all it can harm is itself.
"""
