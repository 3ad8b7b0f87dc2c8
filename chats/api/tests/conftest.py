"""The owner's program."""

import pytest


@pytest.fixture
def api(api_of, owner):
    return api_of(owner)
