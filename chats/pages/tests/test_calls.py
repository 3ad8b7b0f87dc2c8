"""Calls of tools on the chat page: steps that belong together, what opens, and nothing in it that acts."""

import base64
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from chats.branches import fork_chat
from chats.models import Chat, Message, Reply, ToolCall
from chats.pages.history import PAGE_SIZE
from chats.pages.tests.payloads import PAYLOADS
from chats.pages.tests.turns import end, take_step
from chats.replies.services import StartedReply, start_reply
from chats.services import append_message, create_chat, update_chat
from chats.usage.models import UsageRecord

HX = {"HX-Request": "true"}
PNG, JPEG, GIF, WEBP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8 "
# What a body of a call may be made of.
OURS = {"p", "pre", "bdi", "code", "time", "span", "q", "a", "img", "svg", "use"}


def page_of(visitor: Client, chat: Chat, **query: str) -> str:
    return visitor.get(reverse("pages:chat", args=[chat.pk]), query).content.decode()


def opened(visitor: Client, call: ToolCall) -> str:
    return visitor.get(reverse("pages:tool_call", args=[call.pk]), headers=HX).content.decode()


def text(words: str) -> dict[str, object]:
    return {"parts": [{"type": "text", "text": words}], "structured": None, "is_cut": False}


def image(data: bytes) -> dict[str, object]:
    return {"type": "image", "mime_type": "image/png", "data": base64.b64encode(data).decode()}


def tags_in(html: str) -> set[str]:
    found: set[str] = set()
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, _: found.add(tag)  # type: ignore[method-assign]
    parser.feed(html)
    return found


# ---------------------------------------------------------------- in the conversation
def test_the_steps_of_an_answer_stand_together_and_results_with_their_calls(
    visitor: Client, owner: User, started: StartedReply
) -> None:
    take_step(started, {}, {"title": "", "name": "fake__<b>", "status": "failed"}, text="Let me *see*.")
    take_step(started, {"status": "denied"})
    answer = end(started, "All found.")
    UsageRecord.objects.create(
        user=owner, chat=started.chat, message=answer, reply=started.reply, output_tokens=1234, cost="0.5"
    )
    page = page_of(visitor, started.chat)
    assert page.count('class="author"') == 1
    assert page.count("<article") == page.count("data-message=") == 4
    assert page.count("data-goes-on") == 2
    assert page.count("1,234 tokens") == page.count("meta-facts") == 1
    assert [part.split("</bdi>")[0] for part in page.split('class="call-title">')[1:]] == [
        "Look up",
        "fake__&lt;b&gt;",
        "Look up",
    ]
    assert re.findall(r'call-state">(\w+)<', page) == ["done", "failed", "denied"]
    assert page.count("2.4 s") == 3
    assert "<em>see</em>" in page
    # What was asked and answered comes when it is opened.
    assert "Found" not in page
    assert "&quot;q&quot;" not in page


def test_what_a_program_has_written_of_tools_is_folded_as_before(visitor: Client, chat: Chat) -> None:
    append_message(chat, role="assistant", content="", tool_calls=[{"id": "1", "function": {"name": "search"}}])
    append_message(chat, role="tool", content="<script>found</script>")
    append_message(chat, role="assistant", content="There.")
    page = page_of(visitor, chat)
    assert "Called search" in page
    assert "&lt;script&gt;found" in page
    assert page.count('class="author"') == 3


def test_a_fork_keeps_what_was_called(visitor: Client, owner: User, started: StartedReply) -> None:
    take_step(started, {"result": "Twelve degrees"})
    fork, _ = fork_chat(owner, end(started, "It is cold."))
    page = page_of(visitor, fork)
    assert "Called fake__look_up" in page
    assert "Twelve degrees" in page


def test_a_call_that_was_asked_for_when_it_ended_is_not_said_to_have_run(
    visitor: Client, ended: Callable[..., StartedReply]
) -> None:
    answer = ended("incomplete", content="Hm")
    Message.objects.filter(pk=answer.answer.pk).update(tool_calls=[{"function": {"name": "fake__look_up"}}])
    assert "Asked for fake__look_up, which was not run" in page_of(visitor, answer.chat)


