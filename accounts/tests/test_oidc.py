import base64
import hashlib
import hmac
import json
import threading
import time

import pytest
from django.core import mail
from django.db import connection
from django.test import Client

from accounts import issuer_keys, services
from accounts.authentication import authenticate_bearer, is_still_valid
from accounts.models import Identity, User
from accounts.tests.doors import RESET, log_in
from accounts.tests.issuer import CLIENT, Issuer
from conftest import PASSWORD

ME = "/api/v1/me/"


@pytest.fixture(scope="module")
def issuer_server():
    issuer = Issuer()
    yield issuer
    issuer.close()


@pytest.fixture
def issuer(issuer_server, db, settings):
    issuer_server.reset()
    issuer_keys._client.cache_clear()
    settings.OIDC_ISSUER = issuer_server.url
    settings.OIDC_CLIENT_IDS = ["another", CLIENT]
    return issuer_server


def ask(token: str):
    return Client().get(ME, headers={"authorization": f"Bearer {token}"})


def test_a_token_of_the_issuer_opens_the_api(issuer):
    response = ask(issuer.token())
    assert response.status_code == 200
    identity = Identity.objects.get()
    assert (identity.issuer, identity.subject) == (issuer.url, "subject-1")
    assert (identity.user.name, identity.user.has_usable_password()) == ("nora", False)
    assert (identity.user.is_staff, identity.user.is_superuser) == (False, False)
    assert response.json()["id"] == str(identity.user_id)


def test_the_same_subject_is_the_same_person(issuer):
    people = {ask(issuer.token(username=name)).json()["id"] for name in ("nora", "renamed")}
    assert len(people) == 1
    assert ask(issuer.token(sub="subject-2")).json()["id"] not in people


def test_an_email_in_a_token_takes_nobody_over(issuer, owner):
    seen = ask(issuer.token(email=owner.email, email_verified=True, username=None)).json()
    assert seen["id"] != str(owner.pk)
    assert seen["email"].endswith("@identity.invalid")
    assert seen["name"] == owner.email
    assert log_in(owner.email, PASSWORD).status_code == 302


def test_an_issuers_people_do_not_use_up_the_first_place_rights(issuer):
    ask(issuer.token())
    assert not User.objects.filter(is_superuser=True).exists()


def test_unknown_people_stay_outside_when_told_so(issuer, settings):
    settings.OIDC_CREATE_USERS = False
    answer = ask(issuer.token())
    assert answer.status_code == 401
    assert "no account here" in answer.json()["error"]["message"]
    Identity.objects.create(user=User.objects.create_user("a@x.org"), issuer=issuer.url, subject="subject-1")
    assert ask(issuer.token()).status_code == 200


def test_a_disabled_person_is_shut_out_at_once(issuer):
    token = issuer.token()
    principal = authenticate_bearer(token)
    assert is_still_valid(principal)
    User.objects.update(is_active=False)
    assert ask(token).status_code == 401
    assert not is_still_valid(principal)


def test_a_token_that_ran_out_or_lost_its_identity_is_no_longer_valid(issuer, time_machine):
    time_machine.move_to(time.time(), tick=False)
    principal = authenticate_bearer(issuer.token())
    time_machine.shift(3700)
    assert not is_still_valid(principal)
    time_machine.shift(-3700)
    assert is_still_valid(principal)
    Identity.objects.all().delete()
    assert not is_still_valid(principal)


