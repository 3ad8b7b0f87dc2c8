"""The list of chats, and renaming, pinning, deleting and bringing back, with a script and without."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
import time_machine
from django.core.files.base import ContentFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.models import User
from chats.knowledge.services import add_document
from chats.models import Chat
from chats.pages.sidebar import chat_list
from chats.replies.services import StartedReply
from chats.services import create_chat

HX = {"HX-Request": "true"}


def hx_from(chat: Chat) -> dict[str, str]:
    """Headers of a script on this chat's page."""
    return {**HX, "HX-Current-URL": f"http://testserver{reverse('pages:chat', args=[chat.pk])}"}


# ---------------------------------------------------------------- the list
def test_chats_stand_by_day_newest_first(owner: User) -> None:
    with time_machine.travel("2026-11-22T12:00:00Z", tick=False):
        for hours in (1, 20, 60, 24 * 20, 24 * 50, 24 * 400):
            Chat.objects.create(user=owner, title=f"{hours}", updated_at=timezone.now() - timedelta(hours=hours))
        Chat.objects.create(user=owner, title="pinned", pinned=True, updated_at=timezone.now() - timedelta(days=9))
        groups = [(group.name, [chat.title for chat in group.chats]) for group in chat_list(owner).groups]
    assert groups == [
        ("Pinned", ["pinned"]),
        ("Today", ["1"]),
        ("Yesterday", ["20"]),
        ("Last 7 days", ["60"]),
        ("November 2026", [str(24 * 20)]),
        ("October 2026", [str(24 * 50)]),
        ("October 2025", [str(24 * 400)]),
    ]


def test_every_chat_is_reached_once_through_more(owner: User, many_chats: list[Chat]) -> None:
    seen, before = [], ""
    while True:
        page = chat_list(owner, before=before)
        seen += [chat.pk for group in page.groups for chat in group.chats]
        before = page.before
        if not before:
            break
    assert seen == [chat.pk for chat in many_chats]


def test_a_continued_day_is_not_named_again(owner: User, many_chats: list[Chat]) -> None:
    first = chat_list(owner)
    second = chat_list(owner, before=first.before)
    assert second.groups[0].is_continued == (first.groups[-1].name == second.groups[0].name)


def test_chats_of_the_same_instant_are_neither_lost_nor_repeated(owner: User) -> None:
    now = timezone.now()
    Chat.objects.bulk_create([Chat(user=owner, title=str(n), updated_at=now) for n in range(31)])
    first = chat_list(owner)
    second = chat_list(owner, before=first.before)
    titles = [chat.title for page in (first, second) for group in page.groups for chat in group.chats]
    assert sorted(titles, key=int) == [str(n) for n in range(31)]


