"""A program that speaks MCP on its standard input and output, and misbehaves as its argument says."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Result = dict[str, Any]


def write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def say(**message: Any) -> None:
    write(json.dumps({"jsonrpc": "2.0", **message}))


def calls() -> Iterator[tuple[Any, dict[str, Any]]]:
    """The calls it is asked for: under which id, with which arguments. All else is answered as it should be."""
    for line in sys.stdin:
        message = json.loads(line)
        asked, params = message.get("id"), message.get("params", {})
        match message.get("method"):
            case "initialize":
                info = {"name": "fake", "version": "1"}
                result = {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}}
                say(id=asked, result={**result, "serverInfo": info})
            case "tools/list":
                say(id=asked, result={"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]})
            case "tools/call":
                yield asked, params["arguments"]
            case _ if asked is not None:
                say(id=asked, error={"code": -32601, "message": "Method not found"})


def text(words: str) -> Result:
    return {"content": [{"type": "text", "text": words}]}


def pid(_: Mapping[str, Any]) -> Result:
    return text(str(os.getpid()))


def pids(_: Mapping[str, Any]) -> Result:
    child = subprocess.Popen(["sleep", "600"])
    return text(f"{os.getpid()} {child.pid}")


def die(arguments: Mapping[str, Any]) -> Result:
    if "die" in arguments:
        os._exit(3)
    return pid(arguments)


def write_a_line_for_ever(_: Mapping[str, Any]) -> Result:
    while True:
        sys.stdout.write('{"jsonrpc": "2.0", ' + "x" * 1_000_000)


def write_lines_for_ever(_: Mapping[str, Any]) -> Result:
    while True:
        write("x")


def odd(_: Mapping[str, Any]) -> Result:
    return {"content": [{"type": "hologram"}, 7, {"type": "text", "text": "after it"}], "_meta": {"x": [1] * 100}}


def deep(_: Mapping[str, Any]) -> Result:
    result: Result = text("at the bottom")
    for _level in range(400):
        result = {"in": result}
    return result


def no_message(_: Mapping[str, Any]) -> Result:
    say(id=[])
    return text("never read")


def noticing(_: Mapping[str, Any]) -> Result:
    say(method="notifications/message", params={"level": "info", "data": "x" * 100_000})
    return text("after it")


def complain(_: Mapping[str, Any]) -> Result:
    def go_on() -> None:
        while True:
            sys.stderr.write("x" * 1_000_000)

    threading.Thread(target=go_on, daemon=True).start()
    return text("I am unhappy.")


BEHAVIOURS: dict[str, Callable[[Mapping[str, Any]], Result]] = {
    "chatty": pid,
    "complains": complain,
    "deaf": pid,
    "deep": deep,
    "dies": die,
    "endless-line": write_a_line_for_ever,
    "endless-lines": write_lines_for_ever,
    "no-message": no_message,
    "noticing": noticing,
    "odd": odd,
    "parent": pids,
    "stubborn": pids,
}


def main(behaviour: str) -> None:
    if behaviour == "chatty":
        write('Hello!\n{"level": "info"}\n{\n\n[1, 2]')
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for asked, arguments in calls():
        say(id=asked, result=BEHAVIOURS[behaviour](arguments))
        if behaviour == "deaf":
            break
    if behaviour in {"deaf", "stubborn"}:
        time.sleep(600)


if __name__ == "__main__":
    main(sys.argv[1])