def test_of_many_first_requests_at_once_one_makes_the_person(transactional_db, issuer):
    token = issuer.token()
    start = threading.Barrier(8)
    people = []

    def arrive() -> None:
        start.wait()
        try:
            people.append(authenticate_bearer(token).user.pk)
        finally:
            connection.close()

    threads = [threading.Thread(target=arrive) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(people) == 8
    assert len(set(people)) == 1
    assert User.objects.count() == 1
    assert issuer.requests == ["/pool/.well-known/openid-configuration", "/pool/keys"]


def test_who_comes_second_with_a_subject_meets_the_first(db):
    first, second = (services.create_identity(issuer="https://i.example", subject="s", name=n) for n in ("A\0", "B"))
    assert (first.pk, second.user.name) == (second.pk, "A")
    assert User.objects.count() == 1


def test_no_mail_is_sent_to_a_placeholder(issuer, settings):
    ask(issuer.token())
    Client().post(RESET, {"email": User.objects.get().email})
    assert mail.outbox == []


# ---------------------------------------------------------------- tokens that must not pass


def b64(data: bytes | dict) -> str:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed_with_public_key(issuer: Issuer) -> str:
    """The old trick: the public key as the secret of an HMAC."""
    signed = f"{b64({'alg': 'HS256', 'kid': 'key-1'})}.{b64(issuer.claims())}"
    return f"{signed}.{b64(hmac.digest(issuer.public_pem(), signed.encode(), hashlib.sha256))}"


def with_other_payload(issuer: Issuer) -> str:
    header, _, signature = issuer.token().split(".")
    return f"{header}.{b64(issuer.claims(sub='someone-else'))}.{signature}"


BAD_TOKENS = {
    "alg none": lambda i: f"{b64({'alg': 'none', 'kid': 'key-1'})}.{b64(i.claims())}.",
    "alg None": lambda i: f"{b64({'alg': 'None', 'kid': 'key-1'})}.{b64(i.claims())}.",
    "alg a list": lambda i: f"{b64({'alg': ['RS256'], 'kid': 'key-1'})}.{b64(i.claims())}.x",
    "HS256 with the public key": signed_with_public_key,
    "a key of its own under a known id": lambda i: Issuer.token(_fresh(i), key_id="key-1"),
    "another payload": with_other_payload,
    "no key id": lambda i: i.token(headers={"kid": ""}),
    "an unknown key id": lambda i: i.token(key_id="key-9"),
    "key id a path": lambda i: i.token(key_id="../../etc/passwd"),
    "another issuer": lambda i: i.token(iss="https://evil.example/pool"),
    "no issuer": lambda i: i.token(iss=None),
    "another client": lambda i: i.token(client_id="client-9"),
    "no client": lambda i: i.token(client_id=None),
    "client a list": lambda i: i.token(client_id=[CLIENT]),
    "an id token": lambda i: i.token(token_use="id", client_id=None, aud=CLIENT),
    "no token use": lambda i: i.token(token_use=None),
    "expired": lambda i: i.token(exp=int(time.time()) - 60),
    "never expires": lambda i: i.token(exp=None),
    "expiry no number": lambda i: i.token(exp="soon"),
    "expiry infinite": lambda i: i.token(exp=float("inf")),
    "not yet valid": lambda i: i.token(nbf=int(time.time()) + 300),
    "issued tomorrow": lambda i: i.token(iat=int(time.time()) + 86_400),
    "no moment of issue": lambda i: i.token(iat=None),
    "no subject": lambda i: i.token(sub=None),
    "an empty subject": lambda i: i.token(sub=""),
    "a subject with a zero byte": lambda i: i.token(sub="a\0b"),
    "a lone surrogate as subject": lambda i: i.token(sub="\ud800"),
    "a subject of 256 characters": lambda i: i.token(sub="s" * 256),
    "huge": lambda i: i.token(extra="x" * 20_000),
    "critical extension": lambda i: i.token(headers={"crit": ["x"], "x": 1}),
    "garbage": lambda _: "a.b.c",
    "empty parts": lambda _: "..",
    "no json": lambda _: f"{b64(b'nope')}.{b64(b'nope')}.{b64(b'nope')}",
    "header a list": lambda i: f"{b64(b'[]')}.{b64(i.claims())}.x",
    "nested deep": lambda _: f"{b64(b'[' * 10_000)}.{b64(b'{}')}.x",
    "no ascii": lambda _: "é.é.é",
}


def _fresh(issuer: Issuer) -> Issuer:
    """An impostor: the same words, other keys."""
    impostor = object.__new__(Issuer)
    impostor.url, impostor._keys = issuer.url, {}
    return impostor


@pytest.mark.parametrize("make", BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_bad_tokens_are_refused(issuer, make):
    response = Client().get(ME, headers={"authorization": f"Bearer {make(issuer)}"})
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "unauthenticated"
    assert not User.objects.exists()


def test_a_little_difference_of_clocks_is_forgiven(issuer):
    now = int(time.time())
    assert ask(issuer.token(exp=now - 5)).status_code == 200
    assert ask(issuer.token(nbf=now + 5, iat=now + 5)).status_code == 200


def test_an_audience_is_checked_when_one_is_set(issuer, settings):
    settings.OIDC_AUDIENCE, settings.OIDC_CLIENT_IDS, settings.OIDC_TOKEN_USE = ["https://parley"], [], ""
    assert ask(issuer.token(token_use=None, aud="https://parley")).status_code == 200
    assert ask(issuer.token(token_use=None, aud=["x", "https://parley"])).status_code == 200
    assert ask(issuer.token(token_use=None, aud="https://other")).status_code == 401
    assert ask(issuer.token(token_use=None)).status_code == 401


def test_other_issuers_name_the_client_azp(issuer, settings):
    settings.OIDC_TOKEN_USE = ""
    assert ask(issuer.token(client_id=None, azp=CLIENT, token_use=None)).status_code == 200
    assert ask(issuer.token(client_id=None, azp="other", token_use=None)).status_code == 401


def test_without_an_issuer_no_token_is_looked_at(issuer, settings):
    settings.OIDC_ISSUER = ""
    assert ask(issuer.token()).status_code == 401
    assert issuer.requests == []


# ---------------------------------------------------------------- the issuer's keys


def test_keys_are_found_by_discovery_and_kept(issuer):
    for _ in range(3):
        assert ask(issuer.token()).status_code == 200
    assert issuer.requests == ["/pool/.well-known/openid-configuration", "/pool/keys"]


def test_keys_are_fetched_from_the_address_that_is_set(issuer, settings):
    settings.OIDC_JWKS_URL = f"{issuer.url}/keys"
    assert ask(issuer.token()).status_code == 200
    assert issuer.requests == ["/pool/keys"]


def test_the_keys_of_cognito_are_where_cognito_has_them():
    issuer = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_abc"
    assert issuer_keys._discover_jwks_url(issuer) == f"{issuer}/.well-known/jwks.json"


def test_a_flood_of_unknown_key_ids_is_no_flood_of_fetches(issuer, settings):
    settings.OIDC_JWKS_URL = f"{issuer.url}/keys"
    assert ask(issuer.token()).status_code == 200
    token = issuer.token(key_id="unknown")
    for _ in range(20):
        assert ask(token).status_code == 401
    assert len(issuer.requests) == 1
    assert ask(issuer.token()).status_code == 200


def test_a_new_key_of_the_issuer_is_found_after_the_pause(issuer, settings):
    settings.OIDC_JWKS_URL, settings.OIDC_KEYS_REFRESH_SECONDS = f"{issuer.url}/keys", 0
    assert ask(issuer.token()).status_code == 200
    issuer.add_key("key-2")
    assert ask(issuer.token(key_id="key-2")).status_code == 200
    assert len(issuer.requests) == 2


BAD_ANSWERS = {
    "no HTTP": (99_999, {}, b""),
    "headers without end": (200, {f"X-{number}": "1" for number in range(200)}, b"{}"),
    "an error": (500, {}, b"oops"),
    "a redirect": (302, {"Location": "/pool/keys"}, b""),
    "a page": (200, {}, b"<html>"),
    "a list": (200, {}, b"[]"),
    "no keys": (200, {}, b'{"keys": []}'),
    "nonsense keys": (200, {}, b'{"keys": [{"kty": "RSA"}, 1, null]}'),
    "a flood": (200, {}, b'{"keys": "' + b"x" * 300_000 + b'"}'),
    "deep nesting": (200, {}, b"[" * 200_000),
    "nothing": (200, {}, b""),
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_an_issuer_that_is_down_is_our_503_and_is_asked_once(issuer, answer):
    issuer.answer = answer
    for _ in range(3):
        response = ask(issuer.token())
        assert (response.status_code, response.json()["error"]["code"]) == (503, "issuer_unavailable")
        assert int(response.headers["Retry-After"]) > 0
    assert len(issuer.requests) == 1


def test_a_configuration_of_another_issuer_is_refused(issuer, settings):
    settings.OIDC_ISSUER = f"{issuer.url}/"  # answers at the same place, but names itself differently
    assert ask(issuer.token(iss=f"{issuer.url}/")).status_code == 503


def test_an_issuer_that_nobody_answers_for_is_our_503(issuer, settings):
    settings.OIDC_JWKS_URL = "http://127.0.0.1:1/keys"
    assert ask(issuer.token()).status_code == 503


def test_known_keys_outlive_an_outage(issuer, settings):
    settings.OIDC_KEYS_CACHE_SECONDS, settings.OIDC_KEYS_REFRESH_SECONDS = 0.001, 0
    assert ask(issuer.token()).status_code == 200
    issuer.answer = (500, {}, b"")
    assert ask(issuer.token()).status_code == 200


@pytest.mark.parametrize(
    "address", ["http://example.org/keys", "http://169.254.169.254/keys", "http://user@localhost/"]
)
def test_keys_never_come_over_an_unsafe_way(issuer, settings, address):
    settings.OIDC_JWKS_URL = address
    assert ask(issuer.token()).status_code == 503


def test_in_production_keys_come_over_https_only(issuer, settings):
    settings.IS_PRODUCTION = True
    assert ask(issuer.token()).status_code == 503
    assert issuer.requests == []
