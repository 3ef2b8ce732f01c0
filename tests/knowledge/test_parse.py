"""What is read of each kind of file, and that bad files are refused with a reason."""

import email.message
import email.policy
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dizuo.core.errors import UserError
from dizuo.knowledge.parse import Parsed
from dizuo.knowledge.parse_process import Parser
from tests.knowledge.pdf import pdf

Read = Callable[[str, bytes], Parsed]

SIMPLIFIED = "第一章 总则\n\n本办法适用于全体员工的差旅费用管理。出差应当事先填写申请表，并经部门负责人批准。\n"
TRADITIONAL = "第一章 總則\n\n本辦法適用於全體員工的差旅費用管理。出差應當事先填寫申請表，並經部門負責人批准。\n"
JAPANESE = "第一章　総則\n\nこの規程は、従業員の出張旅費について定めるものとする。申請書を提出してください。\n"
KOREAN = "제일장 총칙\n\n이 규정은 직원의 출장 여비에 관한 사항을 정한다. 출장 전에 신청서를 제출하여야 한다.\n"
RUSSIAN = "Настоящее положение распространяется на всех сотрудников. Расходы возмещаются в течение месяца.\n"
FRENCH = "Les dépenses engagées à l'étranger sont remboursées après réception des pièces, même à Noël.\n"
CZECH = "Příliš žluťoučký kůň úpěl ďábelské ódy. Náklady budou proplaceny po předložení dokladů.\n"


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    opened = Parser(100)
    yield opened
    opened.close()


@pytest.fixture
def read(parser: Parser, tmp_path: Path) -> Read:
    """The parse of these bytes under this name."""

    def parse(name: str, content: bytes) -> Parsed:
        (tmp_path / "blob").write_bytes(content)  # as in the store: the file's own name says nothing
        return parser.parse(tmp_path / "blob", name)

    return parse


def lost(parsed: Parsed) -> str:
    return " ".join(map(str, parsed.lost))


# --- encodings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "encoding", "named"),
    [
        (SIMPLIFIED, "utf-8", "utf-8"), (SIMPLIFIED, "utf-8-sig", "utf-8"), (SIMPLIFIED, "gb18030", "gb18030"),
        (SIMPLIFIED, "utf-16", "utf-16-le"), (SIMPLIFIED, "utf-16-le", "utf-16-le"),
        (SIMPLIFIED, "utf-16-be", "utf-16-be"), (SIMPLIFIED, "utf-32", "utf-32-le"), (TRADITIONAL, "big5", "big5"),
        ("Plain English.\n", "utf-16-le", "utf-16-le"), (JAPANESE, "shift_jis", "shift_jis"),
        (JAPANESE, "euc_jp", "euc_jp"), (KOREAN, "euc_kr", "euc_kr"), (RUSSIAN, "cp1251", "cp1251"),
        (RUSSIAN, "koi8_r", "koi8_r"), (FRENCH, "cp1252", "cp1252"), (CZECH, "cp1250", "cp1250"),
        ("报销制度", "gbk", "gb18030"), ("联通", "gbk", "gb18030"),
        ("# R\n" + "English.\n" * 999 + SIMPLIFIED, "gbk", "gb18030"),
    ],
)  # fmt: skip
def test_the_encoding_of_a_text_is_found_without_being_told(read: Read, text: str, encoding: str, named: str) -> None:
    parsed = read("a.txt", text.encode(encoding))
    assert (parsed.text, parsed.encoding, parsed.lost) == (text, named, ())


def test_a_file_of_two_encodings_is_read_line_by_line_and_the_report_says_so(read: Read) -> None:
    content = "前半部分是统一编码。\n".encode() + "后半部分来自旧系统，是国标编码。\n".encode("gb18030") + b"English.\n"
    parsed = read("a.txt", content)
    assert parsed.text == "前半部分是统一编码。\n后半部分来自旧系统，是国标编码。\nEnglish.\n"
    assert parsed.encoding == "utf-8 + gb18030"
    assert "from line 2 on" in lost(parsed)


