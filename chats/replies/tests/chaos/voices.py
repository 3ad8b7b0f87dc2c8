"""How the provider of a scenario answers: most of the time as it should, the rest in every way it should not.

The first word of a prompt names the voice that answers it, so one model is enough and every answer is known beforehand.
"""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chats.llm.tests.fake_provider import Script, pieces_of

# Limits of the deployment that some voices go over.
SETTINGS = {"PROVIDER_FIRST_TOKEN_SECONDS": "3", "PROVIDER_SILENCE_SECONDS": "3", "PROVIDER_RETRIES": "1"}
FOREIGN = " Grüße, 日本語, 😀 und עברית."


@dataclass(frozen=True)
class Voice:
    """`script` and `text` of a prompt: what the provider does, and what is there in the end."""

    name: str
    script: Callable[[str], Script]
    text: Callable[[str], str]
    status: str = "completed"
    is_billed: bool = True  # the provider says what the answer used

    def paced(self, prompt: str, words_per_second: float) -> Script:
        return replace(self.script(prompt), tokens_per_second=words_per_second)


def echo(prompt: str) -> str:
    return f"Echo: {prompt}"


def _line(delta: dict[str, Any], *, finish_reason: str | None = None) -> bytes:
    body = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


def _split_utf8(prompt: str) -> Script:
    lines = [_line({"content": piece}) for piece in pieces_of(echo(prompt) + FOREIGN)]
    usage = {"prompt_tokens": 7, "completion_tokens": 7, "total_tokens": 14}
    last = _line({}, finish_reason="stop") + b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"
    return Script(raw=[*lines, last + b"data: [DONE]\n\n"], write_bytes=7)


def _with_chunks(*extra: str) -> Callable[[str], Script]:
    return lambda prompt: Script(chunks=[*pieces_of(echo(prompt)), *extra])


def _half(prompt: str) -> int:
    return len(pieces_of(echo(prompt))) // 2


def _first_half(prompt: str) -> str:
    return "".join(pieces_of(echo(prompt))[: _half(prompt)])


ECHO = Voice("echo", lambda _: Script(), echo)
HOSTILE: Sequence[Voice] = (
    Voice("split", _split_utf8, lambda prompt: echo(prompt) + FOREIGN),
    Voice("nul", _with_chunks(" a\x00b", "\x00"), lambda prompt: f"{echo(prompt)} a\ufffdb\ufffd"),
    Voice(
        "surrogates",
        _with_chunks(" \ud83d", "\ude00 and \ude00", " \ud83d"),
        lambda prompt: f"{echo(prompt)} 😀 and \ufffd \ufffd",
    ),
    Voice("megabyte", _with_chunks(" " + "x" * 900_000), lambda prompt: f"{echo(prompt)} " + "x" * 900_000),
    Voice("early", lambda _: Script(finish_reason=None, has_done=False), echo, "incomplete"),
    Voice("cut", lambda prompt: Script(drop_after=_half(prompt)), _first_half, "incomplete", is_billed=False),
    Voice("drip", lambda prompt: Script(flood_after=_half(prompt)), _first_half, "interrupted", is_billed=False),
    Voice("hang", lambda _: Script(hang=True), lambda _: "", "failed", is_billed=False),
)
VOICES = {voice.name: voice for voice in (ECHO, *HOSTILE)}


def choose(dice: random.Random, *, hostile: float) -> Voice:
    """A voice; with probability `hostile` one that misbehaves."""
    return dice.choice(HOSTILE) if dice.random() < hostile else ECHO


def voice_of(prompt: str) -> Voice:
    return VOICES.get(prompt.partition(" ")[0], ECHO)
