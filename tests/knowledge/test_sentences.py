"""Where sentences begin and end."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dizuo.knowledge.sentences import sentences


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ('He said "Really?" She left.', ['He said "Really?"', "She left."]),
        ("锣鼓经是什么？他说：“好。”然后走了。", ["锣鼓经是什么？", "他说：“好。”", "然后走了。"]),
        ("今天好吗?很好!是的……对。", ["今天好吗?", "很好!", "是的……", "对。"]),
        ("全长364.6公里，由A公司管理。共47站。", ["全长364.6公里，由A公司管理。", "共47站。"]),
    ],
)
def test_a_text_is_cut_after_its_end_marks(text: str, expected: list[str]) -> None:
    assert cut(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Dr. Smith came at 3.5 p.m. yesterday.",
        "J. K. Rowling wrote it in Jan. 2001.",
        "See Fig. 3 and e.g. the U.S. Army.",
        'Ask: `dizuo ask "How many days?" --knowledge handbook`.',
        "Version 1.2.3 of example.com is out.",
    ],
)
def test_a_full_stop_within_a_sentence_does_not_end_it(text: str) -> None:
    assert cut(text) == [text]


def test_headings_items_rows_and_code_stand_for_themselves() -> None:
    text = "# Title\n\nPara one\nwraps. Two.\n\n- item a\n- item b\n  goes on\n\n| a | b |\n| 1 | 2 |\n\n"
    text += "```\nx. Y\n\nz\n```\nEnd"
    assert cut(text) == [
        "# Title", "Para one\nwraps.", "Two.", "- item a", "- item b\n  goes on", "| a | b |", "| 1 | 2 |",
        "```\nx. Y\n\nz\n```", "End",
    ]  # fmt: skip


def test_a_fence_that_nobody_closed_runs_to_the_end() -> None:
    assert cut("Look. Here:\n\n```\na. B\n\nc") == ["Look.", "Here:", "```\na. B\n\nc"]


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("aB1 .!?\n\t`|#-。？！“”中文()"), max_size=120))
def test_no_character_is_lost_and_no_two_sentences_overlap(text: str) -> None:
    spans = sentences(text)
    assert all(start < end for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    covered = "".join(text[start:end] for start, end in spans)
    assert "".join(covered.split()) == "".join(text.split())


def test_a_long_text_without_an_end_mark_takes_linear_time() -> None:
    assert len(sentences("word " * 200_000)) == 1
    assert len(sentences("a. B" * 50_000)) >= 1
