"""Whether texts are harmful, by the labels of a classifier.

Every label but the one that means "harmless" is a category; its probability is the category's score. A classifier whose
labels stand beside each other, each right or not, needs no such label; one that picks a single label does.
"""

import re
from collections.abc import Sequence

from dizuo.core.errors import UserError
from dizuo.core.messages import Noun
from dizuo.core.protocols import Classifier, Label

THRESHOLD = 0.5  # from this probability on a category holds
_HARMLESS = frozenset(
    {
        "acceptable", "allowed", "appropriate", "benign", "clean", "harmless", "neutral", "neither", "none", "normal",
        "ok", "okay", "other", "safe", "sfw",
        "中性", "其他", "合规", "安全", "无", "无害", "正常",
    }
)  # fmt: skip
# non-toxic, not hate, nontoxic; 非辱骂, 不违规, but not nonsense, 非法 or 不良.
_NEGATED = re.compile(
    r"(non|not|no)[ -]\w|non(abus|hate|offens|spam|tox)|非(?!法)|(不|未|无)(含|涉|害|风险|攻击|毒|辱骂|违)"
)


class Verdict(Noun):
    """What was found in a text: each category with whether it holds, and how sure that is (0 to 1)."""

    flagged: bool
    categories: dict[str, bool]
    scores: dict[str, float]


def verdicts(classifier: Classifier, texts: Sequence[str]) -> list[Verdict]:
    """One for each text. Blocking. Raises UserError for a classifier with no label that means harmless."""
    return [_verdict(classifier.name, labels) for labels in classifier.classify(texts)]


def _verdict(name: str, labels: Sequence[Label]) -> Verdict:
    harmful = [label for label in labels if not _is_harmless(label.name)]
    # One label of all is right where they add up to 1: labels that stand beside each other do so by accident alone.
    if len(harmful) == len(labels) and abs(sum(label.probability for label in labels) - 1) < 1e-6:
        raise UserError(
            "The classifier {name} cannot tell the harmful from the harmless: none of its labels ({labels}) means "
            "harmless. Name that one so in its config.json (id2label), such as {example}.",
            name=name,
            labels=", ".join(sorted(label.name for label in labels)),
            example="safe, normal, none",
            param="model",
        )
    scores = {label.name: label.probability for label in harmful}
    categories = {category: score >= THRESHOLD for category, score in scores.items()}
    return Verdict(flagged=any(categories.values()), categories=categories, scores=scores)


def _is_harmless(label: str) -> bool:
    plain = label.strip().lower().replace("_", " ")
    return plain in _HARMLESS or _NEGATED.match(plain) is not None
