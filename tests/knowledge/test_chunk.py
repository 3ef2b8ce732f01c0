"""Chunks follow the structure of a text, never overlap, lose nothing, and keep their id."""

import gc
import time
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dizuo.core.documents import Chunk
from dizuo.knowledge.chunk import chunk
from tests.conftest import data_rows

SENTENCE = "The daily allowance of an employee depends on the country that he or she travels to. "
PARAGRAPH = SENTENCE * 6


def words(text: str) -> int:
    """Stands for the tokenizer: about right for English, and fast."""
    return len(text.split()) * 4 // 3 + 2


def cut(text: str, format: str = "markdown", pages: Sequence[int] = (), document: str = "doc_1") -> Sequence[Chunk]:
    return chunk(text, document_id=document, page_starts=pages, format=format, count_tokens=words)


def headings(text: str, format: str = "markdown") -> list[str]:
    return [c.heading for c in cut(text, format)]


# --- properties -------------------------------------------------------------------------------------------------

MARKUP = [
    "# A",
    "## B",
    "### C",
    "```",
    "~~~",
    "| a | b |",
    "| --- | --- |",
    "| 1 | 2 |",
    "- item",
    "1. item",
    "===",
    "---",
]
LINES = [
    *MARKUP,
    "",
    "",
    "plain words here.",
    "中文句子。另一句！",
    "def f(x):",
    "    return x",
    "第一章 总则",
    "\u3000",
    "\x0b",
    "x" * 700,
]
texts = st.one_of(st.text(max_size=300), st.lists(st.sampled_from([*LINES, PARAGRAPH]), max_size=40).map("\n".join))
formats = st.sampled_from(["markdown", "text", "python", "pdf", "json", "csv"])


@given(texts, formats)
@example("```\nnever closed", "markdown")
@example("a\n===\n" + "b " * 5000, "markdown")
@example("字" * 5000, "text")
@settings(max_examples=200, deadline=None)
def test_chunks_hold_everything_that_is_not_blank_once_and_in_order(text: str, format: str) -> None:
    chunks = cut(text, format)
    end = 0
    for piece in chunks:
        assert text[piece.start : piece.end] == piece.text
        assert piece.text.strip() == piece.text != ""
        assert piece.start >= end
        assert not text[end : piece.start].strip()
        end = piece.end
    assert not text[end:].strip()
    assert len({piece.id for piece in chunks}) == len(chunks)


@given(texts, formats)
@settings(max_examples=100, deadline=None)
def test_chunks_are_never_much_too_long(text: str, format: str) -> None:
    assert all(words(piece.text) <= 800 or "\n" not in piece.text for piece in cut(text, format))
    assert all(len(piece.text) < 8000 for piece in cut(text, format))


@given(st.lists(st.sampled_from([f"## S{n}\n\n{SENTENCE * 3}{n}" for n in range(6)]), min_size=2, unique=True))
@settings(max_examples=50, deadline=None)
def test_chunks_keep_their_id_when_others_come_before_or_go(sections: list[str]) -> None:
    here = {c.id: c.text for c in cut("\n\n".join(sections))}
    moved = {c.id: c.text for c in cut("# New title\n\n" + PARAGRAPH + "\n\n" + "\n\n".join(reversed(sections)))}
    assert here.items() <= moved.items()


def test_the_same_text_in_another_document_has_another_id() -> None:
    assert cut(SENTENCE)[0].id != cut(SENTENCE, document="doc_2")[0].id


# --- structure --------------------------------------------------------------------------------------------------


def test_headings_become_a_path() -> None:
    titles = ("# Guide", "## Install", "### On *Linux*", "Use\n---")
    text = "\n\n".join(f"{title}\n\n{PARAGRAPH}" for title in titles)
    assert headings(text) == ["Guide", "Guide > Install", "Guide > Install > On Linux", "Guide > Use"]


def test_hashes_that_close_a_heading_are_no_part_of_it_and_those_of_a_name_are() -> None:
    assert headings(f"# Guide ##\n\n{PARAGRAPH * 2}") == ["Guide"]
    assert headings(f"# About C#  \n\n{PARAGRAPH * 2}") == ["About C#"]


def test_a_heading_stays_with_what_stands_under_it() -> None:
    chunks = cut(f"# A\n\n{PARAGRAPH * 3}\n\n## B\n\n### C\n\n{PARAGRAPH * 3}")
    assert [c.text.split("\n")[0] for c in chunks] == ["# A", "## B"]


def test_small_sections_of_one_chapter_are_put_together_but_not_across_chapters() -> None:
    text = "# A\n\n## One\n\nYes.\n\n## Two\n\nNo.\n\n# B\n\nMaybe."
    assert [c.text for c in cut(text)] == ["# A\n\n## One\n\nYes.\n\n## Two\n\nNo.", "# B\n\nMaybe."]


def test_a_hash_in_a_code_block_is_no_heading() -> None:
    assert headings(f"# A\n\n{PARAGRAPH}\n\n```sh\n# not a heading\nls\n```\n\n{PARAGRAPH}") == ["A"]


