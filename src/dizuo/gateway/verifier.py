"""Whether two questions ask the same: they agree (`agreement.py`), and a small model of how alike they are says so.

The model is a logistic regression over a handful of signs, one for each language. Its weights and the least chance that
counts are in verifier.json, made by `python -m dizuo.evals.caching --fit`; with them stand the figures of how often it
errs.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any, ClassVar

from dizuo.gateway.agreement import Facts, Lexicon, disagreement, settled
from dizuo.gateway.word_order import Word, turned, turned_zh
from dizuo.gateway.wording import PERSONS_ZH, SOFT_ZH, Wording

MOST_CHARACTERS = 300  # of a question that may have another wording: in a long text one word changes it unseen
_MOST_ADDED = 2.8  # rarity of an English word that one question may have and the other not
_TELLING = 2.5  # rarity of a term that says what a question is about
_CODE_MARKS = ("```", "\n", "{", "}", "<", ">", ";", "\\", "://")

# What is looked at in each language: by vectors in English, by characters in Chinese, which the embedder does not know.
NAMES: Mapping[str, tuple[str, ...]] = {
    "en": ("missing", "added", "cosine", "cosine_high"),
    "zh": ("extra",),
}


@dataclass(frozen=True)
class View:
    """A question as it is compared."""

    facts: Facts
    wording: Wording

    @property
    def text(self) -> str:
        return self.facts.text

    @cached_property
    def comparable(self) -> bool:
        """Whether another wording may stand for it at all: not for a statement, nor where every sign may matter."""
        return (
            len(self.text) <= MOST_CHARACTERS
            and self.facts.language in ("en", "zh")
            and len(self.weights) >= 2
            and not self.facts.states
            and not any(mark in self.text.strip() for mark in _CODE_MARKS)
        )

    @cached_property
    def weights(self) -> Mapping[str, float]:
        """Its terms by how telling they are."""
        rarity = self.facts.lexicon.rarity
        return {term: rarity(term) for term in self.facts.terms if len(term) > 1 or term.isascii()}

    @cached_property
    def telling(self) -> Mapping[str, float]:
        return {term: weight for term, weight in self.weights.items() if weight >= _TELLING}

    @cached_property
    def content(self) -> Counter[str]:
        """What it says, its wording taken off."""
        return self.wording.content(self.facts.folded, self.facts.language)

    @cached_property
    def words(self) -> Sequence[Word]:
        """The same in its order; of what comes and goes in Chinese only the persons."""
        found = self.wording.words(settled(self.facts), self.facts.language)
        loose = SOFT_ZH - PERSONS_ZH if self.facts.language == "zh" else frozenset[str]()
        return [word for word in found if word.term not in loose]


@dataclass(frozen=True)
class Judged:
    """What the verifier says of a pair. `why`: what they disagree on, where they do."""

    same: bool
    chance: float
    why: str = ""


class Verifier:
    """Compares questions. Thread-safe."""

    LEAST_LIKENESS: ClassVar[float] = 0.15

    def __init__(self, lexicon: Lexicon, weights: Mapping[str, Any] | None = None) -> None:
        self._lexicon = lexicon
        self._wording = Wording(lexicon.terms)
        self._weights = weights if weights is not None else shipped()["weights"]
        self.view = lru_cache(maxsize=4096)(self._view)

    def _view(self, text: str) -> View:
        return View(Facts(text, self._lexicon), self._wording)

    def likeness(self, a: View, b: View) -> float:
        """How many of their telling words two questions share, 0 to 1; 0 in different languages."""
        return overlap(a.telling, b.telling) if a.facts.language == b.facts.language else 0.0

    def judge(self, a: View, b: View, cosine: float | None) -> Judged:
        """Whether two comparable questions ask the same. `cosine` of their vectors, where they have some."""
        if a.facts.language != b.facts.language:
            return Judged(False, 0.0, "language")
        if a.facts.language == "en" and cosine is None:
            return Judged(False, 0.0, "unknown")  # words alone do not tell well enough
        weights = self._weights[a.facts.language]
        chance = logistic(features(a, b, cosine), weights)
        if chance < weights["threshold"]:  # seen in microseconds: most of what is near is not looked at closely
            return Judged(False, chance)
        why = disagree(a, b)
        return Judged(not why, chance, why)


def disagree(a: View, b: View) -> str:
    """What the two comparable questions disagree on, in a word: `disagreement`, and a telling word that only one has.

    Measured: of pairs that had such a word, vectors could not tell those that ask the same from those that do not.
    """
    if why := disagreement(a.facts, b.facts):
        return why
    if a.facts.language == "zh":
        telling = bool(_left(a, b).keys() - SOFT_ZH)
    else:  # no word may stand in another's place either, be it a light one
        exchanged = bool(a.content - b.content) and bool(b.content - a.content)
        telling = exchanged or _most_telling(a, b) > _MOST_ADDED
    if telling:
        return "word"
    return "direction" if _turned(a, b) else ""


def _turned(a: View, b: View) -> bool:
    if a.facts.language == "zh":
        return turned_zh(a.words, b.words, (a.facts.folded, b.facts.folded))
    return turned(a.words, b.words)


def logistic(values: Mapping[str, float], weights: Mapping[str, Any]) -> float:
    """The chance that a pair is the same."""
    score = weights["bias"] + sum(weight * values[name] for name, weight in weights["weights"].items())
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, score))))


def features(a: View, b: View, cosine: float | None) -> Mapping[str, float]:
    """How alike two questions of one language are: `NAMES` of it."""
    if a.facts.language == "zh":
        return {"extra": _left(a, b).total() / max(1, a.content.total() + b.content.total())}
    missing = sum(w for one, other in ((a, b), (b, a)) for term, w in one.weights.items() if term not in other.weights)
    cosine = cosine or 0.0
    return {
        "missing": missing / max(sum(a.weights.values()) + sum(b.weights.values()), 1e-9),
        "added": _most_telling(a, b),
        "cosine": cosine,
        "cosine_high": max(0.0, cosine - 0.9) * 10,
    }


def _left(a: View, b: View) -> Counter[str]:
    """What only one of the two says, once their wording is taken off."""
    return (a.content - b.content) + (b.content - a.content)


def _most_telling(a: View, b: View) -> float:
    """The rarity of the most telling English word that only one of the two says."""
    return max(map(a.facts.lexicon.rarity, _left(a, b)), default=0.0)


def overlap(a: Mapping[str, float], b: Mapping[str, float]) -> float:
    """The share of the weight of both that both have."""
    shared = sum(w for term, w in a.items() if term in b)
    total = sum(a.values()) + sum(w for term, w in b.items() if term not in a)
    return shared / total if total else 0.0


def shipped() -> Mapping[str, Any]:
    """The weights that come with Dizuo, what made them, and the figures measured with them."""
    return json.loads(files("dizuo.gateway").joinpath("verifier.json").read_text("utf-8"))
