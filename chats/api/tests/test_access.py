"""Every route, asked by everyone who has no business there. It comes from the URLconf, so a new route is in it too."""

import re
from dataclasses import dataclass

import pytest
from django.core.files.base import ContentFile
from django.urls import get_resolver

from accounts.models import ApiKey
from accounts.services import create_api_key
from chats import services
from chats.knowledge.models import Document, DocumentVersion
from chats.knowledge.services import add_document
from chats.models import Chat, Message, Reply, ToolCall
from chats.tools.models import Credential, McpServer, SignIn, Tool, ToolChoice
from chats.tools.services import add_server
from chats.usage.models import UsageRecord

OPEN = {"health", "health-ready", "openapi", "docs", "redoc"}
FOR_PROGRAMS = {"api", "mcp"}
BODIES = {
    "chats-messages": {"content": "hacked", "reply": False},
    "messages-detail": {"content": "hacked", "role": "user"},
    "mcp-servers-detail": {"name": "hacked", "config": {"url": "https://example.com/mcp"}},
    "replies-approvals": {"call": "call_0", "approved": True},
    "tools-detail": {"policy": "allow"},
}
SECRET = "nobody else's words"
SECRET_HEADER = "Bearer of-nobody-else"


@dataclass(frozen=True)
class Route:
    name: str
    verb: str
    template: str

    @property
    def parameters(self):
        return re.findall(r"<uuid:(\w+)>", self.template)


def verbs_of(pattern):
    # One address takes all that agents ask; what they may see of it is in chats/mcp_api/tests.
    return ["get", "post", "delete"] if pattern.name == "mcp" else getattr(pattern.callback, "actions", {"get": ""})


def routes():
    for resolver in get_resolver().url_patterns:
        if getattr(resolver, "app_name", None) in FOR_PROGRAMS:
            for pattern in resolver.url_patterns:
                for verb in verbs_of(pattern):
                    yield Route(pattern.name or "", verb, f"/{resolver.pattern}{pattern.pattern}")


def named(route):
    return f"{route.verb} {route.template}"


CLOSED = [route for route in routes() if route.name and route.name not in OPEN]
WITH_IDS = [route for route in CLOSED if route.parameters]
LISTS = [route for route in CLOSED if not route.parameters and route.verb == "get" and route.name != "models-list"]


@pytest.fixture
def ids(owner, demo_model):
    """One of everything, the owner's."""
    chat = services.create_chat(owner, title=SECRET, tags=[SECRET])
    message = services.append_message(chat, role="user", content=SECRET)
    reply = Reply.objects.create(chat=chat, user=owner, prompt=message, message=message, model=demo_model)
    UsageRecord.objects.create(user=owner, chat=chat, reply=reply, user_email=owner.email, model_name=SECRET)
    key, _ = create_api_key(owner, name=SECRET)
    document, _ = add_document(owner, ContentFile(SECRET.encode(), name=f"{SECRET}.txt"))
    server = add_server(owner, name=SECRET, url="https://example.com/mcp", headers={"Authorization": SECRET_HEADER})
    tool = Tool.objects.create(server=server, name=SECRET, called=SECRET, pinned_hash="x")
    call = ToolCall.objects.create(reply=reply, message=message, step=1, index=0, call_id="call_0", status="waiting")
    return {
        "chat_id": chat.pk,
        "server_id": server.pk,
        "tool_id": tool.pk,
        "call_id": call.pk,
        "message_id": message.pk,
        "reply_id": reply.pk,
        "key_id": key.pk,
        "document_id": document.pk,
    }


def state():
    """All that a stranger could change."""
    models = (
        Chat,
        Message,
        Reply,
        Document,
        DocumentVersion,
        McpServer,
        Tool,
        ToolChoice,
        ToolCall,
        Credential,
        SignIn,
    )
    rows = [list(model.objects.order_by("pk").values()) for model in models]
    return [*rows, list(ApiKey.objects.order_by("pk").values("pk", "revoked_at"))]


def ask(client, route, ids):
    url = re.sub(r"<uuid:(\w+)>", lambda found: str(ids[found[1]]), route.template)
    return getattr(client, route.verb)(url, data=BODIES.get(route.name, {}) if route.verb != "get" else None)


def test_the_table_has_every_route():
    assert len(CLOSED) > 25
    assert {route.name for route in WITH_IDS} >= {"chats-detail", "messages-detail", "replies-events", "keys-detail"}
    assert "mcp" in {route.name for route in CLOSED}


@pytest.mark.parametrize("route", CLOSED, ids=named)
def test_nobody_comes_in_without_a_credential(client, ids, route):
    before = state()
    response = ask(client, route, ids)
    assert response.status_code == 401
    assert state() == before


@pytest.mark.parametrize("route", WITH_IDS, ids=named)
@pytest.mark.parametrize("who", ["stranger", "superuser"])
def test_what_belongs_to_another_looks_like_what_is_missing(api_of, ids, route, who, request):
    api = api_of(request.getfixturevalue(who))
    missing = ask(api, route, dict.fromkeys(ids, "00000000-0000-0000-0000-000000000000"))
    before = state()
    foreign = ask(api, route, ids)
    assert foreign.status_code == missing.status_code == 404
    assert foreign.json()["error"]["message"] == missing.json()["error"]["message"]
    assert state() == before


@pytest.mark.parametrize("route", LISTS, ids=named)
def test_lists_have_nothing_of_others(api_of, stranger, ids, route):
    response = api_of(stranger).get(route.template, {"chat": str(ids["chat_id"])})
    assert SECRET not in response.content.decode()


@pytest.mark.parametrize("route", WITH_IDS, ids=named)
def test_a_person_who_was_shut_out_stays_out(api_of, owner, ids, route):
    api = api_of(owner)
    owner.is_active = False
    owner.save()
    assert ask(api, route, ids).status_code == 401


@pytest.mark.parametrize(
    "body",
    [{"chat": "chat_id", "role": "user", "content": "x"}, {"message": "x", "chat": "chat_id"}],
    ids=["messages", "chat"],
)
def test_a_body_can_not_name_the_chat_of_another(api_of, stranger, ids, body):
    body = {name: str(ids.get(value, value)) for name, value in body.items()}
    url = "/api/v1/chat/" if "message" in body else "/api/v1/messages/"
    api = api_of(stranger)
    before = state()
    assert api.post(url, body).status_code == 404
    assert state() == before
