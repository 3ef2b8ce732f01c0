"""Text as elements: what is shown of Markdown, and where the words of a query stand."""

import pytest

from dizuo.studio.login import _own_path
from dizuo.studio.prose import Block, blocks, query_spans


def test_paragraphs_keep_their_line_breaks() -> None:
    assert list(blocks("one\ntwo\n\nthree")) == [Block("paragraph", ("one", "two")), Block("paragraph", ("three",))]


def test_lists_headings_and_code_are_told_apart() -> None:
    text = "# Title\nIntro\n- a\n- b\n1. x\n```py\n# no heading\n\n- no list\n```\nend"
    kinds = [(block.kind, block.lines) for block in blocks(text)]
    assert kinds == [
        ("heading", ("Title",)),
        ("paragraph", ("Intro",)),
        ("bullets", ("a", "b")),
        ("numbers", ("x",)),
        ("code", ("# no heading", "", "- no list")),
        ("paragraph", ("end",)),
    ]


def test_html_stays_the_characters_it_is() -> None:
    assert list(blocks("<script>x</script>")) == [Block("paragraph", ("<script>x</script>",))]


def test_code_that_is_still_being_written_is_code() -> None:
    assert list(blocks("```\nhalf")) == [Block("code", ("half",))]


def marked(text: str, query: str) -> list[str]:
    return [text[start:end] for start, end in query_spans(text, query)]


def test_words_are_marked_in_any_form_the_index_knows() -> None:
    assert marked("Backups were restored.", "how to restore a backup?") == ["Backups", "restored"]


def test_words_of_the_question_form_are_not_marked() -> None:
    assert marked("What is the warranty?", "what is the warranty of it") == ["warranty"]


def test_chinese_is_marked_in_traditional_script_too() -> None:
    assert marked("員工每年有十五天帶薪年假。", "员工年假") == ["員工", "年假"]


@pytest.mark.parametrize(
    "path", ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "/login", "/a\nb", ""]
)
def test_sign_in_sends_nobody_elsewhere(path: str) -> None:
    assert _own_path(path) == "/"


def test_sign_in_leads_back_to_where_one_wanted_to_be() -> None:
    assert _own_path("/knowledge/guide?q=x") == "/knowledge/guide?q=x"