def test_bytes_that_nothing_can_decode_are_counted(read: Read) -> None:
    parsed = read("a.txt", "一段很长的文字，用来测试损坏的编码。".encode()[:-1] + b"\n" + "好的一行。\n".encode())
    assert parsed.text.count("\ufffd") == 1
    assert "utf-8 show as \ufffd: 1" in lost(parsed)


def test_null_characters_in_a_log_do_not_make_it_binary(read: Read) -> None:
    parsed = read("a.log", b"line one\x00\n" + b"line two\n" * 50)
    assert parsed.text.startswith("line one\nline two")
    assert "Null characters" in lost(parsed)


@pytest.mark.parametrize("content", [os.urandom(5000), bytes(range(256)) * 40, b"\x89PNG\r\n\x1a\n" + bytes(99)])
def test_binary_data_with_a_text_name_is_refused(read: Read, content: bytes) -> None:
    with pytest.raises(UserError, match=r"binary data|PNG data"):
        read("a.txt", content)


@pytest.mark.parametrize("name", ["a.md", "a.pdf", "a.docx", "a.html"])
def test_an_empty_file_is_refused(read: Read, name: str) -> None:
    with pytest.raises(UserError, match="empty"):
        read(name, b"")


def test_a_file_of_white_space_is_refused(read: Read) -> None:
    with pytest.raises(UserError, match="no text"):
        read("a.md", b" \n\n\t\n")


def test_what_no_database_can_hold_is_left_out_of_the_text(read: Read) -> None:
    parsed = read("a.md", ("a\r\nb\rc\x07\x1bd\ufffe" + "e" * 300).encode())
    assert parsed.text == "a\nb\ncd" + "e" * 300
    assert read("a.jsonl", b'{"a": "x\\ud800y\\u0000"}\n').text == '{\n "a": "xy\\u0000"\n}\n'


# --- what a file is ---------------------------------------------------------------------------------------------


def test_the_content_wins_over_the_name(read: Read) -> None:
    assert read("report.txt", pdf(["Hello there."])).format == "pdf"
    assert read("table.xls", b"<html><table><tr><td>a</td><td>b</td></tr></table></html>").format == "html"
    assert read("table.xls", "姓名\t城市\n王芳\t上海\n".encode("gbk")).format == "csv"
    assert read("README", b"# Hello").format == "text"
    assert read("notes.unknown", b"plain words").format == "text"


@pytest.mark.parametrize("name", ["old.doc", "old.ppt", "old.rtf", "old.odt", "old.pages", "old.ods"])
def test_old_and_foreign_formats_are_refused_with_how_to_convert_them(read: Read, name: str) -> None:
    with pytest.raises(UserError, match="soffice --headless --convert-to"):
        read(name, b"{\\rtf1 hello}" if name.endswith("rtf") else b"anything")


@pytest.mark.parametrize("name", ["a.docx", "a.pptx", "a.xlsx", "a.epub", "a.msg"])
@pytest.mark.parametrize(
    "content", [b"just text", b"PK\x03\x04 cut off", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)]
)
def test_a_damaged_office_file_is_refused(read: Read, name: str, content: bytes) -> None:
    with pytest.raises(UserError, match="damaged"):
        read(name, content)


# --- plain formats ----------------------------------------------------------------------------------------------


def test_the_header_of_a_markdown_file_gives_title_author_date_and_language(read: Read) -> None:
    parsed = read("a.md", b'---\ntitle: "Leave"\nauthor: Ann\ndate: 2026-01-02\nlang: en\ntags: [a]\n---\n\n# Leave\n')
    assert parsed.meta == {"title": "Leave", "author": "Ann", "date": "2026-01-02", "language": "en"}


def test_csv_becomes_a_table(read: Read) -> None:
    parsed = read("a.csv", '姓名;城市\n王芳;"上海;浦东"\n\n李雷;"北|京"\n赵;a;b\n'.encode("utf-8-sig"))
    assert parsed.text == "| 姓名 | 城市 |\n| --- | --- |\n| 王芳 | 上海;浦东 |\n| 李雷 | 北\\|京 |\n| 赵 | a | b |\n"
    assert "than the header: 1" in lost(parsed)


