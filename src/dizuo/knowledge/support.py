"""Whether a passage bears out what a sentence says: by its words, numbers, names and negation.

Strict on what can be seen (a number or a name that the passage lacks is never supported) and blind to what cannot: a
claim that uses the passage's own words to say something else passes. The figures are in docs/adr/0007.
"""

import re
from dataclasses import dataclass

from dizuo.knowledge.analyze import STOPWORDS, fold, terms
from dizuo.knowledge.clues import CHINESE, NEGATION, OPPOSITES
from dizuo.knowledge.features import Passage, Question, coverage, passage
from dizuo.knowledge.rarity import rarity

LEAST = 0.65  # share of the claim's weight that the passage must hold; found by evals/supporting.py
_MARK = re.compile(r"\[\d{1,3}\]|[*_`#>|]+")
_LEAST_TERMS = 3  # a claim of fewer terms says too little to be judged before its sentence is over
_WINDOW = 3  # neighbouring sentences that may bear out one claim together
_LONGER = 0.05  # share that one sentence more must add
_SCOPE = 3  # terms after a "not" that it takes back

# Numbers that a passage writes in words and a claim in figures.
_IN_WORDS = {
    word: str(n)
    for n, words in enumerate(
        (
            "one first 一", "two second twice 二 两", "three third 三", "four fourth 四", "five fifth 五", "six 六",
            "seven 七", "eight 八", "nine 九", "ten 十", "eleven 十一", "twelve 十二",
        ),
        start=1,
    )
    for word in words.split()
} | {"twenty": "20", "thirty": "30", "forty": "40", "fifty": "50", "hundred": "100", "thousand": "1000"}  # fmt: skip
_FIRST_WORD = re.compile(r"[A-Z][a-zA-Z]+")
_NAME_RARITY = 5.5
_NUMBER_WORD = re.compile(r"[a-z]+|十[一二]?|[一二两三四五六七八九]")


@dataclass(frozen=True)
class Support:
    """What the check found. `start`, `end`: the stretch of the passage that comes nearest to the claim."""

    supported: bool
    share: float  # of the claim's weight that this stretch and the heading hold
    start: int
    end: int


def check(claim: str, text: str, heading: str = "") -> Support:
    """Whether a passage bears out a claim. `claim` may carry its [1] marks; they are passed over."""
    plain = plain_claim(claim)
    asked, view = Question(plain), passage(text, heading)
    if not view.sentences:
        return Support(False, 0.0, 0, len(text))
    share, first, last = _nearest(asked, view)
    start, end = view.sentences[first].start, view.sentences[last].end
    agrees = (
        share >= LEAST
        and not asked.numbers - view.numbers - _numbers_in_words(text)
        and not _strangers((asked.names | _opening_name(plain)) - view.terms, view)
        and not _takes_back(plain, text[start:end])
        and not _turns_round(asked, text[start:end])
    )
    return Support(agrees, share, start, end)


def plain_claim(claim: str) -> str:
    """The claim without marks and Markdown."""
    return " ".join(_MARK.sub(" ", claim).split())


def says_enough(claim: str) -> bool:
    """Whether there is enough of a claim to be judged."""
    return len(Question(plain_claim(claim)).weights) >= _LEAST_TERMS


def _nearest(asked: Question, view: Passage) -> tuple[float, int, int]:
    """Share, first and last sentence of the shortest stretch that holds most of the claim."""
    best = (-1.0, -1.0, 0, 0)
    for first in range(len(view.sentences)):
        held = set(view.heading)
        for last in range(first, min(first + _WINDOW, len(view.sentences))):
            held |= view.sentences[last].terms
            share = coverage(asked.weights, frozenset(held))
            best = max(best, (share - _LONGER * (last - first), share, first, last), key=lambda one: one[0])
    return best[1:]


def _numbers_in_words(text: str) -> frozenset[str]:
    return frozenset(_IN_WORDS[word] for word in _NUMBER_WORD.findall(fold(text).lower()) if word in _IN_WORDS)


def _opening_name(claim: str) -> frozenset[str]:
    """The first word, where it is so rare that its capital is a name's and not only the sentence's."""
    word = _FIRST_WORD.match(claim)
    return frozenset(term for term in terms(word[0]) if rarity(term) >= _NAME_RARITY) if word else frozenset()


def _strangers(names: frozenset[str], view: Passage) -> bool:
    """Whether any of the names is not in the passage in any form: "Europe" is in one that says "European"."""
    return any(
        name not in view.run_together and not any(term.startswith(name[: max(4, len(name) - 2)]) for term in view.terms)
        for name in names
    )


def _takes_back(claim: str, near: str) -> bool:
    """Whether one denies what the other says."""
    denied_here, denied_there = _denied(claim), _denied(near)
    said_here, said_there = set(terms(claim)), set(terms(near))
    if denied_here & (said_there - denied_there):
        return True
    return bool(denied_there & said_here) and NEGATION.search(claim) is None


def _denied(text: str) -> set[str]:
    """The terms that stand right after a negation."""
    found: set[str] = set()
    for match in NEGATION.finditer(text):
        after = re.split(r"[,.;:!?，。；：！？\n]", text[match.end() : match.end() + 60], maxsplit=1)[0]
        if CHINESE.match(match[0]):
            found.update(terms(after)[:1])
        else:
            telling = [term for term in terms(after) if term not in STOPWORDS]
            found.update(telling[:_SCOPE])
    return found


def _turns_round(asked: Question, near: str) -> bool:
    """Whether the claim has the opposite of a word of the passage: "largest" where that says "smallest"."""
    if asked.chinese:
        return any(a in asked.text and a not in near and b in near for a, b in OPPOSITES)
    there = frozenset(terms(near))
    return any(a in asked.weights and a not in there and b in there for a, b in OPPOSITES)
