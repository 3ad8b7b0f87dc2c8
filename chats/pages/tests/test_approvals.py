"""The card of a call that waits, and the word of its person: once, for longer, or not at all."""

import json
from collections.abc import Callable

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from accounts.models import User
from chats.models import Reply, ToolCall, ToolGrant
from chats.pages.tests.turns import TAINT, take_step
from chats.replies.services import StartedReply
from chats.tools.models import McpServer, Tool, ToolChoice

HX = {"HX-Request": "true"}


@pytest.fixture
def tool(owner: User) -> Tool:
    server = McpServer.objects.create(user=owner, name="Office", prefix="office", url="https://example.org/mcp")
    return Tool.objects.create(server=server, name="mail", called="office__mail", pinned_hash="x")


@pytest.fixture
def asked(started: StartedReply, tool: Tool) -> Callable[..., ToolCall]:
    """`asked(**fields)`: a call that waits."""

    def make(**fields: object) -> ToolCall:
        given = {"status": "waiting", "tool": tool, "title": "Send a mail", "arguments": '{"to":"ada@example.org"}'}
        (call,) = take_step(started, {**given, **fields})
        return call

    return make


def decide(client: Client, call: ToolCall, decision: str, *, reason: str = "", **options: object) -> HttpResponse:
    address = reverse("pages:decide", args=[call.reply_id, call.pk])
    return client.post(address, {"decision": decision, "reason": reason}, **options)


def page_of(visitor: Client, started: StartedReply) -> str:
    return visitor.get(reverse("pages:chat", args=[started.chat.pk])).content.decode()


def test_the_card_says_who_wants_to_run_with_what_and_why_it_asks(
    visitor: Client, started: StartedReply, asked: Callable[..., ToolCall]
) -> None:
    long = "x" * 90_000
    call = asked(arguments=json.dumps({"to": "ada@example.org", "body": long}))
    page = page_of(visitor, started)
    assert "Allow «<bdi>Send a mail</bdi>»?" in page
    assert "A tool of <bdi>Fake</bdi>" in page
    assert "It may change something." in page
    assert "You are asked each time this tool is called." in page
    assert f"&quot;body&quot;: &quot;{long}&quot;\n}}</pre>" in page
    assert page.count(f'action="{reverse("pages:decide", args=[call.reply_id, call.pk])}"') == 2
    values = [f'name="decision" value="{value}"' in page for value in ("once", "chat", "always", "deny")]
    assert values == [True] * 4


def test_what_is_allowed_and_asked_for_all_the_same_can_only_be_approved_once(
    visitor: Client, started: StartedReply, asked: Callable[..., ToolCall]
) -> None:
    asked(because=TAINT)
    page = page_of(visitor, started)
    assert "text from the tool «web» was read before" in page
    values = [f'name="decision" value="{value}"' in page for value in ("once", "chat", "always", "deny")]
    assert values == [True, False, False, True]


def test_while_it_waits_something_else_can_be_said_and_no_page_comes_again(
    visitor: Client, started: StartedReply, asked: Callable[..., ToolCall]
) -> None:
    asked()
    page = page_of(visitor, started)
    assert "http-equiv" not in page
    assert "chats/css/waiting" not in page
    assert "data-answering data-waiting" in page
    assert "Waiting for your approval, above." in page
    assert f'formaction="{reverse("pages:stop", args=[started.reply.pk])}"' in page
    assert "waits for your approval</span>" in page.split(f'id="chat-{started.chat.pk}"')[1].split("</li>")[0]
    visitor.post(reverse("pages:send", args=[started.chat.pk]), {"content": "Never mind", "client_id": "1"})
    started.reply.refresh_from_db()
    assert started.reply.status == "stopped"
    page = page_of(visitor, started)
    assert page.index(">stopped<") < page.index("Never mind")


def test_one_call_runs_while_another_waits_and_the_page_comes_again_for_it(
    visitor: Client, started: StartedReply
) -> None:
    take_step(started, {"status": "waiting"}, {"status": "running", "started_at": "2026-05-01T10:00:00Z"})
    page = page_of(visitor, started)
    assert "data-answering data-waiting" not in page
    assert 'http-equiv="refresh"' in page


@pytest.mark.parametrize(
    ("decision", "kept"), [("once", (0, 0)), ("chat", (1, 0)), ("always", (0, 1))], ids=["once", "chat", "always"]
)
def test_it_is_approved_for_as_long_as_one_says(
    visitor: Client, started: StartedReply, asked: Callable[..., ToolCall], decision: str, kept: tuple[int, int]
) -> None:
    call = asked()
    response = decide(visitor, call, decision)
    assert (response.status_code, response.url) == (302, f"/chats/{started.chat.pk}/#call-{call.pk}")
    call.refresh_from_db()
    assert call.status == "ready"
    assert (ToolGrant.objects.count(), ToolChoice.objects.filter(policy="allow").count()) == kept
    assert Reply.objects.get(pk=started.reply.pk).status == "queued"


def test_it_is_denied_with_a_reason_for_the_model(
    visitor: Client, started: StartedReply, asked: Callable[..., ToolCall]
) -> None:
    call = asked()
    fragment = decide(visitor, call, "deny", reason="Not <now>", headers=HX).content.decode()
    assert 'data-state="denied"' in fragment
    assert "<form" not in fragment
    call.refresh_from_db()
    assert "«Not <now>»" in call.result_message.content
    assert f'data-result="{call.result_message_id}"' in fragment
    assert ">denied<" in page_of(visitor, started)


@pytest.mark.parametrize("headers", [HX, {}], ids=["script", "plain"])
def test_who_comes_second_with_the_same_is_right_and_with_another_learns_who_was_first(
    visitor: Client, asked: Callable[..., ToolCall], headers: dict[str, str]
) -> None:
    call = asked()
    statuses = [decide(visitor, call, "once", headers=headers).status_code for _ in range(2)]
    assert set(statuses) == {200 if headers else 302}
    for decision in ("deny", "always"):
        response = decide(visitor, call, decision, headers=headers)
        assert response.status_code == (200 if headers else 409)
        page = response.content.decode()
        assert "You had decided already, at " in page
        assert "approved once." in page
    call.refresh_from_db()
    assert call.decision == "once"
    assert not ToolChoice.objects.exists()


def test_what_is_over_can_not_be_approved(
    visitor: Client, started: StartedReply, asked: Callable[..., ToolCall]
) -> None:
    call = asked()
    visitor.post(reverse("pages:stop", args=[started.reply.pk]))
    fragment = decide(visitor, call, "once", headers=HX).content.decode()
    assert 'data-state="stopped"' in fragment
    assert 'role="status"' in fragment
    assert decide(visitor, call, "once").status_code == 409


def test_nothing_happens_by_mistake(
    visitor: Client, owner: User, client_of: Callable[[User], Client], asked: Callable[..., ToolCall]
) -> None:
    call = asked()
    for decision in ("", "yes", "denied"):
        assert decide(visitor, call, decision).status_code == 400
    assert decide(visitor, call, "deny", reason="x" * 501).status_code == 400
    assert visitor.get(reverse("pages:decide", args=[call.reply_id, call.pk])).status_code == 405
    unguarded = Client(enforce_csrf_checks=True)
    unguarded.force_login(owner)
    assert decide(unguarded, call, "once").status_code == 403
    other = reverse("pages:decide", args=[call.reply_id, call.message_id])
    assert visitor.post(other, {"decision": "once"}).status_code == 404
    call.refresh_from_db()
    assert call.status == "waiting"
