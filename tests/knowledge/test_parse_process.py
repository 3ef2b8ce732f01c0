"""The parser's child: what it may not do, and that a file that breaks it costs that file only."""

import io
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dizuo.core.errors import TooLarge, UserError
from dizuo.knowledge.parse_process import Parser
from tests.knowledge.pdf import pdf

HELLO = pdf(["Hello there."])


@pytest.fixture
def parser() -> Iterator[Parser]:
    opened = Parser(10)
    yield opened
    opened.close()


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    (tmp_path / "hello.pdf").write_bytes(HELLO)
    return tmp_path / "hello.pdf"


def child(parser: Parser) -> "subprocess.Popen[bytes]":
    assert parser._child is not None
    return parser._child


def docx(body: str, doctype: str = "", **more: bytes) -> bytes:
    """A Word file with this body and these further members."""
    written = io.BytesIO()
    main = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
    word = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "[Content_Types].xml",
            '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
            f'<Override PartName="/word/document.xml" ContentType="{main}"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
            f'<Relationship Id="r" Type="{office}" Target="word/document.xml"/></Relationships>',
        )
        xml = f'<?xml version="1.0"?>{doctype}<w:document xmlns:w="{word}"><w:body>{body}</w:body></w:document>'
        archive.writestr("word/document.xml", xml)
        for name, content in more.items():
            archive.writestr(name, content)
    return written.getvalue()


def paragraph(text: str) -> str:
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def test_plain_text_is_read_without_a_child(parser: Parser, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Hello")
    assert parser.parse(tmp_path / "a.md", "a.md").text == "# Hello"
    assert parser._child is None


def test_one_child_reads_many_files_and_stops_when_idle(hello: Path) -> None:
    parser = Parser(10, idle_s=0.3)
    first = parser.parse(hello, "a.pdf")
    process = child(parser)
    assert parser.parse(hello, "a.pdf") == first
    assert child(parser) is process
    process.wait(10)
    assert parser.parse(hello, "a.pdf") == first
    parser.close()


def test_a_file_that_takes_too_long_is_given_up_and_the_next_one_is_read(hello: Path) -> None:
    slow = Parser(10, base_s=0.01)  # less than a child takes to start
    with pytest.raises(UserError, match="took more than"):
        slow.parse(hello, "a.pdf")
    slow._base_s = 60
    assert slow.parse(hello, "a.pdf").text == "Hello there."
    slow.close()


def test_a_file_that_kills_the_child_is_refused_and_the_next_one_is_read(
    parser: Parser, hello: Path, tmp_path: Path
) -> None:
    parser.parse(hello, "a.pdf")
    process = child(parser)
    (tmp_path / "many.docx").write_bytes(docx(paragraph("word " * 20) * 20_000))
    threading.Timer(0.3, process.kill).start()
    with pytest.raises(UserError, match="broke the program"):
        parser.parse(tmp_path / "many.docx", "many.docx")
    assert parser.parse(hello, "a.pdf").text == "Hello there."
    assert child(parser) is not process


def test_a_child_that_died_between_two_files_is_replaced(parser: Parser, hello: Path) -> None:
    parser.parse(hello, "a.pdf")
    child(parser).kill()
    child(parser).wait()
    assert parser.parse(hello, "a.pdf").text == "Hello there."


@pytest.mark.skipif(sys.platform == "win32", reason="no memory limit on Windows")
def test_a_file_that_takes_too_much_memory_is_refused_and_the_next_one_is_read(hello: Path, tmp_path: Path) -> None:
    parser = Parser(100, memory_mb=300)
    (tmp_path / "wide.json").write_bytes(b"[" + b'{"a":1},' * 1_500_000 + b"1]")
    with pytest.raises(UserError, match="more memory than 300 MiB"):
        parser.parse(tmp_path / "wide.json", "wide.json")
    assert parser.parse(hello, "a.pdf").text == "Hello there."
    parser.close()


def test_a_file_past_the_limit_is_refused_by_the_name_of_the_setting(parser: Parser, tmp_path: Path) -> None:
    with (tmp_path / "big.txt").open("wb") as file:
        file.truncate(500 << 20)
    with pytest.raises(TooLarge, match="max_file_mb"):
        parser.parse(tmp_path / "big.txt", "big.txt")


def test_a_zip_bomb_in_a_document_is_not_unpacked(parser: Parser, tmp_path: Path) -> None:
    (tmp_path / "bomb.docx").write_bytes(docx(paragraph("x"), **{"word/media/zeros.bin": bytes(60 << 20)}))
    with pytest.raises(UserError, match="made to do harm"):
        parser.parse(tmp_path / "bomb.docx", "bomb.docx")


@pytest.mark.parametrize(
    "entities",
    [
        '<!ENTITY e SYSTEM "file:///etc/passwd">',
        '<!ENTITY a0 "lol">'
        + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 9))
        + '<!ENTITY e "&a8;">',
    ],
)
def test_entities_are_neither_fetched_nor_multiplied(parser: Parser, tmp_path: Path, entities: str) -> None:
    (tmp_path / "xxe.docx").write_bytes(docx(paragraph("safe") + paragraph("&e;"), f"<!DOCTYPE x [{entities}]>"))
    try:
        text = parser.parse(tmp_path / "xxe.docx", "xxe.docx").text
    except UserError:
        return
    assert "root:" not in text
    assert len(text) < 10_000


@pytest.mark.parametrize(
    "attempt",
    [
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.system('true')",
        "import os; os.remove('made')",
        "import pathlib; pathlib.Path('made').write_text('x')",
    ],
)
def test_the_child_may_not_connect_start_programs_or_write(tmp_path: Path, attempt: str) -> None:
    prepared = (
        "from dizuo.knowledge import parse_child as c; import sys; c._limit(2 << 30); sys.addaudithook(c._audit); "
    )
    done = subprocess.run([sys.executable, "-c", prepared + attempt], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "the parser may not" in done.stderr or "File too large" in done.stderr


def test_the_child_sees_neither_our_secrets_nor_modules_of_the_current_folder(
    parser: Parser, hello: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIZUO_MODEL_API_KEY", "secret")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pypdf.py").write_text("raise SystemExit")
    assert parser.parse(hello, "a.pdf").text == "Hello there."
    if sys.platform == "linux":
        assert b"secret" not in Path(f"/proc/{child(parser).pid}/environ").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_child_ends_with_its_parent(tmp_path: Path, hello: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from dizuo.knowledge.parse_process import Parser; p = Parser(10); "
        f"p.parse(Path({str(hello)!r}), 'a.pdf'); print(p._child.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
        deadline = time.monotonic() + 10
        while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
            assert time.monotonic() < deadline, "the child lives on"
            time.sleep(0.05)


def test_several_threads_share_one_parser(parser: Parser, hello: Path) -> None:
    texts: list[str] = []
    threads = [threading.Thread(target=lambda: texts.append(parser.parse(hello, "a.pdf").text)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == ["Hello there."] * 6


def test_a_path_that_is_not_utf8_reaches_the_child(parser: Parser, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xb1\xa8.pdf")
    path.write_bytes(HELLO)
    assert parser.parse(path, "报.pdf").text == "Hello there."
