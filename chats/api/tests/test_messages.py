import pytest

from chats import services
from chats.models import Message, Reply

URL = "/api/v1/messages/"


@pytest.fixture
def chat(owner):
    return services.create_chat(owner)


@pytest.fixture
def message(chat):
    return services.append_message(chat, role="user", content="hello")


def contents(response):
    assert response.status_code == 200, response.json()
    return [message["content"] for message in response.json()["results"]]


def test_history_is_written_without_asking_a_model(api, chat):
    body = {
        "chat": str(chat.pk),
        "role": "tool",
        "content": "42\x00",
        "tool_calls": [{"id": "1"}],
        "tool_results": [{"ok": True}],
        "sources": [{"title": "x"}],
        "extra_data": {"a": 1},
    }
    response = api.post(URL, body)
    assert response.status_code == 201
    made = response.json()
    assert {name: made[name] for name in body} == body | {"content": "42\ufffd"}
    assert made["is_imported"]
    assert not Reply.objects.exists()


def test_ai_is_another_word_for_assistant(api, chat):
    assert api.post(URL, {"chat": str(chat.pk), "role": "ai", "content": "x"}).json()["role"] == "assistant"


def test_messages_follow_each_other_unless_a_parent_is_named(api, chat, message):
    second = api.post(URL, {"chat": str(chat.pk), "role": "user", "content": "a"}).json()
    branch = api.post(URL, {"chat": str(chat.pk), "role": "user", "content": "b", "parent": str(message.pk)}).json()
    assert second["parent"] == branch["parent"] == str(message.pk)


def test_a_parent_of_another_chat_is_refused_and_a_foreign_one_is_missing(api, chat, owner, stranger):
    body = {"chat": str(chat.pk), "role": "user", "content": "a"}
    elsewhere = services.append_message(services.create_chat(owner), role="user", content="x")
    foreign = services.append_message(services.create_chat(stranger), role="user", content="x")
    assert api.post(URL, body | {"parent": str(elsewhere.pk)}).json()["error"]["fields"].keys() == {"parent"}
    assert api.post(URL, body | {"parent": str(foreign.pk)}).status_code == 404
    assert api.post(URL, body | {"chat": str(foreign.chat_id)}).status_code == 404
    assert not chat.messages.exists()


@pytest.mark.parametrize("url", ["/api/v1/messages/?chat={}", "/api/v1/chats/{}/messages/?x={}"])
def test_both_lists_are_sorted_by_creation(api, chat, url):
    for text in "abc":
        services.append_message(chat, role="user", content=text)
    assert contents(api.get(url.format(chat.pk, chat.pk))) == ["a", "b", "c"]
    assert contents(api.get(url.format(chat.pk, chat.pk) + "&page=2&page_size=2")) == ["c"]


def test_the_flat_list_needs_to_know_whose_messages(api):
    for query in ("", "?chat=", "?chat=nonsense", "?chat=%00"):
        refused = api.get(f"{URL}{query}")
        assert (refused.status_code, list(refused.json()["error"]["fields"])) == (400, ["chat"])
    assert api.get(f"{URL}?chat=00000000-0000-0000-0000-000000000000").status_code == 404


@pytest.mark.parametrize("rows", [1, 50])
def test_a_list_takes_three_queries_however_long_it_is(api, chat, rows, django_assert_num_queries):
    api.get(f"{URL}?chat={chat.pk}")  # notes that the key is in use, once a minute
    for number in range(rows):
        services.append_message(chat, role="user", content=str(number))
    with django_assert_num_queries(3):
        assert len(contents(api.get(f"{URL}?chat={chat.pk}&page_size=100"))) == rows


def test_a_message_is_read_changed_and_deleted(api, message):
    url = f"{URL}{message.pk}/"
    assert api.get(url).json()["content"] == "hello"
    assert api.put(url, {"content": "one", "role": "system"}).json()["role"] == "system"
    assert api.patch(url, {"extra_data": {"a": 1}}).json()["content"] == "one"
    assert api.delete(url).status_code == 204
    assert api.get(url).status_code == 404


def test_put_needs_the_content(api, message):
    response = api.put(f"{URL}{message.pk}/", {"role": "user"})
    assert response.status_code == 400
    assert "content" in response.json()["error"]["fields"]


def test_a_message_being_written_can_not_be_changed(api, chat, message, owner):
    Reply.objects.create(chat=chat, user=owner, message=message, status=Reply.Status.RUNNING)
    response = api.patch(f"{URL}{message.pk}/", {"content": "x"})
    assert response.status_code == 409
    assert response.json()["error"]["code"] == "reply_running"


def test_sending_stores_what_was_said_and_starts_the_answer(api, chat, demo_model):
    response = api.post(f"/api/v1/chats/{chat.pk}/messages/", {"content": "Hi"})
    assert response.status_code == 201
    body = response.json()
    assert (body["message"]["role"], body["message"]["content"]) == ("user", "Hi")
    assert body["reply"]["status"] == "queued"
    assert body["reply"]["prompt"] == body["message"]["id"]
    assert api.get(f"/api/v1/replies/{body['reply']['id']}/").json() == body["reply"]
    assert api.get(f"/api/v1/chats/{chat.pk}/").json()["title"] == "Hi"


def test_a_repeated_client_id_gives_the_same_answer(api, chat, demo_model):
    url, body = f"/api/v1/chats/{chat.pk}/messages/", {"content": "Hi", "client_id": "a"}
    first, again = api.post(url, body), api.post(url, body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert api.post(url, body | {"content": "Other"}).status_code == 409
    assert chat.messages.count() == 2


def test_reply_false_only_stores(api, chat):
    url = f"/api/v1/chats/{chat.pk}/messages/"
    response = api.post(url, {"content": "Hi", "role": "ai", "reply": False})
    assert response.status_code == 201
    assert response.json()["reply"] is None
    assert chat.messages.get().role == Message.Role.ASSISTANT


@pytest.mark.parametrize("change", [{"role": "system"}, {"content": " \n"}, {"content": ""}, {"client_id": "x" * 65}])
def test_what_a_model_can_not_answer_is_refused_and_not_stored(api, chat, demo_model, change):
    response = api.post(f"/api/v1/chats/{chat.pk}/messages/", {"content": "Hi"} | change)
    assert response.status_code == 400
    assert list(response.json()["error"]["fields"]) == list(change)
    assert not chat.messages.exists()


def test_an_answer_can_not_be_asked_for_elsewhere_in_the_tree(api, chat, message, demo_model):
    url = f"/api/v1/chats/{chat.pk}/messages/"
    assert api.post(url, {"content": "Hi", "parent": str(message.pk)}).status_code == 400
    stored = api.post(url, {"content": "Hi", "parent": str(message.pk), "reply": False}).json()
    assert stored["message"]["parent"] == str(message.pk)


def test_an_unavailable_model_stores_nothing(api, chat, demo_model):
    type(demo_model).objects.update(enabled=False)
    for body in ({"content": "Hi"}, {"content": "Hi", "model": str(demo_model.pk)}, {"content": "Hi", "model": "x"}):
        response = api.post(f"/api/v1/chats/{chat.pk}/messages/", body)
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "model_unavailable"
    assert not chat.messages.exists()


def test_a_text_over_the_limit_is_refused_with_413(api, chat, demo_model, settings):
    settings.MESSAGE_MAX_BYTES = 100
    for body in ({"content": "x" * 101}, {"content": "x" * 101, "reply": False}):
        response = api.post(f"/api/v1/chats/{chat.pk}/messages/", body)
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "too_large"
