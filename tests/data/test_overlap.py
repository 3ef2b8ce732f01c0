from pathlib import Path

import pytest

from dizuo.data.overlap import Overlap, evaluation_texts, report
from tests.conftest import data_file

_QUESTION = "How many eggs does the duck of the farmer lay in all of the days between Monday and Friday"
_CHINESE = "锣鼓经是大陆传统器乐及戏曲里面常用的打击乐记谱方法"


@pytest.fixture
def overlap() -> Overlap:
    return Overlap(
        {"eggs": [_QUESTION, "too short to find"], "zh": [_CHINESE], "short": ["one two three four five six seven 8"]}
    )


def test_a_run_of_thirteen_words_is_found_whatever_stands_between_them(overlap: Overlap) -> None:
    inside = "Before it. " + ", ".join(_QUESTION.upper().split()[:13]) + " and after it."
    assert overlap.hits(inside) == {"eggs": 1}


def test_twelve_words_are_not_enough(overlap: Overlap) -> None:
    assert overlap.hits(" ".join(_QUESTION.split()[:12]) + " something else") == {}


def test_chinese_is_compared_by_the_character(overlap: Overlap) -> None:
    assert overlap.hits("他说：" + _CHINESE[:13] + "。") == {"zh": 1}
    assert overlap.hits(_CHINESE[:12] + "别的") == {}


def test_a_text_of_eight_to_twelve_words_is_looked_for_as_a_whole(overlap: Overlap) -> None:
    assert overlap.hits("say: one two three four five six seven 8, and go") == {"short": 1}
    assert overlap.hits("two three four five six seven 8") == {}
    assert overlap.hits("this is too short to find") == {}


def test_documents_that_overlap_are_left_out_and_counted(overlap: Overlap) -> None:
    documents = ["clean text", f"see: {_QUESTION}", _CHINESE]
    assert list(overlap.without(documents)) == ["clean text"]
    assert overlap.dropped == {"eggs": 1, "zh": 1}


def test_the_report_says_how_many_documents_share_with_which_set(overlap: Overlap) -> None:
    told = report("mine", ["clean", _QUESTION, _QUESTION + " " + _CHINESE], overlap)
    assert (told.documents, told.overlapping, told.by_set) == (3, 2, {"eggs": 2, "zh": 1})


def test_the_fingerprint_changes_with_what_is_looked_for(overlap: Overlap) -> None:
    assert overlap.fingerprint != Overlap({"zh": [_CHINESE]}).fingerprint


@pytest.mark.data
def test_texts_of_named_sets_come_from_every_split() -> None:
    data: Path = data_file("mbpp").parent
    overlap = Overlap(evaluation_texts(data, ["humaneval", "mbpp"]))
    prompt = "Write a function to find the minimum cost path to reach (m, n) from (0, 0) for the given cost matrix"
    assert overlap.hits(prompt)["mbpp"] > 1  # of the split `prompt`
    assert overlap.hits("def f(): pass") == {}


@pytest.mark.data
def test_all_sets_that_scores_are_reported_on_are_looked_for_and_no_held_out_pretraining_text() -> None:
    names = set(evaluation_texts(data_file("text").parent))
    assert {"humaneval", "squad_v2_en", "cmrc2018_zh", "text/wikitext-2", "truthfulqa", "mbpp", "gsm8k"} <= names
    assert "text/en-books" not in names
    assert "gpteacher" not in names
