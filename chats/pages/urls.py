"""Addresses of the pages."""

from django.urls import path

from chats.pages import chats, messages, theme

app_name = "pages"
urlpatterns = [
    path("", chats.home, name="home"),
    path("send/", messages.send, name="send_new"),
    path("theme/", theme.choose, name="theme"),
    path("chats/", chats.chats, name="chats"),
    path("chats/<uuid:chat_id>/", chats.chat, name="chat"),
    path("chats/<uuid:chat_id>/send/", messages.send, name="send"),
    path("chats/<uuid:chat_id>/rename/", chats.rename, name="rename"),
    path("chats/<uuid:chat_id>/pin/", chats.pin, name="pin"),
    path("chats/<uuid:chat_id>/delete/", chats.delete, name="delete"),
    path("chats/<uuid:chat_id>/restore/", chats.restore, name="restore"),
    path("messages/<uuid:message_id>/", messages.message, name="message"),
    path("messages/<uuid:message_id>/text/", messages.text, name="text"),
    path("replies/<uuid:reply_id>/retry/", messages.retry, name="retry"),
    path("replies/<uuid:reply_id>/stop/", messages.stop, name="stop"),
]
