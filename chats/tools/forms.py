"""The form of the admin desk for servers of tools that the operator sets up."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import orjson
from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError

from chats.errors import Invalid
from chats.tools.addresses import check_headers, check_variables
from chats.tools.models import McpServer
from chats.tools.services import is_elsewhere

VALUE_MAX_CHARACTERS = 16_000


class SecretLinesField(forms.CharField):
    """Lines of a name and a value, which go in and never come out again. Left blank it means: as before.

    What is cleaned is a JSON object as text, or "".
    """

    def __init__(self, *, separator: str, **options: Any) -> None:
        attrs = {"rows": 3, "cols": 60, "autocomplete": "off", "spellcheck": "false"}
        super().__init__(required=False, max_length=VALUE_MAX_CHARACTERS, widget=WriteOnly(attrs=attrs), **options)
        self._separator = separator

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(data and data.strip())

    def clean(self, value: Any) -> str:
        found: dict[str, str] = {}
        for line in super().clean(value).splitlines():
            if not line.strip():
                continue
            name, separator, text = (part.strip() for part in line.partition(self._separator))
            if not (name and separator):
                # The line may be a secret that was pasted alone: it is not repeated.
                raise ValidationError(f"Write each on a line of its own: a name, {self._separator} and the value.")
            if name in found:
                raise ValidationError(f"{name[:40]} is there twice.")
            found[name] = text
        return orjson.dumps(found).decode() if found else ""


class WriteOnly(forms.Textarea):
    def format_value(self, value: Any) -> str:
        return ""


def _clear_field(what: str) -> forms.BooleanField:
    return forms.BooleanField(label=f"Clear {what}", required=False, help_text="Forget those that are stored.")


class McpServerForm(forms.ModelForm):
    headers = SecretLinesField(
        separator=":",
        help_text="One on a line, as «Authorization: Bearer …». Stored encrypted and never shown again. "
        "Leave it blank to keep those that are stored; what you enter takes the place of all of them.",
    )
    clear_headers = _clear_field("headers")
    environment = SecretLinesField(
        separator="=",
        help_text="One on a line, as «API_KEY=…». Stored encrypted and never shown again; the program gets these, "
        "PATH, HOME, LOGNAME, SHELL, TERM and USER, and nothing else of this server's environment. Leave it blank to "
        "keep those that are stored.",
    )
    clear_environment = _clear_field("environment")

    class Meta:
        model = McpServer
        fields = ["name", "transport", "url", "headers", "command", "arguments", "environment", "enabled"]
        widgets: ClassVar = {"arguments": forms.Textarea(attrs={"rows": 2, "cols": 60, "spellcheck": "false"})}

    def clean_headers(self) -> str:
        return self._checked("headers", check_headers)

    def clean_environment(self) -> str:
        return self._checked("environment", check_variables)

    def _checked(self, name: str, check: Callable[[Mapping[str, str]], None]) -> str:
        text: str = self.cleaned_data[name]
        try:
            check(orjson.loads(text or "{}"))
        except Invalid as error:
            raise ValidationError([said for sentences in error.fields.values() for said in sentences]) from None
        return text

    def clean_arguments(self) -> Any:
        # Nothing entered is no arguments, not null.
        return self.cleaned_data["arguments"] or []

    def clean_call_seconds(self) -> int | None:
        seconds: int | None = self.cleaned_data["call_seconds"]
        if seconds is not None and not 1 <= seconds <= settings.TOOL_CALL_MAX_SECONDS:
            raise ValidationError(f"From 1 to {settings.TOOL_CALL_MAX_SECONDS:g} seconds (TOOL_CALL_MAX_SECONDS).")
        return seconds

    def clean(self) -> dict[str, Any]:
        super().clean()
        cleaned = self.cleaned_data
        self._keep_or_clear("headers", moves="url" in cleaned and is_elsewhere(self.instance, cleaned["url"]))
        command = cleaned.get("command", self.instance.command)
        self._keep_or_clear("environment", moves=command.strip() != self.instance.command)
        return cleaned

    def _keep_or_clear(self, name: str, *, moves: bool) -> None:
        if name not in self.fields or name in self.errors:
            return
        cleaned = self.cleaned_data
        stored: str = getattr(self.instance, name)
        if cleaned.get(f"clear_{name}"):
            if cleaned[name]:
                self.add_error(f"clear_{name}", "Either enter new ones or clear those that are stored.")
        elif not cleaned[name] and stored:
            if moves:
                self.add_error(name, "It is another server by this: enter them anew, or clear them.")
            cleaned[name] = stored

    @property
    def changed_fields(self) -> list[str]:
        """Names of the columns that this form changes."""
        return sorted({name.removeprefix("clear_") for name in self.changed_data} - {"groups"})
