"""After `encrypt_again` the first key alone opens every secret; what no key opens stays as it is."""

import json
from io import StringIO
from typing import Any

from django.core.management import call_command
from django.db import connection

from accounts.models import User
from chats.catalog.models import Provider
from chats.tools.models import McpServer
from chats.tools.services import add_server, headers_of


def run() -> dict[str, int]:
    out = StringIO()
    call_command("encrypt_again", stdout=out)
    counted: dict[str, int] = json.loads(out.getvalue())
    return counted


def test_secrets_move_to_the_first_key(owner: User, settings: Any) -> None:
    old, new = "old-key-of-thirty-two-characters-x", "new-key-of-thirty-two-characters-x"
    settings.ENCRYPTION_KEYS = [old]
    provider = Provider.objects.create(name="One", base_url="https://example.com/v1", api_key="sk-1")
    server = add_server(owner, name="Two", url="https://example.com/mcp", headers={"X-Key": "s-2"})
    lost = Provider.objects.create(name="Lost", base_url="https://example.com/v1", api_key="sk-3")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE catalog_provider SET api_key = 'no ciphertext' WHERE name = 'Lost'")
    settings.ENCRYPTION_KEYS = [new, old]
    assert run() == {"encrypted": 2, "unreadable": 1}
    settings.ENCRYPTION_KEYS = [new]
    assert Provider.objects.get(pk=provider.pk).api_key == "sk-1"
    assert headers_of(McpServer.objects.get(pk=server.pk)) == {"X-Key": "s-2"}
    assert Provider.objects.get(pk=lost.pk).has_unreadable_key()
