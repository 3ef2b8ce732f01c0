"""What only the writing of a question brings."""

import pytest

from dizuo.gateway.writing import normalised
from dizuo.knowledge.analyze import fold


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is the capital of France?", "  what is  the Capital of france "),
        ("Hello, where is it?", "Where is it? Thanks!"),
        ("Please, pass the salt", "pass the salt"),
        ("ＡＢＣ 是什么", "abc是什么"),
        ("請問怎麼退款？", "怎么退款"),
        ("您好，怎么退款？谢谢", "怎么退款"),
    ],
)
def test_width_case_marks_politeness_and_traditional_characters_change_nothing(one: str, other: str) -> None:
    assert normalised(one, fold) == normalised(other, fold)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Who runs it?", "WHO runs it?"),
        ("What does `a b` do?", "What does `a B` do?"),
        ("print(X)", "print(x)"),
        ("Translate please", "Translate"),
        ("What is C++?", "What is C?"),
        ("3.5 or 35?", "35 or 3.5?"),
    ],
)
def test_what_may_matter_stays(one: str, other: str) -> None:
    assert normalised(one, fold) != normalised(other, fold)
