"""Forms of the admin desk."""

from typing import Any, ClassVar

from django import forms

from chats.catalog import services
from chats.catalog.models import AIModel, Provider
from chats.errors import Invalid


class SecretField(forms.CharField):
    """Text that goes in and never comes out again. Left blank it means: as before."""

    widget = forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password", "class": "vTextField"})

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(data)


class ProviderForm(forms.ModelForm):
    api_key = SecretField(
        label="API key",
        required=False,
        max_length=1_000,
        help_text="Stored encrypted and never shown again. Leave it blank to keep the present one; "
        "servers of your own often need none.",
    )
    clear_key = forms.BooleanField(label="Clear key", required=False, help_text="Forget the present key.")

    class Meta:
        model = Provider
        fields = ["name", "kind", "base_url", "api_key", "enabled"]

    def clean(self) -> dict[str, Any]:
        super().clean()
        cleaned = self.cleaned_data
        if cleaned.get("clear_key") and cleaned.get("api_key"):
            raise forms.ValidationError({"clear_key": "Either enter a new key or clear the present one."})
        if not cleaned.get("clear_key"):
            cleaned["api_key"] = cleaned.get("api_key") or self.instance.api_key
        return cleaned

    @property
    def changed_fields(self) -> list[str]:
        """Names of the model's fields that this form changes."""
        changed = {"api_key" if name == "clear_key" else name for name in self.changed_data}
        return sorted(changed)


class ModelChoiceField(forms.ModelChoiceField):
    """Models with their provider: two providers may have one of the same name."""

    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.name} ({obj.provider})"


class AIModelForm(forms.ModelForm):
    class Meta:
        model = AIModel
        exclude: ClassVar[list[str]] = []
        field_classes: ClassVar = {"fallback": ModelChoiceField}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "kind" in self.fields:
            # Programs that post this form, and leave out what they don't know, mean a model for chats.
            self.fields["kind"].required = False
        if (field := self.fields.get("fallback")) and isinstance(field, ModelChoiceField):
            chatting = AIModel.objects.filter(kind=AIModel.Kind.CHAT)
            field.queryset = chatting.select_related("provider").exclude(pk=self.instance.pk)

    def clean_kind(self) -> str:
        return self.cleaned_data["kind"] or self.instance.kind

    def clean_fallback(self) -> AIModel | None:
        fallback: AIModel | None = self.cleaned_data["fallback"]
        try:
            services.check_fallback(self.instance, fallback)
        except Invalid as error:
            raise forms.ValidationError(error.message) from None
        return fallback
