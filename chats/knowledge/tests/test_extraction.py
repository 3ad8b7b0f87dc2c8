"""What is read of files of every kind, and of those made to do harm: a clear reason, and nothing left behind."""

import asyncio
import io
import json
import os
import signal
import sys
import time
import zipfile
import zlib
from asyncio.subprocess import PIPE
from dataclasses import replace
from pathlib import Path

import pytest
from docx import Document
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.opc.packuri import PackURI
from docx.opc.part import Part
from docx.oxml.parser import parse_xml
from pypdf import PdfReader, PdfWriter

from chats.knowledge.extraction import ROOT, ExtractionFailed, ExtractionLimits, extract
from chats.knowledge.tests.pdf import pdf

pytestmark = pytest.mark.rowless

QUICK = ExtractionLimits(total_seconds=30)
GOLDEN = Path(__file__).parent / "golden" / "documents"


@pytest.fixture
def read(tmp_path):
    """`await read(bytes, name)`: what the extractor says, its text and its chunks."""

    async def run(content, name, *, limits=QUICK, on_progress=lambda *_: None):
        path = tmp_path / "original"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        found = await extract(path, name=name, folder=tmp_path, limits=limits, on_progress=on_progress)
        rows = [json.loads(line) for line in found.chunks_path.read_text().splitlines()]
        assert len(rows) == found.chunks
        return found, found.text_path.read_text(), rows

    return run


@pytest.fixture
def refused(read):
    """`await refused(bytes, name)`: the code of the refusal."""

    async def run(content, name, **options):
        with pytest.raises(ExtractionFailed) as failure:
            await read(content, name, **options)
        assert failure.value.message.endswith(".")
        return failure.value.code

    return run


