import importlib
from collections.abc import Callable

import pytest
from django.apps import apps

from chats.models import Reply
from chats.replies.services import StartedReply, start_reply
from chats.replies.tests.stage import Stage
from config.tests.live import wait_until

END_SECONDS = 10


@pytest.fixture
def ended() -> Callable[[StartedReply], Reply]:
    """`ended(started)`: the reply once it is terminal."""

    def wait(started: StartedReply) -> Reply:
        def is_over() -> bool:
            return not Reply.objects.unfinished().filter(pk=started.reply.pk).exists()

        wait_until(is_over, seconds=END_SECONDS, what="the reply is over")
        return Reply.objects.select_related("message").get(pk=started.reply.pk)

    return wait


@pytest.fixture
def say(live, openai_model, owner) -> Callable[..., StartedReply]:
    """`say(content)`: the owner sends it in a new chat, and the engine answers."""

    def send(content: str = "Hello", **options) -> StartedReply:
        return start_reply(owner, content=content, **options)

    return send


@pytest.fixture
def builtin(stage: Stage) -> Stage:
    """A stage with the tools that Parley brings itself."""
    importlib.import_module("chats.tools.migrations.0002_builtin_tools").install(apps, None)
    return stage
