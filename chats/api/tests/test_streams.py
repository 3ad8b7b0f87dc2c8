"""Answers as they are written, over real HTTP."""

import json
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from accounts.models import ApiKey
from accounts.services import create_api_key
from chats import services
from chats.branches import delete_branch
from chats.llm.tests.fake_provider import Script
from chats.models import Chat, Message, Reply
from config.tests.live import wait_until
from config.tests.sockets import text_of


class Program:
    """What a person's program sees of the live server."""

    def __init__(self, live, user):
        self.address = urlsplit(live.base_url).netloc
        _, secret = create_api_key(user, name="program")
        self.headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}

    @contextmanager
    def open(self, verb, path, body=None, **headers):
        with closing(HTTPConnection(self.address, timeout=20)) as connection:
            connection.request(verb, f"/api/v1/{path}", body and json.dumps(body), self.headers | headers)
            with connection.getresponse() as response:
                yield response

    def status(self, verb, path, body=None, **headers):
        with self.open(verb, path, body, **headers) as response:
            return response.status

    def json(self, verb, path, body=None):
        with self.open(verb, path, body) as response:
            return response.status, json.loads(response.read())

    def events(self, verb, path, body=None, **headers):
        headers = {"Accept": "text/event-stream"} | headers
        with self.open(verb, path, body, **headers) as response:
            assert response.headers["Content-Type"] == "text/event-stream"
            return list(events_of(response))


def events_of(response):
    for line in response:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "id":
            number = int(value)
        elif name == "data":
            event = json.loads(value)
            assert event["seq"] == number
            yield event


@pytest.fixture
def program(live, openai_model, owner):
    return Program(live, owner)


@pytest.fixture
def says(fake_provider):
    """`says(text=…)`: how the model answers from now on."""

    def script(**how):
        fake_provider.script("fake-1", Script(**how))

    return script


@pytest.fixture
def quick_recheck(settings):
    settings.SOCKET_RECHECK_SECONDS = 0.1


@pytest.fixture
def chat(owner, openai_model):
    return services.create_chat(owner, model=openai_model)


def test_sending_can_stream_the_answer(program, chat, says):
    says(text="one two three")
    events = program.events("POST", f"chats/{chat.pk}/messages/", {"content": "Count"})
    assert events[0]["type"] == "reply.started"
    reply = Reply.objects.select_related("prompt").get(pk=events[0]["reply"])
    assert events[0]["message"] == str(reply.message_id)
    assert reply.prompt.content == "Count"
    assert events[-1]["type"] == "reply.finished"
    assert events[-1]["status"] == "completed"
    assert text_of(events) == "one two three"
    assert [event["seq"] for event in events] == list(range(events[0]["seq"], events[-1]["seq"] + 1))


def test_a_stream_is_passed_on_by_every_proxy_at_once(program, chat):
    headers = {"Accept": "text/event-stream"}
    with program.open("POST", f"chats/{chat.pk}/messages/", {"content": "x"}, **headers) as response:
        assert response.status == 200
        assert response.headers["Cache-Control"] == "no-cache, no-transform"
        assert response.headers["X-Accel-Buffering"] == "no"
        assert response.headers["X-Request-ID"]
        assert response.headers["Location"] == f"/api/v1/replies/{Reply.objects.get().pk}/"


def test_from_every_number_on_the_rest_completes_the_text(program, chat, says):
    says(text="one two three four five")
    started = program.json("POST", f"chats/{chat.pk}/messages/", {"content": "Count"})[1]
    path = f"replies/{started['reply']['id']}/events/"
    all_events = program.events("GET", path)
    for seen in range(all_events[-1]["seq"]):
        rest = program.events("GET", path, **{"Last-Event-ID": str(seen)})
        assert rest == program.events("GET", f"{path}?after={seen}")
        known = [event for event in all_events if event["seq"] <= seen]
        assert text_of(known + rest) == "one two three four five"


def test_whoever_has_seen_the_end_is_told_not_to_come_back(program, chat):
    started = program.json("POST", f"chats/{chat.pk}/messages/", {"content": "Count"})[1]
    path = f"replies/{started['reply']['id']}/events/"
    end = program.events("GET", path)[-1]["seq"]
    assert program.status("GET", path, **{"Last-Event-ID": str(end)}) == 204
    assert program.status("GET", f"{path}?after={end}") == 204


