import re
from smtplib import SMTPException

from django.core import mail
from django.test import Client

from accounts.tests.doors import CHANGE, GOOD, RESET, is_logged_in, log_in
from conftest import PASSWORD


def test_changing_the_password_signs_out_everywhere_else(owner, client_of, api_of):
    here, elsewhere, program = client_of(owner), client_of(owner), api_of(owner)
    assert here.post(CHANGE, {"oldpassword": PASSWORD, "password1": GOOD}).status_code == 302
    assert is_logged_in(here)
    assert not is_logged_in(elsewhere)
    assert program.get("/api/v1/me/").status_code == 200
    assert log_in(owner.email, PASSWORD).status_code == 200
    assert log_in(owner.email, GOOD).status_code == 302


def test_the_current_password_is_needed(owner, client_of):
    response = client_of(owner).post(CHANGE, {"oldpassword": "wrong", "password1": GOOD})
    assert b"This is not your current password." in response.content
    assert log_in(owner.email, PASSWORD).status_code == 302


def test_guessing_the_current_password_is_limited(owner, client_of):
    client = client_of(owner)
    statuses = [client.post(CHANGE, {"oldpassword": "wrong", "password1": GOOD}).status_code for _ in range(7)]
    assert statuses == [200] * 5 + [429] * 2


def test_a_weak_password_is_refused(owner, client_of):
    for weak in ("short", "password123", owner.email):
        response = client_of(owner).post(CHANGE, {"oldpassword": PASSWORD, "password1": weak})
        assert response.status_code == 200
    assert log_in(owner.email, PASSWORD).status_code == 302


def test_the_page_of_the_password_is_for_people_who_are_signed_in(db):
    assert Client().get(CHANGE).headers["Location"] == f"/accounts/login/?next={CHANGE}"


def test_who_has_no_password_gets_one_by_mail(owner, client_of):
    owner.set_unusable_password()
    owner.save()
    assert client_of(owner).get(CHANGE, follow=True).redirect_chain[-1] == (RESET, 302)


def test_a_mailed_link_sets_a_new_password_once(owner, client_of):
    elsewhere = client_of(owner)
    Client().post(RESET, {"email": "Owner@example.org"})
    link = _link_in(mail.outbox[0].body)
    browser = Client()
    form = browser.get(link, follow=True)
    # The key is out of the address, so it can't leak with it.
    assert form.redirect_chain[-1][0].endswith("-set-password/")
    answer = browser.post(form.redirect_chain[-1][0], {"password1": GOOD})
    assert answer.status_code == 302
    assert is_logged_in(browser)
    assert not is_logged_in(elsewhere)
    assert log_in(owner.email, GOOD).status_code == 302
    assert b"This link is used up" in Client().get(link, follow=True).content


def test_resetting_says_the_same_for_every_address(owner):
    answers = [Client().post(RESET, {"email": email}) for email in (owner.email, "nobody@example.org")]
    assert answers[0].headers["Location"] == answers[1].headers["Location"] == "/accounts/password/reset/done/"
    # Both get a mail, so the clock says the same as well.
    assert [m.to for m in mail.outbox] == [[owner.email], ["nobody@example.org"]]
    assert b"If there is an account" in Client().get("/accounts/password/reset/done/").content


def test_reset_mails_to_an_address_are_limited_and_the_page_says_nothing_of_it(owner, stranger, settings):
    settings.RESET_MAILS_PER_DAY_PER_PEER = 100
    answers = [_ask(owner.email, peer=f"198.51.100.{n}") for n in range(4)]
    assert [a.status_code for a in answers] == [302] * 4
    assert len(mail.outbox) == 2
    _ask(stranger.email, peer="198.51.100.9")
    assert len(mail.outbox) == 3


def test_reset_mails_from_a_peer_are_limited(db, settings):
    settings.RESET_MAILS_PER_DAY_PER_PEER = 3
    for number in range(5):
        assert _ask(f"p{number}@example.org", peer="198.51.100.9").status_code == 302
    assert len(mail.outbox) == 3


def test_a_disabled_person_gets_no_link(owner):
    owner.is_active = False
    owner.save()
    _ask(owner.email, peer="198.51.100.9")
    assert "/password/reset/key/" not in mail.outbox[0].body


def test_a_mail_server_that_is_down_breaks_no_page(owner, settings, caplog):
    settings.EMAIL_BACKEND = f"{__name__}.DownBackend"
    assert _ask(owner.email, peer="198.51.100.9").status_code == 302
    assert "A mail could not be sent" in caplog.text


def test_nonsense_links_are_refused(db):
    for key in ("1-abc", "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz-a", f"{'9' * 200}-set-password"):
        response = Client().get(f"/accounts/password/reset/key/{key}/", follow=True)
        assert response.status_code == 200
        assert b"This link is used up" in response.content


def test_the_page_says_what_to_do_without_mail(db, settings):
    assert b"appears in its console" in Client().get(RESET).content
    settings.IS_PRODUCTION = True
    assert b"Ask the people who run it" in Client().get(RESET).content
    settings.IS_MAIL_CONFIGURED = True
    assert b"Ask the people who run it" not in Client().get(RESET).content


class DownBackend:
    def __init__(self, **_options):
        pass

    def send_messages(self, _messages):
        raise SMTPException("no")


def _ask(email: str, *, peer: str):
    return Client().post(RESET, {"email": email}, REMOTE_ADDR=peer)


def _link_in(body: str) -> str:
    return re.search(r"http://testserver(/\S+)", body)[1]