@pytest.mark.parametrize(
    "place",
    [
        *("nonsense", "2026-01-01_x", "2026-01-01_00000000-0000-0000-0000-000000000000"),
        *(f"{moment}_{UUID(int=0)}" for moment in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00")),
    ],
)
def test_a_place_nobody_gave_is_the_beginning(visitor: Client, chat: Chat, place: str) -> None:
    assert "Tides" in visitor.get(reverse("pages:chats"), {"before": place}).content.decode()


def test_search_finds_by_title_pinned_ones_too(visitor: Client, chat: Chat, owner: User) -> None:
    create_chat(owner, title="Tidal power", pinned=True)
    create_chat(owner, title="Bread")
    page = visitor.get(reverse("pages:chats"), {"q": "TID"}, headers=HX).content.decode()
    assert "Tides" in page
    assert "Tidal power" in page
    assert "Bread" not in page
    assert "<html" not in page


def test_a_search_without_result_says_so_as_text(visitor: Client, db: None) -> None:
    page = visitor.get(reverse("pages:chats"), {"q": "<b>\0%_"}, headers=HX).content.decode()
    assert "No chat has «&lt;b&gt;%_» in its title." in page


def test_search_goes_on_through_more(visitor: Client, owner: User, many_chats: list[Chat]) -> None:
    first = visitor.get(reverse("pages:chats"), {"q": "number"}).content.decode()
    assert "&amp;q=number" in first
    found = chat_list(owner, words="number")
    assert chat_list(owner, words="number", before=found.before).groups


def test_the_list_marks_the_chat_one_reads(visitor: Client, chat: Chat) -> None:
    assert 'aria-current="page"' in visitor.get(reverse("pages:chats"), headers=hx_from(chat)).content.decode()
    assert 'aria-current="page"' not in visitor.get(reverse("pages:chats"), headers=HX).content.decode()


def test_the_list_marks_chats_that_are_answering(visitor: Client, started: StartedReply) -> None:
    assert "is answering" in visitor.get(reverse("pages:chats"), headers=HX).content.decode()


def test_archived_and_deleted_chats_are_not_listed(visitor: Client, owner: User) -> None:
    create_chat(owner, title="Archived", archived=True)
    Chat.objects.create(user=owner, title="Deleted", deleted_at=timezone.now())
    page = visitor.get(reverse("pages:chats")).content.decode()
    assert "Archived" not in page
    assert "Deleted" not in page


def test_the_list_costs_the_same_however_long(
    owner: User, many_chats: list[Chat], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(2):
        chat_list(owner)


# ---------------------------------------------------------------- rename
def test_rename_without_a_script_is_a_page_with_a_form(visitor: Client, chat: Chat) -> None:
    address = reverse("pages:rename", args=[chat.pk])
    assert 'value="Tides"' in visitor.get(address).content.decode()
    response = visitor.post(address, {"title": "  The Moon  "})
    assert response.url == reverse("pages:chat", args=[chat.pk])
    chat.refresh_from_db()
    assert (chat.title, chat.is_title_automatic) == ("The Moon", False)


def test_rename_in_place_gives_the_row_back(visitor: Client, chat: Chat) -> None:
    address = reverse("pages:rename", args=[chat.pk])
    assert "<input" in visitor.get(address, headers=HX).content.decode()
    assert "<input" not in visitor.get(f"{address}?cancel", headers=HX).content.decode()
    row = visitor.post(address, {"title": "<The> Moon"}, headers=hx_from(chat)).content.decode()
    assert "&lt;The&gt; Moon" in row
    assert 'aria-current="page"' in row


def test_a_title_too_long_is_refused_in_a_sentence(visitor: Client, chat: Chat) -> None:
    response = visitor.post(reverse("pages:rename", args=[chat.pk]), {"title": "x" * 201}, headers=HX)
    assert response.status_code == 400
    assert "<" not in response.content.decode()


def test_an_archived_chat_can_be_renamed(visitor: Client, owner: User) -> None:
    archived = create_chat(owner, title="Old", archived=True)
    assert (
        "Older"
        in visitor.post(reverse("pages:rename", args=[archived.pk]), {"title": "Older"}, headers=HX).content.decode()
    )


# ---------------------------------------------------------------- pin
def test_pin_and_unpin(visitor: Client, chat: Chat) -> None:
    address = reverse("pages:pin", args=[chat.pk])
    assert visitor.post(address, {"pinned": "true"}).status_code == 302
    chat.refresh_from_db()
    assert chat.pinned
    response = visitor.post(address, {"pinned": "false"}, headers=HX)
    assert (response.status_code, response.headers["HX-Trigger"]) == (204, "chats-changed")
    chat.refresh_from_db()
    assert not chat.pinned


# ---------------------------------------------------------------- delete, and undo
def test_delete_without_a_script_offers_undo_on_the_next_page(visitor: Client, chat: Chat) -> None:
    response = visitor.post(reverse("pages:delete", args=[chat.pk]))
    page = visitor.get(response.url).content.decode()
    restore = reverse("pages:restore", args=[chat.pk])
    assert restore in page
    assert visitor.get(reverse("pages:chat", args=[chat.pk])).status_code == 404
    back = visitor.post(restore)
    assert visitor.get(back.url).status_code == 200


def test_delete_from_another_page_only_takes_the_row_away(visitor: Client, chat: Chat) -> None:
    page = visitor.post(reverse("pages:delete", args=[chat.pk]), headers=HX).content.decode()
    assert 'hx-swap-oob="beforeend:#toasts"' in page
    response = visitor.post(reverse("pages:restore", args=[chat.pk]), headers=HX)
    assert response.headers["HX-Trigger"] == "chats-changed"


def test_delete_of_the_chat_one_reads_leads_to_a_new_one(visitor: Client, chat: Chat) -> None:
    response = visitor.post(reverse("pages:delete", args=[chat.pk]), headers=hx_from(chat))
    assert response.headers["HX-Redirect"] == f"/?deleted={chat.pk}"


def test_the_offer_of_undo_says_what_went_with_the_chat(visitor: Client, owner: User, chat: Chat) -> None:
    delete, restore = (reverse(f"pages:{verb}", args=[chat.pk]) for verb in ("delete", "restore"))
    assert "Chat deleted.</p>" in visitor.post(delete, headers=HX).content.decode()
    visitor.post(restore)
    document, _ = add_document(owner, ContentFile(b"one", name="one.txt"), chat=chat.pk)
    assert "with the document that was its own" in visitor.post(delete, headers=HX).content.decode()
    assert visitor.get(reverse("pages:document", args=[document.pk])).status_code == 404
    visitor.post(restore)
    assert visitor.get(reverse("pages:document", args=[document.pk])).status_code == 200
    add_document(owner, ContentFile(b"two", name="two.txt"), chat=chat.pk)
    page = visitor.get(visitor.post(delete).url).content.decode()
    assert "with the 2 documents that were its own" in page


def test_delete_stops_what_is_being_written(visitor: Client, started: StartedReply) -> None:
    visitor.post(reverse("pages:delete", args=[started.chat.pk]))
    started.reply.refresh_from_db()
    assert started.reply.stop_requested_at is not None


def test_what_was_deleted_long_ago_does_not_come_back(visitor: Client, chat: Chat, settings: Settings) -> None:
    settings.CHAT_UNDO_SECONDS = 60
    Chat.objects.update(deleted_at=timezone.now() - timedelta(seconds=61))
    response = visitor.post(reverse("pages:restore", args=[chat.pk]))
    assert response.status_code == 404
    assert "brought back" in response.content.decode()


def test_an_undo_with_a_nonsense_id_is_not_offered(visitor: Client, db: None) -> None:
    assert "Undo" not in visitor.get("/", {"deleted": "nonsense"}).content.decode()


# ---------------------------------------------------------------- strangers
STRANGERS_ADDRESSES = {
    "chat": ("get", lambda s: [s.chat.pk]),
    "rename": ("get", lambda s: [s.chat.pk]),
    "message": ("get", lambda s: [s.answer.pk]),
    "text": ("get", lambda s: [s.answer.pk]),
    "send": ("post", lambda s: [s.chat.pk]),
    "pin": ("post", lambda s: [s.chat.pk]),
    "delete": ("post", lambda s: [s.chat.pk]),
    "restore": ("post", lambda s: [s.chat.pk]),
    "answer": ("post", lambda s: [s.message.pk]),
    "retry": ("post", lambda s: [s.reply.pk]),
    "stop": ("post", lambda s: [s.reply.pk]),
}


@pytest.mark.parametrize("name", STRANGERS_ADDRESSES)
@pytest.mark.parametrize("person", ["stranger", "staff", "superuser"])
def test_what_is_not_ones_own_looks_missing(
    request: pytest.FixtureRequest, started: StartedReply, client_of: Callable[[User], Client], name: str, person: str
) -> None:
    method, ids = STRANGERS_ADDRESSES[name]
    client = client_of(request.getfixturevalue(person))
    for headers in ({}, HX):
        response = getattr(client, method)(
            reverse(f"pages:{name}", args=ids(started)), {"content": "x", "title": "x"}, headers=headers
        )
        assert response.status_code == 404
        assert "the sky blue" not in response.content.decode()


@pytest.mark.parametrize("name", STRANGERS_ADDRESSES)
def test_whoever_is_not_signed_in_is_asked_to(client: Client, started: StartedReply, name: str) -> None:
    method, ids = STRANGERS_ADDRESSES[name]
    assert getattr(client, method)(reverse(f"pages:{name}", args=ids(started))).status_code == 302


def test_verbs_need_a_form_not_a_link(visitor: Client, started: StartedReply) -> None:
    for name, (method, ids) in STRANGERS_ADDRESSES.items():
        if method == "post":
            assert visitor.get(reverse(f"pages:{name}", args=ids(started))).status_code == 405