def test_a_reply_whose_message_is_deleted_has_an_end_and_one_that_is_deleted_is_gone(program, chat, run_elsewhere):
    reply = run_elsewhere(chat)
    path = f"replies/{reply.pk}/events/"
    with program.open("GET", path) as response:
        lines = iter(response)
        assert json.loads(next(line for line in lines if line.startswith(b"data:"))[6:])["text"] == "So far"
        delete_branch(reply.message)
        Reply.objects.filter(pk=reply.pk).update(status=Reply.Status.STOPPED)  # as the other node does
        end = json.loads(b"".join(lines).partition(b"data: ")[2])
    assert (end["type"], end["status"], end["message"]) == ("reply.finished", "stopped", None)
    assert program.events("GET", path)[-1] == end
    other = run_elsewhere(chat)
    with program.open("GET", f"replies/{other.pk}/events/?after=3") as response:
        Reply.objects.filter(pk=other.pk).delete()
        rest = response.read()
    assert json.loads(rest.partition(b"data: ")[2]) == {"type": "reply.gone", "reply": str(other.pk)}


def test_numbers_that_are_none_are_refused(program, chat):
    started = program.json("POST", f"chats/{chat.pk}/messages/", {"content": "Count"})[1]
    path = f"replies/{started['reply']['id']}/events/"
    assert program.json("GET", f"{path}?after=x")[0] == 400
    assert program.status("GET", path, **{"Last-Event-ID": "-1"}) == 400


def test_asking_makes_a_chat_and_gives_the_finished_answer(program, says, openai_model):
    says(text="Forty-two.")
    body = {"message": "What is it?", "use_rag": True, "limit": 5, "space": "work", "model": openai_model.name}
    status, answer = program.json("POST", "chat/", body)
    assert status == 200
    assert answer["reply"]["status"] == "completed"
    assert (answer["message"]["role"], answer["message"]["content"]) == ("assistant", "Forty-two.")
    assert answer["message"]["sources"] == []
    assert answer["reply"]["cost"] is not None
    chat = Chat.objects.get(pk=answer["chat"])
    assert (chat.space, chat.title) == ("work", "What is it?")


def test_asking_goes_on_in_a_chat_that_is_named(program, chat):
    program.json("POST", "chat/", {"message": "one", "chat": str(chat.pk)})
    answer = program.json("POST", "chat/", {"message": "two", "chat": str(chat.pk)})[1]
    chat.refresh_from_db()
    said = [message.content for message in Message.objects.path_to(chat.current_leaf_id)]
    assert said[::2] == ["one", "two"]
    assert str(chat.current_leaf_id) == answer["message"]["id"]


def test_asking_can_stream(program, says):
    says(text="one two")
    events = program.events(
        "POST", "chat/", {"message": "Hi", "model": "fake-1", "stream": True}, Accept="application/json"
    )
    assert text_of(events) == "one two"


def test_asking_a_model_that_is_off_stores_nothing(program, openai_model):
    openai_model.enabled = False
    openai_model.save()
    status, refusal = program.json("POST", "chat/", {"message": "x", "model": openai_model.name})
    assert (status, refusal["error"]["code"]) == (400, "model_unavailable")
    assert not Chat.objects.exists()


def test_a_failed_answer_says_why(program, says):
    says(status=401, body={"error": {"message": "bad key"}})
    status, answer = program.json("POST", "chat/", {"message": "Hi", "model": "fake-1"})
    assert status == 200
    assert answer["reply"]["status"] == "failed"
    assert answer["reply"]["error"]["code"] == "provider_refused"


@pytest.fixture
def waiting(program, chat):
    """`with waiting() as (answer, reply)`: one call that waits for that reply; `answer()` is status, headers, body."""

    @contextmanager
    def begin():
        known = set(Reply.objects.values_list("pk", flat=True))
        ours = Reply.objects.exclude(pk__in=known)
        with closing(HTTPConnection(program.address, timeout=20)) as connection:
            body = json.dumps({"message": "Hi", "chat": str(chat.pk)})
            connection.request("POST", "/api/v1/chat/", body, program.headers)
            wait_until(ours.exists, seconds=5, what="it waits")

            def answer():
                with connection.getresponse() as response:
                    return response.status, response.headers, json.loads(response.read())

            yield answer, ours.get()

    return begin


def test_a_chat_that_is_deleted_while_one_waits_is_missing_in_the_answer(program, chat, says, waiting):
    says(hang=True)
    with waiting() as (answer, _):
        assert program.status("DELETE", f"chats/{chat.pk}/") == 204
        status, _, body = answer()
    assert (status, body["error"]["code"]) == (404, "not_found")


def test_stopping_twice_ends_the_reply_once(program, chat, says):
    says(text="word " * 500, tokens_per_second=20)
    started = program.json("POST", f"chats/{chat.pk}/messages/", {"content": "Count"})[1]
    path = f"replies/{started['reply']['id']}/"
    with program.open("GET", f"{path}events/") as response:
        events = events_of(response)
        while next(events)["type"] != "text.delta":
            pass
        assert [program.json("POST", f"{path}stop/")[0] for _ in range(2)] == [200, 200]
        assert list(events)[-1]["status"] == "stopped"
    assert program.json("POST", f"{path}stop/")[1]["status"] == "stopped"