def word(*, entries=()):
    document = Document()
    document.add_heading("Garantie", 1)
    document.add_paragraph("Zwei Jahre auf Geräte — ohne Wenn und Aber.")
    document.add_paragraph("Erster Punkt", style="List Bullet")
    table = document.add_table(rows=2, cols=2)
    for at, text in enumerate(["Gerät", "Preis", "HX-1", "12 €"]):
        table.cell(at // 2, at % 2).text = text
    document.add_paragraph("Nach der Tabelle.")
    out = io.BytesIO()
    document.save(out)
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return out.getvalue()


def check_spans(text, rows):
    """Chunks are in order, no longer than they may be, and lose nothing but blanks."""
    end = 0
    for row in rows:
        assert not text[end : row["start"]].strip()
        assert row["start"] < row["end"] <= row["start"] + 800
        end = row["end"]
    assert not text[end:].strip()


@pytest.mark.parametrize(
    ("content", "name", "kind"),
    [
        ("# Title\n\nGrüße 🎉 and more.\n\n" * 60, "a.md", "markdown"),
        ("Just words, many of them. " * 400, "a.txt", "text"),
        ("x" * 30_000, "a.txt", "text"),
        ("日本語の文書です。" * 500, "a.txt", "text"),
        ("def f():\n    return 1\n\n\n" * 200, "a.py", "code"),
        ("name,price\n" + "Füße,12\n" * 300, "a.csv", "csv"),
        ("<!doctype html><title>x</title><h1>Hi</h1><p>" + "Words go on. " * 200, "a.html", "html"),
        (word(), "a.docx", "docx"),
        (pdf("One page.\nOf words.", "Another page."), "a.pdf", "pdf"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "",
)
async def test_every_kind_is_read_and_no_character_is_lost(read, content, name, kind):
    found, text, rows = await read(content, name)
    assert (found.kind, found.characters) == (kind, len(text))
    check_spans(text, rows)
    assert all(row["terms"] and row["vector"] for row in rows)


async def test_pages_of_a_pdf_are_counted(read):
    told = []
    found, text, rows = await read(
        pdf("First page has hyphen-\nated words.", "", "Third page: Überlänge."),
        "a.pdf",
        on_progress=lambda *how_far: told.append(how_far),
    )
    assert (found.pages, len(found.page_starts)) == (3, 3)
    assert "hyphenated words" in text
    assert text[found.page_starts[2] :].startswith("Third page: Überlänge.")
    assert {row["page"] for row in rows} <= {1, 3}
    assert told[0] == (1, 3)


async def test_a_word_document_keeps_its_shape(read):
    _, text, rows = await read(word(), "a.docx")
    assert text.split("\n\n") == [
        "# Garantie",
        "Zwei Jahre auf Geräte — ohne Wenn und Aber.",
        "- Erster Punkt",
        "Gerät | Preis\nHX-1 | 12 €",
        "Nach der Tabelle.",
    ]
    assert rows[0]["heading"] == "Garantie"


SPACES = " ".join(
    f'xmlns:{prefix}="http://schemas.{place}"'
    for prefix, place in {
        "w": "openxmlformats.org/wordprocessingml/2006/main",
        "m": "openxmlformats.org/officeDocument/2006/math",
        "r": "openxmlformats.org/officeDocument/2006/relationships",
        "mc": "openxmlformats.org/markup-compatibility/2006",
        "wps": "microsoft.com/office/word/2010/wordprocessingShape",
    }.items()
)


def word_of(body, *, footnotes="", endnotes="", header="", footer=""):
    """A Word document with this in its body, in notes, and above and below its pages."""
    document = Document()
    for element in reversed(parse_xml(f"<w:body {SPACES}>{body}</w:body>")):
        document.element.body.insert(0, element)
    for kind, relation, notes in [
        ("footnotes", RELATIONSHIP_TYPE.FOOTNOTES, footnotes),
        ("endnotes", RELATIONSHIP_TYPE.ENDNOTES, endnotes),
    ]:
        if notes:
            blob = f"<w:{kind} {SPACES}>{notes}</w:{kind}>".encode()
            part = Part(PackURI(f"/word/{kind}.xml"), f"application/vnd.test.{kind}+xml", blob, document.part.package)
            document.part.relate_to(part, relation)
    for frame, text in ((document.sections[0].header, header), (document.sections[0].footer, footer)):
        if text:
            frame.paragraphs[0].text = text
    # A second section, which has the same above and below its pages.
    document.add_section()
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def run(text):
    return f'<w:r><w:t xml:space="preserve">{text}</w:t></w:r>'


def paragraph(*content):
    return f"<w:p>{''.join(content)}</w:p>"


def control(content):
    return f"<w:sdt><w:sdtPr><w:id w:val='1'/></w:sdtPr><w:sdtContent>{content}</w:sdtContent></w:sdt>"


def row(*cells):
    return f"<w:tr>{''.join(f'<w:tc>{cell}</w:tc>' for cell in cells)}</w:tr>"


def box(text):
    return f"<w:txbxContent>{paragraph(run(text))}</w:txbxContent>"


def merged(how):
    return f"<w:tcPr><w:vMerge w:val='{how}'/></w:tcPr>"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (control(paragraph(run("Rent: 900 €"))) + paragraph(run("End.")), "Rent: 900 €\n\nEnd."),
        (paragraph(run("Rent: "), control(run("900 €")), run(" a month.")), "Rent: 900 € a month."),
        (control(control(f"<w:tbl>{row(paragraph(run('A')), control(paragraph(run('B'))))}</w:tbl>")), "A | B"),
        (f"<w:tbl>{control(row(paragraph(run('A'))))}{row(paragraph(run('B')))}</w:tbl>", "A\nB"),
        (
            paragraph(
                run("In "),
                f"<w:del w:id='1'><w:r><w:delText>7</w:delText></w:r></w:del><w:ins w:id='2'>{run('14')}</w:ins>",
                run(" days"),
                f"<w:moveFrom w:id='3'>{run(' gone')}</w:moveFrom><w:moveTo w:id='4'>{run(' here')}</w:moveTo>",
            ),
            "In 14 days here",
        ),
        (
            "<w:tbl><w:tr><w:trPr><w:del w:id='1'/></w:trPr><w:tc><w:p/></w:tc></w:tr>"
            f"<w:tr><w:trPr><w:ins w:id='2'/></w:trPr><w:tc>{paragraph(run('New'))}</w:tc></w:tr></w:tbl>",
            "New",
        ),
        (paragraph(run("See "), f"<w:hyperlink w:anchor='x'>{run('the terms')}</w:hyperlink>"), "See the terms"),
        (paragraph(f"<w:fldSimple w:instr='DATE'><w:smartTag>{run('1 May')}</w:smartTag></w:fldSimple>"), "1 May"),
        (
            paragraph(
                run("With a box."),
                f"<w:r><mc:AlternateContent><mc:Choice Requires='wps'><wps:txbx>{box('In it.')}</wps:txbx></mc:Choice>"
                f"<mc:Fallback><w:pict>{box('In it.')}</w:pict></mc:Fallback></mc:AlternateContent></w:r>",
                run(" Goes on."),
            ),
            "With a box. Goes on.\n\nIn it.",
        ),
        (paragraph(f"<w:r><w:pict>{box('Of an older Word.')}</w:pict></w:r>"), "Of an older Word."),
        (
            paragraph(
                "<w:pPr><w:tabs><w:tab w:val='left' w:pos='1'/></w:tabs></w:pPr>",
                "<w:r><w:t>Name:</w:t><w:tab/><w:t>Ada</w:t><w:br/><w:t>X</w:t><w:noBreakHyphen/><w:t>1</w:t></w:r>",
            ),
            "Name: Ada\nX-1",
        ),
        (paragraph(run("Here "), "<m:oMath><m:r><m:t>E=mc²</m:t></m:r></m:oMath>"), "Here E=mc²"),
        (
            "<w:tbl>"
            + row(merged("restart") + paragraph(run("Graz")), paragraph(run("Office")))
            + row(merged("continue") + "<w:p/>", paragraph(run("Storage")))
            + row("<w:tcPr><w:gridSpan w:val='2'/></w:tcPr>" + paragraph(run("Both")))
            + "</w:tbl>",
            "Graz | Office\nGraz | Storage\nBoth",
        ),
    ],
    ids=[
        *("control", "control in a line", "control around a table", "control around a row", "changes", "changed rows"),
        *("link", "field", "box", "old box", "signs", "formula", "merged cells"),
    ],
)
async def test_of_a_word_document_all_is_read_that_it_shows(read, body, text):
    assert (await read(word_of(body), "a.docx"))[1] == text


async def test_notes_of_a_word_document_stand_behind_their_paragraph(read):
    body = (
        paragraph(run("One year"), "<w:r><w:footnoteReference w:id='2'/></w:r>", run(", no more."))
        + paragraph(run("Not batteries."), "<w:r><w:endnoteReference w:id='2'/></w:r>")
        + paragraph(run("Once more"), "<w:r><w:footnoteReference w:id='2'/></w:r>")
    )
    separator = f"<w:footnote w:type='separator' w:id='0'>{paragraph('<w:r><w:separator/></w:r>')}</w:footnote>"
    content = word_of(
        body,
        footnotes=f"{separator}<w:footnote w:id='2'>{paragraph(run('From delivery.'))}</w:footnote>",
        endnotes=f"<w:endnote w:id='2'>{paragraph(run('They wear out.'))}</w:endnote>",
    )
    _, text, _ = await read(content, "a.docx")
    assert text.split("\n\n") == [
        "One year, no more.",
        "From delivery.",
        "Not batteries.",
        "They wear out.",
        "Once more",
    ]


async def test_what_stands_above_and_below_the_pages_of_a_word_document_is_read_once(read, refused):
    _, text, _ = await read(word_of(paragraph(run("Dear Ada")), header="Tern Ltd, Graz", footer="IBAN AT61"), "a.docx")
    assert text.split("\n\n") == ["Tern Ltd, Graz", "Dear Ada", "IBAN AT61"]
    assert (await read(word_of(paragraph(run("Dear Ada")), footer="- 1 -"), "a.docx"))[1] == "Dear Ada"
    assert await refused(word_of("<w:p/>", header="Tern Ltd, Graz"), "scan.docx") == "no_text"
    lost = "<w:p><w:pPr><w:sectPr><w:headerReference w:type='default' r:id='rId99'/></w:sectPr></w:pPr></w:p>"
    assert (await read(word_of(paragraph(run("Dear Ada")) + lost), "a.docx"))[1] == "Dear Ada"


async def test_of_a_page_only_what_people_read(read):
    html = """<html><head><title>T</title><script>evil()</script></head><body><nav>Menu</nav><header>Logo</header>
        <article><h2>Care</h2><p>Wash <b>by</b> hand.</p><ul><li>Cold</li><li>Soft</li></ul>
        <table><tr><th>Size</th><td>XL</td></tr></table><pre>a  b\n c</pre>
        <p hidden>secret</p><p style="display: none">hidden too</p></article><footer>Imprint</footer></body></html>"""
    _, text, _ = await read(html, "a.html")
    for gone in ("evil", "Menu", "Logo", "secret", "hidden too", "Imprint"):
        assert gone not in text
    for kept in ("## Care", "Wash by hand.", "- Cold\n- Soft", "Size | XL", "a  b\n c"):
        assert kept in text


async def test_rows_of_a_table_say_what_their_values_are(read):
    _, text, _ = await read('part;price;note\n"A;1";2,50;\nB2;3;"two\nlines"\nC;4;x;extra\n', "parts.csv")
    assert text.splitlines() == [
        "part: A;1; price: 2,50",
        "part: B2; price: 3; note: two lines",
        "part: C; price: 4; note: x; extra",
    ]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Grüße".encode("utf-8-sig"), "Grüße"),
        ("Grüße aus Graz".encode("utf-16"), "Grüße aus Graz"),
        ("Grüße aus Graz".encode("utf-16-le"), "Grüße aus Graz"),
        ("Grüße: «ja»".encode("cp1252"), "Grüße: «ja»"),
        (b"one\x00two", "one\ufffdtwo"),
        (b"a\r\nb\rc\x0cd", "a\nb\nc\n\nd"),
        ("e\u0301".encode(), "é"),
    ],
)
async def test_text_in_any_encoding(read, raw, expected):
    _, text, _ = await read(raw, "a.txt")
    assert text == expected


PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\xc3\x50\x00\x00\xc3\x50\x08\x06" + bytes(range(256)) * 20


@pytest.mark.parametrize(
    ("content", "name", "code"),
    [
        (b"", "a.pdf", "empty"),
        (b"  \n \n", "a.txt", "empty"),
        (PNG, "picture.pdf", "unsupported"),
        (b"\x7fELF" + bytes(500), "a.txt", "unsupported"),
        (b"\x00", "a.txt", "unsupported"),
        (bytes(5_000), "a.md", "unsupported"),
        (b"PK\x03\x04" + b"rubbish" * 50, "a.docx", "damaged"),
        (b"%PDF-1.7\n" + os.urandom(3_000), "a.pdf", "damaged"),
        (pdf("Cut off.", "In the middle.")[:500], "a.pdf", "damaged"),
        (pdf(stream=b"<< /Length 2 >>\nstream\nBT\nendstream"), "scan.pdf", "no_text"),
        ("<html><body><script>only()</script></body></html>", "a.html", "no_text"),
    ],
    ids=["empty", "blank", "picture", "program", "nul", "zeros", "bad zip", "bad pdf", "cut pdf", "scan", "no words"],
)
async def test_what_can_not_be_read_says_why(refused, content, name, code):
    assert await refused(content, name) == code


