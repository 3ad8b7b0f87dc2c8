import pytest

from chats import services
from chats.models import Chat, Message, Reply

URL = "/api/v1/messages/"


@pytest.fixture
def chat(owner, demo_model):
    return services.create_chat(owner, title="Plans", model=demo_model)


@pytest.fixture
def question(chat):
    return services.append_message(chat, role="user", content="hello")


@pytest.fixture
def answer(chat, question):
    return services.append_message(chat, role="assistant", content="hi")


def branch(api, chat, query=""):
    response = api.get(f"/api/v1/chats/{chat.pk}/messages/?branch=current{query}")
    assert response.status_code == 200, response.json()
    return response.json()


def test_an_edit_starts_an_answer_on_a_new_branch(api, chat, question, answer):
    response = api.post(f"{URL}{question.pk}/edit/", {"content": "goodbye"})
    assert response.status_code == 201
    body = response.json()
    assert (body["message"]["content"], body["message"]["parent"]) == ("goodbye", None)
    assert body["reply"]["prompt"] == body["message"]["id"]
    assert [message["content"] for message in branch(api, chat)["results"]] == ["goodbye", ""]
    assert api.post(f"{URL}{answer.pk}/edit/", {"content": "x"}).status_code == 400
    assert api.post(f"{URL}{question.pk}/edit/", {}).status_code == 400


@pytest.mark.parametrize("verb", ["edit", "regenerate"])
def test_a_repetition_is_200_with_the_same_body(api, question, answer, verb):
    url = f"{URL}{(question if verb == 'edit' else answer).pk}/{verb}/"
    body = {"content": "again", "client_id": "a"} if verb == "edit" else {"client_id": "a"}
    first, again = api.post(url, body), api.post(url, body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    other = {"content": "other"} if verb == "edit" else {"model": "Demo"}
    assert api.post(url, body | other).status_code == 409


def test_an_imported_answer_is_written_again(api, chat, question, answer):
    response = api.post(f"{URL}{answer.pk}/regenerate/", {})
    assert response.status_code == 201
    assert response.json()["message"]["id"] == str(question.pk)
    shown = branch(api, chat)["results"]
    assert shown[-1]["sibling_ids"] == [str(answer.pk), shown[-1]["id"]]
    refused = api.post(f"{URL}{shown[-1]['id']}/regenerate/", {})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "reply_running")


