import io
import json

import pytest
from django.core.management import call_command
from django.test import Client

from accounts.models import User
from accounts.tests.doors import is_logged_in, log_in


def run(*arguments: str) -> dict:
    out = io.StringIO()
    call_command("create_user", *arguments, stdout=out)
    return json.loads(out.getvalue())


def test_it_makes_a_person_and_prints_json(db):
    made = run("Nora@Example.org", "--password", "simple", "--name", "Nora", "--staff")
    user = User.objects.get()
    assert made == {"id": str(user.pk), "email": "nora@example.org", "is_staff": True, "is_superuser": False}
    assert user.name == "Nora"
    client = Client()
    log_in("nora@example.org", "simple", client=client)
    assert is_logged_in(client)


def test_a_superuser_may_enter_the_admin(db, client_of):
    made = run("root@example.org", "--password", "simple", "--superuser")
    assert (made["is_staff"], made["is_superuser"]) == (True, True)
    assert client_of(User.objects.get()).get("/admin/accounts/user/").status_code == 200


def test_its_key_opens_the_api(db):
    secret = run("nora@example.org", "--password", "simple", "--api-key", "script")["api_key"]
    response = Client().get("/api/v1/me/", headers={"authorization": f"Bearer {secret}"})
    assert response.json()["email"] == "nora@example.org"


def test_its_people_need_not_confirm_their_address(db, settings):
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    run("nora@example.org", "--password", "simple")
    assert log_in("nora@example.org", "simple").headers["Location"] == "/"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["OWNER@example.org", "--password", "x"], "conflict"),
        (["nobody", "--password", "x"], "invalid"),
        (["a@example.org"], "invalid"),
        (["a@example.org", "--password", "x", "--name", "n" * 200], "invalid"),
        (["a@example.org", "--password", "x", "--api-key", ""], "invalid"),
    ],
)
def test_what_goes_wrong_is_json_on_stderr(owner, arguments, code, monkeypatch):
    monkeypatch.delenv("PARLEY_PASSWORD", raising=False)
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("create_user", *arguments, stdout=out, stderr=err)
    assert ended.value.code == 1
    assert out.getvalue() == ""
    assert json.loads(err.getvalue())["error"]["code"] == code
    # A key that can't be made leaves no person behind.
    assert User.objects.count() == 1


def test_the_password_can_stay_out_of_the_command_line(db, monkeypatch):
    monkeypatch.setenv("PARLEY_PASSWORD", "of the environment")
    run("a@example.org")
    monkeypatch.setattr("sys.stdin", io.StringIO("of stdin\n"))
    run("b@example.org", "--password", "-")
    assert log_in("a@example.org", "of the environment").status_code == 302
    assert log_in("b@example.org", "of stdin").status_code == 302
