"""What drf-spectacular can't see by itself: above all how every endpoint may fail."""

import re
from typing import Any

ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "request_id"],
            "properties": {
                "code": {"type": "string", "description": "Stable, for programs."},
                "message": {"type": "string", "description": "For people: what happened and what to do next."},
                "fields": {
                    "type": "object",
                    "additionalProperties": {"type": "array", "items": {"type": "string"}},
                    "description": "What to correct, by field.",
                },
                "request_id": {
                    "type": "string",
                    "description": "Also in the header X-Request-ID and in the server's log.",
                },
            },
        }
    },
}
FAILURES = {
    400: "Something in the request is not valid, or the model is not available.",
    401: "No credential, or not a valid one.",
    403: "A browser's session came without its CSRF token.",
    404: "There is nothing here, or it is not yours.",
    409: "It collides with what is there: a reply that runs, or another body under the same client_id.",
    413: "The body, or a text in it, is larger than allowed.",
    415: "The body is not application/json.",
    429: "Too many requests, or connections open at once; Retry-After says how long to wait.",
    503: "The server is too busy; Retry-After says how long to wait.",
}
# By the first word of an address, where it is not its own section.
SECTIONS = {"chat": "replies", "me": "account", "keys": "account", "usage": "account", "mcp-servers": "tools"}
READING = {400, 401, 429, 503}
WRITING = READING | {403, 409, 413, 415}


def without_twins(endpoints: list[tuple[Any, ...]], **_: Any) -> list[tuple[Any, ...]]:
    """Preprocessing hook: health answers without its slash as well, which needs no second entry."""
    return [endpoint for endpoint in endpoints if endpoint[0].endswith("/")]


def add_failures(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Postprocessing hook: every operation names the ways it can fail, in the one shape of an error."""
    components = result.setdefault("components", {})
    components.setdefault("schemas", {})["Error"] = ERROR_SCHEMA
    for operations in result["paths"].values():
        for method, operation in operations.items():
            for status in sorted(_failures_of(method, operation)):
                operation["responses"].setdefault(str(status), _failure(status))
    return result


def add_summaries(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Postprocessing hook: the first sentence of a description is its headline too."""
    for operations in result["paths"].values():
        for operation in operations.values():
            operation["summary"] = re.split(r"[.:;](?=\s|$)", operation["description"], maxsplit=1)[0]
    return result


def group_operations(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Postprocessing hook: each operation stands in the section of what it is about, whatever its address."""
    for path, operations in result["paths"].items():
        for operation in operations.values():
            operation["tags"] = [_section_of(path, operation["tags"][0])]
    return result


def _section_of(path: str, tag: str) -> str:
    if path.endswith("}/messages/"):
        return "messages"
    return SECTIONS.get(tag, tag)


def _failures_of(method: str, operation: dict[str, Any]) -> set[int]:
    if "security" not in operation:
        return set()
    names_something = any(parameter.get("required") for parameter in operation.get("parameters", []))
    return (READING if method == "get" else WRITING) | ({404} if names_something or method == "post" else set())


def _failure(status: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": FAILURES[status], "content": {"application/json": {"schema": schema}}}
