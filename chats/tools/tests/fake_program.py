"""A program that speaks MCP on its standard input and output, and misbehaves as its argument says."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

Result = dict[str, Any]
BEHAVIOUR = sys.argv[1] if len(sys.argv) > 1 else ""


class Refused(Exception):
    """With this code."""


def write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def say(**message: Any) -> None:
    write(json.dumps({"jsonrpc": "2.0", **message}))


def description() -> str:
    """As its second argument says: how many have run before this one; each that dies in a call leaves a byte there."""
    return f"{Path(sys.argv[2]).stat().st_size} died" if len(sys.argv) > 2 else "Says who it is"


def calls() -> Iterator[tuple[Any, dict[str, Any]]]:
    """The calls it is asked for: under which id, with which arguments. All else is answered as it should be."""
    for line in sys.stdin:
        message = json.loads(line)
        asked, params = message.get("id"), message.get("params", {})
        match message.get("method"):
            case "initialize":
                info = {"name": "fake", "version": "1"}
                version = "1999-01-01" if BEHAVIOUR == "speaks-otherwise" else params["protocolVersion"]
                result = {"protocolVersion": version, "capabilities": {"tools": {}}}
                say(id=asked, result={**result, "serverInfo": info})
            case "tools/list":
                tool = {"name": "echo", "description": description(), "inputSchema": {"type": "object"}}
                say(id=asked, result={"tools": [{**tool, "annotations": {"readOnlyHint": True}}]})
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
        if len(sys.argv) > 2:
            with Path(sys.argv[2]).open("a") as note:
                note.write("x")
        os._exit(3)
    return pid(arguments)


def write_a_line_for_ever(_: Mapping[str, Any]) -> Result:
    while True:
        sys.stdout.write('{"jsonrpc": "2.0", ' + "x" * 1_000_000)


def write_lines_for_ever(_: Mapping[str, Any]) -> Result:
    while True:
        write("x")


def ping_for_ever(_: Mapping[str, Any]) -> Result:
    while True:
        say(id="p", method="ping")


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
    threading.Thread(target=lambda: [sys.stderr.write("x" * 1_000_000) for _ in itertools.count()], daemon=True).start()
    return text("I am unhappy.")


def complain_in_lines(_: Mapping[str, Any]) -> Result:
    threading.Thread(target=lambda: [os.write(2, b"x" * 1_000) for _ in itertools.count()], daemon=True).start()
    return text("I am unhappy.")


def answer_and_babble(_: Mapping[str, Any]) -> Result:
    return text("before it")


def refuse(arguments: Mapping[str, Any]) -> Result:
    raise Refused(arguments["code"])


def unreadable(_: Mapping[str, Any]) -> Result:
    write('{"jsonrpc": "2.0", "id": 1, "result": {"half')
    return text("never read")


def several(_: Mapping[str, Any]) -> Result:
    write('[{"jsonrpc": "2.0", "id": 1, "result": {}}]')
    return text("never read")


def late(_: Mapping[str, Any]) -> Result:
    for _byte in range(200):
        sys.stdout.write(" ")
        sys.stdout.flush()
    return text("after some bytes")


def descriptors(_: Mapping[str, Any]) -> Result:
    numbers = []
    for number in range(200):
        with suppress(OSError):
            os.fstat(number)
            numbers.append(str(number))
    return text(" ".join(numbers))


def blurt() -> NoReturn:
    secret = os.environ[os.environ["BLURTED"]]
    if BEHAVIOUR == "blurts-in-json":
        secret = json.dumps({"secret": secret})
    if BEHAVIOUR == "blurts-much":
        secret = "-" * 10_000 + secret + " " * 4_000
    sys.stderr.write(f"{secret}\nThe secret is {secret if BEHAVIOUR != 'blurts-much' else 'out'}\n")
    sys.exit(3)


BEHAVIOURS: dict[str, Callable[[Mapping[str, Any]], Result]] = {
    "chatty": pid,
    "answers-and-babbles": answer_and_babble,
    "complains": complain,
    "complains-in-lines": complain_in_lines,
    "deaf": pid,
    "deep": deep,
    "dies": die,
    "starts-slowly-and-dies": die,
    "endless-line": write_a_line_for_ever,
    "endless-lines": write_lines_for_ever,
    "endless-pings": ping_for_ever,
    "answers-late": late,
    "counts-descriptors": descriptors,
    "marked": pid,
    "no-message": no_message,
    "refuses": refuse,
    "several": several,
    "speaks-otherwise": pid,
    "unreadable": unreadable,
    "noticing": noticing,
    "odd": odd,
    "parent": pids,
    "stubborn": pids,
}


def begin(behaviour: str) -> None:
    """What it does before it is asked anything."""
    if behaviour.startswith("blurts"):
        blurt()
    if behaviour == "marked":
        sys.stdout.write("\ufeff")
    if behaviour == "chatty":
        write('Hello!\n{"level": "info"}\n{\n\n[1, 2]\n{"level": 30, "request": {"jsonrpc": "2.0", "id": 1}}')
        say(method="notifications/message", params=["odd"])
        say(method="notifications/message", params="odder")
    if behaviour == "starts-slowly-and-dies":
        time.sleep(0.5)
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def main(behaviour: str) -> None:
    begin(behaviour)
    for asked, arguments in calls():
        try:
            result = BEHAVIOURS[behaviour](arguments)
        except Refused as refusal:
            say(id=asked, error={"code": refusal.args[0], "message": "Out of paper"})
            continue
        if behaviour == "answers-and-babbles":
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": float(asked), "result": result}) + "\n")
            say(id=[])
        else:
            say(id=asked, result=result)
        if behaviour == "deaf":
            break
    if behaviour in {"deaf", "stubborn"}:
        time.sleep(600)


if __name__ == "__main__":
    main(sys.argv[1])
