"""What all resources share: limits, headers and lookups through the gate."""

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.viewsets import ViewSet

from accounts.authentication import Principal
from accounts.models import User
from chats.api import errors
from chats.api.throttles import count_request
from chats.catalog.services import usable_model
from chats.cleaning import clean_text
from chats.errors import Invalid


class Resource(ViewSet):
    """A resource for people who are known; `request.user` is a User."""

    def perform_authentication(self, request: Request) -> None:
        count_request(request)

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Any:
        for name, value in errors.common_headers().items():
            response.headers.setdefault(name, value)
        return super().finalize_response(request, response, *args, **kwargs)


def person(request: Request) -> User:
    """Who is asking."""
    assert isinstance(request.user, User)
    return request.user


def principal(request: Request) -> Principal:
    """The same with the credential that says so, to be asked again later."""
    assert isinstance(request.auth, Principal)
    return request.auth


def checked(form: type[Serializer[Any]], request: Request, *, partial: bool = False) -> dict[str, Any]:
    """The fields of the body that this verb takes; others are ignored. Raises a validation error."""
    serializer = form(data=request.data, partial=partial)
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def with_model(user: User, fields: Mapping[str, Any]) -> dict[str, Any]:
    """`fields` with the model that `model` names, if it names one. Raises ModelUnavailable."""
    reference = fields.get("model")
    return {**fields, "model": usable_model(user, reference)} if reference is not None else dict(fields)


def text_parameter(request: Request, name: str, *, max_length: int = 200) -> str:
    text = clean_text(request.query_params.get(name, ""))
    if len(text) > max_length:
        raise Invalid(fields={name: [f"At most {max_length} characters are allowed."]})
    return text


def id_parameter(request: Request, name: str) -> UUID:
    try:
        return UUID(request.query_params.get(name, ""))
    except ValueError:
        raise Invalid(f"{name} must be an id.", fields={name: ["Use the id of what you mean, a UUID."]}) from None


def choice_parameter(request: Request, name: str, choices: Collection[str]) -> str | None:
    """One of `choices` from the query string; None when it is not there."""
    text = request.query_params.get(name)
    if text is not None and text not in choices:
        raise Invalid(fields={name: [f"Use {' or '.join(choices)}."]})
    return text


def flag_parameter(request: Request, name: str) -> bool | None:
    """A yes or no of the query string; None when it is not there."""
    text = request.query_params.get(name)
    if text is None:
        return None
    if text.lower() not in {"true", "false", "1", "0"}:
        raise Invalid(fields={name: ["Use true or false."]})
    return text.lower() in {"true", "1"}
