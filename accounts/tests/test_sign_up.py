import threading

import pytest
from django.core import mail
from django.db import connection
from django.test import Client

from accounts import services
from accounts.errors import Conflict, Invalid
from accounts.models import FirstUser, User
from accounts.tests.doors import GOOD, SIGN_UP, is_logged_in, log_in, sign_up


def test_a_person_signs_up_and_is_in(db):
    client = Client()
    response = sign_up("Nora@Example.org", client=client, name="Nora")
    assert (response.status_code, response.headers["Location"]) == (302, "/")
    user = User.objects.get()
    assert (user.email, user.name) == ("nora@example.org", "Nora")
    assert is_logged_in(client)
    assert log_in("NORA@example.org", GOOD).status_code == 302


def test_the_first_one_becomes_superuser_and_nobody_after(db):
    assert b"You are the first one here" in Client().get(SIGN_UP).content
    sign_up("first@example.org")
    assert b"You are the first one here" not in Client().get(SIGN_UP).content
    sign_up("second@example.org")
    rights = dict(User.objects.values_list("email", "is_superuser"))
    assert rights == {"first@example.org": True, "second@example.org": False}
    assert User.objects.get(email="first@example.org").is_staff


def test_whoever_comes_after_an_operator_made_people_is_not_the_first(owner):
    sign_up("late@example.org")
    assert not User.objects.get(email="late@example.org").is_superuser
    assert not FirstUser.objects.exists()


def test_the_rule_of_the_first_one_can_be_switched_off(db, settings):
    settings.FIRST_USER_IS_SUPERUSER = False
    sign_up("first@example.org")
    assert not User.objects.get().is_superuser


def test_of_twenty_who_sign_up_at_once_exactly_one_becomes_superuser(transactional_db, settings):
    settings.SIGNUPS_PER_HOUR_PER_PEER = 100
    start = threading.Barrier(20)
    statuses = []

    def arrive(number: int) -> None:
        client = Client()
        start.wait()
        try:
            statuses.append(sign_up(f"p{number}@example.org", client=client).status_code)
        finally:
            connection.close()

    _run([threading.Thread(target=arrive, args=(number,)) for number in range(20)])
    assert statuses == [302] * 20
    assert User.objects.count() == 20
    assert User.objects.filter(is_superuser=True).count() == 1
    assert FirstUser.objects.get().user.is_superuser


def test_of_many_with_one_address_exactly_one_gets_in(transactional_db):
    start = threading.Barrier(8)
    outcomes = []

    def arrive() -> None:
        start.wait()
        try:
            services.sign_up("same@example.org", password=GOOD)
            outcomes.append("in")
        except Conflict:
            outcomes.append("out")
        finally:
            connection.close()

    _run([threading.Thread(target=arrive) for _ in range(8)])
    assert sorted(outcomes) == ["in"] + ["out"] * 7
    assert User.objects.filter(is_superuser=True).count() == 1


def test_a_known_address_is_refused_softly_without_mail(owner):
    response = sign_up("OWNER@example.org")
    assert response.status_code == 200
    assert b"You can&#x27;t sign up with this address." in response.content
    assert User.objects.count() == 1


def test_a_bad_password_does_not_tell_whether_an_address_is_known(owner):
    known, unknown = (sign_up(email, "short").content for email in (owner.email, "nobody@example.org"))
    assert known.count(b'role="alert"') == unknown.count(b'role="alert"') == 1
    assert b"sign up with this address" not in known


def test_with_mandatory_mail_known_and_new_addresses_look_alike(owner, settings):
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    answers = [sign_up(email) for email in (owner.email, "new@example.org")]
    assert [a.headers["Location"] for a in answers] == ["/accounts/confirm-email/"] * 2
    to_owner, to_new = mail.outbox
    assert (to_owner.to, to_new.to) == ([owner.email], ["new@example.org"])
    assert "you have one already" in to_owner.body
    # An address that is not confirmed opens nothing.
    assert log_in("new@example.org", GOOD).headers["Location"] == "/accounts/confirm-email/"


def test_a_mailed_link_confirms_the_address(db, settings):
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    sign_up("new@example.org")
    link = next(word for word in mail.outbox[0].body.split() if "/confirm-email/" in word)
    browser = Client()
    assert b"Yes, confirm it" in browser.get(link).content
    assert browser.post(link).status_code == 302
    assert log_in("new@example.org", GOOD).headers["Location"] == "/"
    assert b"This link is used up" in Client().get("/accounts/confirm-email/nonsense/").content


def test_sign_up_can_be_closed(db, settings):
    settings.SIGNUP_ENABLED = False
    response = sign_up("new@example.org")
    assert b"Sign-up is closed" in response.content
    assert not User.objects.exists()
    assert b"Create an account" not in Client().get("/accounts/login/").content


def test_sign_ups_are_limited_per_peer_and_known_addresses_count_too(owner, settings):
    settings.SIGNUPS_PER_HOUR_PER_PEER = 3
    statuses = [sign_up(email).status_code for email in ("a@x.org", owner.email, "b@x.org", "c@x.org", owner.email)]
    assert statuses == [302, 200, 302, 429, 429]


@pytest.mark.parametrize(
    "email", ["", "nobody", "a@b", "a\0b@example.org", f"{'a' * 250}@example.org", "a b@example.org", "a@exa\nmple.org"]
)
def test_what_is_no_address_is_refused(db, email):
    assert sign_up(email).status_code == 200
    assert not User.objects.exists()
    with pytest.raises(Invalid):
        services.create_user(email, password=GOOD)


@pytest.mark.parametrize("name", ["x" * 151, "two\nlines", "bell\a", "lone \ud800"])
def test_what_is_no_name_is_refused(db, name):
    with pytest.raises(Invalid) as raised:
        services.create_user("a@example.org", password=GOOD, name=name)
    assert "name" in raised.value.fields


def test_a_name_that_is_none_is_refused_on_the_page(db):
    response = sign_up("a@example.org", name="bell\a")
    assert response.status_code == 200
    assert not User.objects.exists()


def test_who_is_overtaken_by_another_sign_up_is_told_softly(owner, client_of, monkeypatch):
    # The check sees nobody, as in the instant before the other one's insert.
    monkeypatch.setattr("accounts.forms.filter_users_by_email", lambda _email: [])
    client = Client()
    assert sign_up(owner.email, client=client).headers["Location"] == SIGN_UP
    assert b"sign up with this address" in client.get(SIGN_UP).content


def test_a_name_may_be_written_as_people_write_it(db):
    name = "Ægir ابن 👩‍👩‍👧 O'Neil"
    assert services.create_user("a@example.org", password=GOOD, name=f" {name} ").name == name


def _run(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
