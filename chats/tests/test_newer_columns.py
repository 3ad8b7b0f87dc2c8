"""In a rolling deploy the newer version adds its columns first: what the older one asks must still be answered."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from chats.models import Chat, Message
from chats.replies import claims, rows
from chats.services import append_message

TABLES = (
    "accounts_user",
    "catalog_aimodel",
    "catalog_price",
    "catalog_provider",
    "chats_chat",
    "chats_message",
    "chats_reply",
)
# After so many a connection keeps the statement.
OFTEN = 5


@pytest.fixture
def add_columns(transactional_db):
    """As another version does, over a connection that it has for itself."""

    def alter(what: str) -> None:
        with connection.cursor() as cursor:
            for table in TABLES:
                cursor.execute(f"ALTER TABLE {table} {what}")
        connection.close()

    with ThreadPoolExecutor(1) as elsewhere:
        yield lambda: elsewhere.submit(alter, "ADD COLUMN newer integer NULL").result()
        elsewhere.submit(alter, "DROP COLUMN newer").result()


@pytest.mark.skipif(settings.IS_SQLITE, reason="its one process is replaced as a whole")
def test_a_column_that_a_newer_version_adds_breaks_nothing_that_was_asked_before(add_columns, owner, openai_model):
    chat = Chat.objects.create(user=owner, model=openai_model)
    leaf = append_message(chat, role="user", content="Hi")

    def ask() -> list[object]:
        return [
            [message.content for message in Message.objects.path_to(leaf.pk)],
            [message.content for message in Message.objects.end_of_path(leaf.pk, characters=100)],
            openai_model.price_at(timezone.now()).output_per_million,
            claims.claim(leaf.pk, "worker"),
            rows.stored_state(leaf.pk, 0),
            Chat.objects.visible_to(owner).get(pk=chat.pk),
        ]

    before = [ask() for _ in range(OFTEN)]
    add_columns()
    assert ask() == before[0]
