"""The product as a real server: uvicorn in a thread of the test process, on the test database."""

import importlib
import socket
import threading
import time

import uvicorn

from chats.management.commands.serve import server_config

REPLIES_END_SECONDS = 10
START_SECONDS = 20


class _AnnouncingServer(uvicorn.Server):
    """A server that says when it answers, so that nobody has to ask it again and again."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets=sockets)
        finally:
            self.is_up.set()


class LiveServer:
    """A running Parley. `base_url` and `ws_url` have no slash at the end."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.base_url = f"http://{address}"
        self.ws_url = f"ws://{address}"
        # Loaded on use: the application reads settings that a test run changes first.
        application = importlib.import_module("config.asgi").application
        self._server = _AnnouncingServer(server_config(application))
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="live-server", daemon=True
        )

    def start(self) -> None:
        self._thread.start()
        if not self._server.is_up.wait(START_SECONDS) or not self._server.started:
            raise RuntimeError("The live server did not start; its reason is in the captured log.")

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(START_SECONDS)
        self._socket.close()


def wait_until(is_true, *, seconds: float, what: str) -> None:
    """Return as soon as `is_true()`; fail with `what` when it is not so after `seconds`."""
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            raise AssertionError(f"After {seconds:g} seconds it still is not so: {what}.")
        time.sleep(0.01)
