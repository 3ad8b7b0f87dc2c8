"""No request makes a 5xx; every refusal has one shape and names what to correct."""

import json

import pytest
from django.test import Client

from accounts.models import ApiKey
from chats import services
from chats.catalog.models import AIModel
from chats.models import Chat, Message
from chats.replies.services import start_reply, stop_reply

CHATS, MESSAGES, ASK = "/api/v1/chats/", "/api/v1/messages/", "/api/v1/chat/"


@pytest.fixture
def chat(owner):
    return services.create_chat(owner)


def refusal(response, status):
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "no-store"
    error = response.json()["error"]
    assert error.keys() >= {"code", "message", "request_id"}
    assert error["request_id"] == response["X-Request-ID"]
    assert error["message"]
    return error


def post_raw(api, body, *, url=CHATS, content_type="application/json"):
    return api.post(url, body, content_type=content_type)


WRONG = [7, 1.5, True, "x", None, [], [1], [None], [[]], {}, {"a": 1}, [{"a": 1}], "x" * 300, "\x00", -1, 10**400]


@pytest.mark.parametrize("field", ["tags", "notebooks", "extra_data"])
def test_a_body_of_very_many_items_is_refused_at_once_and_briefly(api, field):
    for items in ("0", '""', "{}", "[]"):
        response = post_raw(api, f'{{"{field}": [{",".join([items] * 200_000)}]}}')
        assert "items" in refusal(response, 400)["message"]
        assert len(response.content) < 1_000


def test_of_many_wrong_items_some_are_named(api):
    response = post_raw(api, json.dumps({"tags": [0] * 1_000}))
    assert 10 <= len(refusal(response, 400)["fields"]) <= 50


@pytest.mark.parametrize("value", WRONG, ids=lambda value: str(value)[:12])
@pytest.mark.parametrize(
    "field",
    ["title", "space", "tags", "notebooks", "system_prompt", "model", "extra_data", "pinned", "archived"],
)
def test_a_chat_takes_any_value_or_names_the_field(api, field, value):
    response = post_raw(api, json.dumps({field: value}))
    if response.status_code != 201:
        error = refusal(response, 400)
        assert error["code"] == "model_unavailable" or {name.split(".")[0] for name in error["fields"]} == {field}


@pytest.mark.parametrize("value", WRONG, ids=lambda value: str(value)[:12])
@pytest.mark.parametrize(
    "field",
    ["chat", "role", "content", "parent", "tool_calls", "tool_results", "sources", "extra_data", "model"],
)
def test_a_message_takes_any_value_or_names_the_field(api, chat, field, value):
    body = {"chat": str(chat.pk), "role": "user", "content": "x"} | {field: value}
    response = post_raw(api, json.dumps(body), url=MESSAGES)
    if response.status_code != 201:
        error = refusal(response, 400)
        assert error["code"] == "model_unavailable" or {name.split(".")[0] for name in error["fields"]} == {field}


