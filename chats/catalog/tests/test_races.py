"""Two people who save the same at the same moment: one wins, the other is told."""

import threading
from collections.abc import Callable, Iterator

import pytest
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse

from accounts.models import User
from chats.catalog.models import AIModel, Provider
from chats.catalog.services import save_model
from chats.errors import Invalid
from config.tests.live import wait_until
from config.tests.locks import is_waited_for

pytestmark = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="SQLite lets one writer in at a time, so nobody writes unseen"
)


@pytest.fixture
def other_person(transactional_db: None) -> Iterator[Provider]:
    """Has added «Large» without committing yet, and commits as soon as somebody waits for that."""
    provider = Provider.objects.create(name="House", base_url="http://llm.example/v1")
    has_written = threading.Event()

    def write() -> None:
        try:
            with transaction.atomic():
                AIModel.objects.create(provider=provider, name="Large", model_id="large")
                has_written.set()
                wait_until(is_waited_for, seconds=10, what="somebody waits for the other writer")
        finally:
            connection.close()

    thread = threading.Thread(target=write)
    thread.start()
    assert has_written.wait(10)
    yield provider
    thread.join(10)


def test_the_verb_says_that_it_already_exists(other_person: Provider) -> None:
    with pytest.raises(Invalid, match="already exists"):
        save_model("Large", provider="House", model_id="large")
    assert AIModel.objects.filter(provider=other_person).count() == 1


def test_the_desk_says_that_it_already_exists(
    other_person: Provider, superuser: User, client_of: Callable[[User], Client]
) -> None:
    form = {"provider": other_person.pk, "name": "Large", "model_id": "large", "order": 1, "default_settings": "{}"}
    form |= {"prices-TOTAL_FORMS": 0, "prices-INITIAL_FORMS": 0}
    response = client_of(superuser).post(reverse("admin:catalog_aimodel_add"), form, follow=True)
    assert "already exists" in response.content.decode()
    assert AIModel.objects.filter(provider=other_person).count() == 1
