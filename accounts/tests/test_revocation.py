"""What the sockets ask: who is this, and is it still so?"""

import pytest
from django.contrib.sessions.models import Session
from django.test import Client

from accounts import services
from accounts.authentication import authenticate_bearer, is_still_valid, principal_of_session
from accounts.errors import Unauthenticated
from accounts.models import User
from accounts.tests.doors import CHANGE, GOOD
from conftest import PASSWORD


@pytest.fixture
def browser(owner) -> Client:
    client = Client()
    client.force_login(owner)
    return client


def key_of(client: Client) -> str:
    return client.cookies["sessionid"].value


def test_a_session_names_its_person(owner, browser):
    principal = principal_of_session(key_of(browser))
    assert (principal.user, principal.kind) == (owner, "session")
    assert is_still_valid(principal)


@pytest.mark.parametrize("session_key", ["", "unknownunknownunknown", "a\0b", "é" * 40, "x" * 100_000, "../../x"])
def test_an_unknown_session_names_nobody(db, session_key):
    assert principal_of_session(session_key) is None


def test_a_session_without_sign_in_names_nobody(db):
    client = Client()
    client.session.save()
    assert principal_of_session(client.session.session_key) is None


def test_signing_out_ends_it(browser):
    principal = principal_of_session(key_of(browser))
    browser.post("/accounts/logout/")
    assert not is_still_valid(principal)


def test_a_new_password_ends_it(owner, browser, client_of):
    principal = principal_of_session(key_of(browser))
    here = client_of(owner)
    here.post(CHANGE, {"oldpassword": PASSWORD, "password1": GOOD})
    assert not is_still_valid(principal)
    assert principal_of_session(key_of(here)) is not None


def test_disabling_and_deleting_end_it(owner, browser):
    principal = principal_of_session(key_of(browser))
    User.objects.update(is_active=False)
    assert not is_still_valid(principal)
    User.objects.update(is_active=True)
    assert is_still_valid(principal)
    User.objects.all().delete()
    assert not is_still_valid(principal)
    assert Session.objects.exists()


@pytest.mark.parametrize(("name", "value"), [("_auth_user_backend", "elsewhere.Backend"), ("_auth_user_id", "no uuid")])
def test_a_session_of_another_backend_or_of_nonsense_names_nobody(browser, name, value):
    session = browser.session
    session[name] = value
    session.save()
    assert principal_of_session(key_of(browser)) is None


def test_a_rotated_secret_key_keeps_sessions(owner, browser, settings):
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "x" * 60, [settings.SECRET_KEY]
    principal = principal_of_session(key_of(browser))
    # The session's own signature is also made with the key, so this checks both.
    assert principal is not None


def test_a_key_is_valid_until_it_is_revoked(owner):
    key, secret = services.create_api_key(owner, name="script")
    principal = authenticate_bearer(secret)
    assert (principal.user, principal.kind, principal.credential_id) == (owner, "api_key", str(key.pk))
    assert is_still_valid(principal)
    services.revoke_api_key(key)
    assert not is_still_valid(principal)


@pytest.mark.parametrize("token", ["", "parley_", "x" * 20_000, "parley_\udfff", "a.b.c"])
def test_a_socket_gets_no_further_with_garbage(db, token):
    with pytest.raises(Unauthenticated):
        authenticate_bearer(token)
