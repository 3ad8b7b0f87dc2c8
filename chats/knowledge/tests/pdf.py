"""A PDF written by hand, for tests and measurements: nothing in it that was not asked for."""

import io


def pdf(*pages: str, stream: bytes | None = None) -> bytes:
    """A PDF of these texts, a page each; or of one page with this stream."""
    count = len(pages) or 1
    kids = " ".join(f"{4 + 2 * at} 0 R" for at in range(count))
    objects: list[str | bytes] = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {count} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for at, content in enumerate([_stream_of(text) for text in pages] or [stream or b""]):
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents {5 + 2 * at} 0 R"
            " /Resources << /Font << /F1 3 0 R >> >> >>",
            content,
        ]
    return _file_of([body if isinstance(body, bytes) else body.encode("latin-1") for body in objects])


def _stream_of(text: str) -> bytes:
    lines = "".join(f"({line}) Tj 0 -14 Td " for line in text.splitlines())
    body = f"BT /F1 12 Tf 50 700 Td {lines}ET".encode("cp1252")
    return b"<< /Length %d >>\nstream\n%s\nendstream" % (len(body), body)


def _file_of(objects: list[bytes]) -> bytes:
    """The objects, numbered from 1 of which 1 is the root, with the table of where each begins."""
    out = io.BytesIO()
    out.write(b"%PDF-1.4\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    start, size = out.tell(), len(objects) + 1
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % size)
    out.writelines(b"%010d 00000 n \n" % place for place in places)
    out.write(b"trailer << /Root 1 0 R /Size %d >>\nstartxref\n%d\n%%%%EOF" % (size, start))
    return out.getvalue()
