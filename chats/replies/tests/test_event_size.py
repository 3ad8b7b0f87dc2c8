"""No event is larger than EVENT_MAX_BYTES, and whoever is cut off between two of them ends with the whole text."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from uuid import uuid4

import pytest

from accounts.services import create_api_key
from chats.llm.tests.fake_provider import Script
from chats.models import Message, Reply
from chats.replies import events as outgoing
from chats.replies import log
from chats.services import create_chat
from config.tests.sockets import Viewer
from config.tests.threads import in_thread

SMALL = 8_192
# What JSON writes with six bytes, with two, with one character of four bytes, of several characters, and plainly.
WORST, QUOTED, EMOJI, FAMILY = "\x01\x1f", '"\\\n', "😀", "👩\u200d👩\u200d👧"
MIXED = "".join(f"{n:05} {WORST}{QUOTED}{EMOJI}{FAMILY}é\u2028 plain words\n" for n in range(1_000))


def counted(length: int) -> str:
    """A text in which every place can be told from every other."""
    return "".join(f"{n:07} " for n in range(length // 8 + 1))[:length]


class Program:
    """Reads a reply's events as an EventSource does, and notes how large they were."""

    def __init__(self, live, user):
        self.user = user
        self.address = live.base_url.removeprefix("http://")
        _, secret = create_api_key(user, name="program")
        self.headers = {"Authorization": f"Bearer {secret}"}
        self.largest = 0
        self.last_id = 0

    def events(self, reply_id) -> Iterator[dict]:
        """From where it stands; whoever stops in between has hung up."""
        with closing(HTTPConnection(self.address, timeout=20)) as connection:
            path = f"/api/v1/replies/{reply_id}/events/"
            connection.request("GET", path, headers=self.headers | {"Last-Event-ID": str(self.last_id)})
            number = None
            for line in connection.getresponse():
                name, _, value = line.partition(b": ")
                if name == b"id":
                    number = int(value)
                elif name == b"data":
                    self.largest = max(self.largest, len(value.removesuffix(b"\n")))
                    # An event without an id leaves the last one as it is.
                    self.last_id, number = number or self.last_id, None
                    yield json.loads(value)

    def get(self, path) -> dict:
        with closing(HTTPConnection(self.address, timeout=20)) as connection:
            connection.request("GET", path, headers=self.headers)
            return json.loads(connection.getresponse().read())


@pytest.fixture
def program(live, owner):
    return Program(live, owner)


@pytest.fixture
def limit(settings, request):
    settings.EVENT_MAX_BYTES = getattr(request, "param", SMALL)
    return settings.EVENT_MAX_BYTES


@pytest.fixture
def answer(say, fake_provider):
    """`answer(script)`: somebody asked, and the model answers so."""

    def start(script):
        fake_provider.script("fake-1", script)
        return say("Go")

    return start


@pytest.fixture
def short_memory(monkeypatch):
    """A log that keeps two events: whoever comes later gets a snapshot."""
    monkeypatch.setattr(log, "REPLAY_MAX_EVENTS", 2)


def message_of(started) -> Message:
    return Message.objects.get(pk=started.answer.pk)


async def watched(socket, reply) -> Viewer:
    viewer = Viewer()
    await socket.send("reply.follow", reply=str(reply.pk))
    for event in await socket.receive_until("reply.finished", seconds=30):
        viewer.see(event)
    return viewer


ONE_LINE = counted(950_000)


@pytest.mark.parametrize("limit", [SMALL, 65_536], indirect=True)
@pytest.mark.parametrize(
    "script",
    [
        Script(chunks=[ONE_LINE]),
        Script(chunks=["Before. ", ONE_LINE, "After."]),
        Script(chunks=[counted(80_000)[at : at + 16] for at in range(0, 80_000, 16)]),
        Script(chunks=[MIXED]),
        Script(chunks=[(WORST * 50_000)]),
        Script(chunks=["Short."], reasoning=[ONE_LINE[:400_000]]),
    ],
    ids=["one-line", "one-line-among-words", "thousands-of-deltas", "mixed", "control-characters", "reasoning"],
)
async def test_a_long_answer_comes_in_events_within_the_limit(answer, open_socket, program, limit, script):
    started = await in_thread(answer, script)
    async with await open_socket(program.user, started.chat) as socket:
        live_viewer = await watched(socket, started.reply)
        late_viewer = await watched(socket, started.reply)
    streamed = Viewer()
    for event in await in_thread(list, program.events(started.reply.pk)):
        streamed.see(event)

    assert (await in_thread(message_of, started)).content == "".join(script.chunks)
    for viewer in (live_viewer, late_viewer, streamed):
        assert viewer.text == "".join(script.chunks)
        assert viewer.reasoning == "".join(script.reasoning)
        assert viewer.finished["status"] == "completed"
    assert max(socket.largest, program.largest) <= limit
    assert program.last_id == live_viewer.seq


