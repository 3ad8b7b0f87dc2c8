"""Addresses of the pages."""

from django.urls import path

from chats.pages import branches, chat_documents, chats, documents, messages, theme, tools

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
    path("chats/new/documents/", chat_documents.new_chat_documents, name="new_chat_documents"),
    path("chats/<uuid:chat_id>/documents/", chat_documents.chat_documents, name="chat_documents"),
    path("messages/<uuid:message_id>/", messages.message, name="message"),
    path("messages/<uuid:message_id>/text/", messages.text, name="text"),
    path("messages/<uuid:message_id>/show/", branches.show, name="show"),
    path("messages/<uuid:message_id>/edit/", branches.edit, name="edit"),
    path("messages/<uuid:message_id>/answer/", messages.answer, name="answer"),
    path("messages/<uuid:message_id>/again/", branches.again, name="again"),
    path("messages/<uuid:message_id>/fork/", branches.fork, name="fork"),
    path("messages/<uuid:message_id>/delete/", branches.delete, name="delete_branch"),
    path("documents/", documents.documents, name="documents"),
    path("documents/<uuid:document_id>/", documents.document, name="document"),
    path("documents/<uuid:document_id>/file/", documents.file, name="document_file"),
    path("documents/<uuid:document_id>/rename/", documents.rename, name="rename_document"),
    path("documents/<uuid:document_id>/versions/", documents.replace, name="replace_document"),
    path("documents/<uuid:document_id>/retry/", documents.retry, name="retry_document"),
    path("documents/<uuid:document_id>/delete/", documents.delete, name="delete_document"),
    path("tools/", tools.tools, name="tools"),
    path("tools/add/", tools.add, name="add_server"),
    path("tools/<uuid:server_id>/", tools.server, name="server"),
    path("tools/<uuid:server_id>/edit/", tools.edit, name="edit_server"),
    path("tools/<uuid:server_id>/look/", tools.look, name="look_at_server"),
    path("tools/<uuid:server_id>/switch/", tools.switch, name="switch_server"),
    path("tools/<uuid:server_id>/delete/", tools.delete, name="delete_server"),
    path("tool/<uuid:tool_id>/", tools.tool, name="tool"),
    path("tool/<uuid:tool_id>/policy/", tools.policy, name="tool_policy"),
    path("tool/<uuid:tool_id>/accept/", tools.accept, name="accept_tool"),
    path("replies/<uuid:reply_id>/continue/", branches.go_on, name="continue"),
    path("replies/<uuid:reply_id>/retry/", messages.retry, name="retry"),
    path("replies/<uuid:reply_id>/stop/", messages.stop, name="stop"),
]
