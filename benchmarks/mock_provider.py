"""A provider to measure against: streams chat completions at an exact pace, with as little work as possible.

    python -m benchmarks.mock_provider PORT

The model's name says what comes: `paced-200-50` answers 200 tokens at 50 a second. Who says `call NAME` has that tool
called with ARGUMENTS, and then reads its result.
"""

import asyncio
import json
import re
import sys

import uvloop

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
MODEL = re.compile(rb'"model":\s*"paced-(\d+)-(\d+)"')
CALL = re.compile(rb'"content":\s*"call (\w+)"')
RESULT = re.compile(rb'"role":\s*"tool",\s*"content":\s*"((?:[^"\\]|\\.)*)"')
ARGUMENTS = {"a": 2, "b": 3}
LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
# Not only ASCII: a server that cuts a character in two must be found out.
WORDS = (" the", " quick", " brown", " Füchse", " jump", " über", " 懶", " dogs", ".\n", " 🦊")


def text_of(tokens: int) -> str:
    """The answer of this many tokens."""
    return "".join(token(number) for number in range(tokens))


def token(number: int) -> str:
    return WORDS[number % len(WORDS)] + (str(number) if number % 7 == 0 else "")


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(head)
        body = await reader.readexactly(int(length[1]) if length else 0)
        writer.write(HEAD)
        if result := RESULT.search(body):
            end(writer, {"content": result[1].decode()}, "stop")
        elif call := CALL.search(body):
            function = {"name": call[1].decode(), "arguments": json.dumps(ARGUMENTS)}
            end(
                writer,
                {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]},
                "tool_calls",
            )
        else:
            wanted = MODEL.search(body)
            tokens, per_second = (int(wanted[1]), int(wanted[2])) if wanted else (1, 1000)
            await stream(writer, tokens=tokens, per_second=per_second)
        await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def stream(writer: asyncio.StreamWriter, *, tokens: int, per_second: int) -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    for number in range(tokens):
        # Against the start, so that a late token does not delay those after it.
        await asyncio.sleep(start + number / per_second - loop.time())
        say(writer, {"content": token(number)})
    end(writer, {}, "stop", tokens=tokens)


def say(writer: asyncio.StreamWriter, delta: dict[str, object], finish_reason: str | None = None) -> None:
    send(writer, {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})


def end(writer: asyncio.StreamWriter, delta: dict[str, object], finish_reason: str, *, tokens: int = 1) -> None:
    say(writer, delta, finish_reason)
    usage = {"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": tokens + 10}
    send(writer, {"choices": [], "usage": usage})
    chunk(writer, b"data: [DONE]\n\n")
    writer.write(b"0\r\n\r\n")


def send(writer: asyncio.StreamWriter, event: dict[str, object]) -> None:
    event = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": "paced", **event}
    chunk(writer, b"data: " + json.dumps(event).encode() + b"\n\n")


def chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


async def main(port: int) -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
