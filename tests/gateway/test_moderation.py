"""What labels of a classifier say of harm."""

from collections.abc import Sequence

import pytest

from dizuo.core.errors import UserError
from dizuo.core.protocols import Label
from dizuo.gateway.moderation import Verdict, verdicts


class Judge:
    """Says the same of every text."""

    name = "local/judge"

    def __init__(self, **probabilities: float) -> None:
        self._labels = [Label(name, probability) for name, probability in probabilities.items()]

    def classify(self, texts: Sequence[str]) -> list[list[Label]]:
        return [self._labels for _ in texts]


def verdict(**probabilities: float) -> Verdict:
    return verdicts(Judge(**probabilities), ["x"])[0]


def test_half_is_enough_to_flag_and_the_harmless_label_is_no_category() -> None:
    found = verdict(safe=0.3, hate=0.5, spam=0.2)
    assert found == Verdict(flagged=True, categories={"hate": True, "spam": False}, scores={"hate": 0.5, "spam": 0.2})
    assert not verdict(safe=0.51, hate=0.49).flagged


@pytest.mark.parametrize(
    "label",
    ["safe", "OK", "non-toxic", "not_hate", "no hate speech", "Nontoxic", "neither", "正常", "非辱骂", "不违规"],
)
def test_what_means_harmless_is_known_by_its_name(label: str) -> None:
    assert not verdict(**{label: 0.9, "bad": 0.1}).flagged


@pytest.mark.parametrize("label", ["nonsense_spam", "nosy", "toxic", "unsafe", "辱骂"])
def test_other_names_are_categories(label: str) -> None:
    assert label in verdict(safe=0.1, **{label: 0.9}).categories


def test_labels_that_stand_beside_each_other_need_no_harmless_one() -> None:
    assert verdict(toxic=0.1, threat=0.2).flagged is False
    assert verdict(toxic=0.9, threat=0.8).categories == {"toxic": True, "threat": True}


def test_a_choice_between_labels_of_which_none_is_harmless_is_refused() -> None:
    with pytest.raises(UserError, match=r"none of its labels \(glad, sad\) means harmless"):
        verdict(glad=0.4, sad=0.6)