async def test_a_message_that_is_too_long_for_the_end_is_named_there(answer, open_socket, program, limit):
    script = Script(text=counted(9_000), tool_calls=[("look", '{"for": "' + "x" * 9_000 + '"}')])
    started = await in_thread(answer, script)
    async with await open_socket(program.user, started.chat) as socket:
        end = (await watched(socket, started.reply)).finished

    whole = await in_thread(program.get, end["message_url"])
    long_fields = {"content", "tool_calls"}
    assert {name for name in whole if end["message"][name] != whole[name]} == long_fields
    assert {end["message"][name] for name in long_fields} == {None}
    assert whole["content"] == counted(9_000)
    assert end["usage"]


async def test_a_short_message_is_in_the_last_event(owner, answer, open_socket):
    started = await in_thread(answer, Script(text="Short."))
    async with await open_socket(owner, started.chat) as socket:
        end = (await watched(socket, started.reply)).finished
    assert end["message"]["content"] == "Short."
    assert "message_url" not in end


async def test_a_long_message_is_accepted_by_reference_and_a_short_one_whole(demo_model, open_socket, program, limit):
    demo_model.default_settings = {"tokens_per_second": 0}
    await in_thread(demo_model.save)
    chat = await in_thread(create_chat, program.user)
    async with await open_socket(program.user, chat) as socket:
        for said, is_long in ((MIXED, True), ("Short", False)):
            await socket.send("message.send", content=said, client_id=f"c-{is_long}")
            accepted = next(e for e in await socket.receive_until("reply.finished") if e["type"] == "message.accepted")
            assert accepted["client_id"] == f"c-{is_long}"
            assert accepted["message"]["role"] == "user"
            assert accepted["message"]["content"] == (None if is_long else said)
            assert ("message_url" in accepted) == is_long
            if is_long:
                assert (await in_thread(program.get, accepted["message_url"]))["content"] == said
    assert socket.largest <= limit


async def test_an_error_does_not_repeat_a_client_id_that_is_none(owner, open_socket, limit):
    chat = await in_thread(create_chat, owner)
    async with await open_socket(owner, chat) as socket:
        for client_id in ("x" * 100_000, ["x" * 100_000]):
            await socket.send("message.send", content="Hi", client_id=client_id)
            error = await socket.receive()
            assert (error["type"], error["client_id"]) == ("error", None)
    assert socket.largest <= limit


def test_what_has_no_way_to_be_long_does_not_go_out(limit):
    with pytest.raises(outgoing.EventTooLarge):
        outgoing.encode({"type": "chat.changed", "chat": {"title": "x" * limit}})
    with pytest.raises(outgoing.EventTooLarge):
        outgoing.encode({"type": "message.accepted", "message": {"id": str(uuid4())}, "client_id": "x" * limit})


# ---------------------------------------------------------------- snapshots in parts


def test_a_snapshot_that_fits_is_one_event(limit):
    text = "x" * (limit - 200)
    [(seq, event)] = outgoing.snapshot(str(uuid4()), 7, standing(text))
    assert seq == 7
    assert "part" not in json.loads(event)


def standing(text):
    return outgoing.Standing(text, "", str(uuid4()), 32)


@pytest.mark.parametrize(("text", "most"), [("x" * 900_000, 14), ("Füchse\n" * 30_000, 7), (WORST * 50_000, 10)])
def test_a_long_text_is_cut_as_rarely_as_its_characters_allow(text, most):
    parts = [json.loads(event) for _, event in outgoing.snapshot(str(uuid4()), 7, standing(text))]
    assert len(parts) <= most
    assert "".join(part["text"] for part in parts) == text
    assert outgoing.pieces(text) == [part["text"] for part in parts]


THOUGHT, BEGINNING, REST = "Hm. " * 3_000, MIXED[:12_000], " and the rest"


@pytest.fixture
def held(answer, limit, short_memory):
    """An answer that has got so far, and the gate before its rest."""
    gate = threading.Event()
    yield answer(Script(reasoning=[THOUGHT], chunks=[BEGINNING, REST], gate=gate, gate_after=1)), gate
    gate.set()


