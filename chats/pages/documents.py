"""The list of one's documents, the text of each to read, and what one does with them.

A script uploads one file at a time and is answered with its row; a form may bring several, and comes back to the list.
"""

from dataclasses import replace as changed
from typing import Final
from uuid import UUID

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import FileResponse, Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.queries import one_or_none
from accounts.statuses import status_of
from chats.cleaning import SPACE_MAX_LENGTH
from chats.errors import Conflict, Invalid
from chats.knowledge import services
from chats.knowledge.files import file_response
from chats.knowledge.models import Document, DocumentText
from chats.knowledge.models.document import NAME_MAX_LENGTH
from chats.pages.composer import parse_id
from chats.pages.doors import PageRequest, page
from chats.pages.library import Shown, document_list, newest_shown, room_of, shown_by_id, spaces_of
from chats.pages.reading import page_at, part_of, passage_within
from chats.pages.uploads import NO_FILE, add_each, only_file, saying_when, upload_context

ROWS_ASKED_MAX: Final = 100


@page
@require_http_methods(["GET", "HEAD", "POST"])
def documents(request: PageRequest) -> HttpResponse:
    """The list; for a script only more of it, or how far some of its rows are. Posted to: an upload."""
    if request.method == "POST":
        return _upload(request)
    if request.htmx and "row" in request.GET:
        return _show_progress(request)
    before = request.GET.get("before", "")
    context = {"list": document_list(request.user, before=before), "before": before}
    context["list_url"] = reverse("pages:documents")
    if request.htmx:
        return render(request, "documents/rows.html", context)
    context |= {"room": room_of(request.user), "is_still": "still" in request.GET}
    context |= upload_context() | _space_context(request)
    return render(request, "documents/list.html", context)


@page
@require_safe
def document(request: PageRequest, document_id: UUID) -> HttpResponse:
    """What was read of a document, a part at a time, or open at a passage; for a script, how far its reading is."""
    newest = _newest_of(request, document_id)
    shown, is_asked = _version_asked(request, newest)
    if request.htmx:
        response = render(request, "documents/state.html", {"row": shown, "is_page": True})
        if shown.version.is_finished:
            response.headers["HX-Refresh"] = "true"
        return response
    context = {"row": shown, "newest": newest, "is_asked": is_asked}
    if shown.version.status == shown.version.Status.READY:
        context |= _text_context(request, shown, is_asked=is_asked)
    return render(request, "documents/document.html", context)


@page
@require_safe
def file(request: PageRequest, document_id: UUID) -> FileResponse:
    """The file as it was uploaded."""
    shown, _ = _version_asked(request, _newest_of(request, document_id))
    return file_response(shown.document, shown.version)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def rename(request: PageRequest, document_id: UUID) -> HttpResponse:
    """Its name, and the space whose chats may use it."""
    found = _editable(request, document_id)
    written = {"name": found.name, "space": found.space}
    errors: dict[str, str] = {}
    status = 200
    if request.method == "POST":
        written |= {field: request.POST[field] for field in written if field in request.POST}
        try:
            services.update_document(found, **written)
        except Conflict as error:
            # The same file is in that space already.
            if request.htmx:
                raise
            errors, status = {"space": error.message}, status_of(error)
        except Invalid as error:
            errors = {field: next(iter(sentences), error.message) for field, sentences in error.fields.items()}
            if request.htmx:
                raise Invalid(" ".join(errors.values())) from error
            status = status_of(error)
        else:
            if not request.htmx:
                return redirect("pages:document", document_id=found.pk)
    if request.htmx and (request.method == "POST" or "cancel" in request.GET):
        return render(request, "documents/row.html", {"row": _newest_of(request, document_id)})
    context = {"document": found, "name_max_length": NAME_MAX_LENGTH, **written, **_space_context(request)}
    context["errors"] = errors
    name = "documents/row_edited.html" if request.htmx else "documents/rename.html"
    return render(request, name, context, status=status)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def replace(request: PageRequest, document_id: UUID) -> HttpResponse:
    """A new version in the place of the file that is there."""
    found = _editable(request, document_id)
    if request.method != "POST":
        name = "documents/replace_form.html" if request.htmx else "documents/replace.html"
        return render(request, name, {"document": found, **upload_context()})
    sent = request.FILES.get("file")
    if sent is None:
        raise Invalid(NO_FILE)
    before = _newest_of(request, document_id).version.number
    with saying_when():
        number = services.add_version(found, sent).newest[0].number
    if request.htmx:
        return show_row(request, found.pk, status=201 if number > before else 200)
    if number == before:
        messages.info(request, "This is the file that is already here; nothing was changed.")
    return redirect("pages:document", document_id=found.pk)


