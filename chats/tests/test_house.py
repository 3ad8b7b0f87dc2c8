"""The rules of the house that no linter knows."""

import re
from pathlib import Path

import pytest

import chats

ROOM = Path(chats.__file__).parent
INTERFACES = ("api", "openai_api", "mcp_api", "realtime", "pages")
GATES = ("visible_to", "editable_by")
MANAGER_USE = re.compile(r"\.(?:_default_manager|_base_manager|objects)\b(?:\s*\.\s*(\w+))?")


def sources():
    return [path for room in INTERFACES for path in sorted((ROOM / room).rglob("*.py")) if "tests" not in path.parts]


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOM)))
def test_interfaces_reach_rows_only_through_a_gate(path):
    """A stranger's row must look like a missing one, so there is one way to rows: `.objects.visible_to(user)`."""
    assert {used for used in MANAGER_USE.findall(path.read_text()) if used not in GATES} == set()
