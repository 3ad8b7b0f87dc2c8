"""The one place of this room that knows the package `mcp`: what its server is, and how it is asked one thing.

Each request gets a session of its own, which ends with it: nothing is kept between two of them, on any node.
"""

from collections.abc import Mapping
from typing import Any

import mcp_types as types
import structlog
from django.conf import settings
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from pydantic import TypeAdapter, ValidationError
from sse_starlette.sse import AppStatus

from chats.cleaning import clean_text
from chats.errors import DomainError, Invalid, Unavailable
from chats.mcp_api.bridge import CALL_KEY, Receive, Send
from chats.mcp_api.calls import Call
from chats.mcp_api.tools import TOOLS, Tool
from chats.replies.database import AWAY
from chats.replies.follow import EVENT_STREAM

INSTRUCTIONS = (
    "Parley is a chat platform. With these tools you read what its person has talked about, search the person's"
    " documents, and ask AI models, each at its price. You see what this one person sees."
)
ARGUMENTS_SHOWN = 10
# How much of an unknown name is said again.
NAME_CHARACTERS = 100

logger = structlog.get_logger(__name__)

# Streams end when this server says so (`STREAMS.end`), with an answer; a part of the package would cut them before.
AppStatus.disable_automatic_graceful_drain()


class Internal(DomainError):
    code = "internal"
    message = "Something went wrong on our side. Try again; if it stays, tell your administrator."


async def speak(scope: dict[str, Any], receive: Receive, send: Send, *, message: dict[str, Any]) -> None:
    """Answer one request; an ASGI application but for the `message`, which is its body."""
    manager = StreamableHTTPSessionManager(
        SERVER,
        json_response=not _is_streamed(scope, message),
        stateless=True,
        max_request_body_size=settings.DATA_UPLOAD_MAX_MEMORY_SIZE,
    )
    async with manager.run():
        await manager.handle_request(scope, receive, send)


def _is_streamed(scope: Mapping[str, Any], message: Mapping[str, Any]) -> bool:
    params = message.get("params")
    name = params.get("name") if message["method"] == "tools/call" and isinstance(params, dict) else None
    tool = TOOLS.get(name) if isinstance(name, str) else None
    accepts = b",".join(value for header, value in scope["headers"] if header == b"accept").decode("latin1")
    return tool is not None and tool.is_long and (EVENT_STREAM in accepts or "*/*" in accepts)


async def _list_tools(_context: Any, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    return types.ListToolsResult(tools=DESCRIBED)


async def _call_tool(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    tool = TOOLS.get(params.name)
    if tool is None:
        raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {clean_text(params.name[:NAME_CHARACTERS])}")
    call: Call = context.request.scope[CALL_KEY]
    try:
        asked = tool.takes.model_validate(params.arguments or {})
        answer = await tool.work(call, context.session.report_progress, **dict(asked))
    except ValidationError as error:
        return _failure(_invalid(error))
    except DomainError as error:
        return _failure(error)
    except AWAY as error:
        logger.error("mcp_unavailable", error=str(error))
        return _failure(Unavailable())
    except Exception:
        logger.exception("mcp_tool_failed", tool=tool.name)
        return _failure(Internal())
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=tool.tell(answer))],
        structured_content=answer,
        is_error=tool.is_failed(answer),
    )


def _failure(error: DomainError) -> types.CallToolResult:
    """What went wrong, for the model to read: a sentence, what to correct, and the code that programs know."""
    said = {"code": error.code, "message": clean_text(error.message)}
    fields = {clean_text(name): [clean_text(each) for each in reasons] for name, reasons in error.fields.items()}
    corrections = [f"{name}: {' '.join(reasons)}" for name, reasons in fields.items()]
    text = "\n".join([f"{said['message']} (code: {said['code']})", *corrections])
    structured: dict[str, Any] = {"error": {**said, "fields": fields} if fields else said}
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)], structured_content=structured, is_error=True
    )


def _invalid(error: ValidationError) -> Invalid:
    wrong = error.errors(include_url=False, include_context=False, include_input=False)[:ARGUMENTS_SHOWN]
    fields = {
        ".".join(str(part)[:NAME_CHARACTERS] for part in each["loc"]) or "arguments": [each["msg"]] for each in wrong
    }
    return Invalid("These arguments are not valid.", fields=fields)


def _described(tool: Tool) -> types.Tool:
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.takes.model_json_schema(),
        output_schema=TypeAdapter(tool.answers).json_schema(),
        annotations=types.ToolAnnotations(
            title=tool.title,
            read_only_hint=tool.is_read_only,
            destructive_hint=False,
            idempotent_hint=tool.is_read_only,
            open_world_hint=not tool.is_read_only,
        ),
    )


DESCRIBED = [_described(tool) for tool in TOOLS.values()]
_SCHEMAS = {described.name: described.input_schema for described in DESCRIBED}
SERVER: Server[Any] = Server(
    "parley",
    title="Parley",
    version=settings.VERSION,
    instructions=INSTRUCTIONS,
    on_list_tools=_list_tools,
    on_call_tool=_call_tool,
    get_tool_input_schema=_SCHEMAS.get,
)
