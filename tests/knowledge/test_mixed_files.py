"""A folder of files that real programs made, in both languages, goes in and answers from the right page and heading."""

import shutil
import subprocess
from pathlib import Path

import pytest

from dizuo.core.documents import DocumentText
from dizuo.knowledge.parse_process import Parser
from dizuo.wiring import House

pytestmark = pytest.mark.slow

ENGLISH = """<html lang="en"><head><meta charset="utf-8"><title>Travel handbook</title></head><body>
<h1>Travel handbook</h1><p>This handbook explains how the employees of the Freedonia Mapping Office travel, what is
paid for, and which forms are needed before and after a trip so that nobody has to wait for their money.</p>
<h2>Allowances</h2><p>The daily allowance depends on the country.</p>
<table border="1"><tr><th>Country</th><th>Allowance</th></tr><tr><td>France</td><td>45 EUR</td></tr></table>
<h2>Receipts</h2><ul><li>Keep every receipt.</li><li>Hand them in within thirty days.</li></ul>
<h2 style="page-break-before:always">Emergencies</h2><p>The emergency telephone number is 555-0199.</p></body></html>"""
CHINESE = """<html lang="zh-CN"><head><meta charset="utf-8"><title>差旅手册</title></head><body>
<h1>差旅手册</h1><p>本手册说明弗里多尼亚测绘局的员工如何出差、哪些费用可以报销，以及出差前后需要填写哪些表格，使每一位员工都能
及时收到应得的款项，不必长时间等待财务部门处理。</p>
<h2>补贴标准</h2><p>每日补贴取决于出差所在的国家。</p>
<table border="1"><tr><th>国家</th><th>补贴</th></tr><tr><td>法国</td><td>四十五欧元</td></tr></table>
<h2>票据</h2><ul><li>保留所有票据。</li><li>三十日内提交。</li></ul>
<h2 style="page-break-before:always">紧急情况</h2><p>紧急联系电话是五五五零一九九。</p></body></html>"""


def convert(folder: Path, target: str, *files: Path, reader: str = "") -> None:
    profile = f"-env:UserInstallation=file://{folder / 'profile'}"
    command = ["soffice", profile, "--headless", *([f"--infilter={reader}"] if reader else []), "--convert-to", target]
    subprocess.run([*command, "--outdir", folder, *files], check=True, capture_output=True, timeout=120)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Word, PDF, old Word, Excel (new and old), PowerPoint and its PDF, by LibreOffice."""
    if shutil.which("soffice") is None:
        pytest.skip("LibreOffice is not installed (Debian: apt-get install libreoffice-writer libreoffice-impress)")
    made = tmp_path_factory.mktemp("made")
    for name, text in (("travel", ENGLISH), ("差旅", CHINESE)):
        (made / f"{name}.html").write_text(text, "utf-8")
    (made / "prices.csv").write_text("Item,Price\nGreen tea,3.50\n乌龙茶,18\n", "utf-8")
    pages = [made / "travel.html", made / "差旅.html"]
    (made / "deck.fodp").write_text(DECK, "utf-8")
    # A start of LibreOffice takes a second, so each makes all it can.
    convert(made, "docx:MS Word 2007 XML", *pages, reader="HTML (StarWriter)")
    convert(made, "pdf", made / "travel.docx", made / "差旅.docx", made / "deck.fodp")
    convert(made, "doc", made / "travel.docx")
    convert(made, "xlsx", made / "prices.csv", reader="CSV:44,34,UTF8")
    convert(made, "xls", made / "prices.xlsx")
    convert(made, "pptx", made / "deck.fodp")
    (made / "deck.fodp").unlink()
    shutil.rmtree(made / "profile")
    return made


DECK = (
    """<?xml version="1.0" encoding="UTF-8"?>
<office:document xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
 xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0"
 xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"
 xmlns:svg="urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0"
 xmlns:presentation="urn:oasis:names:tc:opendocument:xmlns:presentation:1.0" office:version="1.3"
 office:mimetype="application/vnd.oasis.opendocument.presentation"><office:body><office:presentation>"""
    + "".join(
        f"""<draw:page draw:name="{n}"><draw:frame presentation:class="title" svg:x="2cm" svg:y="1cm" svg:width="20cm"
 svg:height="2cm"><draw:text-box><text:p>{title}</text:p></draw:text-box></draw:frame><draw:frame
 presentation:class="outline" svg:x="2cm" svg:y="4cm" svg:width="20cm" svg:height="8cm"><draw:text-box><text:p>{body}
