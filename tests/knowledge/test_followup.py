"""Which questions lean on the one before."""

import pytest

from dizuo.core.messages import Message
from dizuo.knowledge.followup import leans, names_only, standalone


def said(*texts: str) -> list[Message]:
    return [Message(role="user" if n % 2 == 0 else "assistant", content=text) for n, text in enumerate(texts)]


@pytest.mark.parametrize(
    "question",
    [
        "And for part-time staff?", "What about France?", "Why?", "How long does it take?",
        "那兼职员工呢？", "它多少钱？", "为什么？",
    ],
)  # fmt: skip
def test_a_continuation_leans(question: str) -> None:
    assert leans(question)


@pytest.mark.parametrize(
    "question",
    [
        "How many days of leave do part-time staff get?",
        "Why does the harbour close in winter?",
        "Which of the rules that apply to visitors are printed on their badge at the gate?",
        "兼职员工有多少天年假？",
        "怎样备份我的数据？",
    ],
)
def test_a_whole_question_stands_alone(question: str) -> None:
    assert not leans(question)
    assert standalone(question, said("How high is the tower?", "90 m")) == question


def test_the_question_before_goes_along_and_answers_do_not() -> None:
    history = said("How many days of leave do full-time staff get?", "30 days [1]")
    assert standalone("And part-time staff?", history) == (
        "How many days of leave do full-time staff get?\nAnd part-time staff?"
    )


def test_a_chain_of_follow_ups_leads_back_to_its_first_question() -> None:
    history = said("How many days of leave do full-time staff get?", "30", "And part-time staff?", "15")
    assert standalone("And trainees?", history).startswith("How many days of leave")


def test_without_a_conversation_nothing_is_added() -> None:
    assert standalone("And trainees?", []) == "And trainees?"


@pytest.mark.parametrize(
    ("newest", "named"),
    [
        ("And what about hotels?", "hotels"), ("And for staff?", "for staff"), ("那住宿呢？", "住宿"),
        ("And how do I book one?", ""), ("And why?", ""), ("那怎么申请？", ""), ("How long does it take?", ""),
    ],
)  # fmt: skip
def test_a_follow_up_that_only_names_something_is_told_by_it(newest: str, named: str) -> None:
    assert names_only(f"How much is the meal allowance?\n{newest}") == named
    assert names_only(newest) == ""