@pytest.mark.parametrize("value", WRONG, ids=lambda value: str(value)[:12])
@pytest.mark.parametrize("field", ["message", "chat", "space", "model", "client_id", "use_rag", "limit", "stream"])
def test_asking_refuses_what_it_can_not_take(api, field, value):
    AIModel.objects.update(enabled=False)  # so that what is acceptable is refused as well
    response = post_raw(api, json.dumps({"message": "x", field: value}), url=ASK)
    assert refusal(response, 400)["code"] in {"invalid", "model_unavailable"}
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"title": 7}, "title"),
        ({"tags": "x"}, "tags"),
        ({"tags": [1]}, "tags.0"),
        ({"pinned": "true"}, "pinned"),
        ({"pinned": 1}, "pinned"),
        ({"pinned": None}, "pinned"),
        ({"extra_data": []}, "extra_data"),
        ({"title": "x" * 201}, "title"),
        ({"tags": ["x" * 101]}, "tags.0"),
        ({"tags": ["x"] * 51}, "tags"),
        ({"notebooks": ["x" * 201]}, "notebooks.0"),
        ({"extra_data": {"x": "y" * 16_000}}, "extra_data"),
        ({"extra_data": {"x": 1e300}}, "extra_data"),
    ],
)
def test_types_are_strict_and_sizes_have_an_end(api, change, field):
    error = refusal(api.post(CHATS, change), 400)
    assert list(error["fields"]) == [field]
    assert not Chat.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"null",
        b'{"title": NaN}',
        b'{"title": Infinity}',
        b'{"title": "a", "title": "b"}',
        b'{"extra_data": {"a": 1, "a": 2}}',
        b"\xff\xfe{}",
        b'{"title": "\xed\xa0\x80"}',
        b'{"extra_data": {"x": ' + b"9" * 5_000 + b"}}",
        b'{"extra_data": {"x": 1e999}}',
        b'{"extra_data":' * 40 + b"1" + b"}" * 40,
        b"[" * 100_000,
        b'{"extra_data":{"x":' + b"[" * 40_000 + b"]" * 40_000 + b"}}",
        json.dumps({"extra_data": {str(n): 1 for n in range(1_001)}}).encode(),
    ],
    ids=lambda body: body[:24].decode(errors="replace"),
)
def test_a_body_that_is_no_acceptable_object_is_refused(api, body):
    response = post_raw(api, body)
    if body == b"":
        assert response.status_code == 201
    else:
        assert refusal(response, 400)["code"] == "invalid"
        assert not Chat.objects.exists()


def test_half_of_a_surrogate_pair_is_replaced_and_the_text_is_kept(api, chat):
    made = post_raw(
        api, b'{"chat": "%s", "role": "user", "content": "a\\ud83d\\u0000"}' % str(chat.pk).encode(), url=MESSAGES
    )
    assert made.json()["content"] == "a\ufffd\ufffd"


def test_odd_letters_come_back_as_they_were(api):
    title = "ﬁ 👩‍👩‍👧 اَلْعَرَبِيَّةُ é é \u202e"
    assert api.post(CHATS, {"title": title}).json()["title"] == title


def test_a_body_over_the_limit_is_refused_with_413(api):
    assert refusal(post_raw(api, b'{"title": "' + b"x" * 2_000_000 + b'"}'), 413)["code"] == "too_large"


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml", "x"],
)
def test_only_json_is_read(api, content_type):
    refusal(post_raw(api, b"title=x", content_type=content_type), 415)


@pytest.mark.parametrize("accept", ["text/html", "text/event-stream", "application/xml", "nonsense", ""])
def test_answers_are_json_whatever_is_accepted(api, accept):
    assert api.get(CHATS, HTTP_ACCEPT=accept)["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/chats/1/",
        "/api/v1/chats/nonsense/",
        "/api/v1/chats/00000000-0000-0000-0000-000000000000/",
        "/api/v1/messages/../",
        "/api/v1/nothing/",
        "/api/v1/",
        "/api/",
        "/api/v1/%00/",
        "/api/v1/chats/%F0%9F%98%80/",
    ],
)
def test_an_unknown_address_is_404(api, path):
    assert refusal(api.get(path), 404)["code"] == "not_found"


def test_a_forgotten_slash_leads_to_the_right_address_with_the_same_verb(api):
    response = api.post("/api/v1/chats?x=1", {})
    assert (response.status_code, response["Location"]) == (308, "/api/v1/chats/?x=1")
    assert api.get("/api/v1/models")["Location"] == "/api/v1/models/"


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_a_program_that_changes_something_hears_of_a_wrong_address_in_json(method):
    program = Client(enforce_csrf_checks=True)  # as a real server does
    send = getattr(program, method)
    assert refusal(send("/api/v1/replies//stop/"), 404)["code"] == "not_found"
    assert send("/api/v1/chats").status_code == 308


def test_a_wrong_method_is_405_and_names_the_right_ones(api):
    response = api.delete(CHATS)
    assert refusal(response, 405)["code"] == "method_not_allowed"
    assert response["Allow"] == "GET, POST, HEAD, OPTIONS"


