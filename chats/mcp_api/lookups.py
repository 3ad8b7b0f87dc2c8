"""What the tools that change nothing answer: chats, passages of documents, models. Sync, for threads of the engine."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models.functions import Left
from django.utils import timezone

from accounts import limits
from accounts.models import User
from accounts.queries import found
from chats.catalog.models import AIModel, Price
from chats.catalog.services import values_of
from chats.knowledge.embedders import QueryVector
from chats.knowledge.search import Passage, search_chunks
from chats.models import Chat, Message, Reply
from chats.replies.present import moment, money

WORDS_MAX = 8
# Of each message, from its beginning: few are longer, and reading those would cost more than all the rest.
MESSAGE_SEARCHED_CHARACTERS = 20_000
EXCERPT_CHARACTERS = 300


# ---------------------------------------------------------------- chats
def search_chats(user: User, *, query: str, limit: int, space: str | None, tag: str | None) -> dict[str, Any]:
    """Chats with all words of `query` in their title, or in one of their newest messages; newest first in both.

    Messages have no index for words, so those of the newest chats are read: MCP_SEARCH_CHATS with MCP_SEARCH_MESSAGES
    each. The answer says how far that went.
    """
    limits.hit("chat-search", str(user.pk), limit=settings.SEARCHES_PER_MINUTE, seconds=60)
    words = query.split()[:WORDS_MAX]
    chats = Chat.objects.visible_to(user)
    if space:
        chats = chats.filter(space=space)
    if tag:
        chats = chats.tagged(tag)
    titled = chats
    for word in words:
        titled = titled.matching(word)
    by_title = list(titled[:limit])
    newest = list(chats[: settings.MCP_SEARCH_CHATS + 1])
    searched = newest[: settings.MCP_SEARCH_CHATS]
    hits = [_hit(chat, _excerpt_of(user, chat, words), words) for chat in by_title]
    others = (chat for chat in searched if chat not in by_title)
    said = ((chat, text) for chat in others if (text := _excerpt_of(user, chat, words)))
    hits += [_hit(chat, text, words) for chat, text in islice(said, limit - len(hits))]
    return {
        "chats": hits,
        "text_searched_in": len(searched),
        "has_older_chats": len(newest) > len(searched),
    }


def _hit(chat: Chat, text: str, words: Sequence[str]) -> dict[str, Any]:
    return {
        "id": str(chat.pk),
        "title": chat.title,
        "space": chat.space,
        "updated_at": moment(chat.updated_at),
        "excerpt": excerpt(text, words),
    }


def _excerpt_of(user: User, chat: Chat, words: Sequence[str]) -> str:
    """The newest message that has all `words`; "" when none of those that are looked at does.

    They are compared here: asked for words among the newest only, a database without statistics reads all of them, for
    each chat anew. PostgreSQL took 19 s where this takes 0.1.
    """
    said = Message.objects.visible_to(user).filter(chat=chat, role__in=[Message.Role.USER, Message.Role.ASSISTANT])
    newest = said.order_by("-created_at", "-id")[: settings.MCP_SEARCH_MESSAGES]
    texts = newest.values_list(Left("content", MESSAGE_SEARCHED_CHARACTERS), flat=True)
    return next((text for text in texts if has_all(text, words)), "")


def has_all(text: str, words: Sequence[str]) -> bool:
    lower = text.lower()
    return all(word.lower() in lower for word in words)


def excerpt(text: str, words: Sequence[str]) -> str:
    """What stands around the first of `words` in `text`."""
    lower = text.lower()
    at = min((place for word in words if (place := lower.find(word.lower())) >= 0), default=0)
    start = max(0, at - EXCERPT_CHARACTERS // 3)
    cut = " ".join(text[start : start + EXCERPT_CHARACTERS].split())
    return f"{'…' if start else ''}{cut}{'…' if start + EXCERPT_CHARACTERS < len(text) else ''}"


def get_chat(user: User, *, chat: UUID, last: int) -> dict[str, Any]:
    """A chat with the last messages of the branch that it shows, within MCP_RESULT_MAX_CHARACTERS. Raises NotFound."""
    row = found(Chat.objects.visible_to(user).select_related("model"), pk=chat)
    messages = Message.objects.visible_to(user)
    path = messages.path_ids(row.current_leaf_id) if row.current_leaf_id else []
    shown = messages.path_to(row.current_leaf_id, start=max(0, len(path) - last), stop=len(path))
    latest = next(iter(Reply.objects.visible_to(user).filter(chat=row).order_by("-created_at")[:1]), None)
    return {
        "id": str(row.pk),
        "title": row.title,
        "space": row.space,
        "model": row.model and row.model.name,
        "updated_at": moment(row.updated_at),
        "messages_in_all": len(path),
        "messages": _fitting(shown),
        "last_reply": latest and {"id": str(latest.pk), "status": str(latest.status)},
    }


def _fitting(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The last of these, as many as there is room for; the first of them is cut where need be."""
    room, shown = settings.MCP_RESULT_MAX_CHARACTERS, []
    for message in reversed(messages):
        if room <= 0:
            break
        text = message.content[:room]
        room -= len(text)
        shown.append(
            {
                "id": str(message.pk),
                "role": str(message.role),
                "text": text,
                "is_cut": len(text) < len(message.content),
                "created_at": moment(message.created_at),
            }
        )
    return shown[::-1]


# ---------------------------------------------------------------- documents
def search_documents(user: User, *, query: str, limit: int, near: QueryVector | None) -> dict[str, Any]:
    """The passages that answer `query` best; `near` is its vector, where a provider makes it."""
    passages = search_chunks(user, query, limit=limit, near=near)
    return {"passages": [_passage_json(passage) for passage in passages]}


def count_search(user: User) -> None:
    """With those over the API. Raises TooMany."""
    limits.hit("search", str(user.pk), limit=settings.SEARCHES_PER_MINUTE, seconds=60)


def _passage_json(passage: Passage) -> dict[str, Any]:
    return {
        "document": str(passage.document),
        "name": passage.name,
        "page": passage.page,
        "heading": passage.heading,
        "text": passage.text,
        "score": passage.score,
    }


# ---------------------------------------------------------------- models
def list_models(user: User) -> dict[str, Any]:
    """Whom this person may ask; the first is asked when no model is named."""
    models = AIModel.objects.visible_to(user).select_related("provider")
    rows = models.with_current_price(timezone.now())[: settings.PAGE_SIZE_MAX]
    return {"models": [_model_json(model, is_default=place == 0) for place, model in enumerate(rows)]}


def _model_json(model: AIModel, *, is_default: bool) -> dict[str, Any]:
    price: Price | None = next(iter(model.current_prices), None)
    return {
        "id": str(model.pk),
        "name": model.name,
        "provider": model.provider.name,
        "description": model.description,
        "context_window": model.context_window,
        "is_default": is_default,
        "price_usd": price and {name: money(usd) for name, usd in asdict(values_of(price)).items()},
    }