async def test_the_content_tells_the_kind_whatever_the_name_says(read):
    assert (await read(pdf("In truth a PDF."), "letter.txt"))[0].kind == "pdf"
    assert (await read("In truth a text.", "letter.pdf"))[0].kind == "text"
    assert (await read(word(), "letter.csv"))[0].kind == "docx"


@pytest.mark.parametrize(
    ("content", "name", "kind"),
    [
        ("# How to\n\nA file begins with `%PDF-1.7`.\n", "a.md", "markdown"),
        ("# How to\n\n```\n" + pdf("An example.").decode() + "\n```\n", "a.md", "markdown"),
        ("%PDF-1.7 is what it begins with.", "a.txt", "text"),
        ("Bücher beginnen mit %PDF-1.7.".encode("cp1252"), "a.txt", "text"),
        ('MARK = b"%PDF-"\n', "a.py", "code"),
        ("The ftyp box of a file says what is in it.", "a.txt", "text"),
    ],
    ids=["mention", "example", "beginning", "old encoding", "code", "video"],
)
async def test_a_text_about_files_of_a_kind_is_none_of_them(read, content, name, kind):
    found, text, _ = await read(content, name)
    assert (found.kind, text) == (kind, content if isinstance(content, str) else content.decode("cp1252"))


@pytest.mark.parametrize(
    "before",
    [b"\n\n", b"\xef\xbb\xbf", b"\x00\x01\xff junk" * 40, b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n"],
    ids=["blanks", "mark", "junk", "headers"],
)
@pytest.mark.parametrize("is_binary", [False, True])
async def test_a_pdf_is_one_whatever_stands_before_it(read, before, is_binary):
    content = pdf("In truth a PDF.")
    if is_binary:
        out = io.BytesIO()
        PdfWriter(clone_from=PdfReader(io.BytesIO(content))).write(out)
        content = out.getvalue()
    found, text, _ = await read(before + content, "a.pdf")
    assert (found.kind, text.strip()) == ("pdf", "In truth a PDF.")


MP4 = bytes.fromhex("00000020") + b"ftypisom" + bytes.fromhex("00000200") + b"isomiso2avc1mp41" + bytes(range(256)) * 20


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (MP4, "a video"),
        (MP4.replace(b"isom", b"M4A ", 1), "an audio file"),
        (MP4.replace(b"isom", b"heic", 1), "an image"),
        (PNG, "an image"),
        (b"PK\x05\x06" + bytes(18), "an archive"),
    ],
    ids=["mp4", "m4a", "heic", "png", "zip"],
)
async def test_what_was_uploaded_instead_of_a_document_is_named(read, content, what):
    with pytest.raises(ExtractionFailed, match="unsupported") as failure:
        await read(content, "a.pdf")
    assert failure.value.message.startswith(f"This is {what}, which")


