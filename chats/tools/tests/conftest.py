import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Programs run on both loops, as tests have them and as the server does: descriptors are not the same to them."""
    mine = {"asyncio": asyncio.new_event_loop}
    return mine | ({"uvloop": uvloop.new_event_loop} if item.path.name == "test_programs.py" else {})
