"""The ASGI application: static files, sockets and pages in one process, and the reply engine in its lifespan."""

import os
from typing import Any

import django
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from channels.routing import ProtocolTypeRouter  # noqa: E402 - Django must be set up first
from django.contrib.staticfiles.finders import get_finders  # noqa: E402
from django.contrib.staticfiles.storage import ManifestFilesMixin, staticfiles_storage  # noqa: E402
from servestatic import ServeStaticASGI  # noqa: E402

from chats.realtime.routing import websockets  # noqa: E402
from chats.replies.node import lifespan  # noqa: E402
from config.handler import PooledHandler  # noqa: E402


def with_static_files(application: Any) -> Any:
    """`application` behind the static files: the collected ones, or without a manifest each app's own."""
    is_collected = isinstance(staticfiles_storage, ManifestFilesMixin)
    static = ServeStaticASGI(application, autorefresh=not is_collected, max_age=0, allow_all_origins=False)
    if is_collected:
        static.add_files(settings.STATIC_ROOT, prefix=settings.STATIC_URL)
        return static
    for finder in get_finders():
        for storage in getattr(finder, "storages", {}).values():
            static.add_files(storage.location, prefix=settings.STATIC_URL)
    return static


application = ProtocolTypeRouter(
    {
        "http": with_static_files(PooledHandler()),
        "websocket": websockets,
        "lifespan": lifespan(runs_replies=settings.RUNS_REPLIES),
    }
)