async def test_a_protected_document_is_refused_and_one_with_an_empty_password_read(read, refused):
    def protected(password):
        writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf("A secret."))))
        writer.encrypt(user_password=password, owner_password="owner", algorithm="AES-256")
        out = io.BytesIO()
        writer.write(out)
        return out.getvalue()

    assert await refused(protected("let me in"), "a.pdf") == "encrypted"
    assert "A secret." in (await read(protected(""), "a.pdf"))[1]


def archive(*entries):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in entries:
            packed.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (word(entries=[("word/media/big.bin", bytes(60_000_000))]), "too_large_when_opened"),
        (word(entries=[(f"word/media/{n}", b"") for n in range(10_050)]), "too_large_when_opened"),
        (archive(("inner.docx", word())), "unsupported"),
        (archive(("word/document.xml", b"<w:document/>")), "damaged"),
    ],
    ids=["bomb", "many entries", "nested", "hollow"],
)
async def test_packed_files_are_held_to_what_they_unpack_to(refused, content, code):
    assert await refused(content, "a.docx") == code


async def test_a_stream_that_unpacks_without_end_is_stopped(refused):
    bomb = zlib.compress(b"BT (x) Tj ET " * 20_000_000, 9)
    stream = b"<< /Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream" % (len(bomb), bomb)
    began = time.monotonic()
    limits = replace(QUICK, cpu_seconds=5)
    code = await refused(pdf(stream=stream), "a.pdf", limits=limits)
    assert code in {"damaged", "out_of_memory", "too_slow", "no_text"}
    assert time.monotonic() - began < 15