def test_an_answer_that_was_stopped_in_mid_step_says_so_once_and_can_be_tried_again(
    visitor: Client, started: StartedReply
) -> None:
    (call,) = take_step(started, {"status": "waiting"}, text="I will.")
    result = Message.objects.create(
        chat=started.chat, reply=started.reply, parent=started.answer, role="tool", content="No"
    )
    ToolCall.objects.filter(pk=call.pk).update(status="stopped", result_message=result)
    Chat.objects.filter(pk=started.chat.pk).update(current_leaf=result)
    end(started, "I will.", status="stopped")
    page = page_of(visitor, started.chat)
    assert page.count("You stopped this answer.") == 1
    assert reverse("pages:retry", args=[started.reply.pk]) in page
    # It would forget what the calls have come to.
    assert reverse("pages:continue", args=[started.reply.pk]) not in page
    assert f'data-result="{result.pk}"' in page


def test_an_answer_that_was_stopped_before_its_first_call_was_stopped_after_it_began(
    visitor: Client, started: StartedReply
) -> None:
    take_step(started, {"status": "waiting"})
    end(started, status="stopped")
    assert "You stopped this answer. What" in page_of(visitor, started.chat)


def test_versions_are_of_whole_answers_and_told_at_their_end(
    visitor: Client, owner: User, started: StartedReply
) -> None:
    take_step(started, {})
    answer = end(started, "First")
    other = Message.objects.create(chat=started.chat, parent=started.message, role="assistant", content="Second")
    page = page_of(visitor, started.chat)
    assert page.count("1 of 2") == 1
    assert page.index("First") < page.index("1 of 2")
    assert reverse("pages:show", args=[other.pk]) in page
    assert reverse("pages:delete_branch", args=[started.answer.pk]) in page
    # One that continues the last step has versions of its own, and then each is told where it is.
    Message.objects.create(chat=started.chat, parent=answer.parent, role="assistant", content="Third")
    assert page_of(visitor, started.chat).count("1 of 2") == 2
    update_chat(started.chat, current_leaf=other.pk)
    assert page_of(visitor, started.chat).count("2 of 2") == 1


