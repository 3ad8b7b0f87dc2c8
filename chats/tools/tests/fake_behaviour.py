"""What the fake MCP server can be told: its tools, how answers go wrong, and the writing of answers that go so."""

import asyncio
import json
import threading
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from http import HTTPStatus
from typing import Any

JSON = "application/json"
EVENTS = "text/event-stream"

_POLL_SECONDS = 0.002


def event(message: Mapping[str, Any]) -> bytes:
    """`message` as one event of a stream."""
    return b"event: message\ndata: " + json.dumps(message).encode() + b"\n\n"


def notification(method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, **({"params": params} if params is not None else {})}


# What a fault may flood with, or send raw.
PINGS = b": ping\n\n"
NOTICES = event(notification("notifications/message", {"level": "info", "data": "Still here"}))
RESUMABLE = b"id: 1\ndata:\n\n"  # an empty event with an id: a client may ask to resume after it


@dataclass(frozen=True, kw_only=True)
class Fault:
    """How an answer goes wrong. The first four groups come instead of it, the last changes what would be right."""

    hang: bool = False  # takes the request and never answers, or goes silent after `raw`
    drop: bool = False  # closes the connection instead of answering, or after `raw`
    drip_head: bool = False  # sends headers, one after the other, for ever

    status: int = 200
    body: bytes | str | Mapping[str, Any] | None = None  # the whole answer: a mapping is JSON, the rest HTML
    headers: Mapping[str, str] = field(default_factory=dict)  # of a right answer too

    raw: bytes | None = None  # the bytes of a stream of events, which then ends without an answer

    flood: bytes | None = None  # sends this for ever
    flood_type: str = EVENTS  # and says that it is of this type

    result: Mapping[str, Any] | None = None  # instead of the right one
    error: Mapping[str, Any] | None = None  # a JSON-RPC error, instead of a result
    is_id_wrong: bool = False
    padding_bytes: int = 0  # makes the result longer by so much, in a `_meta` that nobody asked for
    streams: bool | None = None  # answers in a stream of events (True) or in JSON (False); None: as the server does
    chunked: bool = False  # JSON that does not say its length beforehand
    gzip: bool = False  # compresses, although it was not asked to
    write_bytes: int = 0  # 0: each answer in one write, else in writes of so many bytes
    write_seconds: float = 0  # between two of these

    @property
    def is_instead(self) -> bool:
        """Whether it takes the place of an answer."""
        replaces = self.hang or self.drop or self.drip_head or self.status != HTTPStatus.OK
        return replaces or not (self.body is None and self.raw is None and self.flood is None)


def redirect(location: str, status: int = 307) -> Fault:
    return Fault(status=status, body="", headers={"Location": location})