def test_json_is_laid_out_so_that_records_stand_apart(read: Read) -> None:
    parsed = read("a.json", json.dumps([{"name": "王芳"}, {"name": "Bo"}]).encode())
    assert parsed.text == '{\n "name": "王芳"\n}\n\n{\n "name": "Bo"\n}\n'
    assert "not valid JSON" in lost(read("a.json", b'{"a": 1,,}'))


def test_line_ends_in_json_are_line_ends_and_backslashes_stay(read: Read) -> None:
    parsed = read("a.json", json.dumps({"path": "C:\\new", "text": "one\ntwo"}).encode())
    assert parsed.text == '{\n "path": "C:\\\\new",\n "text": "one\ntwo"\n}\n'


@pytest.mark.parametrize(
    "content", [b"[" * 10_000 + b'"needle"' + b"]" * 10_000, b'{"needle":' * 10_000 + b"1" + b"}" * 10_000]
)
def test_json_nested_ten_thousand_deep_is_read_as_text(read: Read, content: bytes) -> None:
    parsed = read("a.json", content)
    assert "needle" in parsed.text
    assert "nested too deeply" in lost(parsed)


def test_json_of_brackets_alone_holds_no_text(read: Read) -> None:
    with pytest.raises(UserError, match="no text"):
        read("a.json", b"[" * 10_000 + b"]" * 10_000)


# --- HTML -------------------------------------------------------------------------------------------------------


def test_html_gives_its_text_and_tables_and_nothing_that_runs(read: Read) -> None:
    parsed = read(
        "a.html",
        b"<html lang='en'><head><title>T</title><meta name='author' content='Ann'><style>p{}</style></head><body>"
        b"<script>alert(1)</script><h1>Head</h1><p>Hello <a href='javascript:x'>one</a> <a href='http://e.org/'>two</a>"
        b"</p><img src='http://127.0.0.1:9/x.png' alt='A cat'><iframe src='http://127.0.0.1:9'>no</iframe>"
        b"<p hidden>unseen</p><table><tr><th>a</th><th>b</th></tr><tr><td>1_000</td><td>2*3</td></tr></table></body>",
    )
    assert (
        parsed.text
        == "# Head\n\nHello one [two](http://e.org/)\n\nA cat\n\n| a | b |\n| --- | --- |\n| 1_000 | 2*3 |\n"
    )
    assert parsed.meta == {"title": "T", "author": "Ann", "language": "en"}
    assert "Pictures were not read" in lost(parsed)


def test_html_in_the_encoding_it_declares(read: Read) -> None:
    parsed = read("a.html", "<meta charset=gb2312><p>差旅费报销制度</p>".encode("gb18030"))
    assert (parsed.text, parsed.encoding) == ("差旅费报销制度\n", "gb18030")


@pytest.mark.parametrize("tag", ["div", "table><tr><td", "ul><li", "b", "blockquote"])
def test_html_nested_ten_thousand_deep_keeps_its_text(read: Read, tag: str) -> None:
    parsed = read("a.html", f"<{tag}>".encode() * 10_000 + b"needle</p><p>after")
    assert "needle" in parsed.text
    assert "nested too deeply" in lost(parsed)


# --- PDF --------------------------------------------------------------------------------------------------------

LONG = [
    "This is the first line of a paragraph that goes on in the next one, hyphen-",
    "ated at the end of it, and ends here.",
]


def test_a_pdf_gives_its_pages_and_whole_paragraphs(read: Read) -> None:
    parsed = read("a.pdf", pdf([*LONG, "- an item"], ["Second page."]))
    assert parsed.text.startswith("This is the first line of a paragraph that goes on in the next one, hyphenated at")
    assert "\n- an item" in parsed.text
    assert [parsed.text[start:][:6] for start in parsed.page_starts] == ["This i", "Second"]


def test_headers_and_footers_that_pages_repeat_are_left_out(read: Read) -> None:
    pages = [
        ["Company handbook", f"The subject of this page is animal number {n * 7}.", f"Page {n}"] for n in range(1, 6)
    ]
    parsed = read("a.pdf", pdf(*pages))
    assert "handbook" not in parsed.text
    assert "Page 3" not in parsed.text
    assert "animal number 21." in parsed.text
    assert "Company handbook" in lost(parsed)


