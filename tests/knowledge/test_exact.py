"""What a reader makes of a quotation; `local/reader`, which ships, on plain documents."""

import json

import pytest

from dizuo.core.documents import Hit
from dizuo.evals.answering import _surest
from dizuo.gateway.local_folders import SHIPPED
from dizuo.gateway.models import Models
from dizuo.knowledge import exact
from dizuo.knowledge.extract import Extract, Quote, extract, fitted

FOLDER = SHIPPED / "reader"
OFFICE = (
    "The harbour office opens at 8 am and closes at 6 pm. The Falcon X200 has a warranty of 24 months. "
    "The parking garage belongs to Anna Berg, who lives in Oslo. Full-time staff get 30 days of leave a year."
)
OFFICE_ZH = (
    "港口办公室早上八点开门，晚上六点关门。猎鹰X200的保修期为二十四个月。停车场由陈光管理，他住在苏州市。"
    "全职员工每年有三十天年假。公司成立于1957年，总部位于宁波市。"
)


def hit_of(text: str) -> Hit:
    return Hit(document="a.md", document_id="a", chunk="a:0", text=text, score=1.0, heading="", page=None, start=100,
               end=100 + len(text), legs={})  # fmt: skip


@pytest.mark.parametrize(
    ("text", "question", "words"),
    [
        (OFFICE, "How long is the warranty of the Falcon X200?", "24"),
        (OFFICE, "Who owns the parking garage?", "Anna Berg"),
        (OFFICE, "How many days of leave do full-time staff get?", "30"),
        (OFFICE_ZH, "猎鹰X200的保修期是多久？", "二十四个月"),
        (OFFICE_ZH, "公司成立于哪一年？", "1957年"),
        (OFFICE_ZH, "停车场由谁管理？", "陈光"),
    ],
)
def test_the_reader_that_ships_names_the_words_that_answer(text: str, question: str, words: str) -> None:
    extracted = extract(question, [hit_of(text)], None)
    found = exact.read(question, extracted, Models().reader(exact.READER))
    assert found.exact is not None
    assert words in found.exact.text
    assert len(found.exact.text) <= len(words) + 8
    assert text[found.exact.start - 100 : found.exact.end - 100] == found.exact.text


def test_it_is_small_and_its_card_says_what_made_it_and_what_it_reaches() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 30 << 20
    card = (FOLDER / "README.md").read_text("utf-8")
    for expected in ("cc-by-sa-4.0", "all-MiniLM-L6-v2", "SQuAD", "CMRC", "Code: commit", "forced_f1", "- zh"):
        assert expected in card
    assert all(one.get("licence") for one in json.loads((FOLDER / "dizuo.json").read_text("utf-8"))["data"])


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_wider_margin_never_makes_an_answer_less_sure(language: str) -> None:
    weights = fitted()["readers"][language]
    chances = [exact.confidence(0.4, margin, weights) for margin in (-50, -5, 0, 5, 50)]
    assert chances == sorted(chances)
    assert all(
        0 < one < 1 for one in (*chances, exact.confidence(0.0, -50, weights), exact.confidence(1.0, 50, weights))
    )


def test_where_nothing_is_quoted_nothing_is_read() -> None:
    nothing = Extract(None, 0.0, found=False)
    assert exact.read("Who?", nothing, Models().reader(exact.READER)) is nothing


def test_a_question_too_long_for_the_reader_leaves_the_answer_as_it_was() -> None:
    extracted = Extract(Quote(hit_of(OFFICE), 100, 152), 0.9, found=True)
    assert exact.read("why " * 900, extracted, Models().reader(exact.READER)) is extracted


def test_words_are_named_from_the_margin_at_which_enough_were_right() -> None:
    assert _surest([5, 4, 3, 2, 1], [True, True, True, False, False]) == 2
    assert _surest([5, 4], [False, False]) > 100
