import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import services
from accounts.errors import Conflict, Invalid, TooMany
from accounts.models import ApiKey
from accounts.tests.doors import is_logged_in

ME = "/api/v1/me/"
KEYS = "/settings/keys/"
NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


def ask_with(header: str, *, client: Client | None = None):
    return (client or Client(raise_request_exception=True)).get(ME, headers={"authorization": header})


def test_a_key_opens_the_api_for_its_person_only(owner, stranger):
    _, secret = services.create_api_key(owner, name="script")
    services.create_api_key(stranger, name="other")
    response = ask_with(f"Bearer {secret}")
    assert (response.status_code, response.json()["email"]) == (200, owner.email)
    # The scheme is a word of HTTP, so its capitals mean nothing.
    assert ask_with(f"bEaReR {secret}").status_code == 200
    assert not is_logged_in(Client(headers={"authorization": f"Bearer {secret}"}))


def test_only_a_digest_is_stored(owner):
    key, secret = services.create_api_key(owner, name="script")
    stored = " ".join(str(value) for value in ApiKey.objects.filter(pk=key.pk).values_list()[0])
    assert secret not in stored
    assert len(secret) >= len("parley_") + 43
    assert key.hint == secret[:12]


GARBAGE = {
    "nothing": b"",
    "only a blank": b" ",
    "unknown key": b"parley_" + b"x" * 43,
    "ten kilobytes": b"parley_" + b"x" * 10_000,
    "a megabyte": b"x" * 1_000_000,
    "not utf-8": b"parley_\xff\xfe\x80",
    "latin letters": "parley_é".encode("latin-1"),
    "a zero byte": b"parley_\x00abc",
    "blanks inside": b"parley_ a b c",
    "tabs": b"parley_\tabc",
    "a comma": b"parley_a,Bearer parley_b",
    "emoji": "parley_🔑".encode(),
    "dots": b"a.b.c",
    "many dots": b"." * 1000,
    "quotes": b"' or 1=1 --",
    "not a scheme": b"parley",
}


@pytest.mark.parametrize("token", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("is_cut", [False, True], ids=["whole", "cut key"])
def test_any_bytes_are_refused_as_json(owner, token, is_cut):
    _, secret = services.create_api_key(owner, name="script")
    value = (secret[:-1].encode() + token) if is_cut else token
    response = Client().get(ME, HTTP_AUTHORIZATION=f"Bearer {value.decode('latin-1')}")
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "unauthenticated"
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_wrong_key_is_refused_even_with_a_good_session(owner, client_of):
    assert client_of(owner).get(ME).status_code == 200
    assert ask_with("Bearer parley_wrong", client=client_of(owner)).status_code == 401


def test_another_scheme_is_none_of_ours(owner, client_of):
    assert ask_with("Basic abc").status_code == 401
    assert ask_with("Basic abc", client=client_of(owner)).status_code == 200


def test_a_session_needs_a_csrf_token_to_change_something(owner):
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner)
    assert client.patch(ME, {"name": "Eve"}, content_type="application/json").status_code == 403


def test_use_is_noted_once_a_minute(owner, time_machine):
    time_machine.move_to(NOON, tick=False)
    key, secret = services.create_api_key(owner, name="script")
    noted = []
    for seconds in (0, 30, 31):
        time_machine.shift(seconds)
        assert ask_with(f"Bearer {secret}").status_code == 200
        key.refresh_from_db()
        noted.append((key.last_used_at - NOON).total_seconds())
    assert noted == [0, 0, 61]


def test_a_key_ends_at_its_expiry(owner, time_machine):
    time_machine.move_to(NOON, tick=False)
    _, secret = services.create_api_key(owner, name="script", expires_at=NOON + timedelta(hours=1))
    assert ask_with(f"Bearer {secret}").status_code == 200
    time_machine.shift(3600)
    assert ask_with(f"Bearer {secret}").status_code == 401


def test_a_revoked_key_is_closed_at_once_and_for_ever(owner):
    key, secret = services.create_api_key(owner, name="script")
    services.revoke_api_key(key)
    first = key.revoked_at
    assert ask_with(f"Bearer {secret}").status_code == 401
    services.revoke_api_key(key)
    assert key.revoked_at == first
    assert not key.is_usable


def test_a_disabled_persons_key_is_closed_at_once(owner):
    _, secret = services.create_api_key(owner, name="script")
    owner.is_active = False
    owner.save()
    assert ask_with(f"Bearer {secret}").status_code == 401


def test_the_same_client_id_makes_one_key(owner, stranger):
    first, secret = services.create_api_key(owner, name="script", client_id="c-1")
    again, nothing = services.create_api_key(owner, name="script", client_id="c-1")
    assert (again.pk, nothing) == (first.pk, "")
    assert secret
    with pytest.raises(Conflict):
        services.create_api_key(owner, name="other", client_id="c-1")
    with pytest.raises(Conflict):
        services.create_api_key(owner, name="script", client_id="c-1", expires_at=timezone.now() + timedelta(days=1))
    assert services.create_api_key(stranger, name="script", client_id="c-1")[0].pk != first.pk