def test_page_numbers_of_one_chapter_are_left_out_and_numbers_of_a_table_are_not(read: Read) -> None:
    pages = [["Introduction.", str(n * n)] for n in range(5)] + [
        [f"Chapter 2 of it {n + 5}", "Text.", "1"] for n in range(4)
    ]
    parsed = read("a.pdf", pdf(*pages))
    assert "16" in parsed.text
    assert "Chapter 2" not in parsed.text


def test_a_line_that_begins_with_a_hash_is_no_heading_of_a_pdf(read: Read) -> None:
    assert read("a.pdf", pdf(["Run this:", "# make install"])).text == "Run this:\n # make install"


def test_a_pdf_with_a_password_is_refused_and_one_without_an_open_password_is_read(read: Read) -> None:
    import pypdf

    for password, owner in (("secret", None), ("", "owner")):
        writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf(["Hello there."])))
        writer.encrypt(password, owner, algorithm="AES-256")
        written = io.BytesIO()
        writer.write(written)
        if password:
            with pytest.raises(UserError, match="password"):
                read("a.pdf", written.getvalue())
        else:
            assert read("a.pdf", written.getvalue()).text == "Hello there."


@pytest.mark.parametrize("content", [b"%PDF-1.7 nothing", b"%PDF-1.4\n" + os.urandom(3000), pdf(["x"])[:300]])
def test_a_broken_pdf_is_refused(read: Read, content: bytes) -> None:
    with pytest.raises(UserError, match="damaged"):
        read("a.pdf", content)


def test_a_scanned_pdf_is_refused_with_what_to_do(read: Read) -> None:
    import pypdf
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = pypdf.PdfWriter()
    page = writer.add_blank_page(200, 200)
    picture = DecodedStreamObject()
    picture.set_data(b"\0")
    picture.update({NameObject("/Type"): NameObject("/XObject"), NameObject("/Subtype"): NameObject("/Image")})
    objects = DictionaryObject({NameObject("/I"): writer._add_object(picture)})
    page[NameObject("/Resources")] = DictionaryObject({NameObject("/XObject"): objects})
    written = io.BytesIO()
    writer.write(written)
    with pytest.raises(UserError, match="OCR"):
        read("a.pdf", written.getvalue())


def test_a_pdf_whose_pages_point_at_each_other_ends(read: Read) -> None:
    looped = pdf(["x"]).replace(b"/Kids [3 0 R]", b"/Kids [2 0 R]")
    with pytest.raises(UserError):
        read("a.pdf", looped)


# --- office, notebooks, mail ------------------------------------------------------------------------------------