def test_a_stored_question_is_answered(api, chat, question, answer):
    api.delete(f"{URL}{answer.pk}/")
    url = f"{URL}{question.pk}/answer/"
    first, again = api.post(url, {"client_id": "a"}), api.post(url, {"client_id": "a"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert first.json()["message"]["id"] == str(question.pk)
    made = first.json()["reply"]["message"]
    assert [message["id"] for message in branch(api, chat)["results"]] == [str(question.pk), made]
    assert api.post(f"{URL}{made}/answer/", {}).status_code == 400


def test_an_unfinished_reply_is_continued(api, chat, question, answer, owner):
    reply = Reply.objects.create(
        chat=chat, user=owner, prompt=question, message=answer, model=chat.model, status=Reply.Status.STOPPED
    )
    url = f"/api/v1/replies/{reply.pk}/continue/"
    first, again = api.post(url, {"client_id": "a"}), api.post(url, {"client_id": "a"})
    assert (first.status_code, again.status_code) == (201, 200)
    made = first.json()["reply"]
    assert made["continues"] == str(reply.pk)
    assert again.json()["reply"] == made
    assert api.get(f"{URL}{made['message']}/").json()["content"] == "hi"
    assert api.post(f"/api/v1/replies/{made['id']}/continue/", {}).status_code == 409
    Reply.objects.filter(pk=reply.pk).update(status=Reply.Status.COMPLETED)
    assert api.post(url, {}).status_code == 409


def test_a_client_goes_to_a_branch_by_any_of_its_messages(api, chat, question, answer, owner):
    other = services.append_message(chat, role="assistant", content="hey", parent=question)
    url = f"/api/v1/chats/{chat.pk}/"
    assert api.patch(url, {"current_leaf": str(answer.pk)}).json()["current_leaf"] == str(answer.pk)
    assert api.patch(url, {"current_leaf": str(question.pk), "title": "x"}).json()["current_leaf"] == str(answer.pk)
    assert api.patch(url, {"current_leaf": str(other.pk)}).json()["title"] == "x"
    elsewhere = services.append_message(services.create_chat(owner), role="user", content="x")
    for nowhere in (str(elsewhere.pk), str(chat.pk), None):
        refused = api.patch(url, {"current_leaf": nowhere})
        assert (refused.status_code, list(refused.json()["error"]["fields"])) == (400, ["current_leaf"])
    assert "current_leaf" not in api.post("/api/v1/chats/", {"current_leaf": str(other.pk)}).json().get("error", {})


def test_the_current_branch_comes_in_pages_in_three_queries(api, chat, question, answer, django_assert_num_queries):
    for number in range(5):
        services.append_message(chat, role="user", content=str(number))
    other = services.append_message(chat, role="user", content="other", parent=answer)
    api.patch(f"/api/v1/chats/{chat.pk}/", {"current_leaf": str(answer.pk)})
    first = branch(api, chat, "&page_size=2")
    assert [message["content"] for message in first["results"]] == ["hello", "hi"]
    assert first["next"].endswith("branch=current&page_size=2&page=2")
    last = branch(api, chat, "&page=2&page_size=2")
    assert [message["content"] for message in last["results"]] == ["other"]
    assert last["next"] is None
    siblings = last["results"][0]["sibling_ids"]
    assert (len(siblings), siblings[-1]) == (2, str(other.pk))
    api.patch(f"/api/v1/chats/{chat.pk}/", {"current_leaf": siblings[0]})
    with django_assert_num_queries(4):  # the key, the chat, its path, their siblings
        assert len(branch(api, chat)["results"]) == 7


def test_an_empty_chat_has_an_empty_branch_and_no_other_branch_has_a_name(api, chat):
    assert branch(api, chat)["results"] == []
    refused = api.get(f"/api/v1/chats/{chat.pk}/messages/?branch=best")
    assert (refused.status_code, list(refused.json()["error"]["fields"])) == (400, ["branch"])


def test_a_fork_is_a_chat_of_its_own(api, chat, question, answer):
    url = f"{URL}{answer.pk}/fork/"
    first, again = api.post(url, {"client_id": "a"}), api.post(url, {"client_id": "a"})
    assert (first.status_code, again.status_code) == (201, 200)
    fork = first.json()
    assert again.json() == fork
    assert (fork["title"], fork["model"]) == ("Plans (fork)", str(chat.model_id))
    assert (fork["forked_from"], api.get(f"/api/v1/chats/{chat.pk}/").json()["forked_from"]) == (str(chat.pk), None)
    assert fork["id"] != str(chat.pk)
    messages = branch(api, Chat(pk=fork["id"]))["results"]
    assert [message["content"] for message in messages] == ["hello", "hi"]
    assert api.post(url, {"client_id": "a", "title": "Plan B"}).status_code == 409
    assert api.post(url, {"title": "Plan B"}).json()["title"] == "Plan B"


def test_a_branch_is_deleted_with_what_follows(api, chat, question, answer):
    other = services.append_message(chat, role="user", content="x", parent=question)
    assert api.delete(f"{URL}{question.pk}/?branch=maybe").status_code == 400
    assert api.delete(f"{URL}{other.pk}/?branch=true").status_code == 204
    assert api.get(f"/api/v1/chats/{chat.pk}/").json()["current_leaf"] == str(answer.pk)
    assert api.delete(f"{URL}{question.pk}/?branch=true").status_code == 204
    assert not Message.objects.exists()
    assert api.get(f"/api/v1/chats/{chat.pk}/").json()["current_leaf"] is None


def test_foreign_and_missing_messages_look_alike(api, stranger):
    foreign = services.append_message(services.create_chat(stranger), role="user", content="x").pk
    for pk in (foreign, "00000000-0000-0000-0000-000000000000"):
        for verb, body in (("edit", {"content": "x"}), ("answer", {}), ("regenerate", {}), ("fork", {})):
            assert api.post(f"{URL}{pk}/{verb}/", body).status_code == 404
        assert api.delete(f"{URL}{pk}/?branch=true").status_code == 404
    assert Message.objects.count() == 1
