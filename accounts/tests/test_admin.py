import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import Permission

from accounts import services
from accounts.models import ApiKey, Identity, User
from accounts.tests.doors import GOOD, is_logged_in, log_in
from conftest import PASSWORD

USERS = "/admin/accounts/user/"
KEYS = "/admin/accounts/apikey/"


@pytest.fixture
def desk(superuser, client_of):
    return client_of(superuser)


@pytest.fixture
def clerk(staff, client_of):
    """Staff who may look after people, and no more."""
    wanted = ["view_user", "change_user", "add_user", "delete_user", "view_apikey", "change_apikey"]
    staff.user_permissions.set(Permission.objects.filter(codename__in=wanted, content_type__app_label="accounts"))
    return client_of(staff)


def fields_of(user: User, **changes) -> dict:
    """What the form of a person sends."""
    data = {"email": user.email, "name": user.name, "is_active": "on", "preferences": "{}"}
    data |= {f"{rows}-{count}_FORMS": 0 for rows in ("identities", "api_keys") for count in ("TOTAL", "INITIAL")}
    data |= {"is_staff": "on"} if user.is_staff else {}
    return {name: value for name, value in (data | changes).items() if value is not None}


def test_the_list_and_the_form_show_people_and_no_secret(desk, owner):
    key, secret = services.create_api_key(owner, name="script")
    Identity.objects.create(user=owner, issuer="https://i.example", subject="subject-1")
    for path in (USERS, f"{USERS}?q=owner", f"{USERS}{owner.pk}/change/", KEYS, f"{KEYS}{key.pk}/change/"):
        page = desk.get(path).content.decode()
        assert owner.email in page
        assert key.digest not in page
        assert secret not in page
        assert owner.password not in page


def test_a_person_made_here_can_sign_in_with_any_capitals(desk, settings):
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    data = {"email": "New@Example.org", "password1": GOOD, "password2": GOOD, "usable_password": "true"}
    assert desk.post(f"{USERS}add/", data).status_code == 302
    assert User.objects.filter(email="new@example.org").exists()
    assert log_in("NEW@example.org", GOOD).headers["Location"] == "/"


def test_a_known_address_is_refused_here_too(desk, owner):
    data = {"email": "OWNER@example.org", "password1": GOOD, "password2": GOOD, "usable_password": "true"}
    assert "already in use" in desk.post(f"{USERS}add/", data).content.decode()


def test_a_changed_address_closes_the_old_one(desk, owner):
    services.vouch_for_email(owner)
    desk.post(f"{USERS}{owner.pk}/change/", fields_of(owner, email="Moved@example.org"))
    assert log_in("owner@example.org", PASSWORD).status_code == 200
    assert log_in("moved@example.org", PASSWORD).status_code == 302


def test_disabling_somebody_shuts_her_out_at_once(desk, owner, client_of, api_of):
    browser, program = client_of(owner), api_of(owner)
    desk.post(f"{USERS}{owner.pk}/change/", fields_of(owner, is_active=None))
    assert not is_logged_in(browser)
    assert program.get("/api/v1/me/").status_code == 401


def test_a_password_set_here_signs_out_everywhere(desk, owner, client_of):
    browser = client_of(owner)
    path = f"{USERS}{owner.pk}/password/"
    assert desk.post(path, {"password1": GOOD, "password2": GOOD, "usable_password": "true"}).status_code == 302
    assert not is_logged_in(browser)


def test_an_identity_can_be_tied_to_a_person(desk, owner):
    formset = {
        "identities-TOTAL_FORMS": 1,
        "identities-0-issuer": "https://i.example",
        "identities-0-subject": "s",
        "identities-0-user": owner.pk,
    }
    assert desk.post(f"{USERS}{owner.pk}/change/", fields_of(owner, **formset)).status_code == 302
    assert owner.identities.get().subject == "s"


def test_addresses_can_be_confirmed_by_an_operator(desk, owner):
    EmailAddress.objects.update_or_create(user=owner, email=owner.email, defaults={"verified": False})
    desk.post(USERS, {"action": "confirm_addresses", "_selected_action": [owner.pk]})
    assert EmailAddress.objects.get(user=owner).verified


def test_keys_are_revoked_and_neither_made_nor_changed_here(desk, owner):
    key, _ = services.create_api_key(owner, name="script")
    assert desk.get(f"{KEYS}add/").status_code == 403
    assert desk.post(f"{KEYS}{key.pk}/change/", {"name": "other"}).status_code == 403
    desk.post(KEYS, {"action": "revoke", "_selected_action": [key.pk]})
    assert not ApiKey.objects.get().is_usable


def test_staff_hand_out_no_more_than_they_hold(clerk, owner, staff):
    for user in (owner, staff):
        rights = {"is_staff": "on", "is_superuser": "on", "user_permissions": [Permission.objects.first().pk]}
        response = clerk.post(f"{USERS}{user.pk}/change/", fields_of(user, name="Changed", **rights))
        assert response.status_code == 302
        user.refresh_from_db()
        assert (user.name, user.is_superuser) == ("Changed", False)
    assert not owner.is_staff
    assert staff.user_permissions.count() == 6


def test_staff_do_not_touch_a_superuser(clerk, superuser):
    passwords = {"password1": GOOD, "password2": GOOD, "usable_password": "true"}
    assert clerk.post(f"{USERS}{superuser.pk}/change/", fields_of(superuser, is_active=None)).status_code == 403
    assert clerk.post(f"{USERS}{superuser.pk}/password/", passwords).status_code == 403
    assert clerk.post(f"{USERS}{superuser.pk}/delete/", {"post": "yes"}).status_code == 403
    selected = {"_selected_action": [superuser.pk]}
    clerk.post(USERS, {"action": "delete_selected", "post": "yes", **selected})
    EmailAddress.objects.update_or_create(user=superuser, email=superuser.email, defaults={"verified": False})
    clerk.post(USERS, {"action": "confirm_addresses", **selected})
    superuser.refresh_from_db()
    assert superuser.is_active
    assert superuser.check_password(PASSWORD)
    assert not EmailAddress.objects.get(user=superuser).verified


def test_the_rows_of_allauth_are_not_shown(desk):
    assert "emailaddress" not in desk.get("/admin/").content.decode()
