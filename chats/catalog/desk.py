"""What the admin pages of all rooms share: refusals are messages, and some tables are only read."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.db import IntegrityError, models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from accounts.errors import DomainError
from accounts.lookups import CarefulLookups

LOST_RACE = "Somebody else saved the same a moment ago: it already exists. Nothing of yours was saved."


class PoliteAdmin(CarefulLookups):
    """Whatever a verb refuses becomes a message on the page where the person was; nothing of it is saved."""

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except DomainError as error:
            return self.refuse(request, error.message, back_to=request.path)
        except IntegrityError:
            return self.refuse(request, LOST_RACE, back_to=request.path)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        try:
            return super().delete_view(request, object_id, extra_context)
        except DomainError as error:
            return self.refuse(request, error.message, back_to=self.change_url(unquote(object_id)))

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        # Rows are deleted one by one, each with its own reasons against it.
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}

    def get_deleted_objects(self, objs: Sequence[Any] | models.QuerySet[Any], request: HttpRequest) -> Any:
        for obj in objs:
            self.check_deletable(obj)
        return super().get_deleted_objects(objs, request)

    def check_deletable(self, obj: Any) -> None:
        """Raises a DomainError when `obj` has to stay."""

    def refuse(self, request: HttpRequest, why: str, *, back_to: str) -> HttpResponse:
        self.message_user(request, why, messages.ERROR)
        return HttpResponseRedirect(back_to)

    def change_url(self, pk: object) -> str:
        return reverse(f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_change", args=[pk])


class ReadOnlyAdmin(CarefulLookups):
    """A table that staff with the right to view it may look at, and nobody changes here."""

    actions = None
    # Both would count the whole table for every page shown.
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    # Ids grow with time, so the newest come first by the primary key alone.
    ordering = ["-id"]
    # Django leaves them out of a row's own page, because no form could change them.
    readonly_fields = ["id", "created_at"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False
