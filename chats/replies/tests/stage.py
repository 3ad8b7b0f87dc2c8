"""A person with a model that calls tools, and a server that has some."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from django.core.files.base import ContentFile

from accounts.models import User
from chats.knowledge.models import Document
from chats.knowledge.services import add_document
from chats.llm.tests.fake_provider import FakeProvider, Script
from chats.models import Chat, Message, Reply, ToolCall
from chats.replies.approvals import decide_call
from chats.replies.servers import look_now
from chats.replies.services import StartedReply, start_reply
from chats.tools.models import McpServer, Tool
from chats.tools.services import set_policy
from chats.tools.tests.fake_server import FakeMcpServer, FakeTool
from config.tests.live import wait_until

LOOK = FakeTool("look_up", "Looks something up", annotations={"readOnlyHint": True}, run=lambda given: f"Found {given}")
SEND = FakeTool("send_mail", "Sends a mail", run="Sent")


@dataclass
class Stage:
    owner: User
    server: McpServer
    mcp: FakeMcpServer
    provider: FakeProvider

    def model_does(self, *steps: Script) -> None:
        """The model goes through these: one for each time it is asked again after results of tools."""
        self.provider.answer_by(rounds(*steps))

    def look(self) -> None:
        """What its server offers by now is found."""
        # In a thread of its own: Playwright leaves an event loop in the main one.
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(look_now, self.server.pk, seconds=10).result().ok

    def ask(self, content: str = "Do it", *, chat: Chat | None = None, **more: Any) -> StartedReply:
        return start_reply(self.owner, content=content, model="Fake model", chat_id=chat.pk if chat else None, **more)

    def decide(self, call: ToolCall, *, approved: bool = True, **how: Any) -> ToolCall:
        return decide_call(self.owner, call.reply, str(call.pk), approved=approved, **how)

    def add_document(self, name: str, content: bytes) -> None:
        """A document of the owner's that can be searched."""
        document, _ = add_document(self.owner, ContentFile(content, name=name))
        wait_until(
            lambda: Document.objects.filter(pk=document.pk, current__isnull=False).exists(),
            seconds=20,
            what="the document is read",
        )

    def let(self, name: str, policy: str) -> None:
        set_policy(self.owner, Tool.objects.get(server=self.server, name=name), policy)


def rounds(*steps: Script) -> Callable[[Any], Script]:
    def choose(body: Any) -> Script:
        messages = body["messages"]
        asked = max(i for i, m in enumerate(messages) if m["role"] == "user")
        done = sum(1 for m in messages[asked:] if m["role"] == "assistant")
        return steps[min(done, len(steps) - 1)]

    return choose


def calling(*calls: tuple[str, Any], text: str = "", **more: Any) -> Script:
    """A model that asks for these calls: (name, arguments)."""
    asked = [(name, given if isinstance(given, str) else json.dumps(given)) for name, given in calls]
    return Script(text=text, tool_calls=asked, finish_reason="tool_calls", **more)


def ended(reply: Reply, *, seconds: float = 15) -> Reply:
    def is_over() -> bool:
        reply.refresh_from_db()
        return reply.is_finished

    wait_until(is_over, seconds=seconds, what="the reply is over")
    return reply


def waiting(reply: Reply, *, seconds: float = 15) -> list[ToolCall]:
    """The calls that wait for approval, once the reply does."""

    def is_so() -> bool:
        reply.refresh_from_db()
        return reply.status == Reply.Status.WAITING

    wait_until(is_so, seconds=seconds, what="the reply waits for approval")
    return list(ToolCall.objects.filter(reply=reply, status="waiting").select_related("reply").order_by("index"))


def calls_of(reply: Reply) -> list[ToolCall]:
    return list(ToolCall.objects.filter(reply=reply).select_related("reply").order_by("step", "index"))


def path(chat: Chat) -> list[Message]:
    """The branch in view."""
    chat.refresh_from_db()
    return Message.objects.path_to(chat.current_leaf_id)