@dataclass(frozen=True)
class FakeTool:
    """A tool, and how a call of it goes: notifications, questions, `seconds`, the gate, the result."""

    name: str
    description: str = ""
    _: KW_ONLY
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "object"})
    output_schema: Mapping[str, Any] | None = None
    title: str | None = None
    annotations: Mapping[str, Any] | None = None  # such as {"readOnlyHint": True}
    meta: Mapping[str, Any] | None = None
    entry: Mapping[str, Any] | None = None  # how it is listed, instead of by the fields above

    # What a call gives, or a function of its arguments: text, content blocks, or a mapping that is the whole result.
    run: Any = "Done"
    is_error: bool = False
    changes_tools: Sequence["FakeTool"] | None = None  # what the server's tools become in a call, which says so
    progress: Iterable[tuple[float, float | None, str | None]] = ()  # (progress, total, message), if it was asked for
    progress_seconds: float = 0  # after each of these
    asks: Sequence[tuple[str, Mapping[str, Any]]] = ()  # (method, params) of requests to the client; waits for answers
    seconds: float = 0
    gate: threading.Event | None = None  # waited for
    fault: Fault | None = None  # after the gate; None: what was ordered for "tools/call"
    heeds_cancel: bool = True  # stops when the client says that it cancels

    def listing(self) -> dict[str, Any]:
        """As tools/list has it."""
        if self.entry is not None:
            return dict(self.entry)
        optional = {"title": self.title, "outputSchema": self.output_schema}
        optional |= {"annotations": self.annotations, "_meta": self.meta}
        given = {name: value for name, value in optional.items() if value is not None}
        return {"name": self.name, "description": self.description, "inputSchema": self.schema, **given}

    def result(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """What a call with these arguments gives."""
        value = self.run(arguments) if callable(self.run) else self.run
        if isinstance(value, Mapping):
            return {"isError": self.is_error, **value}
        content = [{"type": "text", "text": value}] if isinstance(value, str) else list(value)
        return {"isError": self.is_error, "content": content}


@dataclass
class FaultyWriter:
    """Writes one answer of HTTP, with the fault there may be."""

    writer: asyncio.StreamWriter
    fault: Fault = field(default_factory=Fault)
    is_streaming: bool = False  # a body has begun
    is_finished: bool = False  # the last byte has gone to the system, though perhaps not to the client
    packer: Any = None  # compresses the stream

    async def go_wrong(self) -> bool:
        """Does what comes instead of an answer. Returns whether the connection may be used again."""
        fault = self.fault
        if fault.drip_head:
            await self._drip_head()
        if fault.flood is not None:
            await self._flood(fault.flood)
        if fault.raw is not None:
            await self.open(EVENTS)
            await self.send(fault.raw, is_last=not (fault.drop or fault.hang))
        if fault.hang:
            await asyncio.Event().wait()
        if fault.drop or fault.raw is not None:
            return not fault.drop
        return await self.whole(fault.status, fault.body)

    async def whole(
        self,
        status: int,
        body: bytes | str | Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bool:
        """Writes an answer that says its length. Returns whether the connection may be used again: yes."""
        if body is None:
            body = {"error": f"Scripted fault {status}"}
        kind = JSON if isinstance(body, Mapping) else "text/html"
        data = json.dumps(body) if isinstance(body, Mapping) else body
        raw = data.encode() if isinstance(data, str) else data
        if self.fault.gzip:
            raw = zlib.compress(raw, wbits=zlib.MAX_WBITS | 16)
        head = self._head(status, {"Content-Type": kind, "Content-Length": str(len(raw))}, headers)
        await self._write(head + raw, is_last=True)
        return True

    async def open(self, kind: str, headers: Mapping[str, str] | None = None) -> None:
        """Begins a body of unknown length, which `send` goes on with."""
        self.is_streaming = True
        if self.fault.gzip:
            self.packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
        await self._write(self._head(200, {"Content-Type": kind, "Transfer-Encoding": "chunked"}, headers))

    async def send(self, data: bytes, *, is_last: bool = False) -> None:
        if self.packer is not None:
            data = self.packer.compress(data) + self.packer.flush(zlib.Z_FINISH if is_last else zlib.Z_SYNC_FLUSH)
        await self._write(_chunk(data) + (b"0\r\n\r\n" if is_last else b""), is_last=is_last)

    async def _flood(self, data: bytes) -> None:
        await self.open(self.fault.flood_type)
        while True:
            await self.send(data)
            await asyncio.sleep(_POLL_SECONDS)

    async def _drip_head(self) -> None:
        await self._write(b"HTTP/1.1 200 Scripted\r\n")
        while True:
            await self._write(b"X-Wait: a little\r\n")
            await asyncio.sleep(10 * _POLL_SECONDS)  # or there would soon be more than any client takes

    async def _write(self, data: bytes, *, is_last: bool = False) -> None:
        size = self.fault.write_bytes or len(data) or 1
        for at in range(0, len(data), size):
            if at:
                await asyncio.sleep(self.fault.write_seconds)
            self.writer.write(data[at : at + size])
            self.is_finished = is_last and at + size >= len(data)
            await self.writer.drain()

    def _head(self, status: int, own: Mapping[str, str], headers: Mapping[str, str] | None) -> bytes:
        encoding = {"Content-Encoding": "gzip"} if self.fault.gzip else {}
        every = {**own, **encoding, **(headers or {}), **self.fault.headers}
        lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in every.items())]
        return "\r\n".join([*lines, "", ""]).encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