@page
@require_POST
def retry(request: PageRequest, document_id: UUID) -> HttpResponse:
    """Have a document read again that could not be read."""
    found = services.retry_document(_editable(request, document_id))
    if request.htmx:
        return render(request, "documents/state.html", {"row": _newest_of(request, found.pk)})
    return _back_to_chat(request, found) or redirect("pages:document", document_id=found.pk)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def delete(request: PageRequest, document_id: UUID) -> HttpResponse:
    """What goes with it, and then it goes."""
    found = _editable(request, document_id)
    if request.method != "POST":
        name = "documents/delete_form.html" if request.htmx else "documents/delete.html"
        return render(request, name, {"document": found})
    services.delete_document(found)
    if request.htmx:
        return render(request, "documents/room.html", {"room": room_of(request.user), "is_fragment": True})
    if back := _back_to_chat(request, found):
        return back
    messages.success(request, f"«{found.name}» is deleted.")
    return redirect("pages:documents")


def _back_to_chat(request: PageRequest, found: Document) -> HttpResponse | None:
    """Who asked from the box of the document's chat goes on there."""
    return redirect("pages:chat", chat_id=found.chat) if found.chat and "from_chat" in request.POST else None


def _upload(request: PageRequest) -> HttpResponse:
    def add(sent: UploadedFile) -> tuple[Document, bool]:
        return services.add_document(request.user, sent, space=request.POST.get("space", ""))

    if not request.htmx:
        add_each(request, add)
        return redirect("pages:documents")
    with saying_when():
        found, is_new = add(only_file(request))
    return show_row(request, found.pk, status=201 if is_new else 200)


def _show_progress(request: PageRequest) -> HttpResponse:
    ids = [pk for text in request.GET.getlist("row")[:ROWS_ASKED_MAX] if (pk := parse_id(text))]
    shown = shown_by_id(request.user, ids)
    gone = [pk for pk in ids if pk not in shown]
    return render(request, "documents/progress.html", {"rows": shown.values(), "gone": gone})


def show_row(request: PageRequest, document_id: UUID, *, status: int) -> HttpResponse:
    """What a script puts into the list, after an upload."""
    context = {"row": _newest_of(request, document_id), "room": room_of(request.user), "is_fragment": True}
    return render(request, "documents/uploaded.html", context, status=status)


def _space_context(request: PageRequest) -> dict[str, object]:
    return {"spaces": spaces_of(request.user), "space_max_length": SPACE_MAX_LENGTH}


def _newest_of(request: PageRequest, document_id: UUID) -> Shown:
    """This person's document. Foreign, deleted and missing ones alike are Http404."""
    shown = newest_shown(request.user, document_id)
    if shown is None:
        raise Http404
    return shown


def _editable(request: PageRequest, document_id: UUID) -> Document:
    return get_object_or_404(Document.objects.editable_by(request.user).select_related("user"), pk=document_id)


def _version_asked(request: PageRequest, newest: Shown) -> tuple[Shown, bool]:
    """The version that the address names, else the one that is searched or the newest; and whether it is as asked."""
    found = newest.document
    number = _number(request, "version")
    if number is not None and (version := one_or_none(found.versions.all(), number=number)):
        return changed(newest, version=version), True
    return changed(newest, version=found.current or newest.version), "version" not in request.GET


def _text_context(request: PageRequest, shown: Shown, *, is_asked: bool) -> dict[str, object]:
    """Places belong to the version they were found in: in another they would mark something else."""
    texts, version = DocumentText.objects.visible_to(request.user), shown.version
    page_starts: list[int] = next(iter(texts.filter(version=version).values_list("page_starts", flat=True)), [])
    characters = version.characters or 0
    start, end = (_number(request, "start"), _number(request, "end")) if is_asked else (None, None)
    passage = passage_within(start, end, characters=characters)
    part = part_of(
        lambda start, length: texts.part(version, start=start, length=length),
        characters=characters,
        page_starts=page_starts,
        number=_number(request, "part") or 1,
        passage=passage,
    )
    return {"part": part, "passage": passage, "passage_page": page_at(page_starts, passage.start) if passage else None}


def _number(request: PageRequest, name: str) -> int | None:
    """A whole number of the query string; None for whatever else is there."""
    text = request.GET.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None
