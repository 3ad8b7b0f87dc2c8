import pytest

from chats import services
from chats.models import Chat

URL = "/api/v1/chats/"


def titles(response):
    assert response.status_code == 200, response.json()
    return [chat["title"] for chat in response.json()["results"]]


def test_a_chat_is_made_with_all_its_fields(api, demo_model):
    body = {
        "title": "Release",
        "space": "work",
        "tags": ["b", "a"],
        "notebooks": ["roadmap"],
        "system_prompt": "Be brief.",
        "model": demo_model.name,
        "extra_data": {"x": [1]},
        "pinned": True,
        "archived": True,
    }
    response = api.post(URL, body)
    made = response.json()
    assert response.status_code == 201
    assert {name: made[name] for name in body} == body | {"tags": ["a", "b"], "model": str(demo_model.pk)}
    assert made["created_at"].endswith("Z")
    assert made["current_leaf"] is None


def test_a_chat_is_made_once_under_a_client_id(api, demo_model, owner):
    body = {"title": "Release\0", "tags": ["a"], "model": demo_model.name, "client_id": "once"}
    first, again = api.post(URL, body), api.post(URL, body | {"model": str(demo_model.pk)})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert api.post(URL, body | {"tags": ["b"]}).status_code == 409
    assert Chat.objects.count() == 1
    services.delete_chat(Chat.objects.get())
    assert api.post(URL, body).status_code == 404


def test_an_empty_body_makes_an_empty_chat(api):
    made = api.post(URL, {}).json()
    assert (made["title"], made["space"], made["tags"], made["extra_data"]) == ("", "default", [], {})


def test_null_stands_for_the_default(api):
    made = api.post(
        URL,
        {"title": None, "space": None, "tags": None, "notebooks": None, "extra_data": None, "model": None},
    ).json()
    assert (made["title"], made["space"], made["tags"], made["notebooks"]) == ("", "default", [], [])


def test_fields_that_are_not_ones_to_write_are_ignored(api, owner, stranger):
    made = api.post(URL, {"title": "x", "user": str(stranger.pk), "id": "1", "deleted_at": "2020-01-01"}).json()
    assert Chat.objects.get().user == owner
    assert made["id"] != "1"


def test_the_chat_with_the_newest_message_comes_first(api, owner):
    old, _ = services.create_chat(owner, title="old"), services.create_chat(owner, title="new")
    assert titles(api.get(URL)) == ["new", "old"]
    services.append_message(old, role="user", content="hello")
    assert titles(api.get(URL)) == ["old", "new"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("space=work", ["c", "b"]),
        ("tag=red", ["c", "a"]),
        ("tag=red&space=work", ["c"]),
        ("q=B", ["b"]),
        ("archived=true", ["c"]),
        ("archived=false", ["b", "a"]),
        ("pinned=1", ["b"]),
        ("space=none", []),
        ("q=%00", []),
    ],
)
def test_the_list_is_filtered(api, owner, query, expected):
    services.create_chat(owner, title="a", tags=["red"])
    services.create_chat(owner, title="b", space="work", pinned=True)
    services.create_chat(owner, title="c", space="work", tags=["red", "blue"], archived=True)
    assert titles(api.get(f"{URL}?{query}")) == expected


def test_pages_name_their_neighbours_and_are_never_counted(api, owner):
    for number in range(5):
        services.create_chat(owner, title=str(number), space="s")
    first = api.get(f"{URL}?page_size=2&space=s").json()
    assert first["count"] is None
    assert first["previous"] is None
    second = api.get(first["next"])
    assert titles(second) == ["2", "1"]
    third = api.get(second.json()["next"])
    assert titles(third) == ["0"]
    assert third.json()["next"] is None
    assert titles(api.get(third.json()["previous"])) == ["2", "1"]
    assert titles(api.get(f"{URL}?page=100")) == []


@pytest.mark.parametrize("query", ["page=0", "page=-1", "page=x", "page=99999999999999999999", "page=10001", "page=²"])
def test_a_page_that_can_not_be_is_refused(api, query):
    response = api.get(f"{URL}?{query}")
    assert response.status_code == 400
    assert list(response.json()["error"]["fields"]) == ["page"]


def test_a_page_holds_at_most_a_hundred(api, owner):
    Chat.objects.bulk_create(Chat(user=owner) for _ in range(101))
    assert len(api.get(f"{URL}?page_size=100000").json()["results"]) == 100


@pytest.mark.parametrize("query", ["archived=maybe", "pinned=", "q=" + "x" * 201, "page_size=0"])
def test_a_filter_that_can_not_be_is_refused(api, query):
    assert api.get(f"{URL}?{query}").status_code == 400


@pytest.mark.parametrize("rows", [1, 50])
def test_the_list_takes_three_queries_however_long_it_is(api, owner, rows, django_assert_num_queries):
    api.get(URL)  # notes that the key is in use, once a minute
    for number in range(rows):
        services.create_chat(owner, title=str(number), tags=["a", "b"])
    with django_assert_num_queries(3):
        assert len(api.get(f"{URL}?page_size=100").json()["results"]) == rows


@pytest.mark.parametrize("rows", [1, 50])
def test_a_chat_takes_four_queries_however_long_it_is(api, owner, rows, django_assert_num_queries):
    api.get(URL)
    chat = services.create_chat(owner, tags=["a", "b"])
    for number in range(rows):
        services.append_message(chat, role="user", content=str(number))
    with django_assert_num_queries(4):
        assert len(api.get(f"{URL}{chat.pk}/?page_size=100").json()["messages"]["results"]) == rows


def test_a_chat_comes_with_its_first_messages_and_the_way_to_more(api, owner):
    chat = services.create_chat(owner)
    for number in range(35):
        services.append_message(chat, role="user", content=str(number))
    messages = api.get(f"{URL}{chat.pk}/").json()["messages"]
    assert [message["content"] for message in messages["results"]] == [str(number) for number in range(30)]
    more = api.get(messages["next"]).json()
    assert [message["content"] for message in more["results"]] == [str(number) for number in range(30, 35)]


@pytest.mark.parametrize("verb", ["put", "patch"])
def test_a_change_writes_what_it_names(api, owner, verb):
    chat = services.create_chat(owner, title="a", tags=["x"], notebooks=["n"])
    response = getattr(api, verb)(f"{URL}{chat.pk}/", {"title": "b", "notebooks": ["m"]})
    assert response.status_code == 200
    changed = response.json()
    assert (changed["title"], changed["notebooks"], changed["tags"]) == ("b", ["m"], ["x"])
    assert api.get(f"{URL}{chat.pk}/").json()["title"] == "b"


def test_a_deleted_chat_reads_as_missing_and_can_be_restored(api, owner):
    chat = services.create_chat(owner, title="a")
    assert api.delete(f"{URL}{chat.pk}/").status_code == 204
    assert api.get(f"{URL}{chat.pk}/").status_code == 404
    assert titles(api.get(URL)) == []
    assert api.post(f"{URL}{chat.pk}/restore/").json()["title"] == "a"
    assert titles(api.get(URL)) == ["a"]


def test_an_unavailable_model_is_refused_and_nothing_is_made(api, demo_model):
    type(demo_model).objects.update(enabled=False)
    for model in ("nothing like it", str(demo_model.pk), "\x00"):
        response = api.post(URL, {"model": model})
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "model_unavailable"
    assert not Chat.objects.exists()
