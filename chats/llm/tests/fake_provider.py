"""A provider to test against: a real HTTP server that speaks the OpenAI wire and misbehaves on order.

    provider = FakeProvider(); provider.start()
    provider.script("model-x", Script(text="Hello", drop_after=1))
    ... requests to provider.base_url with model "model-x" ...
    provider.reset()  # between tests
    provider.stop()

It runs on a thread with an event loop of its own. A model without a script answers "Echo: <last user message>".
"""

import asyncio
import contextlib
import json
import re
import threading
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

_PIECES = re.compile(r"\s*\S+|\s+")
_POLL_SECONDS = 0.002


@dataclass(frozen=True, kw_only=True)
class Script:
    """How one model answers. «n» below counts chunks of text; `chunks` default to the words of `text`."""

    text: str | None = None  # None: "Echo: <last user message>"
    chunks: Sequence[str] | None = None
    reasoning: Sequence[str] = ()
    reasoning_field: str = "reasoning_content"
    tool_calls: Sequence[tuple[str, str]] = ()  # (name, arguments as JSON text)
    usage: Any = "last"  # "last", "every" (in every chunk), None, or what to send in its place
    finish_reason: str | None = "stop"  # None: the stream ends without one
    has_done: bool = True  # whether [DONE] is sent

    first_token_seconds: float = 0
    tokens_per_second: float = 0  # 0: as fast as possible
    gate: threading.Event | None = None  # waited for after `gate_after` chunks
    gate_after: int = 0

    vector_of: Callable[[str], Sequence[float]] | None = None  # of a text; None: `vector_of_words`
    texts_max_words: int | None = None  # longer texts to /embeddings get a 400
    texts_max: int | None = None  # more texts at once too

    status: int = 200
    body: bytes | str | Mapping[str, Any] | None = None  # the whole answer, instead of a stream
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: Sequence[bytes] | None = None  # the bytes of the stream, written one by one, instead of chunks
    write_bytes: int = 0  # 0: each event in one write, else in writes of so many bytes
    gzip: bool = False  # compresses, although it was asked not to
    drip_head: bool = False  # sends headers, one after the other, for ever

    hang: bool = False  # takes the request and never answers
    drop_before: bool = False  # closes the connection instead of answering
    comments_only: bool = False  # a stream of `: ping` and nothing else
    flood_after: int | None = None  # sends `flood` for ever after n chunks
    flood: bytes = b": ping\n\n"
    flood_after_done: bool = False  # sends `flood` for ever after [DONE]
    stall_after: int | None = None  # falls silent after n chunks
    drop_after: int | None = None  # closes the connection after n chunks
    garbage_after: int | None = None  # sends `garbage` after n chunks
    garbage: bytes = b"data: {this is not JSON\n\n"
    error_after: int | None = None  # sends `error` inside the stream after n chunks
    error: Mapping[str, Any] = field(default_factory=lambda: {"message": "The engine is on fire", "code": 500})

    def pieces(self, echo: str) -> list[str]:
        """The chunks of text this script sends to someone who said `echo`."""
        if self.chunks is not None:
            return list(self.chunks)
        return pieces_of(f"Echo: {echo}" if self.text is None else self.text)


def pieces_of(text: str) -> list[str]:
    """`text` in words, each with the blanks before it; together they are `text` again."""
    return _PIECES.findall(text)