def stands(viewer: Viewer) -> None:
    """What this viewer sees was true at some moment: nothing, or all that had come."""
    assert (viewer.text, viewer.reasoning) in {("", ""), (BEGINNING, THOUGHT)}
    assert bool(viewer.seq) == bool(viewer.text)


async def test_cut_after_any_part_on_a_socket_the_whole_text_comes(owner, held, limit, open_socket):
    started, gate = held
    follow = {"reply": str(started.reply.pk)}
    async with await open_socket(owner, started.chat) as socket:
        await socket.send("reply.follow", **follow)
        seen = Viewer()
        while seen.text != BEGINNING:
            seen.see(await socket.receive())
    async with await open_socket(owner, started.chat) as socket:
        await socket.send("reply.follow", **follow)
        parts = (await socket.receive())["parts"]
    assert parts > 3

    cut_off = []
    for cut in range(1, parts + 1):
        viewer = Viewer()
        async with await open_socket(owner, started.chat) as socket:
            await socket.send("reply.follow", **follow)
            for part in range(1, cut + 1):
                event = await socket.receive()
                assert (event["type"], event["part"], event["parts"]) == ("reply.snapshot", part, parts)
                viewer.see(event)
                stands(viewer)
        cut_off.append(viewer)
    gate.set()
    async with await open_socket(owner, started.chat) as socket:
        for viewer in cut_off:
            await socket.send("reply.follow", **follow, after=viewer.seq)
            for event in await socket.receive_until("reply.finished"):
                viewer.see(event)
            assert viewer.text == BEGINNING + REST
            assert viewer.reasoning == THOUGHT
    assert socket.largest <= limit


async def test_following_again_in_the_middle_of_a_snapshot_begins_it_anew(owner, held, open_socket):
    started, gate = held
    async with await open_socket(owner, started.chat) as socket:
        viewer = Viewer()
        for _ in range(5):
            await socket.send("reply.follow", reply=str(started.reply.pk))
        gate.set()
        for event in await socket.receive_until("reply.finished"):
            viewer.see(event)
    assert viewer.text == BEGINNING + REST


async def test_cut_after_any_part_of_an_event_stream_the_whole_text_comes(owner, held, live, open_socket):
    started, gate = held
    async with await open_socket(owner, started.chat) as socket:
        await socket.send("reply.follow", reply=str(started.reply.pk))
        seen = Viewer()
        while seen.text != BEGINNING:
            seen.see(await socket.receive())
    await in_thread(_cut_and_resume, started.reply, gate, live, owner)


def _cut_and_resume(reply, gate, live, owner):
    parts = next(Program(live, owner).events(reply.pk))["parts"]
    cut_off = []
    for cut in range(1, parts + 1):
        program, viewer = Program(live, owner), Viewer()
        with closing(program.events(reply.pk)) as events:
            for _ in range(cut):
                viewer.see(next(events))
                stands(viewer)
        assert program.last_id == viewer.seq
        cut_off.append((program, viewer))
    gate.set()
    for program, viewer in cut_off:
        for event in program.events(reply.pk):
            viewer.see(event)
        assert viewer.text == BEGINNING + REST
        assert viewer.reasoning == THOUGHT
        assert program.largest <= SMALL


async def test_a_long_answer_is_told_from_its_row_whole_from_any_cut(program, limit):
    reply = await in_thread(_stored_long_ago, program.user)
    await in_thread(_read_from_its_row, reply, program)


def _stored_long_ago(owner) -> Reply:
    chat = create_chat(owner)
    message = Message.objects.create(chat=chat, role="assistant", content=MIXED[:9_000], reasoning="Hm. " * 2_000)
    return Reply.objects.create(chat=chat, user=owner, message=message, status="completed", snapshot_seq=40)


def _read_from_its_row(reply, program):
    parts = next(program.events(reply.pk))["parts"]
    for cut in range(1, parts + 2):
        program.last_id, viewer = 0, Viewer()
        with closing(program.events(reply.pk)) as events:
            for _ in range(cut):
                viewer.see(next(events))
        assert program.last_id == (0, 40, 41)[(cut >= parts) + (cut > parts)]
        assert bool(viewer.text) == (cut >= parts)
        if cut > parts:
            break
        for event in program.events(reply.pk):
            viewer.see(event)
        assert (viewer.text, viewer.reasoning) == (MIXED[:9_000], "Hm. " * 2_000)
        assert viewer.finished["message"]["content"] is None
    assert program.largest <= SMALL
