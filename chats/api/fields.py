"""Fields that take exactly the JSON type they are documented with: no number for a string, no string for a flag."""

from typing import Any

from django.conf import settings
from rest_framework import serializers

from chats import cleaning


class Text(serializers.CharField):
    """Text as both databases can store it; white space stays."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"trim_whitespace": False, **options})

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return cleaning.clean_text(data)


class ClientId(Text):
    """An id of the client's own, as it came: cleaned, two of them could become one. The verb refuses what is none."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"required": False, "allow_null": True, "allow_blank": True, **options})
        self.validators = []

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return data


class Flag(serializers.BooleanField):
    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class Id(serializers.UUIDField):
    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


class Count(serializers.IntegerField):
    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("invalid")
        return data


class Role(serializers.ChoiceField):
    """Who speaks; `ai` is taken for `assistant`."""

    ALIASES = {"ai": "assistant"}

    def __init__(self, **options: Any) -> None:
        super().__init__(choices=["user", "assistant", "system", "tool", "ai"], **options)

    def to_internal_value(self, data: Any) -> str:
        role = super().to_internal_value(data)
        return self.ALIASES.get(role, role)


class UseRag(Flag):
    def __init__(self, **options: Any) -> None:
        said = "Answer from your documents: true or false holds for the chat from now on; left out: as it was."
        super().__init__(**{"required": False, "help_text": said, **options})


class Limit(Count):
    def __init__(self, **options: Any) -> None:
        most = settings.PASSAGES_MAX
        said = f"With `use_rag`: most passages to answer from, {settings.PASSAGES_DEFAULT} if left out."
        super().__init__(**{"required": False, "min_value": 1, "max_value": most, "help_text": said, **options})


class DocumentIds(serializers.ListField):
    child = Id()

    def __init__(self, **options: Any) -> None:
        said = "With `use_rag`: only these documents; left out: all of yours that belong to the chat or its space."
        super().__init__(**{"required": False, "max_length": 100, "help_text": said, **options})


class Objects(serializers.ListField):
    """A list of JSON objects of any shape."""

    child = serializers.DictField()