@pytest.mark.parametrize(
    "value", ["nonsense", "Bearer", "Bearer ", "Bearer x", "Bearer parley_x", "Bearer " + "x" * 20_000, "Basic eDp5"]
)
def test_a_bad_credential_is_401(client, db, value):
    response = client.get(CHATS, headers={"Authorization": value})
    assert refusal(response, 401)["code"] == "unauthenticated"
    assert response["WWW-Authenticate"].startswith("Bearer")


def test_a_session_needs_its_csrf_token_to_change_something(owner, demo_model):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(owner)
    assert browser.get(CHATS).status_code == 200
    assert refusal(browser.post(CHATS, {}, content_type="application/json"), 403)["code"] == "forbidden"
    assert not Chat.objects.exists()


def test_a_revoked_key_opens_nothing(api):
    assert api.get(CHATS).status_code == 200
    ApiKey.objects.update(revoked_at="2020-01-01T00:00:00Z")
    refusal(api.get(CHATS), 401)


def test_a_person_has_a_number_of_requests_a_minute(api, api_of, stranger, settings):
    settings.API_REQUESTS_PER_MINUTE_PER_USER = 3
    statuses = [api.get(CHATS).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    response = api.get(CHATS)
    assert refusal(response, 429)["code"] == "too_many"
    assert 1 <= int(response["Retry-After"]) <= 120
    assert api_of(stranger).get(CHATS).status_code == 200


def test_whoever_has_no_valid_credential_is_counted_by_the_address_he_really_comes_from(client, db, settings):
    settings.API_REQUESTS_PER_MINUTE_PER_PEER = 3

    def knock(number):
        headers = {"Authorization": f"Bearer {number}", "X-Forwarded-For": f"10.0.0.{number}"}
        return client.get(CHATS, headers=headers).status_code

    assert [knock(number) for number in range(5)] == [401, 401, 401, 429, 429]


@pytest.mark.parametrize(
    ("method", "url", "body"),
    [
        ("post", MESSAGES, {"role": "\ud800"}),
        ("patch", "/api/v1/me/", {"preferences": {"\ud800": "dark"}}),
        ("post", CHATS, {"tags": ["\ud800", 7]}),
    ],
)
def test_a_refusal_that_quotes_half_a_character_can_be_sent(api, method, url, body):
    api.raise_request_exception = False
    refusal(getattr(api, method)(url, json.dumps(body), content_type="application/json"), 400)


UNUSABLE_IDS = ["", "\x00", "\ud800", "tab\tbed", "x" * 65]


@pytest.mark.usefixtures("demo_model")
@pytest.mark.parametrize("client_id", UNUSABLE_IDS, ids=ascii)
def test_an_id_that_would_have_to_be_changed_is_refused_on_every_route_that_takes_one(api, chat, owner, client_id):
    started = start_reply(owner, chat_id=chat.pk, content="x")
    message, reply = f"/api/v1/messages/{started.message.pk}/", f"/api/v1/replies/{started.reply.pk}/"
    stop_reply(started.reply)
    before = Chat.objects.count(), Message.objects.count(), ApiKey.objects.count()
    for path, body in {
        f"{CHATS}{chat.pk}/messages/": {"content": "Hi"},
        ASK: {"message": "Hi"},
        f"{message}edit/": {"content": "Hi"},
        f"{message}answer/": {},
        f"{message}fork/": {},
        f"/api/v1/messages/{started.answer.pk}/regenerate/": {},
        f"{reply}retry/": {},
        f"{reply}continue/": {},
        "/api/v1/keys/": {"name": "x"},
        CHATS: {"title": "x"},
    }.items():
        error = refusal(post_raw(api, json.dumps({**body, "client_id": client_id}), url=path), 400)
        assert (error["code"], [*error["fields"]]) == ("invalid", ["client_id"]), path
    assert (Chat.objects.count(), Message.objects.count(), ApiKey.objects.count()) == before