@pytest.mark.parametrize("above", [10, 60])
def test_a_page_begins_with_all_steps_of_an_answer(
    visitor: Client, owner: User, started: StartedReply, above: int
) -> None:
    for number in range(6):
        take_step(started, *[{} for _ in range(8)], text=f"Step {number}.")
    end(started, "All found.")
    for number in range(above // 2):
        Reply.objects.filter(chat=started.chat).update(status="completed")
        append_message(started.chat, role="user", content=f"Question {number}")
        append_message(started.chat, role="assistant", content=f"Answer {number}")
    assert PAGE_SIZE == 40
    started.chat.refresh_from_db()
    page = page_of(visitor, started.chat)
    if above > PAGE_SIZE:
        assert "Step" not in page
        earlier = re.search(r'class="earlier" href="[^"]*before=([^"]+)"', page)
        assert earlier
        page = page_of(visitor, started.chat, before=earlier[1])
    assert [f"Step {number}." in page for number in range(6)] == [True] * 6
    assert page.count('<details class="call"') == 48
    assert 'class="earlier"' in page or "Why is the sky blue?" in page


def test_an_answer_that_continues_another_begins_where_that_does(
    visitor: Client, owner: User, started: StartedReply
) -> None:
    take_step(started, *[{} for _ in range(45)], text="The first step.")
    broken = end(started, "Half", status="stopped")
    continued = start_reply(owner, content="x", chat_id=started.chat.pk)
    Message.objects.filter(pk=continued.answer.pk).update(parent=broken.parent, content="Half and half")
    continued.message.delete()
    Chat.objects.filter(pk=started.chat.pk).update(current_leaf=continued.answer)
    end(continued, "Half and half")
    page = page_of(visitor, started.chat)
    assert "The first step." in page
    assert page.count('class="author"') == 1


def test_the_number_of_queries_does_not_grow_with_the_calls(
    visitor: Client, owner: User, demo_model: object, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    chat = create_chat(owner, title="Many")
    for number in range(4):
        started = start_reply(owner, content=f"Question {number}", chat_id=chat.pk)
        for _ in range(3):
            take_step(started, {}, {"arguments": "x" * 50_000, "output": text("y" * 50_000)})
        end(started, "Done")
    with django_assert_max_num_queries(20) as captured:
        page = page_of(visitor, chat)
    assert page.count('<details class="call"') == 24
    # What is not seen is not read.
    calls = [query["sql"] for query in captured.captured_queries if 'FROM "chats_toolcall"' in query["sql"]]
    assert [('"chats_toolcall"."output"' in sql) for sql in calls] == [False]


# ---------------------------------------------------------------- what opens
def test_what_opens_says_what_was_asked_what_came_of_it_and_who_allowed_it(
    visitor: Client, owner: User, started: StartedReply
) -> None:
    output = {
        "parts": [
            {"type": "text", "text": "# Not a heading\n<b>"},
            {"type": "text", "text": '{"sum":  [1, 2]}'},
            image(PNG),
            {"type": "link", "uri": "https://docs.example.org/a?b=1", "name": "The docs"},
            {"type": "link", "uri": "file:///etc/passwd", "name": ""},
            {"type": "link", "uri": "javascript:alert(1)", "name": "Click"},
            {"type": "link", "uri": "https://[broken", "name": "Odd"},
        ],
        "structured": {"sum": [1, 2]},
        "is_cut": True,
    }
    asked = {"arguments": '{"to":"a","n":1}', "output": output, "decision": "once", "decided_by": owner}
    (call,) = take_step(started, {**asked, "decided_at": "2026-05-01T10:00:00Z", "reason": "Just <this> once"})
    body = opened(visitor, call)
    assert "&quot;to&quot;: &quot;a&quot;,\n  &quot;n&quot;: 1" in body
    assert "You approved it once, <time" in body
    assert '<q dir="auto">Just &lt;this&gt; once</q>' in body
    assert "# Not a heading\n&lt;b&gt;</pre>" in body
    assert f'src="/tool-calls/{call.pk}/images/1/"' in body
    assert 'href="https://docs.example.org/a?b=1" rel="noopener noreferrer' in body
    assert "docs.example.org</span>" in body
    assert body.count("<a ") == 1
    assert "Click: javascript:alert(1)" in body
    # As text it is only what stands below as data.
    assert body.count("&quot;sum&quot;") == 1
    assert "Cut: the answer was longer" in body
    assert tags_in(body) <= OURS


@pytest.mark.parametrize("status", ["denied", "refused", "unknown", "stopped", "failed"])
def test_of_a_call_without_an_answer_it_shows_what_the_model_was_told(
    visitor: Client, started: StartedReply, status: str
) -> None:
    (call,) = take_step(started, {"status": status, "result": "It was <not> carried out."})
    assert "It was &lt;not&gt; carried out." in opened(visitor, call)


def test_one_that_runs_shows_what_it_was_asked_with(visitor: Client, started: StartedReply) -> None:
    (call,) = take_step(started, {"status": "running", "started_at": STARTED_LONG_AGO})
    body = opened(visitor, call)
    assert "Asked with" in body
    assert "Answered" not in body
    assert re.search(r'data-seconds="[1-9]\d+"', page_of(visitor, started.chat))


STARTED_LONG_AGO = "2020-01-01T00:00:00Z"


def test_without_scripts_it_is_a_page_that_leads_back(visitor: Client, started: StartedReply) -> None:
    (call,) = take_step(started, {"output": text("Twelve degrees")})
    page = visitor.get(reverse("pages:tool_call", args=[call.pk])).content.decode()
    assert "Twelve degrees" in page
    assert "<h1><bdi>Look up</bdi></h1>" in page
    assert f"{reverse('pages:chat', args=[started.chat.pk])}#call-{call.pk}" in page
    assert reverse("pages:tool_call", args=[call.pk]) in page_of(visitor, started.chat)


def test_nothing_that_a_model_or_a_tool_writes_is_more_than_text(visitor: Client, started: StartedReply) -> None:
    plain = [payload.replace("\0", "") for payload in PAYLOADS]
    for payload in plain:
        call = ToolCall(
            name=payload[:256],
            title=payload[:200],
            server_name=payload[:100],
            arguments=json.dumps({payload: payload}),
            because=payload[:300],
            reason=payload[:500],
            output={"parts": [{"type": "text", "text": payload}], "structured": {payload: [payload]}},
        )
        fields = {name: getattr(call, name) for name in ("name", "title", "server_name", "arguments", "because")}
        take_step(started, {**fields, "output": call.output, "reason": call.reason, "result": payload})
    end(started, "Done")
    waiting = start_reply(started.reply.user, content="And more", chat_id=started.chat.pk)
    take_step(waiting, *[{"status": "waiting", "title": p[:200], "arguments": json.dumps({p: p})} for p in plain])
    page = page_of(visitor, started.chat)
    harmless = tags_in(page_of(visitor, create_chat(started.reply.user, title="Empty")))
    assert tags_in(page) - harmless <= {"article", "details", "pre", "bdi", "fieldset", "time", "footer", "h3", "code"}
    assert "evil.example" not in "".join(re.findall(r'(?:href|src|action)="[^"]*"', page))
    for call in ToolCall.objects.filter(reply=started.reply):
        body = opened(visitor, call)
        assert tags_in(body) <= OURS
        assert not re.search(r'(?:href|src)="(?!/static/)[^"]*"', body)


def test_what_can_not_be_seen_is_written_out(visitor: Client, started: StartedReply) -> None:
    hidden = "safe\u202egnp.exe\u200b\U000e0041"
    take_step(started, {"status": "waiting", "title": hidden, "arguments": json.dumps({"file": hidden})})
    page = page_of(visitor, started.chat)
    assert page.count("safe[U+202E]gnp.exe[U+200B][U+E0041]") >= 2
    assert "\u202e" not in page


# ---------------------------------------------------------------- images
@pytest.mark.parametrize(
    ("data", "kind"), [(PNG, "image/png"), (JPEG, "image/jpeg"), (GIF, "image/gif"), (WEBP, "image/webp")]
)
def test_an_image_is_what_its_first_bytes_say(visitor: Client, started: StartedReply, data: bytes, kind: str) -> None:
    lie = {**image(data), "mime_type": "text/html"}
    (call,) = take_step(started, {"output": {"parts": [{"type": "text", "text": "x"}, lie]}})
    response = visitor.get(reverse("pages:tool_image", args=[call.pk, 1]))
    assert (response.content, response.headers["Content-Type"]) == (data, kind)
    assert response.headers["Content-Disposition"] == "inline"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert "private" in response.headers["Cache-Control"]


@pytest.mark.parametrize("data", [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<html>", b"", b"RIFF\0\0\0\0WAVE"])
def test_what_is_no_image_is_not_given_out(visitor: Client, started: StartedReply, data: bytes) -> None:
    (call,) = take_step(started, {"output": {"parts": [image(data)]}})
    assert visitor.get(reverse("pages:tool_image", args=[call.pk, 1])).status_code == 404


def test_an_image_that_is_not_there_is_missing(visitor: Client, started: StartedReply) -> None:
    outputs = [{"parts": [image(PNG)]}, {"parts": [{"type": "image", "data": "%%%"}]}, {"parts": 3}, {}]
    calls = take_step(started, *[{"output": output} for output in outputs])
    addresses = [(calls[0], 0), (calls[0], 2), (calls[1], 1), (calls[2], 1), (calls[3], 1)]
    for call, number in addresses:
        assert visitor.get(reverse("pages:tool_image", args=[call.pk, number])).status_code == 404


# ---------------------------------------------------------------- fragments, and whose they are
def test_scripts_get_the_calls_of_a_step_and_what_has_followed_on_it(visitor: Client, started: StartedReply) -> None:
    (first, second) = take_step(started, {}, {"status": "failed"}, text="One.")
    take_step(started, {"title": "Third"}, text="Two.")
    end(started, "Three.")
    calls = visitor.get(reverse("pages:calls", args=[first.message_id]), headers=HX).content.decode()
    assert re.findall(r'data-call="([^"]+)"', calls) == [str(first.pk), str(second.pk)]
    assert "<html" not in calls
    address = reverse("pages:steps", args=[started.reply.pk])
    for start, words in ((first.message_id, ["One.", "Two.", "Three."]), (started.reply.pk, [])):
        response = visitor.get(address, {"from": str(start)}, headers=HX)
        assert re.findall(r"<p>(\w+\.)</p>", response.content.decode()) == words
    assert response.status_code == 404
    assert visitor.get(reverse("pages:message", args=[first.result_message_id])).status_code == 404


@pytest.mark.parametrize("who", ["stranger", "nobody"])
def test_others_find_nothing(
    client_of: Callable[[User], Client], client: Client, stranger: User, started: StartedReply, who: str
) -> None:
    (call,) = take_step(started, {"status": "waiting", "output": {"parts": [image(PNG)]}})
    theirs = client_of(stranger) if who == "stranger" else client
    addresses = [
        reverse("pages:tool_call", args=[call.pk]),
        reverse("pages:tool_image", args=[call.pk, 1]),
        reverse("pages:calls", args=[call.message_id]),
        reverse("pages:steps", args=[started.reply.pk]) + f"?from={call.message_id}",
    ]
    decide = reverse("pages:decide", args=[started.reply.pk, call.pk])
    statuses = [*(theirs.get(address).status_code for address in addresses)]
    statuses.append(theirs.post(decide, {"decision": "once"}).status_code)
    assert set(statuses) == {404 if who == "stranger" else 302}
    call.refresh_from_db()
    assert call.status == "waiting"
