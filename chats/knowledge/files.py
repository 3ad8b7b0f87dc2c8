"""How the file of a document is given back."""

from django.http import FileResponse

from chats.errors import NotFound
from chats.knowledge.models import Document, DocumentVersion


def file_response(document: Document, version: DocumentVersion) -> FileResponse:
    """A file as it came: to be kept, never to be shown by a browser, in whose eyes it would be a page of ours.

    Raises NotFound when the storage has lost it.
    """
    try:
        file = version.file.open("rb")
    except FileNotFoundError:
        raise NotFound("The file of this document is lost on the server. Upload it again.") from None
    response = FileResponse(file, as_attachment=True, filename=document.name)
    response.headers["Content-Type"] = "application/octet-stream"
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return response
