"""What is left of a question when its wording is taken off."""

import pytest

from dizuo.gateway.opposites import OPEN_ZH, OPPOSITES_EN, OPPOSITES_ZH, SHUT_ZH
from dizuo.gateway.wording import Wording
from dizuo.knowledge.analyze import fold, terms

WORDING = Wording(terms)


@pytest.mark.parametrize(
    ("language", "one", "other"),
    [
        ("en", "How can I buy a phone?", "What are the steps to purchase a telephone"),
        ("en", "Please tell me how a refund works", "How do refunds work?"),
        ("zh", "请问怎么退款？", "如何退款"),
        ("zh", "这本书多少钱", "这书的价格是多少"),
        ("zh", "考试难不难", "考试难吗"),
        ("zh", "什么时候开始", "几点开始"),
        ("zh", "有两个苹果", "有两苹果"),
    ],
)
def test_two_wordings_leave_the_same(language: str, one: str, other: str) -> None:
    assert WORDING.content(fold(one), language) == WORDING.content(fold(other), language)


@pytest.mark.parametrize(
    ("language", "one", "other"),
    [
        ("en", "How far is the moon?", "How far is the sun?"),
        ("en", "I lost hundreds", "I lost thousands"),
        ("zh", "怎么煮鸡蛋", "怎么煮鸭蛋"),
        ("zh", "这本书", "那本书"),
        ("zh", "这是我的", "这是我"),
    ],
)
def test_what_is_asked_about_stays(language: str, one: str, other: str) -> None:
    assert WORDING.content(fold(one), language) != WORDING.content(fold(other), language)


def test_opposites_go_both_ways_and_no_word_is_its_own() -> None:
    for pairs in (OPPOSITES_EN, OPPOSITES_ZH):
        assert {(b, a) for a, b in pairs} == set(pairs)
        assert all(a != b for a, b in pairs)


@pytest.mark.parametrize(("text", "opens", "shuts"), [("开灯", 1, 0), ("关灯", 0, 1), ("开始", 0, 0), ("关于", 0, 0)])
def test_a_character_opens_or_shuts_only_where_it_is_a_word(text: str, opens: int, shuts: int) -> None:
    assert (bool(OPEN_ZH.search(text)), bool(SHUT_ZH.search(text))) == (opens, shuts)
