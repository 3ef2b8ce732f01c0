"""Whether two questions ask the same."""

import pytest

from dizuo.gateway.agreement import Lexicon
from dizuo.gateway.verifier import MOST_CHARACTERS, NAMES, Verifier, shipped
from dizuo.knowledge.analyze import fold, terms
from dizuo.knowledge.rarity import rarity

VERIFIER = Verifier(Lexicon(fold, terms, rarity))


def judged(a: str, b: str, cosine: float | None = None) -> tuple[bool, str]:
    found = VERIFIER.judge(VERIFIER.view(a), VERIFIER.view(b), cosine)
    return found.same, found.why


def test_a_near_question_in_other_words_is_the_same_and_a_far_one_is_not() -> None:
    pair = "How do I change my PIN number?", "How can I change my PIN number?"
    assert judged(*pair, 0.98) == (True, "")
    assert judged(*pair, 0.6) == (False, "")


def test_no_nearness_outweighs_a_disagreement() -> None:
    assert judged("Flights from Paris to Rome", "Flights from Rome to Paris", 0.999) == (False, "direction")


def test_english_needs_a_vector_and_chinese_none() -> None:
    assert judged("How do I change my PIN number?", "How can I change my PIN number?") == (False, "unknown")
    assert judged("请问怎么修改邮箱的密码？", "如何修改邮箱的密码") == (True, "")


@pytest.mark.parametrize(
    "text",
    [
        "def f(x): { return x; }",
        "see https://example.org/a",
        "Где это находится сегодня?",
        "Hi",
        "Tom is the tallest boy in the class.",
        "他是个著名的骗子。",
        "why " * MOST_CHARACTERS,
    ],
)
def test_code_statements_and_what_is_too_long_or_short_have_no_other_wording(text: str) -> None:
    assert not VERIFIER.view(text).comparable


def test_the_weights_that_ship_are_those_of_the_signs_and_every_one_does_something() -> None:
    weights = shipped()["weights"]
    assert weights.keys() == NAMES.keys()
    for language, fitted in weights.items():
        assert fitted["weights"].keys() == set(NAMES[language])
        assert all(fitted["weights"].values())
