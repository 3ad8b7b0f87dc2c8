"""Every address below /api/v1/. `chats.api.errors.unknown_address` answers all others, and forgotten slashes."""

from typing import Any

from django.urls import path

from chats.api import docs
from chats.api.branches import BranchResource
from chats.api.chats import ChatResource
from chats.api.documents import DocumentResource, SearchResource
from chats.api.health import HealthView, ReadyView
from chats.api.keys import KeyResource
from chats.api.me import MeResource, UsageResource
from chats.api.messages import ChatMessageResource, MessageResource
from chats.api.models import ModelResource
from chats.api.replies import AskResource, ReplyResource
from chats.api.sign_in import SignInResource
from chats.api.tools import McpServerResource, ToolResource

app_name = "api"

_items: dict[str, Any] = {"get": "list", "post": "create"}

urlpatterns = [
    path("chats/", ChatResource.as_view(_items), name="chats-list"),
    path(
        "chats/<uuid:chat_id>/",
        ChatResource.as_view({"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}),
        name="chats-detail",
    ),
    path("chats/<uuid:chat_id>/restore/", ChatResource.as_view({"post": "restore"}), name="chats-restore"),
    path("chats/<uuid:chat_id>/messages/", ChatMessageResource.as_view(_items), name="chats-messages"),
    path("chat/", AskResource.as_view({"post": "create"}), name="chat-ask"),
    path("messages/", MessageResource.as_view(_items), name="messages-list"),
    path(
        "messages/<uuid:message_id>/",
        MessageResource.as_view({"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}),
        name="messages-detail",
    ),
    path("messages/<uuid:message_id>/edit/", BranchResource.as_view({"post": "edit"}), name="messages-edit"),
    path("messages/<uuid:message_id>/answer/", BranchResource.as_view({"post": "answer"}), name="messages-answer"),
    path(
        "messages/<uuid:message_id>/regenerate/",
        BranchResource.as_view({"post": "regenerate"}),
        name="messages-regenerate",
    ),
    path("messages/<uuid:message_id>/fork/", BranchResource.as_view({"post": "fork"}), name="messages-fork"),
    path("replies/<uuid:reply_id>/", ReplyResource.as_view({"get": "retrieve"}), name="replies-detail"),
    path("replies/<uuid:reply_id>/events/", ReplyResource.as_view({"get": "events"}), name="replies-events"),
    path("replies/<uuid:reply_id>/stop/", ReplyResource.as_view({"post": "stop"}), name="replies-stop"),
    path("replies/<uuid:reply_id>/approvals/", ReplyResource.as_view({"post": "approve"}), name="replies-approvals"),
    path("replies/<uuid:reply_id>/calls/<uuid:call_id>/", ReplyResource.as_view({"get": "call"}), name="replies-call"),
    path("replies/<uuid:reply_id>/retry/", ReplyResource.as_view({"post": "retry"}), name="replies-retry"),
    path("replies/<uuid:reply_id>/continue/", ReplyResource.as_view({"post": "go_on"}), name="replies-continue"),
    path("documents/", DocumentResource.as_view(_items), name="documents-list"),
    path("documents/search/", SearchResource.as_view({"post": "create"}), name="documents-search"),
    path(
        "documents/<uuid:document_id>/",
        DocumentResource.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
        name="documents-detail",
    ),
    path(
        "documents/<uuid:document_id>/versions/",
        DocumentResource.as_view({"post": "add_version"}),
        name="documents-versions",
    ),
    path("documents/<uuid:document_id>/retry/", DocumentResource.as_view({"post": "retry"}), name="documents-retry"),
    path("documents/<uuid:document_id>/text/", DocumentResource.as_view({"get": "text"}), name="documents-text"),
    path("documents/<uuid:document_id>/file/", DocumentResource.as_view({"get": "file"}), name="documents-file"),
    path("mcp-servers/", McpServerResource.as_view(_items), name="mcp-servers-list"),
    path(
        "mcp-servers/<uuid:server_id>/",
        McpServerResource.as_view({"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}),
        name="mcp-servers-detail",
    ),
    path("mcp-servers/<uuid:server_id>/test/", McpServerResource.as_view({"post": "test"}), name="mcp-servers-test"),
    path("mcp-servers/<uuid:server_id>/tools/", McpServerResource.as_view({"get": "tools"}), name="mcp-servers-tools"),
    path(
        "mcp-servers/<uuid:server_id>/sign-in/",
        SignInResource.as_view({"post": "create", "delete": "destroy"}),
        name="mcp-servers-sign-in",
    ),
    path("tools/", ToolResource.as_view({"get": "list"}), name="tools-list"),
    path(
        "tools/<uuid:tool_id>/",
        ToolResource.as_view({"get": "retrieve", "patch": "partial_update"}),
        name="tools-detail",
    ),
    path("tools/<uuid:tool_id>/accept/", ToolResource.as_view({"post": "accept"}), name="tools-accept"),
    path("models/", ModelResource.as_view({"get": "list"}), name="models-list"),
    path("me/", MeResource.as_view({"get": "retrieve", "patch": "partial_update"}), name="me"),
    path("usage/", UsageResource.as_view({"get": "list"}), name="usage-list"),
    path("keys/", KeyResource.as_view(_items), name="keys-list"),
    path("keys/<uuid:key_id>/", KeyResource.as_view({"delete": "destroy"}), name="keys-detail"),
    path("health/", HealthView.as_view(), name="health"),
    path("health", HealthView.as_view()),
    path("health/ready/", ReadyView.as_view(), name="health-ready"),
    path("health/ready", ReadyView.as_view()),
    path("openapi.json", docs.openapi, name="openapi"),
    path("openapi.json/", docs.openapi),
    path("docs/", docs.swagger, name="docs"),
    path("docs", docs.swagger),
    path("redoc/", docs.redoc, name="redoc"),
    path("redoc", docs.redoc),
]
