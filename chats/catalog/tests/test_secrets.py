"""Provider keys: encrypted at rest, readable with any present key, lost without."""

import pytest
from django.db import connection
from django.test import override_settings

from chats.catalog.models import Provider
from chats.catalog.services import save_provider

KEY = "sk-canary-4f9a"


@pytest.fixture
def provider(db: None) -> Provider:
    return save_provider("House", kind="openai", base_url="http://localhost:8000/v1", api_key=KEY)


def column(provider: Provider) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT api_key FROM catalog_provider WHERE name = %s", [provider.name])
        return cursor.fetchone()[0]


def test_the_column_holds_no_plain_key(provider: Provider) -> None:
    assert column(provider)
    assert KEY not in column(provider)
    assert Provider.objects.get(pk=provider.pk).api_key == KEY


def test_an_old_encryption_key_still_reads(provider: Provider, settings) -> None:
    with override_settings(ENCRYPTION_KEYS=["a new key", *settings.ENCRYPTION_KEYS]):
        assert Provider.objects.get(pk=provider.pk).api_key == KEY


def test_with_other_encryption_keys_it_reads_as_no_key_and_survives_changes(provider: Provider) -> None:
    before = column(provider)
    with override_settings(ENCRYPTION_KEYS=["quite another key"]):
        unreadable = Provider.objects.with_key_state().get(pk=provider.pk)
        assert (unreadable.api_key, unreadable.has_stored_key) == ("", True)
        assert unreadable.has_unreadable_key()
        save_provider("House", base_url="http://localhost:9000/v1")
    assert column(provider) == before
    assert not Provider.objects.get(pk=provider.pk).has_unreadable_key()


def test_no_key_is_not_an_unreadable_key(db: None) -> None:
    assert not save_provider("Keyless", kind="openai", base_url="http://localhost:8000/v1").has_unreadable_key()


def test_the_key_is_in_no_representation(provider: Provider) -> None:
    assert KEY not in f"{provider!r} {provider}"
