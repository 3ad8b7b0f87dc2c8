"""Migrations that move what is there, back and forth."""

import pytest
from django.db import IntegrityError

from chats.models import Chat, Reply


def test_client_ids_get_the_verb_they_were_sent_for_and_going_back_one_row_keeps_each(migrate, owner) -> None:
    chat = Chat.objects.create(user=owner, client_id="x", request_verb=Chat.Verb.CREATE)
    Chat.objects.create(user=owner, client_id="x", request_verb=Chat.Verb.FORK)
    for verb in Reply.Verb:
        Reply.objects.create(user=owner, chat=chat, client_id="x", request_verb=verb, status=Reply.Status.STOPPED)
    then = migrate("chats", "0007")
    for name in ("Chat", "Reply"):
        assert list(then.get_model("chats", name).objects.order_by("pk").values_list("client_id")[:2]) == [
            ("x",),
            (None,),
        ]
    with pytest.raises(IntegrityError):
        then.get_model("chats", "Chat").objects.create(user_id=owner.pk, client_id="x")
    now = migrate("chats", "0008")
    verbs = {name: now.get_model("chats", name).objects.get(client_id="x").request_verb for name in ("Chat", "Reply")}
    assert verbs == {"Chat": Chat.Verb.FORK, "Reply": Reply.Verb.SEND}, "of chats, nothing else had one"