def test_a_paragraph_is_cut_between_sentences_only() -> None:
    chunks = cut(SENTENCE * 60)
    assert len(chunks) > 2
    assert all(c.text.startswith("The daily") and c.text.endswith("travels to.") for c in chunks)


def test_a_chinese_paragraph_is_cut_between_sentences_only() -> None:
    chunks = cut("员工出差应当事先填写申请表，并经部门负责人批准；未经批准的费用不予报销。" * 80, "text")
    assert len(chunks) > 2
    assert all(c.text.startswith("员工") and c.text.endswith("。") for c in chunks)
    assert all(300 < len(c.text) < 700 for c in chunks)


def test_abbreviations_and_decimals_do_not_end_a_sentence() -> None:
    sentence = "Dr. Lee of Acme Inc. paid 3.14 EUR, e.g. for tea, to Mr. A. Smith on the way to the office. "
    assert all(c.text.startswith("Dr. Lee") for c in cut(sentence * 60))


def test_a_table_row_is_never_cut_and_later_rows_name_the_columns() -> None:
    rows = [f"| city {n} | {n * 1000} people live there in the year 2026 |" for n in range(100)]
    chunks = cut("# Cities\n\n| Name | People |\n| --- | --- |\n" + "\n".join(rows))
    assert len(chunks) > 3
    assert all(line.startswith("|") and line.endswith("|") for c in chunks[1:] for line in c.text.split("\n"))
    assert [c.heading for c in chunks[:2]] == ["Cities", "Cities > Name | People"]
    assert {c.kind for c in chunks} == {"table"}


def test_source_code_is_cut_between_definitions_and_names_them() -> None:
    body = "\n".join(f"    value_{n} = compute(value_{n - 1}, {n}) + 1" for n in range(1, 40))
    start = '"""A module."""\n\nimport os\n\n\n'
    code = f"{start}@decorated\ndef first():\n{body}\n\n\nclass Second:\n    def method(self):\n{body}\n"
    chunks = cut(code, "python")
    assert any(c.text.startswith("@decorated\ndef first():") for c in chunks)
    assert {"first", "Second"} <= {c.heading for c in chunks}
    assert {c.kind for c in chunks} == {"code"}


def test_a_fenced_block_that_fits_is_not_cut() -> None:
    block = "```python\n" + "\n\n".join(f"x{n} = {n}" for n in range(30)) + "\n```"
    assert any(block in c.text for c in cut(f"# A\n\n{PARAGRAPH}\n\n{block}\n\n{PARAGRAPH}"))


def test_chinese_chapters_in_plain_text_are_headings() -> None:
    text = "第一章 总则\n\n" + "本办法适用于全体员工。" * 12 + "\n\n第二章 费用\n第一节 机票\n" + "机票实报实销。" * 20
    assert headings(text, "text") == ["第一章 总则", "第二章 费用 > 第一节 机票"]


def test_a_chunk_never_runs_over_a_page_so_that_a_citation_names_the_right_one() -> None:
    pages = ["One short page.", "Another.", PARAGRAPH]
    text = "\n\n".join(pages)
    starts = [text.index(page) for page in pages]
    assert [(c.page, c.text) for c in cut(text, "pdf", starts)] == [(n + 1, p.strip()) for n, p in enumerate(pages)]


def test_a_short_text_of_several_paragraphs_is_one_chunk() -> None:
    assert len(cut("\n\n".join([PARAGRAPH] * 3), "text")) == 1


@pytest.mark.data
@pytest.mark.parametrize(("data", "share"), [("squad_v2_en", 0.98), ("cmrc2018_zh", 1.0)])
def test_passages_as_people_wrote_them_stay_whole(data: str, share: float) -> None:
    from dizuo.gateway.local import LocalEmbedder

    count = LocalEmbedder().count_tokens
    passages = [row["text"] for row in data_rows(data, "passages.jsonl.gz")]
    options = {"document_id": "d", "page_starts": (), "format": "text", "count_tokens": count}
    whole = sum(len(chunk(passage, **options)) == 1 for passage in passages)
    assert whole / len(passages) >= share


@pytest.mark.parametrize(
    ("before", "unit"),
    [
        *(("", unit) for unit in (f"{PARAGRAPH}\n\n", SENTENCE, "| a | b |\n", "A" * 100, "字句。", "word ", "# h\n")),
        ("# h", " "),  # a heading that goes on and on
        ("# ", "["),
        ("a\nb\n", "--\n"),  # lines that would make a heading of one line above
    ],
)
def test_the_time_is_linear_in_the_length(before: str, unit: str) -> None:
    def seconds(size: int) -> float:
        text = before + unit * (size // len(unit)) + "x"
        gc.collect()
        gc.disable()  # a round through all that other tests left in this process takes longer than what is measured
        try:
            started = time.process_time()
            cut(text)
            return time.process_time() - started
        finally:
            gc.enable()

    seconds(10_000)
    # Eight times the text takes eight times as long; quadratic work would take 64 times.
    assert seconds(400_000) < 24 * seconds(50_000) + 0.2
