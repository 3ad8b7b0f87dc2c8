"""`.env.example` is the page where operators look settings up: it is complete, true, and holds no secret."""

import ast
import re
from pathlib import Path

import pytest
from django.conf import settings

pytestmark = pytest.mark.rowless

READERS = {"env", "env.bool", "env.int", "env.float", "env.list", "env.database", "env.mail"}


def settings_read_from_the_environment() -> dict[str, object]:
    """Each variable that config/settings.py reads, with its default; None where that is computed."""
    tree = ast.parse((settings.BASE_DIR / "config" / "settings.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) in READERS]
    return {ast.literal_eval(call.args[0]): default_of(call) for call in calls}


def default_of(call: ast.Call) -> object:
    default = next((keyword.value for keyword in call.keywords if keyword.arg == "default"), None)
    try:
        return ast.literal_eval(default) if default is not None else None
    except ValueError:
        return None


def documented() -> dict[str, str]:
    text = (Path(settings.BASE_DIR) / ".env.example").read_text()
    return dict(re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=(.*)$", text, flags=re.MULTILINE))


def test_every_setting_is_documented_and_no_other():
    assert documented().keys() == settings_read_from_the_environment().keys()


@pytest.mark.parametrize("name", sorted(settings_read_from_the_environment()))
def test_the_documented_default_is_the_real_one(name):
    default, shown = settings_read_from_the_environment()[name], documented()[name]
    if isinstance(default, bool):
        assert shown == str(default).lower()
    elif isinstance(default, int | float):
        assert float(shown) == default
    elif isinstance(default, list):
        assert shown == ",".join(default)
    elif default is not None:
        assert shown == default


def test_nothing_is_set_and_no_secret_has_a_value():
    text = (Path(settings.BASE_DIR) / ".env.example").read_text()
    assert not re.findall(r"^[^#\n]", text, flags=re.MULTILINE)
    assert {
        name for name in documented() if re.search(r"SECRET|_KEYS$|_KEY$|PASSWORD$", name) and documented()[name]
    } == set()
