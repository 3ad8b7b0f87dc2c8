"""Fields that take exactly the JSON type they are documented with: no number for a string, no string for a flag."""

from typing import Any

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


class Objects(serializers.ListField):
    """A list of JSON objects of any shape."""

    child = serializers.DictField()
