import threading
import time

import pytest
from django.db import connection
from django.test import Client

from accounts.tests.doors import LOGIN, is_logged_in, log_in
from conftest import PASSWORD

WRONG = "not the password"


def test_sign_in_goes_where_one_wanted_to_go(owner):
    client = Client()
    refused = client.get("/settings/keys/")
    assert refused.headers["Location"] == "/accounts/login/?next=/settings/keys/"
    response = client.post(refused.headers["Location"], {"login": owner.email, "password": PASSWORD, "next": "/x/"})
    assert response.headers["Location"] in ("/settings/keys/", "/x/")
    assert is_logged_in(client)


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", "\\\\evil"])
def test_sign_in_never_leads_elsewhere(owner, elsewhere):
    response = Client().post(LOGIN, {"login": owner.email, "password": PASSWORD, "next": elsewhere})
    assert response.headers["Location"] == "/"


def test_known_unknown_and_disabled_accounts_look_alike(owner, stranger):
    stranger.is_active = False
    stranger.save()
    emails = (owner.email, stranger.email, "nobody@example.org")
    pages = [_without_tokens(log_in(email, WRONG)).replace(email.encode(), b"X") for email in emails]
    assert pages[0] == pages[1] == pages[2]
    assert b"don&#x27;t fit together" in pages[0]


def test_a_disabled_person_learns_it_only_with_the_right_password(stranger):
    stranger.is_active = False
    stranger.save()
    client = Client()
    assert log_in(stranger.email, PASSWORD, client=client).headers["Location"] == "/accounts/inactive/"
    assert not is_logged_in(client)
    assert b"switched off" in client.get("/accounts/inactive/").content


def test_signing_out_takes_a_post(owner, client_of):
    client = client_of(owner)
    assert b"Sign out?" in client.get("/accounts/logout/").content
    assert is_logged_in(client)
    assert client.post("/accounts/logout/").status_code == 302
    assert not is_logged_in(client)


def test_failures_on_an_account_are_limited_per_peer(owner, stranger):
    for _ in range(5):
        assert log_in(owner.email, WRONG).status_code == 200
    refused = log_in(owner.email, PASSWORD)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 1800
    assert b"Slower, please" in refused.content
    # Another peer, and another account, are not concerned.
    assert log_in(owner.email, PASSWORD, REMOTE_ADDR="198.51.100.7").status_code == 302
    assert log_in(stranger.email, PASSWORD).status_code == 302


def test_the_answer_at_the_limit_is_the_same_for_an_account_that_does_not_exist(owner):
    pages = []
    for email in (owner.email, "nobody@example.org"):
        answers = [log_in(email, WRONG) for _ in range(6)]
        assert [a.status_code for a in answers] == [200] * 5 + [429]
        pages.append(_without_tokens(answers[-1]))
    assert pages[0] == pages[1]


@pytest.mark.parametrize("header", ["HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_FORWARDED", "HTTP_CLIENT_IP"])
def test_no_header_evades_the_limit(owner, header):
    statuses = [log_in(owner.email, WRONG, **{header: f"10.0.0.{n}"}).status_code for n in range(8)]
    assert statuses == [200] * 5 + [429] * 3


def test_capitals_and_blanks_do_not_evade_the_limit(owner):
    emails = ["owner@example.org", "Owner@example.org", " owner@example.org", "OWNER@EXAMPLE.ORG ", "owner@Example.org"]
    assert [log_in(email, WRONG).status_code for email in emails] == [200] * 5
    assert log_in(owner.email, WRONG).status_code == 429


def test_right_passwords_are_not_counted(owner):
    assert [log_in(owner.email, PASSWORD).status_code for _ in range(8)] == [302] * 8
    assert [log_in(owner.email, WRONG).status_code for _ in range(5)] == [200] * 5


def test_a_right_password_does_not_wipe_out_the_failures(owner):
    passwords = [WRONG, WRONG, WRONG, WRONG, PASSWORD, WRONG, WRONG]
    assert [log_in(owner.email, p).status_code for p in passwords] == [200] * 4 + [302, 200, 429]


