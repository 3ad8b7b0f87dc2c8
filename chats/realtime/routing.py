"""Which socket address leads to which consumer."""

from typing import Any

from channels.routing import URLRouter
from django.urls import path, re_path

from chats.errors import NotFound
from chats.realtime.chat import ChatConsumer
from chats.realtime.chats import ChatsConsumer
from chats.realtime.doors import refuse


async def unknown(_: Any, receive: Any, send: Any) -> None:
    await receive()
    await refuse(send, NotFound())


# Django's types know only views; Channels routes to ASGI applications.
_nowhere: Any = unknown
websockets = URLRouter(
    [
        path("ws/chats/", ChatsConsumer.as_asgi()),
        path("ws/chats/<uuid:chat_id>/", ChatConsumer.as_asgi()),
        re_path("", _nowhere),
    ]
)
