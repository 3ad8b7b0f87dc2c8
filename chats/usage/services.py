"""Verbs on the ledger."""

from typing import Any
from uuid import UUID

from accounts.models import User
from chats.catalog.models import AIModel, Price
from chats.llm.values import Usage
from chats.models import Chat, Message, Reply
from chats.usage.costs import cost_of
from chats.usage.models import UsageRecord


def record_usage(
    reply: Reply,
    *,
    model: AIModel | None,
    price: Price | None,
    message: Message | None,
    usage: Usage,
    is_estimated: bool,
    purpose: UsageRecord.Purpose = UsageRecord.Purpose.ANSWER,
    is_deleted: bool = False,
) -> UsageRecord:
    """Book one call of `model` for `reply`, at `price`. The caller holds the transaction.

    A reply that `is_deleted`, with its chat or its person, is booked under the person's email alone.
    """
    return _record(
        user=None if is_deleted else reply.user,
        chat_id=None if is_deleted else reply.chat_id,
        message=message,
        reply=None if is_deleted else reply,
        attempt=reply.attempt,
        purpose=purpose,
        user_email=reply.user.email,
        model=model,
        price=price,
        usage=usage,
        is_estimated=is_estimated,
    )


def record_embedding(
    *,
    user_id: UUID | None,
    chat_id: UUID | None = None,
    model: AIModel,
    price: Price | None,
    usage: Usage,
    is_estimated: bool,
) -> UsageRecord:
    """Book one call of a model for embeddings, at `price`: for a person's documents or question, or for all (None)."""
    user = User.objects.filter(pk=user_id).first() if user_id else None
    chat = Chat.objects.filter(pk=chat_id).only("pk").first() if chat_id else None
    return _record(
        user=user,
        chat=chat,
        purpose=UsageRecord.Purpose.EMBEDDING,
        user_email=user.email if user else "",
        model=model,
        price=price,
        usage=usage,
        is_estimated=is_estimated,
    )


def _record(
    *, model: AIModel | None, price: Price | None, usage: Usage, is_estimated: bool, **whose: Any
) -> UsageRecord:
    return UsageRecord.objects.create(
        **whose,
        model=model,
        price=price,
        provider_name=model.provider.name if model else "",
        model_name=model.name if model else "",
        input_tokens=usage.input_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cost=cost_of(usage, price),
        is_estimated=is_estimated,
        raw_usage=dict(usage.raw),
    )
