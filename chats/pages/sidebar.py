"""The list of a person's chats: pinned ones, then by day, a page at a time."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Final
from uuid import UUID

from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from django.utils.dateformat import format as format_date

from accounts.models import User
from accounts.queries import one_or_none
from chats.models import Chat, Reply
from chats.models.chat import ChatQuerySet
from chats.pages.places import parse_place, place_of

PAGE_SIZE: Final = 30
PINNED_MAX: Final = 50
WORDS_MAX_LENGTH: Final = 200


@dataclass(frozen=True)
class ChatGroup:
    """`is_continued`: its name stands above the page before."""

    name: str
    chats: list[Chat]
    is_continued: bool = False


@dataclass(frozen=True)
class ChatList:
    """`before` asks for the next page; empty at the end."""

    groups: list[ChatGroup]
    words: str
    before: str


def chat_list(user: User, *, words: str = "", before: str = "") -> ChatList:
    """One page of `user`'s chats, newest first. `words` must be part of the title; `before` continues a list."""
    words = words.replace("\0", "")[:WORDS_MAX_LENGTH].strip()
    place = parse_place(before)
    chats = _chats_of(user)
    pinned = list(chats.filter(pinned=True)[:PINNED_MAX]) if not words and place is None else []
    chats = chats.matching(words) if words else chats.filter(pinned=False)
    if place is not None:
        moment, pk = place
        chats = chats.filter(Q(updated_at__lt=moment) | Q(updated_at=moment, pk__lt=pk), updated_at__lte=moment)
    found = list(chats[: PAGE_SIZE + 1])
    shown = found[:PAGE_SIZE]
    groups = [ChatGroup("Pinned", pinned)] if pinned else []
    groups += _by_day(shown, continued=_day_name(place[0]) if place else "")
    return ChatList(groups, words, place_of(shown[-1].updated_at, shown[-1].pk) if len(found) > len(shown) else "")


def row_of(user: User, chat_id: UUID) -> Chat | None:
    """One chat as the list shows it."""
    return one_or_none(_chats_of(user), pk=chat_id)


def _chats_of(user: User) -> ChatQuerySet:
    running = Reply.objects.visible_to(user).unfinished().filter(chat=OuterRef("pk"))
    chats = Chat.objects.visible_to(user).filter(archived=False)
    waiting = running.filter(status=Reply.Status.WAITING)
    return chats.annotate(is_answering=Exists(running), is_waiting=Exists(waiting)).only(
        "id", "title", "pinned", "updated_at"
    )


def _by_day(chats: Iterable[Chat], *, continued: str) -> list[ChatGroup]:
    days = groupby(chats, key=lambda chat: _day_name(chat.updated_at))
    return [ChatGroup(name, list(members), is_continued=name == continued) for name, members in days]


def _day_name(moment: datetime) -> str:
    day, today = timezone.localdate(moment), timezone.localdate()
    if day >= today:
        return "Today"
    if day == today - timedelta(days=1):
        return "Yesterday"
    if day > today - timedelta(days=7):
        return "Last 7 days"
    return _month_name(day)


def _month_name(day: date) -> str:
    return format_date(day, "F Y")