def test_a_peer_that_tries_many_accounts_is_limited(db, settings):
    settings.LOGIN_FAILURES_PER_PEER = 10
    statuses = [log_in(f"p{n}@example.org", WRONG).status_code for n in range(12)]
    assert statuses == [200] * 10 + [429] * 2


def test_many_attempts_at_once_do_not_slip_through(transactional_db, settings):
    start = threading.Barrier(20)
    statuses = []

    def attempt() -> None:
        start.wait()
        try:
            statuses.append(log_in("nobody@example.org", WRONG).status_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=attempt) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (statuses.count(200), statuses.count(429)) == (5, 15)


def test_many_peers_wait_for_each_other_but_the_person_herself_does_not(owner, settings, time_machine_now):
    settings.LOGIN_FAILURES_PER_HOUR_BEFORE_DELAY = 3
    assert log_in(owner.email, PASSWORD, REMOTE_ADDR="192.0.2.1").status_code == 302  # her own peer, known from now on
    for number in range(3):
        assert log_in(owner.email, WRONG, REMOTE_ADDR=f"198.51.100.{number}").status_code == 200
    assert log_in(owner.email, WRONG, REMOTE_ADDR="198.51.100.50").status_code == 200  # opens the line: 1 s
    waiting = log_in(owner.email, PASSWORD, REMOTE_ADDR="198.51.100.51")
    assert (waiting.status_code, waiting.headers["Retry-After"]) == (429, "1")
    assert log_in(owner.email, PASSWORD, REMOTE_ADDR="192.0.2.1").status_code == 302
    time_machine_now.shift(1.5)
    assert log_in(owner.email, WRONG, REMOTE_ADDR="198.51.100.52").status_code == 200  # now the line takes 2 s
    longer = log_in(owner.email, WRONG, REMOTE_ADDR="198.51.100.53")
    assert (longer.status_code, longer.headers["Retry-After"]) == (429, "2")


def test_the_admin_has_no_door_of_its_own(owner, staff, client_of):
    assert Client().get("/admin/").headers["Location"] == "/admin/login/?next=/admin/"
    door = Client().post("/admin/login/?next=/admin/", {"username": staff.email, "password": PASSWORD})
    assert door.headers["Location"] == "/accounts/login/?next=%2Fadmin%2F"
    assert client_of(owner).get("/admin/login/").status_code == 403
    assert client_of(staff).get("/admin/").status_code == 200


def test_pages_that_nobody_needs_are_not_there(owner, client_of):
    for path in ("email/", "reauthenticate/", "login/code/", "login/code/confirm/", "3rdparty/"):
        assert client_of(owner).get(f"/accounts/{path}").status_code == 404


def test_the_doors_answer_people_only(owner):
    response = Client().post(LOGIN, {"login": owner.email, "password": WRONG}, headers={"accept": "application/json"})
    assert response.headers["Content-Type"].startswith("text/html")


def test_a_form_of_another_site_signs_nobody_in(owner):
    client = Client(enforce_csrf_checks=True)
    assert log_in(owner.email, PASSWORD, client=client).status_code == 403
    assert not is_logged_in(client)


@pytest.mark.parametrize("field", ["login", "password"])
@pytest.mark.parametrize("value", ["\0", "x" * 100_000, "\ufffd\u202e", "'; drop table accounts_user; --", ""])
def test_no_input_breaks_the_door(owner, field, value):
    data = {"login": owner.email, "password": WRONG, field: value}
    assert Client().post(LOGIN, data).status_code == 200


def _without_tokens(response) -> bytes:
    lines = response.content.splitlines()
    return b"\n".join(line for line in lines if b"csrfmiddlewaretoken" not in line)


@pytest.fixture
def time_machine_now(time_machine):
    """A clock that stands still, in the middle of every window."""
    time_machine.move_to(time.time() // 7200 * 7200 + 7200 + 450, tick=False)
    return time_machine
