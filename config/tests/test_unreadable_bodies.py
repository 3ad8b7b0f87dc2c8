"""A body that can't be read is the client's mistake, wherever it was sent to."""

import pytest
from django.test import Client

TOO_LARGE = b"x=" + b"a" * 2_000_000
UNREADABLE = [
    pytest.param(b"x=1", "application/x-www-form-urlencoded; charset=hex", id="no charset"),
    pytest.param(b"x=1", "application/x-www-form-urlencoded; charset=utf-16", id="not utf-8"),
    pytest.param(b"--a", "multipart/form-data; boundary=", id="no boundary"),
    pytest.param(b"&".join([b"a=1"] * 2_000), "application/x-www-form-urlencoded", id="too many fields"),
    pytest.param(TOO_LARGE, "application/x-www-form-urlencoded", id="too large"),
]


@pytest.mark.parametrize("path", ["/send/", "/accounts/login/", "/nowhere/", "/admin/nowhere/"])
@pytest.mark.parametrize(("body", "content_type"), UNREADABLE)
def test_it_is_told_so_on_a_page(db, path, body, content_type):
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    client.get("/accounts/login/")  # with the cookie that makes the body be looked into for a token
    answer = client.generic("POST", path, body, content_type=content_type)
    assert answer.status_code in (400, 403, 404, 413), answer.content
    assert "<h1>" in answer.content.decode()
