"""/api/v1/documents/: a person's documents, and searching them."""

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.http import FileResponse, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import limits
from accounts.models import User
from accounts.queries import found
from chats import cleaning
from chats.api import fields as f
from chats.api import shapes
from chats.api.base import Resource, checked, choice_parameter, person, principal, text_parameter
from chats.api.documentation import PAGING
from chats.api.pagination import number_parameter, page_of
from chats.api.streams import answer_of, check_room
from chats.api.wire import JSONParser
from chats.errors import Invalid, NotFound
from chats.knowledge import services
from chats.knowledge.embedders import QueryVector
from chats.knowledge.files import file_response
from chats.knowledge.models import Document, DocumentText, DocumentVersion
from chats.knowledge.models.document import NAME_MAX_LENGTH
from chats.knowledge.search import QUERY_MAX_CHARACTERS, Passage, Scope, search_chunks
from chats.models import Chat
from chats.replies.database import in_database_of_documents
from chats.replies.embedding import has_remote_embedder, query_vector

TEXT_MAX_CHARACTERS = 100_000


class UploadForm(serializers.Serializer[Any]):
    file = serializers.FileField(allow_empty_file=True)
    name = f.Text(required=False, allow_blank=True, max_length=1_000, help_text="Left out: the file's own.")
    space = f.Text(
        required=False,
        allow_blank=True,
        max_length=cleaning.SPACE_MAX_LENGTH,
        help_text="Searched in chats of this space only; left out: in all.",
    )
    chat = f.Id(required=False, help_text="Searched in this chat only.")


class VersionForm(serializers.Serializer[Any]):
    file = serializers.FileField(allow_empty_file=True)


class DocumentChangeForm(serializers.Serializer[Any]):
    name = f.Text(required=False, max_length=NAME_MAX_LENGTH)
    space = f.Text(required=False, allow_blank=True, max_length=cleaning.SPACE_MAX_LENGTH)


class SearchForm(serializers.Serializer[Any]):
    query = f.Text(max_length=QUERY_MAX_CHARACTERS)
    limit = f.Count(required=False, min_value=1, max_value=settings.SEARCH_RESULTS_MAX, help_text="Most passages.")
    documents = serializers.ListField(
        child=f.Id(), required=False, max_length=100, help_text="Search only these; left out: all of yours."
    )


class DocumentResource(Resource):
    parser_classes = [MultiPartParser, JSONParser]

    @extend_schema(
        operation_id="documents_list",
        parameters=[
            OpenApiParameter("space", str, description="Only those of this space."),
            OpenApiParameter("status", str, enum=DocumentVersion.Status.values, description="Of the newest version."),
            *PAGING,
        ],
        responses=shapes.DocumentList,
    )
    def list(self, request: Request) -> Response:
        """Your documents, newest first."""
        documents = Document.objects.visible_to(person(request))
        if "space" in request.query_params:
            documents = documents.filter(space=text_parameter(request, "space"))
        if status := choice_parameter(request, "status", DocumentVersion.Status.values):
            documents = documents.whose_newest_is(status)
        return Response(page_of(request, documents.with_newest(), _documents_json))

    @extend_schema(request={"multipart/form-data": UploadForm}, responses={201: shapes.Document, 200: shapes.Document})
    def create(self, request: Request) -> Response:
        """Upload a file as `multipart/form-data`: PDF, Word (docx), Markdown, text, HTML, CSV or code.

        201 at once; it can be found when `status` is `ready`. The same file again is the document that is there, with
        200.
        """
        sent = checked(UploadForm, request)
        chat_id = sent.get("chat")
        if chat_id is not None:
            found(Chat.objects.editable_by(person(request)), pk=chat_id)
        document, created = services.add_document(
            person(request),
            _file_of(sent),
            name=sent.get("name", ""),
            space=sent.get("space", ""),
            chat=chat_id,
        )
        return Response(document_json(document), status=201 if created else 200)

    @extend_schema(responses=shapes.Document)
    def retrieve(self, request: Request, document_id: UUID) -> Response:
        """One document: how far it is, and why it could not be read."""
        return Response(document_json(_visible(request, document_id)))

    @extend_schema(request=DocumentChangeForm, responses=shapes.Document)
    def partial_update(self, request: Request, document_id: UUID) -> Response:
        """Rename a document, or move it to a space."""
        document = _editable(request, document_id)
        services.update_document(document, **checked(DocumentChangeForm, request))
        return self.retrieve(request, document_id)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, document_id: UUID) -> Response:
        """Delete a document. No search finds it from now on; answers keep the passages that they cite."""
        services.delete_document(_editable(request, document_id))
        return Response(status=204)

    @extend_schema(request={"multipart/form-data": VersionForm}, responses={201: shapes.Document, 200: shapes.Document})
    def add_version(self, request: Request, document_id: UUID) -> Response:
        """Upload a new version. The one before it is found until this one is ready, and stays for what cites it.

        The same file again changes nothing, and is answered with 200.
        """
        document = _editable(request, document_id)
        before = document.newest[0].number
        changed = services.add_version(document, _file_of(checked(VersionForm, request)))
        return Response(document_json(changed), status=201 if changed.newest[0].number > before else 200)

    @extend_schema(request=None, responses=shapes.Document)
    def retry(self, request: Request, document_id: UUID) -> Response:
        """Read a document again that could not be read."""
        return Response(document_json(services.retry_document(_editable(request, document_id))))

    @extend_schema(
        parameters=[
            OpenApiParameter("version", int, description="Its number; left out: the one that is searched."),
            OpenApiParameter("start", int, description="From this character on; left out: from the first."),
        ],
        responses=shapes.DocumentText,
    )
    def text(self, request: Request, document_id: UUID) -> Response:
        """What was read of a document, at most 100,000 characters; `next` says where to go on."""
        start = number_parameter(request, "start", default=0, lowest=0, highest=2**31 - 1)
        version = _version_of(request, document_id)
        text = DocumentText.objects.visible_to(person(request)).part(version, start=start, length=TEXT_MAX_CHARACTERS)
        end = start + len(text)
        is_all = version.characters is None or end >= version.characters
        return Response({"version": version.number, "start": start, "text": text, "next": None if is_all else end})

    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    def file(self, request: Request, document_id: UUID) -> FileResponse:
        """The file as it was uploaded."""
        document = _visible(request, document_id)
        return file_response(document, document.newest[0])


