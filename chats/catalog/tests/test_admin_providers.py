"""Staff add providers, try the connection and import models in the admin."""

import socket
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client, override_settings
from django.urls import reverse

from accounts.models import User
from chats.catalog.models import AIModel, Provider

LIST = reverse("admin:catalog_provider_changelist")
KEY = "sk-canary-77aa"


@pytest.fixture
def desk(superuser: User, client_of) -> Client:
    return client_of(superuser)


@pytest.fixture
def provider(db: None, fake_provider) -> Provider:
    return Provider.objects.create(name="House", base_url=fake_provider.base_url, api_key=KEY)


def change_url(provider: Provider) -> str:
    return reverse("admin:catalog_provider_change", args=[provider.pk])


def button(provider: Provider, name: str) -> str:
    return reverse(f"admin:catalog_provider_{name}", args=[provider.pk])


def filled(**fields: Any) -> dict[str, Any]:
    base = {"name": "House", "kind": "openai", "base_url": "http://llm.example/v1", "api_key": "", "enabled": "on"}
    return base | fields


def text(response: Any) -> str:
    return response.content.decode()


def stored(name: str = "House") -> Provider:
    return Provider.objects.get(name=name)


def test_a_provider_is_added_with_its_key(desk: Client) -> None:
    response = desk.post(
        reverse("admin:catalog_provider_add"), filled(api_key=f" {KEY} ", base_url="http://a.example/v1/")
    )
    assert response.status_code == 302
    assert (stored().api_key, stored().base_url) == (KEY, "http://a.example/v1")


def test_the_key_is_never_shown_again(desk: Client, provider: Provider) -> None:
    invalid = desk.post(change_url(provider), filled(name="", api_key="sk-other-canary"))
    for response in (desk.get(LIST), desk.get(change_url(provider)), invalid):
        assert "canary" not in text(response)
    assert 'type="password" name="api_key"' in text(desk.get(change_url(provider)))


def test_those_who_only_look_do_not_see_the_key(staff: User, client_of, provider: Provider) -> None:
    staff.user_permissions.set(Permission.objects.filter(codename="view_provider"))
    page = text(client_of(staff).get(change_url(provider)))
    assert provider.base_url in page
    assert "canary" not in page


def test_a_blank_key_keeps_the_present_one(desk: Client, provider: Provider) -> None:
    desk.post(change_url(provider), filled(name="Renamed"))
    assert stored("Renamed").api_key == KEY


def test_another_key_replaces_it_and_the_log_has_no_word_of_it(desk: Client, provider: Provider) -> None:
    desk.post(change_url(provider), filled(api_key="sk-other-canary"))
    assert stored().api_key == "sk-other-canary"
    assert "canary" not in LogEntry.objects.latest("pk").change_message


def test_clear_key_forgets_it(desk: Client, provider: Provider) -> None:
    desk.post(change_url(provider), filled(clear_key="on"))
    assert stored().api_key == ""
    page = text(desk.post(change_url(provider), filled(clear_key="on", api_key="sk-new"), follow=True))
    assert "Either enter a new key or clear the present one" in page


def test_an_unreadable_key_is_said_and_not_lost_by_other_changes(desk: Client, provider: Provider) -> None:
    with override_settings(ENCRYPTION_KEYS=["quite another key"]):
        assert "can&#x27;t be read" in text(desk.get(LIST))
        assert "ENCRYPTION_KEYS" in text(desk.post(button(provider, "test-connection"), follow=True))
        desk.post(change_url(provider), filled(name="Renamed"))
    assert stored("Renamed").api_key == KEY


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"base_url": ""}, "needs its address"),
        ({"base_url": "ftp://example.org"}, "http:// or https://"),
        ({"base_url": "http://me:pw@example.org/v1"}, "user name or password"),
        ({"api_key": "schlüssel"}, "copy it again"),
        ({"name": "Demo"}, "already exists"),
        ({"kind": "pigeon"}, "valid choice"),
    ],
)
def test_mistakes_are_explained(desk: Client, demo_model: AIModel, fields: dict[str, str], words: str) -> None:
    response = desk.post(reverse("admin:catalog_provider_add"), filled(**fields))
    assert words in text(response)
    assert not Provider.objects.filter(name="House").exists()


def test_an_address_without_v1_gets_a_hint(desk: Client) -> None:
    page = text(desk.post(reverse("admin:catalog_provider_add"), filled(base_url="http://a.example"), follow=True))
    assert "does not end in /v1" in page
    assert stored().base_url == "http://a.example"


def test_the_list_takes_the_same_queries_for_any_number_of_rows(
    desk: Client, provider: Provider, django_assert_num_queries, django_assert_max_num_queries
) -> None:
    AIModel.objects.create(provider=provider, name="a", model_id="a")
    with django_assert_max_num_queries(12) as few:
        assert '<td class="field-model_count">1</td>' in text(desk.get(LIST))
    for n in range(10):
        other = Provider.objects.create(name=f"Other {n}", base_url="http://a.example/v1")
        AIModel.objects.create(provider=other, name="a", model_id="a")
    with django_assert_num_queries(len(few)):
        desk.get(LIST)


# ---------------------------------------------------------------- asking the provider


