"""Pages of a list. No COUNT: one row more than the page is fetched, which says whether there is a next one."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from django.conf import settings
from rest_framework.request import Request

from chats.errors import Invalid

PAGE_MAX = 10_000  # further down, skipping rows costs more than any reader gains

Present = Callable[[Sequence[Any]], list[Any]]


class Rows(Protocol):
    """A queryset, or whatever else fetches no more than the slice it is asked for."""

    def __getitem__(self, window: slice, /) -> Iterable[Any]: ...


def page_of(request: Request, rows: Rows, present: Present, *, path: str = "") -> dict[str, Any]:
    """The page that `?page=&page_size=` asks for. `path`: where further pages are, if not here."""
    number = number_parameter(request, "page", default=1, lowest=1, highest=PAGE_MAX)
    asked = number_parameter(request, "page_size", default=settings.PAGE_SIZE_DEFAULT, lowest=1, highest=None)
    size = min(asked, settings.PAGE_SIZE_MAX)
    start = (number - 1) * size
    found = list(rows[start : start + size + 1])
    has_next = len(found) > size and number < PAGE_MAX
    return {
        "count": None,
        "next": _address(request, path, number + 1) if has_next else None,
        "previous": _address(request, path, number - 1) if number > 1 else None,
        "results": present(found[:size]),
    }


def number_parameter(request: Request, name: str, *, default: int, lowest: int, highest: int | None) -> int:
    """A whole number of the query string. Raises Invalid when it is none or out of range."""
    text = request.query_params.get(name)
    return default if text is None else as_number(text, name, lowest=lowest, highest=highest)


def as_number(text: str, name: str, *, lowest: int, highest: int | None) -> int:
    """`text` as a whole number. Raises Invalid when it is none or out of range."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
    if number is None or number < lowest or (highest is not None and number > highest):
        meant = f"a whole number from {lowest}" + ("" if highest is None else f" to {highest:,}")
        raise Invalid(f"{name} must be {meant}.", fields={name: [f"Use {meant}."]})
    return number


def _address(request: Request, path: str, page: int) -> str:
    query = request.query_params.copy()
    query["page"] = str(page)
    return request.build_absolute_uri(f"{path or request.path}?{query.urlencode()}")