def test_slides_are_pages_with_notes_and_tables(read: Read) -> None:
    from pptx import Presentation
    from pptx.util import Inches

    deck = Presentation()
    for title, body in (("Review", "Sales rose."), ("回顾", "销售增长。")):
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = body
    slide.notes_slide.notes_text_frame.text = "Thank everybody."
    table = slide.shapes.add_table(2, 2, Inches(1), Inches(5), Inches(4), Inches(1)).table
    for n, text in enumerate(("Item", "Price", "Tea", "3 EUR")):
        table.cell(n // 2, n % 2).text = text
    deck.core_properties.title, deck.core_properties.author = "Review 2026", "Ann"
    written = io.BytesIO()
    deck.save(written)
    parsed = read("a.pptx", written.getvalue())
    assert [parsed.text[start:].partition("\n")[0] for start in parsed.page_starts] == ["# Review", "# 回顾"]
    assert "| Item | Price |\n| --- | --- |\n| Tea | 3 EUR |" in parsed.text
    assert "Thank everybody." in parsed.text
    assert (parsed.meta["title"], parsed.meta["author"]) == ("Review 2026", "Ann")


def test_sheets_are_tables_and_hidden_ones_and_formulas_without_result_are_named(read: Read) -> None:
    import datetime

    import openpyxl
    import openpyxl.comments

    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "员工"
    for row in (("姓名", None, "入职"), ("王芳", None, datetime.date(2020, 1, 5)), (), ("合计", None, "=SUM(C2)")):
        sheet.append(row)
    sheet["A1"].comment = openpyxl.comments.Comment("Check this.", "Ann")
    hidden = book.create_sheet("secret")
    hidden.append(["x"])
    hidden.sheet_state = "hidden"
    written = io.BytesIO()
    book.save(written)
    parsed = read("a.xlsx", written.getvalue())
    assert parsed.text == "## 员工\n\n| 姓名 | 入职 |\n| --- | --- |\n| 王芳 | 2020-01-05 |\n| 合计 |  |\n"
    assert "Hidden sheets were not read: secret" in lost(parsed)
    assert "no stored result: 1" in lost(parsed)
    assert "Comments were not read: 1" in lost(parsed)


def test_a_notebook_gives_its_text_code_and_output(read: Read) -> None:
    output = [{"text": ["4\n"]}, {"data": {"image/png": "…", "text/plain": ["<Figure>"]}}]
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "正文"]},
        {"cell_type": "code", "source": "2 + 2", "outputs": output},
    ]
    parsed = read("a.ipynb", json.dumps({"nbformat": 4, "cells": cells, "metadata": {}}).encode())
    assert parsed.text == "# Title\n正文\n\n```python\n2 + 2\n```\n\n```\n4\n```\n\n```\n<Figure>\n```\n"
    assert "Pictures were not read (no OCR): 1" in lost(parsed)
    with pytest.raises(UserError, match="damaged"):
        read("a.ipynb", b"{}")


def test_an_epub_gives_its_chapters_in_order_and_its_meta(read: Read) -> None:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as book:
        book.writestr("mimetype", "application/epub+zip")
        container = '<container><rootfiles><rootfile full-path="b/c.opf"/></rootfiles></container>'
        book.writestr("META-INF/container.xml", container)
        meta = "<dc:title>西游</dc:title><dc:creator>Wu</dc:creator><dc:language>zh</dc:language>"
        items = '<item id="a" href="a.xhtml"/><item id="z" href="z.xhtml"/>'
        spine = '<itemref idref="z"/><itemref idref="a"/>'
        parts = f"<metadata>{meta}</metadata><manifest>{items}</manifest><spine>{spine}</spine>"
        opf = f'<package xmlns:dc="d">{parts}</package>'
        book.writestr("b/c.opf", opf)
        book.writestr("b/z.xhtml", "<html><body><h1>One</h1><p>First.</p></body></html>")
        book.writestr("b/a.xhtml", "<html><body><h1>Two</h1><p>Second.</p></body></html>")
    parsed = read("a.epub", written.getvalue())
    assert parsed.text == "# One\n\nFirst.\n\n# Two\n\nSecond.\n"
    assert parsed.meta == {"title": "西游", "author": "Wu", "language": "zh"}


def test_mail_gives_headers_body_text_attachments_and_names_the_others(read: Read) -> None:
    message = email.message.EmailMessage(policy=email.policy.default)
    message["From"], message["To"], message["Subject"] = "王芳 <w@example.org>", "b@example.org", "会议改期"
    message["Date"] = "Tue, 03 Nov 2026 10:00:00 +0800"
    message.set_content("会议改到星期五下午三点。", charset="gb2312")
    message.add_alternative("<p>html</p>", subtype="html")
    message.add_attachment("Bring the red folder.", filename="notes.txt")
    message.add_attachment(b"%PDF-", maintype="application", subtype="pdf", filename="计划.pdf")
    parsed = read("a.eml", message.as_bytes())
    assert parsed.text.startswith("# 会议改期\n\n**From:** 王芳 <w@example.org>")
    assert "会议改到星期五下午三点。" in parsed.text
    assert "## notes.txt\n\nBring the red folder." in parsed.text
    assert "Attachments were not read: 计划.pdf" in lost(parsed)
    assert parsed.meta == {"title": "会议改期", "author": "王芳 <w@example.org>", "date": "2026-11-03"}


def test_what_is_no_mail_is_refused(read: Read) -> None:
    with pytest.raises(UserError, match="no e-mail"):
        read("a.eml", b"hello there")