@dataclass(frozen=True)
class Received:
    """One request as it came; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


class FakeProvider:
    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._host, self._port = host, port
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fake-provider", daemon=True)
        self._ready = threading.Event()
        self._halt = asyncio.Event()
        self._handlers: set[asyncio.Task[None]] = set()
        self._forget()

    # ------------------------------------------------------------ for tests
    def start(self) -> "FakeProvider":
        self._thread.start()
        self._ready.wait(10)
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._halt.set)
        self._thread.join(10)

    def reset(self) -> None:
        """As new: no scripts, no key, nothing recorded; answers still under way are cut."""
        asyncio.run_coroutine_threadsafe(self._cut_all(), self._loop).result(10)
        with self._changed:
            self._forget()

    def script(self, model: str, script: Script) -> None:
        self._scripts[model] = script

    def script_by(self, choose: Callable[[str], Script]) -> None:
        """From now on a model without a script of its own answers as `choose` says of the last user message."""
        self._choose = choose

    def answer_by(self, choose: Callable[[Any], Script]) -> None:
        """As `script_by`, by the whole body of the request: what it has of tools, say."""
        self._choose_by_body = choose

    def embed_by(self, choose: Callable[[list[str]], Script]) -> None:
        """From now on calls of /embeddings are answered as `choose` says of their texts."""
        self.choose_embeddings = choose

    def require_key(self, key: str) -> None:
        """From now on answer 401 to whoever does not bring this bearer key."""
        self._key = key

    @property
    def base_url(self) -> str:
        return f"http://{self._host}:{self._port}/v1"

    def wait_closed(self, count: int = 1, timeout: float = 5) -> bool:
        """Whether clients have hung up on at least `count` answers under way; waits up to `timeout` seconds."""
        return self._wait_for(lambda: self.closed >= count, timeout)

    def wait_requests(self, count: int = 1, timeout: float = 5) -> bool:
        """Whether at least `count` requests have come; waits up to `timeout` seconds."""
        return self._wait_for(lambda: len(self.requests) >= count, timeout)

    def wait_silent(self, prompt: str, timeout: float = 5) -> bool:
        """Whether no answer to this user message is under way; waits up to `timeout` seconds."""
        return self._wait_for(lambda: self.under_way[prompt] == 0, timeout)

    def wait_idle(self, timeout: float = 5) -> bool:
        """Whether no answer is under way; waits up to `timeout` seconds."""
        return self._wait_for(lambda: self.active == 0, timeout)

    # ------------------------------------------------------------ the thread
    def _forget(self) -> None:
        self._scripts: dict[str, Script] = {}
        self._choose: Callable[[str], Script] = lambda _: Script()
        self._choose_by_body: Callable[[Any], Script] | None = None
        self.choose_embeddings: Callable[[list[str]], Script] | None = None
        self._key = ""
        self.models = ["fake-large", "fake-small"]  # what GET /models lists
        self.models_script: Script | None = None  # answers GET /models instead, with its status, body and headers
        self.requests: list[Received] = []
        self.connections = 0  # TCP connections accepted
        self.active = 0  # answers under way
        self.under_way: Counter[str] = Counter()  # the same by the user message they answer
        self.closed = 0  # answers under way on which the client hung up

    def _wait_for(self, is_so: Callable[[], bool], timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(is_so, timeout)

    @contextlib.contextmanager
    def _change(self) -> Any:
        with self._changed:
            yield
            self._changed.notify_all()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, self._host, self._port)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._halt.wait()
        server.close()
        await self._cut_all()

    async def _cut_all(self) -> None:
        handlers = list(self._handlers)
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        with self._change():
            self.connections += 1
        try:
            while (request := await _read_request(reader)) is not None:
                if not await self._answer(request, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()  # cut by reset() or stop(): nobody waits for this task's end
        finally:
            self._handlers.discard(task)
            writer.close()

    async def _answer(self, request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answers one request. Returns whether the connection stays open."""
        prompt = last_user_text(request.body)
        with self._change():
            self.requests.append(request)
            self.active += 1
            self.under_way[prompt] += 1
        work = asyncio.create_task(_Answer(self, request, writer).send())
        hang_up = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait({work, hang_up}, return_when=asyncio.FIRST_COMPLETED)
            gone = not work.done() or isinstance(work.exception(), ConnectionError)
            with self._change():
                self.closed += gone
                self.active -= 1
                self.under_way[prompt] -= 1
            return not gone and work.result()
        finally:
            for task in (work, hang_up):
                task.cancel()
            await asyncio.gather(work, hang_up, return_exceptions=True)

    def script_of(self, request: Received) -> Script:
        model = request.body.get("model") if isinstance(request.body, dict) else None
        if script := self._scripts.get(str(model)):
            return script
        return (
            self._choose_by_body(request.body) if self._choose_by_body else self._choose(last_user_text(request.body))
        )

    def lets_in(self, request: Received) -> bool:
        return not self._key or request.headers.get("authorization") == f"Bearer {self._key}"


async def _read_request(reader: asyncio.StreamReader) -> Received | None:
    head = await _read_head(reader)
    if not head:
        return None
    first, *rest = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest if line)}
    raw = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(method, path, headers, json.loads(raw) if raw else None)


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