class SearchResource(Resource):
    @extend_schema(operation_id="documents_search", request=SearchForm, responses={200: shapes.PassageList})
    def create(self, request: Request) -> Response | StreamingHttpResponse:
        """Search your documents for what answers a question, by words and by nearness. Best first."""
        asked = checked(SearchForm, request)
        user = person(request)
        limits.hit("search", str(user.pk), limit=settings.SEARCHES_PER_MINUTE, seconds=60)
        documents = asked.get("documents", [])
        services.check_visible(user, documents)
        search = partial(
            _results, user, asked["query"], asked.get("limit", settings.PASSAGES_DEFAULT), Scope(documents=documents)
        )
        if not has_remote_embedder():
            return Response(search())
        check_room(request)

        async def search_with_vector() -> dict[str, Any]:
            near = await query_vector(asked["query"], user_id=user.pk)
            return await in_database_of_documents(search, near=near)

        return answer_of(principal(request), search_with_vector)


def document_json(document: Document) -> dict[str, Any]:
    """One document, of `with_newest()`."""
    version = document.newest[0]
    error = {"code": version.error_code, "message": version.error_message} if version.error_code else None
    return {
        "id": document.pk,
        "name": document.name,
        "space": document.space,
        "chat": document.chat,
        "status": version.status,
        "error": error,
        "progress": {"done": version.done, "total": version.total},
        "is_searchable": document.current_id is not None,
        "version": version.number,
        "kind": version.kind,
        "size": version.size,
        "pages": version.pages,
        "characters": version.characters,
        "chunks": version.chunk_count,
        "created_at": document.created_at,
        "updated_at": document.updated_at,
        "indexed_at": version.indexed_at,
    }


def _results(user: User, query: str, limit: int, scope: Scope, *, near: QueryVector | None = None) -> dict[str, Any]:
    passages = search_chunks(user, query, limit=limit, scope=scope, near=near)
    return {"results": [passage_json(passage) for passage in passages]}


def passage_json(passage: Passage) -> dict[str, Any]:
    return {
        "document": passage.document,
        "version": passage.number,
        "name": passage.name,
        "page": passage.page,
        "heading": passage.heading,
        "start": passage.start,
        "end": passage.end,
        "text": passage.text,
        "score": passage.score,
    }


def _documents(request: Request) -> Any:
    return Document.objects.visible_to(person(request)).with_newest()


def _visible(request: Request, document_id: UUID) -> Document:
    return _whole(found(_documents(request), pk=document_id))


def _editable(request: Request, document_id: UUID) -> Document:
    documents = Document.objects.editable_by(person(request)).with_newest().select_related("user")
    return _whole(found(documents, pk=document_id))


def _whole(document: Document) -> Document:
    """`document`, unless it was deleted with its versions since it was found."""
    if not document.newest:
        raise NotFound
    return document


def _documents_json(documents: Sequence[Document]) -> list[dict[str, Any]]:
    # One may have been deleted, and its versions with it, since it was found.
    return [document_json(document) for document in documents if document.newest]


def _version_of(request: Request, document_id: UUID) -> DocumentVersion:
    document = found(Document.objects.visible_to(person(request)).select_related("current"), pk=document_id)
    if "version" not in request.query_params:
        if document.current is None:
            raise NotFound("This document can't be read yet.")
        return document.current
    number = number_parameter(request, "version", default=1, lowest=1, highest=2**31 - 1)
    version = found(document.versions.all(), number=number)
    if version.status != DocumentVersion.Status.READY:
        raise NotFound("This version can't be read yet.")
    return version


def _file_of(sent: dict[str, Any]) -> UploadedFile:
    file = sent["file"]
    if not isinstance(file, UploadedFile):
        raise Invalid(fields={"file": ["Send a file as multipart/form-data."]})
    return file
