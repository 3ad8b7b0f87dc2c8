"""The schema says what the API does: requests made from it, right and wrong ones, get only answers it names."""

import io
import json

import pytest
import schemathesis
from django.core.files.base import ContentFile
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from accounts.services import create_api_key
from chats import services
from chats.api.tests.test_access import routes
from chats.knowledge.services import add_document
from chats.models import Reply, ToolCall
from chats.tools.models import Tool
from chats.tools.services import add_server

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
# These wait on the event loop as soon as they are asked for something that is there: see test_streams and test_tools.
WAITING = {"chat-ask", "mcp-servers-test", "replies-events"}
# Its client never closes the file that is sent.
STREAMED = {"documents-file"}
NOT_DESCRIBED = {"", "openapi", "docs", "redoc", "mcp"}
PATHS = [route for route in routes() if route.name not in NOT_DESCRIBED | WAITING | STREAMED]


@pytest.fixture
def schema(db):
    # As Django's own test client does it: the connection with the test's transaction must stay open.
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield schemathesis.openapi.from_wsgi("/api/v1/openapi.json", WSGIHandler())
    for signal in signals:
        signal.connect(close_old_connections)


@pytest.fixture
def things(owner, demo_model):
    """Ids that lead somewhere, by the names of path parameters, and a header that opens the door."""
    chat = services.create_chat(owner, title="x", tags=["y"])
    message = services.append_message(chat, role="user", content="x")
    reply = Reply.objects.create(chat=chat, user=owner, prompt=message, model=demo_model, status=Reply.Status.FAILED)
    _, secret = create_api_key(owner, name="x")
    spare, _ = create_api_key(owner, name="y")
    ids = {"chat_id": chat.pk, "message_id": message.pk, "reply_id": reply.pk, "key_id": spare.pk}
    server = add_server(owner, name="x", url="https://nowhere.invalid/mcp", headers={"X-Key": "y"})
    ids["server_id"], tool = server.pk, Tool.objects.create(server=server, name="x", called="x", pinned_hash="x")
    ids["tool_id"] = tool.pk
    ids["call_id"] = ToolCall.objects.create(reply=reply, message=message, step=1, index=0, tool=tool, status="done").pk
    ids["document_id"] = add_document(owner, ContentFile(b"x", name="x.txt"))[0].pk
    return {name: str(pk) for name, pk in ids.items()}, {"Authorization": f"Bearer {secret}"}


@pytest.mark.parametrize("route", PATHS, ids=lambda route: f"{route.verb} {route.template}")
def test_every_answer_is_one_the_schema_names(schema, things, route, settings):
    settings.API_REQUESTS_PER_MINUTE_PER_USER = settings.SENDS_PER_MINUTE_PER_USER = 100_000
    settings.MCP_CHANGES_PER_HOUR, settings.MCP_CONNECT_SECONDS = 100_000, 0.05
    settings.RUNNING_REPLIES_PER_USER = settings.UPLOADS_PER_HOUR = settings.SEARCHES_PER_MINUTE = 100_000
    ids, headers = things
    path = route.template.replace("<uuid:", "{").replace(">", "}")
    operation = schema[path][route.verb.upper()]

    @given(case=operation.as_strategy())
    @hypothesis_settings(
        max_examples=10,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case):
        case.path_parameters = {name: ids[name] for name in case.path_parameters or {}}
        if isinstance(case.body, dict) and "chat" in case.body:
            case.body["chat"] = ids["chat_id"]
        case.call_and_validate(headers=headers, checks=CHECKS)

    ask()


def test_the_command_prints_a_schema_without_warnings(capsys):
    out = io.StringIO()
    call_command("spectacular", "--format", "openapi-json", "--validate", "--fail-on-warn", stdout=out)
    described = json.loads(out.getvalue())
    assert "Warning" not in capsys.readouterr().err
    assert set(described["components"]["securitySchemes"]) == {"bearer", "session"}


def test_every_endpoint_says_what_it_does_and_how_it_fails(schema):
    for path, operations in schema.raw_schema["paths"].items():
        for verb, operation in operations.items():
            assert operation["description"], (path, verb)
            if "health" not in path:
                assert operation["security"] == [{"bearer": []}, {"session": []}]
                assert operation["responses"].keys() >= {"400", "401", "429", "503"}
                assert any(status.startswith("2") for status in operation["responses"])


@pytest.mark.parametrize("path", ["openapi.json", "openapi.json/", "docs/", "docs", "redoc/", "redoc"])
def test_the_documentation_answers_and_can_be_switched_off(client, db, path, settings):
    settings.API_DOCS_ENABLED = True
    response = client.get(f"/api/v1/{path}")
    assert response.status_code == 200
    assert b"http://" not in response.content.replace(b"http://localhost", b"")
    settings.API_DOCS_ENABLED = False
    assert client.get(f"/api/v1/{path}").status_code == 404


@pytest.mark.parametrize("path", ["docs/", "redoc/"])
def test_the_viewers_run_only_scripts_of_this_server(client, db, path):
    response = client.get(f"/api/v1/{path}")
    assert "script-src 'self'" in response["Content-Security-Policy"].split("; ")
    assert "default-src 'none'" in response["Content-Security-Policy"]
    assert b"<script>" not in response.content
    assert b"<style" not in response.content


def test_every_operation_is_in_a_section_that_is_described(client, db):
    schema = client.get("/api/v1/openapi.json").json()
    sections = {tag["name"] for tag in schema["tags"]}
    used = [tag for operations in schema["paths"].values() for one in operations.values() for tag in one["tags"]]
    assert set(used) == sections
    assert schema["paths"]["/api/v1/chat/"]["post"]["tags"] == ["replies"]
