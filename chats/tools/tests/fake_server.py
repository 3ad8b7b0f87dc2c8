"""An MCP server to test against: real HTTP that speaks MCP's streamable wire and misbehaves on order.

    server = FakeMcpServer(); server.start()
    server.tools = [FakeTool("add", run=lambda arguments: str(arguments["a"] + arguments["b"]))]
    server.order("tools/list", Fault(status=502, body="<h1>Bad gateway</h1>"), times=1)
    ... an MCP client talks to server.url ...
    server.reset()  # between tests
    server.stop()

It runs on a thread with an event loop of its own, and speaks the era of the handshake: `initialize` at protocol
2025-06-18, while `server/discover` is a method it does not know.
https://modelcontextprotocol.io/specification/2025-06-18/basic/transports
"""

import asyncio
import contextlib
import itertools
import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chats.llm.tests.fake_provider import Received
from chats.tools.tests.fake_behaviour import EVENTS, JSON, FakeTool, Fault, FaultyWriter, event, notification

LIST_CHANGED = "notifications/tools/list_changed"
METHOD_NOT_FOUND, INVALID_PARAMS, CANCELLED = -32601, -32602, -32800
_POLL_SECONDS = 0.002


class FakeMcpServer:
    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._host, self._port = host, port
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fake-mcp-server", daemon=True)
        self._ready = threading.Event()
        self._halt = asyncio.Event()
        self._handlers: set[asyncio.Task[None]] = set()
        self._forget()

    # ------------------------------------------------------------ for tests
    def start(self) -> "FakeMcpServer":
        self._thread.start()
        self._ready.wait(10)
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._halt.set)
        self._thread.join(10)

    def reset(self) -> None:
        """As new: no tools, no orders, no sessions, nothing recorded; answers still under way are cut."""
        asyncio.run_coroutine_threadsafe(self._cut_all(), self._loop).result(10)
        with self._changed:
            self._forget()

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._port}/mcp"

    def order(self, place: str, fault: Fault, *, times: int | None = None) -> None:
        """From now on go wrong at `place`, for so many requests, or (None) until it is ordered something else.

        A place is "connect" (each TCP connection; it can hang or drop), "*" (each request), a path such as "/mcp", a
        method of HTTP or one of JSON-RPC, such as "tools/list". `Fault()` is no fault.
        """
        self._orders[place] = itertools.repeat(fault) if times is None else itertools.repeat(fault, times)

    def require_header(self, name: str, value: str, *, challenge: str = "Bearer") -> None:
        """From now on answer 401, with that WWW-Authenticate, to whoever does not bring this header."""
        self._required[name.lower()] = (value, challenge)

    def require_token(self, is_good: Callable[[str], bool] | None, *, challenge: str = "Bearer") -> None:
        """From now on answer 401, with that WWW-Authenticate, to whoever brings no bearer token that `is_good`.

        None: let everybody in.
        """
        self._token = (is_good, challenge) if is_good else None

    def forget_sessions(self) -> None:
        """From now on answer 404 to the sessions there are, as after a restart."""
        self.sessions.clear()

    def notify(self, method: str = LIST_CHANGED, params: Mapping[str, Any] | None = None) -> None:
        """Sends a notification to everyone who listens, which only those can whom `listens` lets GET."""
        for queue in list(self._listeners):
            self._loop.call_soon_threadsafe(queue.put_nowait, notification(method, params))

    def received(self, method: str) -> list[Received]:
        """The requests that came with this method of JSON-RPC, in order."""
        return [request for request in list(self.requests) if rpc_method(request.body) == method]

    def wait_calls(self, name: str, count: int = 1, timeout: float = 5) -> bool:
        """Whether at least `count` calls of this tool have come; waits up to `timeout` seconds."""
        return self._wait_for(lambda: self.calls[name] >= count, timeout)

    def wait_cancelled(self, count: int = 1, timeout: float = 5) -> bool:
        """Whether at least `count` calls were cancelled by their clients; waits up to `timeout` seconds."""
        return self._wait_for(lambda: len(self.cancelled) >= count, timeout)

    def wait_closed(self, count: int = 1, timeout: float = 5) -> bool:
        """Whether clients have hung up on at least `count` answers under way; waits up to `timeout` seconds."""
        return self._wait_for(lambda: self.closed >= count, timeout)

    def wait_requests(self, count: int = 1, timeout: float = 5, *, method: str | None = None) -> bool:
        """Whether at least `count` requests have come, with this method of JSON-RPC; waits up to `timeout` seconds."""
        return self._wait_for(lambda: len(self.requests if method is None else self.received(method)) >= count, timeout)

    def wait_listening(self, count: int = 1, timeout: float = 5) -> bool:
        """Whether at least `count` clients listen to what `notify` says; waits up to `timeout` seconds."""
        return self._wait_for(lambda: len(self._listeners) >= count, timeout)

    def wait_idle(self, timeout: float = 5) -> bool:
        """Whether no answer to a POST is under way; waits up to `timeout` seconds."""
        return self._wait_for(lambda: self.active == 0, timeout)

    # ------------------------------------------------------------ for its answers
    def take_fault(self, *places: str) -> Fault | None:
        """What was ordered for the first of these places that has an order left."""
        orders = (self._orders.get(place, iter(())) for place in places)
        return next(itertools.chain.from_iterable(orders), None)

    def refusal(self, request: Received) -> tuple[int, Mapping[str, str]] | None:
        """Why a request is not let in, as the status and headers of the answer."""
        for name, (value, challenge) in self._required.items():
            if request.headers.get(name) != value:
                return 401, {"WWW-Authenticate": challenge}
        if self._token is not None:
            kind, _, token = request.headers.get("authorization", "").partition(" ")
            if kind != "Bearer" or not self._token[0](token):
                return 401, {"WWW-Authenticate": self._token[1]}
        if not self.has_sessions or rpc_method(request.body) in ("initialize", "server/discover"):
            return None
        session = request.headers.get("mcp-session-id")
        if session in self.sessions:
            return None
        return 404 if session else 400, {}

    @contextlib.contextmanager
    def change(self) -> Iterator[None]:
        """Whoever waits for something looks again after this."""
        with self._changed:
            yield
            self._changed.notify_all()

    @contextlib.contextmanager
    def listener(self) -> Iterator[asyncio.Queue[dict[str, Any]]]:
        """What one client who listens is to be told."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        with self.change():
            self._listeners.append(queue)
        try:
            yield queue
        finally:
            with self.change():
                self._listeners.remove(queue)

    # ------------------------------------------------------------ the thread
    def _forget(self) -> None:
        self._orders: dict[str, Iterator[Fault]] = {}
        self._required: dict[str, tuple[str, str]] = {}
        self._token: tuple[Callable[[str], bool], str] | None = None
        self._listeners: list[asyncio.Queue[dict[str, Any]]] = []

        self.tools: Sequence[FakeTool] = []
        self.page_size: int | None = None  # tools in a page of the list; None: all
        self.endless_pages = ""  # each page names a next one: a "new" one, or the "same"
        self.streams = True  # answers in streams of events, as most servers do, else in JSON where that is possible
        self.listens = False  # lets clients GET a stream for what `notify` says, else answers 405
        self.has_sessions = True  # gives a session in the handshake and wants it back
        self.protocol_version = "2025-06-18"
        self.capabilities: Mapping[str, Any] = {"tools": {"listChanged": True}}
        self.instructions: str | None = None

        self.sessions: set[str] = set()
        self.running: dict[tuple[str, Any], _Answer] = {}  # by session and id of the request
        self.asked: dict[str, asyncio.Future[None]] = {}  # what clients have yet to answer, by id

        self.requests: list[Received] = []
        self.calls: Counter[str] = Counter()  # by name, once they have arrived and were let in
        self.called: list[tuple[str, Any]] = []  # the same as (name, arguments)
        self.cancelled: list[Any] = []  # ids of requests that were cancelled, or hung up on while they ran
        self.replies: list[dict[str, Any]] = []  # what clients answered to what tools asked, as it came
        self.connections = 0  # TCP connections accepted
        self.active = 0  # answers to a POST under way
        self.closed = 0  # answers to a POST under way on which the client hung up

    def _wait_for(self, is_so: Callable[[], bool], timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(is_so, timeout)

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
        with self.change():
            self.connections += 1
        try:
            await _Connection(self, reader, writer).serve()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()  # cut by reset() or stop(): nobody waits for this task's end
        finally:
            self._handlers.discard(task)
            writer.close()


@dataclass
class _Connection:
    """One TCP connection and the requests on it, one after the other."""

    server: FakeMcpServer
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    early: bytes = b""  # what came of a request while the one before it was being finished

    async def serve(self) -> None:
        fault = self.server.take_fault("connect") or Fault()
        if fault.hang:
            await self.reader.read()
            with self.server.change():
                self.server.closed += 1
        is_open = not (fault.hang or fault.drop)
        while is_open:
            is_open = await self._answer(await self._request())

    async def _request(self) -> Received:
        """The next request. Raises IncompleteReadError if there is none."""
        head = self.early + await self.reader.readuntil(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest if line)}
        raw = await self.reader.readexactly(int(headers.get("content-length", 0)))
        is_json = headers.get("content-type", "").startswith(JSON)
        return Received(method, path, headers, json.loads(raw) if raw and is_json else raw.decode() or None)

    async def _answer(self, request: Received) -> bool:
        """Answers one request. Returns whether the connection stays open."""
        counts = request.method == "POST"
        with self.server.change():
            self.server.requests.append(request)
            self.server.active += counts
        answer = _Answer(self.server, request, FaultyWriter(self.writer))
        work = asyncio.create_task(answer.send())
        next_byte = asyncio.create_task(self.reader.read(1))
        try:
            await asyncio.wait({work, next_byte}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done() and (answer.wire.is_finished or _has_come(next_byte)):
                await asyncio.wait({work})
            gone = not work.done() or isinstance(work.exception(), ConnectionError)
            with self.server.change():
                self.server.closed += gone and counts
                self.server.active -= counts
                self.server.cancelled += [answer.id] if gone and answer.is_running else []
            return not gone and work.result()
        finally:
            for task in (work, next_byte):
                task.cancel()
            _, early = await asyncio.gather(work, next_byte, return_exceptions=True)
            # A fast client may send its next request before this one's byte is no longer waited for.
            self.early = early if isinstance(early, bytes) else b""


@dataclass
class _Answer:
    """One answer on its way."""

    server: FakeMcpServer
    request: Received
    wire: FaultyWriter

    def __post_init__(self) -> None:
        self.body: Mapping[str, Any] = self.request.body if isinstance(self.request.body, Mapping) else {}
        self.path = self.request.path.partition("?")[0]
        self.method = rpc_method(self.body)
        self.id = self.body.get("id")
        self.params: Mapping[str, Any] = self.body.get("params") or {}
        self.session = self.request.headers.get("mcp-session-id", "")
        self.tool: FakeTool | None = None  # that is called
        self.work: asyncio.Task[bool] | None = None  # what a call waits for
        self.is_cancelled = False

    @property
    def is_running(self) -> bool:
        """Whether it answers a call that the client has not cancelled."""
        return self.method == "tools/call" and not self.is_cancelled

    async def send(self) -> bool:
        """Returns whether the connection may be used again."""
        if self.is_endpoint and (refusal := self.server.refusal(self.request)):
            return await self.wire.whole(refusal[0], headers=refusal[1])
        fault = self.server.take_fault("*", self.path, self.request.method, self.method)
        if self.method != "tools/call":
            return await self._obey(fault)
        self._note_call()
        key = (self.session, self.id)
        self.server.running[key] = self
        try:
            return await self._obey((self.tool and self.tool.fault) or fault)
        finally:
            if self.server.running.get(key) is self:
                del self.server.running[key]

    @property
    def is_endpoint(self) -> bool:
        return self.path.rstrip("/") == "/mcp"

    async def _obey(self, fault: Fault | None) -> bool:
        self.wire.fault = fault or Fault()
        if not self.wire.fault.is_instead:
            return await self._go_right()
        if self.tool is not None:
            await self._wait(self.tool)
        return await self.wire.go_wrong()

    async def _go_right(self) -> bool:
        if not self.is_endpoint:
            return await self.wire.whole(404)
        if self.request.method == "GET":
            return await self._listen()
        if self.request.method == "DELETE":
            self.server.sessions.discard(self.session)
            return await self.wire.whole(200, b"")
        return await self._respond_to_method() if self.method and "id" in self.body else await self._take_note()

    async def _take_note(self) -> bool:
        """Takes what wants no answer: a notification, or what the client answers to a request of ours."""
        if self.method == "notifications/cancelled":
            self._cancel(self.params.get("requestId"))
        if not self.method:
            with self.server.change():
                self.server.replies.append(dict(self.body))
            if asked := self.server.asked.pop(str(self.id), None):
                asked.set_result(None)
        return await self.wire.whole(202, b"")

    def _cancel(self, request_id: Any) -> None:
        answer = self.server.running.get((self.session, request_id))
        with self.server.change():
            self.server.cancelled.append(request_id)
        if answer is not None:
            answer.is_cancelled = True
        if answer is not None and answer.work is not None and answer.tool is not None and answer.tool.heeds_cancel:
            answer.work.cancel()

    async def _listen(self) -> bool:
        if not self.server.listens:
            return await self.wire.whole(405, headers={"Allow": "POST, DELETE"})
        await self.wire.open(EVENTS)
        with self.server.listener() as queue:
            while True:
                await self.wire.send(event(await queue.get()))

    # ------------------------------------------------------------ methods
    async def _respond_to_method(self) -> bool:
        if self.method == "initialize":
            return await self._initialize()
        if self.method == "ping":
            return await self._respond({})
        if self.method == "tools/list":
            return await self._respond(self._page())
        if self.method == "tools/call" and self.tool is not None:
            return await self._call(self.tool)
        if self.method == "tools/call":
            return await self._fail(INVALID_PARAMS, f"Unknown tool: {self.params.get('name')}")
        return await self._fail(METHOD_NOT_FOUND, f"Method not found: {self.method}")

    async def _initialize(self) -> bool:
        server = self.server
        result = {
            "protocolVersion": server.protocol_version,
            "capabilities": server.capabilities,
            "serverInfo": {"name": "fake", "version": "1"},
            **({"instructions": server.instructions} if server.instructions is not None else {}),
        }
        if not server.has_sessions:
            return await self._respond(result)
        server.sessions.add(session := uuid.uuid4().hex)
        return await self._respond(result, {"Mcp-Session-Id": session})

    def _page(self) -> dict[str, Any]:
        server = self.server
        tools = list(server.tools)
        start = int(self.params.get("cursor") or 0)
        end = start + (server.page_size or max(1, len(tools)))
        page: dict[str, Any] = {"tools": [tool.listing() for tool in tools[start:end]]}
        if server.endless_pages == "same":
            end = start
        if end < len(tools) or server.endless_pages:
            page["nextCursor"] = str(end)
        return page

    # ------------------------------------------------------------ calls
    def _note_call(self) -> None:
        name = str(self.params.get("name"))
        self.tool = next((tool for tool in self.server.tools if tool.name == name), None)
        with self.server.change():
            self.server.calls[name] += 1
            self.server.called.append((name, self.params.get("arguments")))

    async def _call(self, tool: FakeTool) -> bool:
        self.work = asyncio.create_task(self._perform(tool))
        try:
            return await self.work
        except asyncio.CancelledError:
            if not (self.is_cancelled and tool.heeds_cancel):
                raise
            return await self._fail(CANCELLED, "Request cancelled")

    async def _perform(self, tool: FakeTool) -> bool:
        if self._streams:
            await self.wire.open(EVENTS)
        if tool.changes_tools is not None:
            self.server.tools = tool.changes_tools
            await self._tell(notification(LIST_CHANGED))
        token = (self.params.get("_meta") or {}).get("progressToken")
        for progress, total, message in tool.progress if token is not None else ():
            step = {"progressToken": token, "progress": progress, "total": total, "message": message}
            given = {name: value for name, value in step.items() if value is not None}
            await self._tell(notification("notifications/progress", given))
            await asyncio.sleep(tool.progress_seconds)
        for method, params in tool.asks:
            await self._ask(method, params)
        await self._wait(tool)
        return await self._respond(tool.result(dict(self.params.get("arguments") or {})))

    async def _ask(self, method: str, params: Mapping[str, Any]) -> None:
        """Asks the client something and waits until it answers."""
        ask_id = f"ask-{uuid.uuid4().hex}"
        self.server.asked[ask_id] = answered = asyncio.get_running_loop().create_future()
        await self._tell({**notification(method, params), "id": ask_id})
        await answered

    async def _wait(self, tool: FakeTool) -> None:
        await asyncio.sleep(tool.seconds)
        # Polled, because the gate belongs to another thread and a thread that waits for it could not be cancelled.
        while tool.gate is not None and not tool.gate.is_set():  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)

    # ------------------------------------------------------------ the wire
    async def _fail(self, code: int, message: str) -> bool:
        return await self._finish({"error": {"code": code, "message": message}})

    async def _respond(self, result: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> bool:
        fault = self.wire.fault
        if fault.error is not None:
            return await self._finish({"error": fault.error}, headers)
        result = dict(result if fault.result is None else fault.result)
        if fault.padding_bytes:
            result["_meta"] = {"padding": "x" * fault.padding_bytes}
        return await self._finish({"result": result}, headers)

    @property
    def _streams(self) -> bool:
        return self.server.streams if self.wire.fault.streams is None else self.wire.fault.streams

    async def _finish(self, outcome: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> bool:
        wire, fault = self.wire, self.wire.fault
        message = {"jsonrpc": "2.0", "id": "nobody-asked" if fault.is_id_wrong else self.id, **outcome}
        is_event = wire.is_streaming or self._streams
        if not (is_event or fault.chunked):
            return await wire.whole(200, message, headers)
        if not wire.is_streaming:
            await wire.open(EVENTS if is_event else JSON, headers)
        # The end of the body goes with the answer: a client has no reason to stay for more.
        await wire.send(event(message) if is_event else json.dumps(message).encode(), is_last=True)
        return True

    async def _tell(self, message: Mapping[str, Any]) -> None:
        """Sends something that comes before the answer."""
        if not self.wire.is_streaming:
            await self.wire.open(EVENTS)
        await self.wire.send(event(message))


def rpc_method(body: Any) -> str:
    """The method of JSON-RPC in the body of a request; none: empty."""
    return str(body.get("method", "")) if isinstance(body, Mapping) else ""


def _has_come(byte: asyncio.Task[bytes]) -> bool:
    return byte.done() and byte.exception() is None and byte.result() != b""