def test_a_request_repeated_at_once_makes_one_key(transactional_db, django_user_model):
    user = django_user_model.objects.create_user("a@example.org", "x")
    start = threading.Barrier(6)
    made = []

    def ask() -> None:
        start.wait()
        try:
            made.append(services.create_api_key(user, name="script", client_id="c-1"))
        finally:
            connection.close()

    _run([threading.Thread(target=ask) for _ in range(6)])
    assert len({key.pk for key, _ in made}) == 1
    assert sum(bool(secret) for _, secret in made) == 1


def test_the_number_of_keys_is_limited_under_concurrency(transactional_db, django_user_model, settings):
    settings.API_KEYS_PER_USER = 3
    user = django_user_model.objects.create_user("a@example.org", "x")
    start = threading.Barrier(8)
    outcomes = []

    def ask() -> None:
        start.wait()
        try:
            services.create_api_key(user, name="script")
            outcomes.append("made")
        except Invalid:
            outcomes.append("refused")
        finally:
            connection.close()

    _run([threading.Thread(target=ask) for _ in range(8)])
    assert (outcomes.count("made"), outcomes.count("refused")) == (3, 5)


def test_revoked_keys_make_room_but_making_keys_is_limited_by_the_hour(owner, settings):
    settings.API_KEYS_PER_USER, settings.KEY_CHANGES_PER_HOUR = 1, 2
    services.revoke_api_key(services.create_api_key(owner, name="one")[0])
    services.revoke_api_key(services.create_api_key(owner, name="two")[0])
    with pytest.raises(TooMany):
        services.create_api_key(owner, name="three")


@pytest.mark.parametrize("name", ["", "   ", "x" * 201, "a\0b", "a\nb", "\udfff"])
def test_what_is_no_name_is_refused(owner, name):
    with pytest.raises(Invalid) as raised:
        services.create_api_key(owner, name=name)
    assert "name" in raised.value.fields


def test_an_expiry_in_the_past_is_refused(owner):
    with pytest.raises(Invalid):
        services.create_api_key(owner, name="script", expires_at=timezone.now())


# ---------------------------------------------------------------- the page


def make_on_page(client: Client, **data: str):
    return client.post(KEYS, {"name": "script", "expires": "", "client_id": "c-1", **data})


def test_the_page_shows_a_key_once(owner, client_of):
    client = client_of(owner)
    page = make_on_page(client)
    secret = page.context["secret"]
    assert secret in page.content.decode()
    assert "no-store" in page.headers["Cache-Control"]
    assert ask_with(f"Bearer {secret}").status_code == 200
    again = make_on_page(client)
    assert "was already made" in again.content.decode()
    assert secret not in again.content.decode() + client.get(KEYS).content.decode()
    assert ApiKey.objects.count() == 1


def test_the_page_takes_an_expiry(owner, client_of):
    make_on_page(client_of(owner), expires="30")
    left = ApiKey.objects.get().expires_at - timezone.now()
    assert timedelta(days=29) < left <= timedelta(days=30)


@pytest.mark.parametrize("wrong", [{"name": ""}, {"name": "x" * 201}, {"expires": "soon"}, {"client_id": "x" * 65}])
def test_the_page_says_what_is_wrong(owner, client_of, wrong):
    page = make_on_page(client_of(owner), **wrong)
    assert page.status_code == 200
    assert 'role="alert"' in page.content.decode()
    assert not ApiKey.objects.exists()


def test_the_page_says_that_there_are_enough_keys(owner, client_of, settings):
    settings.API_KEYS_PER_USER = 1
    client = client_of(owner)
    make_on_page(client)
    assert "Revoke one first" in make_on_page(client, client_id="c-2").content.decode()
    settings.API_KEYS_PER_USER, settings.KEY_CHANGES_PER_HOUR = 5, 1
    assert make_on_page(client, client_id="c-3").status_code == 429


def test_revoking_asks_first(owner, client_of):
    key, secret = services.create_api_key(owner, name="script")
    client = client_of(owner)
    address = f"{KEYS}{key.pk}/revoke/"
    assert "Revoke «script»?" in client.get(address).content.decode()
    assert ask_with(f"Bearer {secret}").status_code == 200
    assert client.post(address).headers["Location"] == KEYS
    assert ask_with(f"Bearer {secret}").status_code == 401


def test_nobody_sees_or_revokes_a_strangers_key(owner, stranger, client_of):
    key, secret = services.create_api_key(owner, name="private script")
    client = client_of(stranger)
    assert "private script" not in client.get(KEYS).content.decode()
    for answer in (client.get(f"{KEYS}{key.pk}/revoke/"), client.post(f"{KEYS}{key.pk}/revoke/")):
        assert answer.status_code == 404
    assert ask_with(f"Bearer {secret}").status_code == 200


def test_a_name_is_text_on_the_page(owner, client_of):
    services.create_api_key(owner, name="<script>alert(1)</script>")
    assert b"<script>alert(1)" not in client_of(owner).get(KEYS).content


def _run(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
