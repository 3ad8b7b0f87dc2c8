"""What nobody can correct by another request: the database is away, or the mistake is ours."""

import pytest
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation, ValidationError
from django.db import DataError, OperationalError, connection
from django.http import Http404
from django.test import Client, RequestFactory
from rest_framework.exceptions import NotAcceptable

from accounts.errors import Conflict, DomainError, IssuerUnavailable
from chats.api import errors
from chats.errors import ModelUnavailable, ReplyRunning
from config.urls import handler500


class Unlisted(Conflict):
    code = "unlisted"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (DomainError(), 400, "error"),
        (ModelUnavailable(), 400, "model_unavailable"),
        (ReplyRunning(), 409, "reply_running"),
        (Unlisted(), 409, "unlisted"),
        (IssuerUnavailable(), 503, "issuer_unavailable"),
        (OperationalError("database is locked"), 503, "unavailable"),
        (DataError("out of range"), 400, "invalid"),
        (SuspiciousOperation(), 400, "invalid"),
        (RequestDataTooBig(), 413, "too_large"),
        (PermissionDenied(), 403, "forbidden"),
        (Http404(), 404, "not_found"),
        (ValidationError("no"), 400, "invalid"),
        (ValidationError({"title": ["no"]}), 400, "invalid"),
        (NotAcceptable(), 406, "invalid"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_every_failure_has_its_status_and_code(error, status, code):
    response = errors.handle_exception(error, {})
    assert (response.status_code, response.data["error"]["code"]) == (status, code)
    assert ("Retry-After" in response) == (status == 503)


def test_what_nobody_expected_is_left_to_the_last_handler():
    assert errors.handle_exception(ZeroDivisionError(), {}) is None


def test_a_database_that_is_away_is_503_and_says_when_to_come_back(api_of, owner):
    api = api_of(owner)

    def refuse(*_):
        raise OperationalError("couldn't get a connection after 30.00 sec")

    with connection.execute_wrapper(refuse):
        responses = [api.get("/api/v1/health/ready/"), api.get("/api/v1/chats/")]
        alive = api.get("/api/v1/health/")
    for response in responses:
        assert response.status_code == 503
        assert response["Retry-After"] == "2"
        assert response.json()["error"]["code"] == "unavailable"
    assert alive.status_code == 200


def test_a_mistake_of_ours_is_answered_without_its_details(api_of, owner):
    api = api_of(owner)
    api.raise_request_exception = False

    def break_down(*_):
        raise ZeroDivisionError("secret detail")

    with connection.execute_wrapper(break_down):
        response = api.get("/api/v1/chats/")
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal"
    assert response.json()["error"]["request_id"] == response["X-Request-ID"]
    assert b"secret" not in response.content


def test_a_request_that_no_view_has_seen_is_refused_in_the_same_shape(db):
    response = Client(SERVER_NAME="evil.example").get("/api/v1/health/")
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "invalid"


def test_pages_keep_their_own_pages_for_failures(db):
    assert b"<" in Client(SERVER_NAME="evil.example").get("/accounts/login/").content
    assert b"<" in handler500(RequestFactory().get("/")).content