async def test_pages_that_contain_each_other_come_to_an_end(refused):
    loop = pdf("A page.").replace(b"/Kids [4 0 R]", b"/Kids [2 0 R]")
    assert await refused(loop, "a.pdf", limits=replace(QUICK, cpu_seconds=3, total_seconds=10)) in {
        "damaged",
        "too_slow",
        "no_text",
    }


async def test_limits_of_pages_and_text_hold(refused):
    assert await refused(pdf("One.", "Two.", "Three."), "a.pdf", limits=replace(QUICK, max_pages=2)) == "too_many_pages"
    assert await refused("word " * 100, "a.txt", limits=replace(QUICK, max_characters=100)) == "too_long"


async def test_a_page_nested_without_measure_is_read(read):
    _, text, _ = await read("<html><body>" + "<div>" * 100_000 + "deep" + "</div>" * 100_000, "a.html")
    assert "deep" in text


async def test_a_line_without_end_is_read(read):
    _, text, rows = await read(b"word " * 600_000, "a.txt")
    assert len(text) == 3_000_000
    assert len(rows) > 3_000


def children():
    """Processes that this one has started to read documents."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and b"chats.knowledge.extractor" in (entry / "cmdline").read_bytes():
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                found += [entry] if int(parent) == os.getpid() else []
        except OSError:
            continue
    return found


async def test_one_that_takes_too_long_is_killed(refused):
    assert await refused("words", "a.txt", limits=replace(QUICK, total_seconds=0.01)) == "too_slow"
    assert not children()


@pytest.fixture
def secret(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "canary-secret")


@pytest.fixture
async def long_reading(tmp_path):
    """A document being read, which takes a while; and the process that reads it."""
    path, begun = tmp_path / "original", asyncio.Event()
    path.write_bytes(pdf(*(f"Page {number}." for number in range(1_000))))
    reading = asyncio.create_task(
        extract(path, name="canary-name.pdf", folder=tmp_path, on_progress=lambda *_: begun.set())
    )
    await begun.wait()
    (child,) = children()
    yield reading, child
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def test_one_that_is_no_longer_wanted_is_killed(long_reading):
    reading, _ = long_reading
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert not children()


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGKILL, "killed"), (signal.SIGXCPU, "too_slow"), (signal.SIGSEGV, "crashed")]
)
async def test_one_that_others_end_says_no_more_than_is_known(long_reading, sent, code):
    reading, child = long_reading
    os.kill(int(child.name), sent)
    with pytest.raises(ExtractionFailed) as failure:
        await reading
    assert failure.value.code == code


async def test_it_knows_nothing_of_ours(secret, long_reading):
    _, child = long_reading
    assert b"canary" not in (child / "environ").read_bytes() + (child / "cmdline").read_bytes()


async def test_it_does_not_outlive_whoever_started_it(tmp_path):
    job = {"path": "x", "name": "x", "folder": str(tmp_path), "bounds": ExtractionLimits().bounds, "parent": 1}
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chats.knowledge.extractor"), stdin=PIPE, stderr=PIPE, cwd=ROOT
    )
    _, said = await child.communicate(json.dumps(job).encode())
    assert (child.returncode, said.strip()) == (1, b"Whoever started this is gone.")
