from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone

from chats.catalog.models import AIModel, Price, Provider
from chats.usage.models import UsageRecord


def test_me_is_who_asks_and_can_be_changed(api, owner):
    assert api.get("/api/v1/me/").json() == {
        "id": str(owner.pk),
        "email": owner.email,
        "name": "Olive Owner",
        "is_staff": False,
        "preferences": {},
        "created_at": owner.created_at.isoformat().replace("+00:00", "Z"),
    }
    changed = api.patch("/api/v1/me/", {"name": "Olive", "is_staff": True, "email": "x@example.org"}).json()
    assert (changed["name"], changed["is_staff"], changed["email"]) == ("Olive", False, owner.email)


@pytest.mark.parametrize("body", [{"name": 7}, {"name": "x" * 151}, {"preferences": []}, {"preferences": {"x": 1}}])
def test_me_refuses_what_it_does_not_know(api, body):
    assert api.patch("/api/v1/me/", body).status_code == 400


def test_the_secret_of_a_key_is_shown_once(api, client):
    made = api.post("/api/v1/keys/", {"name": "laptop", "client_id": "a"})
    again = api.post("/api/v1/keys/", {"name": "laptop", "client_id": "a"})
    assert (made.status_code, again.status_code) == (201, 200)
    assert again.json() == made.json() | {"secret": ""}
    listed = api.get("/api/v1/keys/").json()["results"]
    assert "laptop" in [key["name"] for key in listed]
    assert all("secret" not in key and "digest" not in key for key in listed)
    headers = {"Authorization": f"Bearer {made.json()['secret']}"}
    assert client.get("/api/v1/me/", headers=headers).status_code == 200


def test_a_deleted_key_is_revoked_at_once(api, client):
    made = api.post("/api/v1/keys/", {"name": "laptop"}).json()
    assert api.delete(f"/api/v1/keys/{made['id']}/").status_code == 204
    headers = {"Authorization": f"Bearer {made['secret']}"}
    assert client.get("/api/v1/me/", headers=headers).status_code == 401
    assert [key["revoked_at"] is not None for key in api.get("/api/v1/keys/").json()["results"]] == [True, False]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "x" * 201},
        {"name": "a", "expires_at": "x"},
        {"name": "a", "expires_at": "2020-01-01T00:00:00Z"},
    ],
)
def test_a_key_needs_a_name_and_a_future(api, body):
    assert api.post("/api/v1/keys/", body).status_code == 400


@pytest.fixture
def catalog(demo_model, owner):
    provider = Provider.objects.create(name="Acme", base_url="http://localhost:9/v1")
    plain = AIModel.objects.create(provider=provider, name="Plain", model_id="p", enabled=True, order=1)
    theirs = AIModel.objects.create(provider=provider, name="Theirs", model_id="t", enabled=True, order=2)
    theirs.groups.add(Group.objects.create(name="others"))
    AIModel.objects.create(provider=provider, name="Off", model_id="o", enabled=False, order=0)
    now = timezone.now()
    for days, amount in ((-2, "1"), (-1, "2.50"), (1, "9")):
        Price.objects.create(
            model=plain, input_per_million=amount, output_per_million=amount, valid_from=now + timedelta(days=days)
        )
    return provider


def test_models_are_those_one_may_use_at_their_price_of_now(api, catalog):
    models = api.get("/api/v1/models/").json()["results"]
    assert [(model["name"], model["is_default"]) for model in models] == [("Plain", True), ("Parley demo", False)]
    assert models[0]["price"] == {
        "input_per_million": "2.5",
        "cached_input_per_million": None,
        "cache_write_per_million": None,
        "output_per_million": "2.5",
        "per_request": "0",
        "currency": "USD",
    }
    assert models[0]["price_per_million_tokens"] == "2.5"


def test_an_unknown_price_is_null_and_never_zero(api, catalog):
    Price.objects.all().delete()
    model = api.get("/api/v1/models/").json()["results"][0]
    assert (model["price"], model["price_per_million_tokens"]) == (None, None)


@pytest.mark.parametrize("rows", [1, 20])
def test_models_take_three_queries_however_many_there_are(api, catalog, rows, django_assert_num_queries):
    for number in range(rows):
        model = AIModel.objects.create(provider=catalog, name=str(number), model_id=str(number), enabled=True)
        Price.objects.create(model=model, input_per_million=1, output_per_million=1)
    api.get("/api/v1/models/")
    with django_assert_num_queries(3):
        api.get("/api/v1/models/")


def test_usage_is_the_ledger_with_exact_costs(api, owner):
    UsageRecord.objects.create(
        user=owner,
        user_email=owner.email,
        provider_name="Acme",
        model_name="m",
        input_tokens=3,
        cost=Decimal("0.00000375"),
    )
    UsageRecord.objects.create(user=owner, user_email=owner.email, provider_name="Acme", model_name="m", attempt=2)
    rows = api.get("/api/v1/usage/").json()["results"]
    assert [(row["input_tokens"], row["cost"]) for row in rows] == [(0, None), (3, "0.00000375")]
    assert "raw_usage" not in rows[0]


@pytest.mark.parametrize("path", ["/api/v1/health/", "/api/v1/health", "/api/v1/health/ready/", "/api/v1/health/ready"])
def test_health_tells_four_things_to_anyone(client, db, path, settings):
    response = client.get(path)
    assert response.status_code == 200
    health = response.json()
    assert health.keys() == {"status", "timestamp", "version", "uptime"}
    assert (health["status"], health["version"]) == ("ok", settings.VERSION)
    assert health["timestamp"].endswith("Z")
    assert health["uptime"] > 0


def test_being_alive_asks_no_database(client, db, django_assert_num_queries):
    with django_assert_num_queries(0):
        client.get("/api/v1/health/")
