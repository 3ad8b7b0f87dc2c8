"""The one address, with and without a slash: what people paste into their clients ends either way."""

from django.urls import path

from chats.mcp_api.views import endpoint

app_name = "mcp"
urlpatterns = [path("mcp", endpoint, name="mcp"), path("mcp/", endpoint)]
