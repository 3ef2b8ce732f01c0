"""A question that leans on the one before it ("and for part-time staff?") is made to stand alone for the search.

One simple rule, because a wrong guess drags the old topic into a new question: when the question opens like a
continuation, or points back with a pronoun and says little else, the last question that stood alone goes before it.
"""

import re
from collections.abc import Sequence

from dizuo.core.messages import Message

_OPENING = re.compile(
    r"\s*(?:and\b|or\b|but\b|what about\b|how about\b|what if\b|then\b|also\b|why\s*\?|how\s*\?|how so\b|else\b|"
    r"那么?|还有|另外|此外|以及|而且|但是?|如果是|为什么[?？]?\s*$|怎么(?:样|办)?[?？]?\s*$|例如|比如)",
    re.IGNORECASE,
)
_POINTS_BACK = re.compile(
    r"\b(?:it|its|they|them|their|this|that|these|those|he|him|his|she|her|there|one|ones)\b|"
    r"它|他|她|这个|那个|这些|那些|这样|那样|该|此|其|上面|刚才",
    re.IGNORECASE,
)
_ASKING = re.compile(
    r"\b(?:what|how|why|when|where|who(?:se|m)?|which|do|does|did|is|are|was|were|can|could|may|must|should|will|if)\b|"
    r"什么|怎|如何|为何|哪|谁|几|多[少长久大高远]|吗|是否|可以|能",
    re.IGNORECASE,
)
# A question shorter than this that points back says little of its own.
_SHORT_WORDS = 8
_SHORT_CHARACTERS = 14
_MAX_STEPS = 3  # questions looked back over


def standalone(question: str, history: Sequence[Message]) -> str:
    """What to search for: the question, after the earlier one that it leans on where it does."""
    asked = [message.content.strip() for message in history if message.role == "user" and message.content.strip()]
    parts = [question]
    for earlier in reversed(asked[-_MAX_STEPS:]):
        if not leans(parts[0]):
            break
        parts.insert(0, earlier)
    # A chain of follow-ups keeps its first question and the newest: those between were about something else.
    return question if len(parts) == 1 else f"{parts[0]}\n{question}"


def leans(question: str) -> bool:
    """Whether a question cannot be understood without the one before it."""
    if _OPENING.match(question):
        return True
    n_chinese = len(re.findall(r"[\u3400-\u9fff]", question))
    short = n_chinese <= _SHORT_CHARACTERS if n_chinese else len(question.split()) <= _SHORT_WORDS
    return short and _POINTS_BACK.search(question) is not None


def names_only(question: str) -> str:
    """What the newest line of a question made by `standalone` names, where it does no more ("And what about hotels?").

    The answer is then about that, however well another sentence fits the earlier question. Empty where it asks more.
    """
    earlier, _, newest = question.rpartition("\n")
    if not earlier.strip():
        return ""
    rest = newest
    while opening := _OPENING.match(rest):
        rest = rest[opening.end() :]
    rest = rest.strip("呢?？。.!！ \t")
    return rest if rest != newest and leans(newest) and not _ASKING.search(rest) else ""