def test_a_retry_answers_the_same_message_beside_the_first_answer(program, chat):
    first = program.json("POST", f"chats/{chat.pk}/messages/", {"content": "Hi"})[1]
    program.events("GET", f"replies/{first['reply']['id']}/events/")
    path = f"replies/{first['reply']['id']}/retry/"
    status, second = program.json("POST", path, {"client_id": "a"})
    assert status == 201
    assert second["message"]["id"] == first["message"]["id"]
    assert second["reply"]["message"] != first["reply"]["message"]
    again = program.json("POST", path, {"client_id": "a"})
    assert (again[0], again[1]["reply"]["id"]) == (200, second["reply"]["id"])
    program.events("GET", f"replies/{second['reply']['id']}/events/")
    assert Message.objects.filter(parent=first["message"]["id"]).count() == 2


@pytest.mark.usefixtures("quick_recheck")
def test_a_stream_ends_when_its_key_is_revoked(program, chat, says):
    says(text="word " * 500, tokens_per_second=20)
    headers = {"Accept": "text/event-stream"}
    with program.open("POST", f"chats/{chat.pk}/messages/", {"content": "Hi"}, **headers) as response:
        events = events_of(response)
        assert next(events)["type"] == "reply.started"
        ApiKey.objects.update(revoked_at="2020-01-01T00:00:00Z")
        assert "reply.finished" not in [event["type"] for event in events]
    assert Reply.objects.get().status == Reply.Status.RUNNING


@pytest.mark.usefixtures("quick_recheck")
def test_a_silent_stream_ends_too_when_its_key_is_revoked(program, chat, says):
    says(hang=True)
    headers = {"Accept": "text/event-stream"}
    with program.open("POST", f"chats/{chat.pk}/messages/", {"content": "Hi"}, **headers) as response:
        events = events_of(response)
        assert next(events)["type"] == "reply.started"
        ApiKey.objects.update(revoked_at="2020-01-01T00:00:00Z")
        assert list(events) == []
    assert Reply.objects.get().status == Reply.Status.RUNNING


@pytest.mark.usefixtures("quick_recheck")
def test_who_waits_for_an_answer_is_refused_when_the_key_is_revoked(program, waiting, says):
    says(hang=True)
    with waiting() as (answer, reply):
        ApiKey.objects.update(revoked_at="2020-01-01T00:00:00Z")
        status, headers, body = answer()
    assert (status, headers["WWW-Authenticate"], body["error"]["code"]) == (401, "Bearer", "unauthenticated")
    assert body["error"]["request_id"] == headers["X-Request-ID"]
    reply.refresh_from_db()
    assert reply.status == Reply.Status.RUNNING


def test_streams_and_waiting_calls_of_a_person_are_limited_together(program, chat, says, waiting, settings):
    settings.SOCKETS_PER_USER = 2
    says(hang=True)
    sse, path = {"Accept": "text/event-stream"}, f"chats/{chat.pk}/messages/"
    with program.open("POST", path, {"content": "Hi"}, **sse) as first, waiting() as (_, reply):
        assert first.status == 200
        stored = Message.objects.count()
        for verb, place, body in [
            ("GET", f"replies/{reply.pk}/events/", None),
            ("POST", path, {"content": "Hi"}),
            ("POST", "chat/", {"message": "Hi"}),
            ("POST", f"messages/{reply.prompt_id}/edit/", {"content": "Hi"}),
        ]:
            with program.open(verb, place, body, **sse) as refused:
                assert (refused.status, refused.headers["Retry-After"]) == (429, "30")
                assert "too many connections" in json.loads(refused.read())["error"]["message"]
        assert Message.objects.count() == stored, "what is refused is not done"
        assert program.status("GET", f"replies/{reply.pk}/") == 200
    wait_until(lambda: program.status("GET", f"replies/{reply.pk}/events/") == 200, seconds=5, what="there is room")


def test_what_has_ended_makes_room(program, chat, says, settings):
    settings.SOCKETS_PER_USER = 1
    says(text="one")

    def has_room(verb, path, body=None, **headers):
        # The client has its last byte a moment before the server has let go.
        wait_until(lambda: program.status(verb, path, body, **headers) == 200, seconds=5, what="there is room")

    for _ in range(3):
        has_room("POST", "chat/", {"message": "Hi", "chat": str(chat.pk)})
        reply = Reply.objects.latest("created_at")
        has_room("GET", f"replies/{reply.pk}/events/", Accept="text/event-stream")