def test_the_button_tests_the_connection(desk: Client, provider: Provider, fake_provider) -> None:
    fake_provider.require_key(KEY)
    page = text(desk.post(button(provider, "test-connection"), follow=True))
    assert "House: It answered in" in page
    assert "Models it lists: 2" in page
    assert fake_provider.requests[-1].path == "/v1/models"


def test_the_action_does_the_same_for_several(desk: Client, provider: Provider, demo_model: AIModel) -> None:
    chosen = {"action": "test_connections", "_selected_action": [provider.pk, demo_model.provider.pk]}
    page = text(desk.post(LIST, chosen, follow=True))
    assert "House: It answered in" in page
    assert "Demo: It answered in" in page


def test_a_refusal_is_in_the_providers_words_without_the_key(desk: Client, provider: Provider, fake_provider) -> None:
    fake_provider.require_key("another")
    page = text(desk.post(button(provider, "test-connection"), follow=True))
    assert "Incorrect API key provided" in page
    assert KEY not in page


def test_a_closed_port_is_said(desk: Client, provider: Provider) -> None:
    Provider.objects.update(base_url="http://127.0.0.1:9/v1")
    assert "refused the connection" in text(desk.post(button(provider, "test-connection"), follow=True))


def test_a_server_that_never_answers_is_given_up(desk: Client, provider: Provider) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, override_settings(PROVIDER_TEST_SECONDS=0.1):
        Provider.objects.filter(pk=provider.pk).update(base_url=f"http://127.0.0.1:{silent.getsockname()[1]}/v1")
        page = text(desk.post(button(provider, "import-models"), follow=True))
    assert "No answer within 0.1 seconds" in page


def test_a_provider_the_operator_does_not_allow_is_not_asked(desk: Client, provider: Provider, fake_provider) -> None:
    with override_settings(PROVIDER_ALLOWED_HOSTS=["api.example.org"]):
        assert "PROVIDER_ALLOWED_HOSTS" in text(desk.post(button(provider, "import-models"), follow=True))
    assert not fake_provider.requests


def test_imported_models_arrive_disabled_and_unpriced(desk: Client, provider: Provider) -> None:
    page = text(desk.post(button(provider, "import-models"), follow=True))
    assert "Imported 2, disabled until you enable them. Without a price: 2." in page
    rows = provider.models.values_list("name", "model_id", "enabled")
    assert set(rows) == {("fake-large", "fake-large", False), ("fake-small", "fake-small", False)}
    assert not provider.models.filter(prices__isnull=False).exists()
    assert "Imported 2 models" in LogEntry.objects.latest("pk").get_change_message()


def test_models_for_embeddings_are_imported_as_such(desk: Client, provider: Provider, fake_provider) -> None:
    fake_provider.models = ["fake-large", "fake-embed"]
    desk.post(button(provider, "import-models"))
    kinds = dict(provider.models.values_list("model_id", "kind"))
    assert kinds == {"fake-large": AIModel.Kind.CHAT, "fake-embed": AIModel.Kind.EMBEDDING}


def test_a_second_import_leaves_everything_as_staff_made_it(desk: Client, provider: Provider, fake_provider) -> None:
    ours = AIModel.objects.create(provider=provider, name="Ours", model_id="fake-large", enabled=True, order=1)
    AIModel.objects.create(provider=provider, name="fake-small", model_id="something else")
    chosen = {"action": "import_from", "_selected_action": [provider.pk]}
    assert "Imported 1," in text(desk.post(LIST, chosen, follow=True))
    assert "Imported 0," in text(desk.post(LIST, chosen, follow=True))
    ours.refresh_from_db()
    assert (ours.name, ours.enabled, ours.order) == ("Ours", True, 1)
    assert provider.models.get(model_id="fake-small").name == "fake-small (imported)"


def test_what_a_provider_calls_its_models_is_text(desk: Client, provider: Provider, fake_provider) -> None:
    payload = "<script>alert(1)</script>"
    fake_provider.models = [payload, "a\0b"]
    desk.post(button(provider, "import-models"))
    assert provider.models.count() == 2
    assert payload not in text(desk.get(reverse("admin:catalog_aimodel_changelist")))


@pytest.mark.parametrize("name", ["test-connection", "import-models"])
def test_the_buttons_only_post_and_only_for_those_who_may_change(
    client_of, superuser: User, staff: User, owner: User, *, provider: Provider, name: str
) -> None:
    url = button(provider, name)
    desk = client_of(superuser)
    assert desk.get(url).status_code == 405
    assert client_of(staff).post(url).status_code == 403
    assert client_of(owner).post(url).status_code == 302
    provider.delete()
    assert desk.post(url).status_code == 404
    desk.handler.enforce_csrf_checks = True
    assert desk.post(url).status_code == 403


def test_a_provider_with_models_stays_and_an_empty_one_goes(desk: Client, provider: Provider) -> None:
    url = reverse("admin:catalog_provider_delete", args=[provider.pk])
    model = AIModel.objects.create(provider=provider, name="a", model_id="a")
    assert "still has models" in text(desk.post(url, {"post": "yes"}, follow=True))
    model.delete()
    desk.post(url, {"post": "yes"})
    assert not Provider.objects.filter(pk=provider.pk).exists()
