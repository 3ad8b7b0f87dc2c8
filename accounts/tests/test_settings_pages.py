import pytest
from django.core.checks import run_checks
from django.test import Client

from accounts import services
from accounts.errors import Invalid

PAGES = ["/settings/", "/settings/keys/", "/accounts/password/change/", "/accounts/logout/"]
DOORS = ["/accounts/login/", "/accounts/signup/", "/accounts/password/reset/", "/accounts/password/reset/done/"]


def test_a_person_changes_her_profile(owner, client_of):
    client = client_of(owner)
    client.cookies["theme"] = "light"
    response = client.post("/settings/", {"name": " Olive  O. ", "theme": "dark"})
    assert response.status_code == 302
    # The choice for every device is not outvoted by what this one was told before.
    assert response.cookies["theme"].value == ""
    owner.refresh_from_db()
    assert (owner.name, owner.preferences) == ("Olive  O.", {"theme": "dark", "enter_sends": False})
    page = client.get("/settings/").content.decode()
    assert "Your settings are saved." in page
    assert 'data-theme="dark"' in page
    assert '<option value="dark" selected>' in page


def test_enter_sends_unless_one_says_otherwise(owner, client_of):
    assert client_of(owner).get("/settings/").context["form"]["enter_sends"].value() is True


@pytest.mark.parametrize("data", [{"theme": "pink"}, {"theme": ""}, {"name": "x" * 151}, {"name": "bell\a"}])
def test_nonsense_is_refused_with_a_word(owner, client_of, data):
    response = client_of(owner).post("/settings/", {"name": "Olive", "theme": "dark"} | data)
    assert response.status_code == 200
    assert 'role="alert"' in response.content.decode()
    owner.refresh_from_db()
    assert owner.preferences == {}


def test_preferences_that_are_not_named_stay(owner):
    services.update_profile(owner, preferences={"theme": "dark"})
    services.update_profile(owner, preferences={"enter_sends": False}, name="O")
    owner.refresh_from_db()
    assert (owner.name, owner.preferences) == ("O", {"theme": "dark", "enter_sends": False})


@pytest.mark.parametrize("preferences", [{"is_staff": True}, {"theme": 1}, {"theme": ["dark"]}, {"enter_sends": 1}])
def test_unknown_preferences_are_refused(owner, preferences):
    with pytest.raises(Invalid):
        services.update_profile(owner, preferences=preferences)


@pytest.mark.parametrize("path", PAGES)
def test_settings_are_for_people_who_are_signed_in(db, path):
    assert Client().get(path).headers["Location"].startswith("/accounts/login/")


@pytest.mark.parametrize("path", PAGES + DOORS)
def test_no_page_is_kept_by_a_cache_or_runs_anything_inline(owner, client_of, path):
    client = client_of(owner) if path in PAGES else Client()
    response = client.get(path)
    assert response.status_code == 200
    page = response.content.decode()
    assert page.count("<h1") == 1
    assert "style=" not in page
    assert "onclick" not in page
    assert "<script>" not in page
    assert "no-store" in response.headers["Cache-Control"]


@pytest.mark.parametrize("path", ["/accounts/login/", "/accounts/signup/", "/accounts/password/reset/"])
def test_every_field_has_its_label_and_its_error(db, path):
    page = Client().post(path, {}).content.decode()
    form = Client().post(path, {}).context["form"]
    for field in form.visible_fields():
        assert f'<label for="{field.id_for_label}">' in page
        if field.errors:
            assert f'id="{field.auto_id}_error"' in page
            assert f"{field.auto_id}_error" in field.as_widget()


# ---------------------------------------------------------------- wrong settings fail at start


def problems(settings, **changes) -> set[str]:
    for name, value in {"OIDC_ISSUER": "https://i.example", "OIDC_CLIENT_IDS": ["c"], **changes}.items():
        setattr(settings, name, value)
    return {message.id for message in run_checks() if (message.id or "").startswith("accounts.")}


def test_good_settings_pass(settings):
    assert problems(settings) == set()
    assert problems(settings, OIDC_CLIENT_IDS=[], OIDC_AUDIENCE=["a"], OIDC_ALGORITHMS=["ES256"]) == set()
    assert problems(settings, OIDC_ISSUER="", OIDC_ALGORITHMS=["HS256"]) == set()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"OIDC_CLIENT_IDS": []}, "accounts.E001"),
        ({"OIDC_ALGORITHMS": ["RS256", "HS256"]}, "accounts.E002"),
        ({"OIDC_ALGORITHMS": ["none"]}, "accounts.E002"),
        ({"OIDC_ALGORITHMS": []}, "accounts.E002"),
        ({"OIDC_ISSUER": "ftp://i.example"}, "accounts.E003"),
        ({"OIDC_JWKS_URL": "http://i.example/keys", "IS_PRODUCTION": True}, "accounts.E003"),
    ],
)
def test_settings_that_would_let_in_the_wrong_people_are_refused(settings, changes, expected):
    assert problems(settings, **changes) == {expected}