@dataclass
class _Answer:
    """One answer on its way."""

    provider: FakeProvider
    request: Received
    writer: asyncio.StreamWriter
    is_dropped: bool = False
    packer: Any = None  # compresses the stream
    write_bytes: int = 0

    async def send(self) -> bool:
        """Returns whether the connection may be used again."""
        if not self.provider.lets_in(self.request):
            return await self._whole(401, _error("Incorrect API key provided", "invalid_api_key"))
        path = self.request.path.partition("?")[0]
        if path == "/v1/models" and (script := self.provider.models_script):
            return await self._whole(script.status, script.body, script.headers)
        if path == "/v1/models":
            return await self._whole(200, {"object": "list", "data": [{"id": m} for m in self.provider.models]})
        if path == "/v1/chat/completions":
            return await self._completion(self.provider.script_of(self.request))
        if path == "/v1/embeddings":
            choose = self.provider.choose_embeddings or (lambda _: self.provider.script_of(self.request))
            return await self._embeddings(choose(self.request.body["input"]))
        return await self._whole(404, _error(f"No such route: {path}", "not_found"))

    async def _completion(self, script: Script) -> bool:
        if script.drop_before:
            return False
        await self._wait(script)
        if script.body is not None or script.status != HTTPStatus.OK:
            return await self._whole(script.status, script.body, script.headers)
        if not self.request.body.get("stream"):
            return await self._whole(200, self._completion_object(script))
        return await self._stream(script)

    async def _wait(self, script: Script) -> None:
        if script.hang:
            await asyncio.Event().wait()
        if script.drip_head:
            await self._drip_head()
        await self._pass_gate(script, 0)
        await asyncio.sleep(script.first_token_seconds)

    async def _embeddings(self, script: Script) -> bool:
        if script.drop_before:
            return False
        await self._wait(script)
        if script.body is not None or script.status != HTTPStatus.OK:
            return await self._whole(script.status, script.body, script.headers)
        texts = self.request.body["input"]
        words = [len(text.split()) for text in texts]
        if script.texts_max_words is not None and max(words) > script.texts_max_words:
            return await self._whole(400, _error("This input is longer than the model reads.", "invalid_request_error"))
        if script.texts_max is not None and len(texts) > script.texts_max:
            return await self._whole(422, _error("These are too many inputs at once.", "invalid_request_error"))
        vector_of = script.vector_of or vector_of_words
        data = [
            {"object": "embedding", "index": index, "embedding": list(vector_of(text))}
            for index, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": sum(words), "total_tokens": sum(words)} if script.usage == "last" else script.usage
        return await self._whole(200, {"object": "list", "data": data, "usage": usage})

    async def _whole(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> bool:
        if body is None:
            body = _error(f"Scripted fault {status}", "server_error")
        kind = "application/json" if isinstance(body, Mapping) else "text/html"
        data = json.dumps(body) if isinstance(body, Mapping) else body
        raw = data.encode() if isinstance(data, str) else data
        await self._write(
            _head(status, {"Content-Type": kind, "Content-Length": str(len(raw)), **(headers or {})}) + raw
        )
        return True

    # ------------------------------------------------------------ streams
    async def _stream(self, script: Script) -> bool:
        self.write_bytes = script.write_bytes
        kind = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}
        if script.gzip:
            kind["Content-Encoding"] = "gzip"
            self.packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
        await self._write(_head(200, {**kind, **script.headers}))
        if script.comments_only:
            await self._flood(script)
        if script.raw is not None:
            await self._each(script.raw, script, self._raw)
            return await self._finish(b"")
        await self._event(script, {"role": "assistant", "content": ""})
        for thought in script.reasoning:
            await self._event(script, {script.reasoning_field: thought})
        await self._each(
            script.pieces(last_user_text(self.request.body)), script, lambda p: self._event(script, {"content": p})
        )
        if self.is_dropped:
            return False
        await self._tools(script)
        return await self._end(script)

    async def _each(self, items: Sequence[Any], script: Script, send: Callable[[Any], Awaitable[None]]) -> None:
        for n, item in enumerate(items):
            if await self._misbehave(script, n):
                return
            await send(item)
            if script.tokens_per_second:
                await asyncio.sleep(1 / script.tokens_per_second)
        await self._misbehave(script, len(items))

    async def _misbehave(self, script: Script, n: int) -> bool:
        """Does what the script orders after `n` chunks. Returns whether the connection is to be dropped."""
        if n:
            await self._pass_gate(script, n)
        if script.stall_after == n:
            await asyncio.Event().wait()
        if script.flood_after == n:
            await self._flood(script)
        if script.garbage_after == n:
            await self._raw(script.garbage)
        if script.error_after == n:
            await self._raw(_data({"error": dict(script.error)}))
        self.is_dropped = script.drop_after == n
        return self.is_dropped

    async def _pass_gate(self, script: Script, n: int) -> None:
        # Polled, because the gate belongs to another thread and a thread that waits for it could not be cancelled.
        while script.gate is not None and script.gate_after == n and not script.gate.is_set():  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)

    async def _flood(self, script: Script) -> None:
        while True:
            await self._raw(script.flood)
            await asyncio.sleep(_POLL_SECONDS)

    async def _drip_head(self) -> None:
        await self._write(b"HTTP/1.1 200 Scripted\r\n")
        while True:
            await self._write(b"X-Wait: a little\r\n")
            await asyncio.sleep(10 * _POLL_SECONDS)  # or there would soon be more than any client takes

    async def _tools(self, script: Script) -> None:
        for index, (name, arguments) in enumerate(script.tool_calls):
            call = {
                "index": index,
                "id": f"call_{index}",
                "type": "function",
                "function": {"name": name, "arguments": ""},
            }
            await self._event(script, {"tool_calls": [call]})
            for at in range(0, len(arguments), 6):
                piece = {"index": index, "function": {"arguments": arguments[at : at + 6]}}
                await self._event(script, {"tool_calls": [piece]})

    async def _end(self, script: Script) -> bool:
        if script.finish_reason is not None:
            await self._event(script, {}, finish_reason=script.finish_reason)
        if script.usage not in (None, "every"):
            await self._raw(_data({"choices": [], "usage": self.usage(script)}))
        if script.flood_after_done:
            await self._raw(b"data: [DONE]\n\n")
            await self._flood(script)
        return await self._finish(b"data: [DONE]\n\n" if script.has_done else b"")

    async def _finish(self, last: bytes) -> bool:
        if not self.is_dropped:
            await self._write(_chunk(self._packed(last, zlib.Z_FINISH)) + b"0\r\n\r\n")
        return not self.is_dropped

    async def _event(self, script: Script, delta: Mapping[str, Any], *, finish_reason: str | None = None) -> None:
        usage = self.usage(script) if script.usage == "every" else None
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        await self._raw(_data({"object": "chat.completion.chunk", "choices": [choice], "usage": usage}))

    async def _raw(self, data: bytes) -> None:
        data = self._packed(data, zlib.Z_SYNC_FLUSH)
        size = self.write_bytes or len(data) or 1
        for at in range(0, len(data), size):
            await self._write(_chunk(data[at : at + size]))

    def _packed(self, data: bytes, flush: int) -> bytes:
        return data if self.packer is None else self.packer.compress(data) + self.packer.flush(flush)

    async def _write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    # ------------------------------------------------------------ contents

    def usage(self, script: Script) -> Any:
        return usage_of(self.request.body, script) if script.usage in ("last", "every") else script.usage

    def _completion_object(self, script: Script) -> dict[str, Any]:
        message = {"role": "assistant", "content": "".join(script.pieces(last_user_text(self.request.body)))}
        choice = {"index": 0, "message": message, "finish_reason": script.finish_reason}
        return {"object": "chat.completion", "choices": [choice], "usage": self.usage(script)}


def vector_of_words(text: str) -> list[float]:
    """Near that of a text with the same words."""
    vector = [0.01] * 64
    for word in re.findall(r"\w+", text.lower()):
        vector[zlib.crc32(word.encode()) % 64] += 1.0
    return vector


def last_user_text(body: Any) -> str:
    messages = body.get("messages", []) if isinstance(body, Mapping) else []
    said = [m["content"] for m in messages if m.get("role") == "user"]
    return str(said[-1]) if said else ""


def usage_of(body: Mapping[str, Any], script: Script) -> dict[str, Any]:
    """What a script bills for the request `body`: a token a word of input, a token a chunk of output."""
    messages = body.get("messages", [])
    said = [str(m["content"]) for m in messages if m.get("role") == "user"]
    spent_in = max(1, sum(len(str(m.get("content") or "").split()) for m in messages))
    thought = len(script.reasoning)
    spent_out = len(script.pieces(said[-1] if said else "")) + thought + sum(len(a) for _, a in script.tool_calls)
    return {
        "prompt_tokens": spent_in,
        "completion_tokens": spent_out,
        "total_tokens": spent_in + spent_out,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }


def _error(message: str, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": code, "code": code}}


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def _data(value: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
