"""A model's text, whatever pieces it comes in."""

from hypothesis import given, settings
from hypothesis import strategies as st

from dizuo.core.documents import Hit
from dizuo.core.events import CitationFound, TextDelta
from dizuo.knowledge.scribe import Scribe

TEXT = "Full-time staff get 30 days of leave a year. See https://intra.example/leave for forms. 年假为十天。"
HIT = Hit(
    document="a.md",
    document_id="a",
    chunk="c",
    text=TEXT,
    score=1,
    heading="",
    page=None,
    start=0,
    end=len(TEXT),
    legs={},
)
PARTS = [
    "Full-time staff get 30 days of leave ", "[1]", ". ", "[9]", "【1】", "年假为十天", "。", "![x](https://evil.example/a)",
    "[y](https://evil.example/b)", "https://intra.example/leave", " https://evil.example/c ", "[", "]", "!", "(",
    "\n\n", "- item ", "<img src=x>", "`a[1]`", "[1, 1]", "x" * 700,
]  # fmt: skip


def written(pieces: list[str]) -> tuple[str, int]:
    scribe = Scribe([HIT])
    events = [event for piece in pieces for event in scribe.take(piece)] + list(scribe.finish())
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert text == scribe.text
    announced = [event.index for event in events if isinstance(event, CitationFound)]
    assert set(announced) == set(range(1, len(scribe.citations) + 1))
    return text, len(scribe.citations)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=8), st.integers(1, 9))
def test_no_text_lets_a_foreign_address_through_or_loses_count_of_its_citations(parts: list[str], size: int) -> None:
    whole = "".join(parts)
    text, _n = written([whole[i : i + size] for i in range(0, len(whole), size)])
    assert "evil.example" not in text
    assert "![" not in text or "](http" not in text


def test_the_pieces_that_a_text_comes_in_make_no_difference() -> None:
    whole = "Full-time staff get 30 days of leave a year [1]. See [here](https://intra.example/leave). 年假为十天[1]。"
    results = {written([whole[i : i + size] for i in range(0, len(whole), size)]) for size in (1, 2, 3, 7, 1000)}
    assert len(results) == 1
    assert "[here](https://intra.example/leave)" in results.pop()[0]


def test_brackets_in_code_are_no_marks() -> None:
    text, n_citations = written(
        ["Take `items[0]` of the list.\n\n```\nx = items[1]\n```\n\nFull-time staff get 30 days [1]."]
    )
    assert "`items[0]`" in text
    assert "x = items[1]" in text
    assert n_citations == 1