</text:p></draw:text-box></draw:frame></draw:page>"""
        for n, (title, body) in enumerate(
            (("Results", "Sales of maps rose by twelve percent."), ("业绩", "地图销量增长百分之十二。"))
        )
    )
    + "</office:presentation></office:body></office:document>"
)


@pytest.fixture(scope="module")
def texts(files: Path) -> dict[str, str]:
    parser = Parser(100)
    read = {path.name: parser.parse(path, path.name).text for path in files.iterdir() if path.suffix != ".doc"}
    parser.close()
    return read


@pytest.mark.parametrize("name", ["travel.docx", "travel.html"])
def test_word_keeps_headings_tables_and_lists(texts: dict[str, str], name: str) -> None:
    text = texts[name]
    assert text.startswith("# Travel handbook\n\nThis handbook explains")
    assert (
        "## Allowances\n\nThe daily allowance depends on the country.\n\n| Country | Allowance |\n| --- | --- |\n"
        in text
    )
    assert "| France | 45 EUR |" in text
    assert "* Keep every receipt.\n* Hand them in within thirty days." in text


def test_chinese_word_keeps_headings_tables_and_lists(texts: dict[str, str]) -> None:
    text = texts["差旅.docx"]
    assert (
        "## 补贴标准\n\n每日补贴取决于出差所在的国家。\n\n| 国家 | 补贴 |\n| --- | --- |\n| 法国 | 四十五欧元 |" in text
    )
    assert "* 保留所有票据。\n* 三十日内提交。" in text


@pytest.mark.parametrize(
    ("name", "paragraph"),
    [
        ("travel.pdf", "which forms are needed before and after a trip so that nobody has to wait for their money."),
        ("差旅.pdf", "出差前后需要填写哪些表格，使每一位员工都能及时收到应得的款项，不必长时间等待财务部门处理。"),
    ],
)
def test_a_pdf_has_whole_paragraphs_and_headings(texts: dict[str, str], name: str, paragraph: str) -> None:
    assert paragraph in texts[name].replace(" 及时", "及时")  # the line break in the HTML is a space to LibreOffice
    assert texts[name].startswith(("# Travel handbook\n", "# 差旅手册\n"))


@pytest.mark.parametrize("name", ["prices.xlsx", "prices.xls", "prices.csv"])
def test_a_table_is_the_same_from_every_format(texts: dict[str, str], name: str) -> None:
    assert "| Item | Price |\n| --- | --- |\n| Green tea | 3.5" in texts[name]
    assert "| 乌龙茶 | 18 |" in texts[name]


def hit(house: House, query: str, name: str) -> tuple[DocumentText, str, int | None]:
    found = [h for h in house.library.search("kb", query, limit=20).hits if h.document == name]
    document = house.library.document("kb", name)
    assert document.text[found[0].start : found[0].end] == found[0].text
    return document, found[0].heading, found[0].page


def test_the_folder_goes_in_and_both_languages_are_found_on_their_page(house: House, files: Path) -> None:
    job = list(house.jobs.watch(house.library.add("kb", [files]).id))[-1]
    failed = {Path(item.source).name: str(item.error) for item in house.jobs.items(job.id, status="failed")}
    assert (job.status, list(failed)) == ("done", ["travel.doc"])
    assert "--convert-to docx" in failed["travel.doc"]
    assert hit(house, "What is the emergency telephone number?", "travel.pdf")[1:] == (
        "Travel handbook > Emergencies",
        2,
    )
    assert hit(house, "紧急联系电话", "差旅.pdf")[1:] == ("差旅手册 > 紧急情况", 2)
    assert hit(house, "allowance in France", "travel.docx")[1] == "Travel handbook > Allowances"
    assert hit(house, "法国的补贴", "差旅.docx")[0].document.report.format == "docx"
    assert hit(house, "sales of maps", "deck.pptx")[2] == 1
    assert hit(house, "地图销量", "deck.pptx")[2] == 2
    assert hit(house, "地图销量", "deck.pdf")[2] == 2
    assert hit(house, "price of green tea", "prices.xlsx")[0].document.report.lost == ()
