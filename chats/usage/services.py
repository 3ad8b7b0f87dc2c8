"""Verbs on the ledger."""

from chats.llm.values import Usage
from chats.models import Message, Reply
from chats.usage.costs import cost_of
from chats.usage.models import UsageRecord


def record_usage(
    reply: Reply,
    *,
    message: Message | None,
    usage: Usage,
    is_estimated: bool,
    purpose: UsageRecord.Purpose = UsageRecord.Purpose.ANSWER,
) -> UsageRecord:
    """Book one provider call at the price of the reply's start. The caller holds the transaction."""
    model = reply.model
    return UsageRecord.objects.create(
        user=reply.user,
        chat_id=reply.chat_id,
        message=message,
        reply=reply,
        attempt=reply.attempt,
        purpose=purpose,
        model=model,
        price=reply.price,
        user_email=reply.user.email,
        provider_name=model.provider.name if model else "",
        model_name=model.name if model else "",
        input_tokens=usage.input_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cost=cost_of(usage, reply.price),
        is_estimated=is_estimated,
        raw_usage=dict(usage.raw),
    )
