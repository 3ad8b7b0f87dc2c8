"""/api/v1/health/: is the process alive, and can it work? For load balancers, so open to everyone and cheap."""

import time
from typing import Any

from django.conf import settings
from django.db import connection
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chats.api import shapes
from chats.api.errors import common_headers

_STARTED = time.monotonic()


class HealthView(APIView):
    authentication_classes = ()
    permission_classes = ()

    @extend_schema(operation_id="health", auth=[], responses=shapes.Health)
    def get(self, _request: Request) -> Response:
        """The process is alive."""
        return Response(_health(), headers=common_headers())


class ReadyView(APIView):
    authentication_classes = ()
    permission_classes = ()

    @extend_schema(operation_id="health_ready", auth=[], responses=shapes.Health)
    def get(self, _request: Request) -> Response:
        """The process can work: the database answers. 503 when it does not."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return Response(_health(), headers=common_headers())


def _health() -> dict[str, Any]:
    return {
        "status": "ok",
        "timestamp": timezone.now(),
        "version": settings.VERSION,
        "uptime": round(time.monotonic() - _STARTED, 3),
    }
