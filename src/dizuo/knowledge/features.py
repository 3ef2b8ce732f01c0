"""What speaks for a sentence of a passage being the answer to a question: numbers that extract.py weighs.

Every feature is a share, a count or a yes, and none depends on how large the collection is, so that a threshold
found on hundreds of passages holds for a folder of ten files. What each weighs was fitted on data, for English and
Chinese apart (evals/answering.py).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import pairwise

from dizuo.core.documents import Hit
from dizuo.knowledge.analyze import fold, query_terms, terms
from dizuo.knowledge.clues import (
    ASKING_ZH,
    CHINESE,
    NEGATION,
    OPPOSITES,
    answers,
    asked_kind,
    is_heading,
    is_row,
    names_in,
    numbers_in,
)
from dizuo.knowledge.followup import names_only
from dizuo.knowledge.rarity import LIMIT, rarity
from dizuo.knowledge.sentences import sentences

NAMES = (
    "cov_sentence", "cov_window", "cov_passage", "missing_top", "missing_share", "missing_names", "missing_numbers",
    "chars_sentence", "chars_passage", "run", "type_fits", "type_unknown", "negation", "opposite", "question_terms",
    "names_sentence", "match", "match_margin",
)  # fmt: skip
DENSE_NAMES = ("dense", "dense_margin", "dense_sentence", "dense_best")  # for questions that the embedder knows

_AVERAGE_LENGTH = 150  # terms of a passage; BM25's b is relative to it
_SINGLE_CHARACTER = 1.5  # weight of a Chinese word of one character: too many words hold it to tell much
_OTHER_LETTERS = 2.0  # weight of a word in other letters among Chinese characters: about that of a word of two
_PARTICLES = frozenset({"up", "in", "out", "off", "on", "down", "over", "back"})
_NAMED_SHARE = 0.5  # of what a follow-up names: a sentence with less of it is about something else
_KEPT_PASSAGES = 2_000
_CHINESE_SHARE = 0.1  # of the characters of a passage that is Chinese; an English one may hold a few

# English words of a question that say how it is put and not what it is about, beyond those that the search leaves out.
_EXTRA_STOP = frozenset({"mani", "much", "name", "call", "kind", "type", "make", "give", "get", "need", "want", "way",
                         "tell", "know", "pleas", "exampl", "differ"})  # fmt: skip


class Question:
    """A question, taken apart once for all its candidates."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.chinese = CHINESE.search(text) is not None
        self.kind = asked_kind(text)
        self.negated = NEGATION.search(text) is not None
        self.numbers = numbers_in(text)
        self.names = names_in(text)

    @cached_property
    def weights(self) -> Mapping[str, float]:
        """Its terms and how telling each is; those before a follow-up count half of what that names, at most."""
        own = sum(weight for term, weight in self._rarities.items() if term in self.named)
        earlier = sum(self._rarities.values()) - own
        if not 0 < own / 2 < earlier:
            return self._rarities
        return {t: weight if t in self.named else weight * own / 2 / earlier for t, weight in self._rarities.items()}

    @cached_property
    def _rarities(self) -> Mapping[str, float]:
        if not self.chinese:
            whole, _prefixes = query_terms(self.text)
            telling = [term for term in whole if term not in _EXTRA_STOP] or whole
            return {term: min(LIMIT, rarity(term)) for term in telling}
        weights: dict[str, float] = {}
        for piece in ASKING_ZH.sub(" ", fold(self.text)).split():
            if len(piece) == 1 and CHINESE.match(piece):
                weights[piece] = _SINGLE_CHARACTER
            else:
                weights |= {term: min(LIMIT, rarity(term)) for term in query_terms(piece)[0]}
        return weights or {term: rarity(term) for term in query_terms(self.text)[0]}

    @cached_property
    def named(self) -> frozenset[str]:
        """Terms of the thing that a follow-up names without asking more, where the question ends in one."""
        earlier = self.text.rpartition("\n")[0]
        named = names_only(self.text)
        return frozenset(Question(named).weights.keys() - Question(earlier).weights.keys()) if named else frozenset()

    @cached_property
    def characters(self) -> Mapping[str, float]:
        """Its telling Chinese characters, all alike, and its words in other letters."""
        said = ASKING_ZH.sub(" ", fold(self.text))
        words = [term for term in query_terms(said)[0] if not CHINESE.match(term)] if self.chinese else []
        return {character: 1.0 for character in said if CHINESE.match(character)} | dict.fromkeys(words, _OTHER_LETTERS)

    @cached_property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """Neighbours among its telling words."""
        told = [term for term in terms(self.text) if term in self.weights]
        return frozenset(pairwise(told))

    def as_written_in(self, views: "Sequence[Passage]") -> "Question":
        """The question with "back up" as one word, where the passages write it so: the two tell little apart."""
        if self.chinese:
            return self
        weights = dict(self.weights)
        for verb, particle in pairwise(terms(self.text)):
            together = verb + particle
            if particle in _PARTICLES and verb in weights and any(together in view.terms for view in views):
                weights.pop(verb)
                weights.pop(particle, None)
                weights[together] = min(LIMIT, rarity(together))
        if weights == self.weights:
            return self
        written = Question(self.text)
        written.__dict__["weights"] = weights
        return written

    def is_repeated_in(self, sentence: "Sentence") -> bool:
        """Whether a sentence only quotes the question, as an example of what one may ask."""
        asked = fold(self.text).strip("?？ ").casefold() + "?"
        return asked in sentence.folded.casefold() and not sentence.folded.rstrip().endswith("?")


class Sentence:
    """A sentence of a passage. `start`, `end`: characters within the passage."""

    def __init__(self, text: str, start: int, end: int) -> None:
        self.text, self.start, self.end = text, start, end
        self.folded = fold(text)
        self.sequence = terms(text)
        self.terms = with_characters(self.sequence, self.folded)
        self.is_heading = is_heading(text)

    @cached_property
    def names(self) -> frozenset[str]:
        return names_in(self.text, sentence_starts=True)

    @cached_property
    def numbers(self) -> frozenset[str]:
        return numbers_in(self.text)

    @cached_property
    def negated(self) -> bool:
        return NEGATION.search(self.text) is not None


class Passage:
    """A passage, taken apart once for all questions."""

    def __init__(self, text: str, heading: str) -> None:
        self.sentences = tuple(Sentence(text[start:end], start, end) for start, end in sentences(text))
        for row, rule in pairwise(self.sentences):
            row.is_heading = row.is_heading or (is_row(row.text) and rule.is_heading and is_row(rule.text))
        self.heading = with_characters(terms(heading), fold(heading))
        self.terms = self.heading.union(*(sentence.terms for sentence in self.sentences))
        self.numbers = numbers_in(f"{heading} {text}")
        self.counts = Counter(term for sentence in self.sentences for term in sentence.sequence)
        self.chinese = len(CHINESE.findall(text)) > _CHINESE_SHARE * len(text)
        self.run_together = "".join(term for sentence in self.sentences for term in sentence.sequence if term.isascii())

    def nearby(self, sentence: int, but: frozenset[int]) -> frozenset[str]:
        """Terms of a sentence and its neighbours, some excepted, and of the heading above them."""
        near = range(max(0, sentence - 1), min(sentence + 2, len(self.sentences)))
        return self.heading.union(*(self.sentences[one].terms for one in near if one not in but))

    def around(self, sentence: int) -> frozenset[str]:
        """Terms of a sentence, of the heading above it and of its table's header."""
        header = self.header_of(sentence)
        above = self.heading if header is None else self.heading | self.sentences[header].terms
        return self.sentences[sentence].terms | above

    def header_of(self, sentence: int) -> int | None:
        """The first row of the table whose row this sentence is; None for itself and without a rule."""
        first = sentence
        while first > 0 and is_row(self.sentences[first - 1].text):
            first -= 1
        ruled = first + 1 < sentence and self.sentences[first + 1].is_heading
        return first if is_row(self.sentences[sentence].text) and ruled else None


@lru_cache(maxsize=_KEPT_PASSAGES)
def passage(text: str, heading: str) -> Passage:
    """A passage taken apart; kept, because the same ones are found again and again."""
    return Passage(text, heading)


def with_characters(sequence: Sequence[str], folded: str) -> frozenset[str]:
    """Terms and single Chinese characters."""
    return frozenset(sequence).union(character for character in folded if CHINESE.match(character))


def features(question: Question, hits: Sequence[Hit]) -> list[tuple[int, int, list[float]]]:
    """(hit, sentence, features in the order of NAMES) of every candidate.

    Where both languages were found, those are candidates that are in the language of the question; and where a
    follow-up only names something, those that are about it.
    """
    views = [passage(hit.text, hit.heading) for hit in hits]
    question = question.as_written_in(views)
    spoken = any(view.chinese == question.chinese for view in views)
    repeats = [frozenset(s for s, one in enumerate(view.sentences) if question.is_repeated_in(one)) for view in views]
    told = [_without(view, hit, skipped) for view, hit, skipped in zip(views, hits, repeats, strict=True)]
    matches = [_match(question.weights, view) for view in told]
    found: list[tuple[int, int, list[float]]] = []
    for h, view in enumerate(views):
        if spoken and view.chinese != question.chinese:
            continue
        known = _joined(question, told[h])
        of_passage = _of_passage(question, told[h], known, matches, h)
        for s, sentence in enumerate(view.sentences):
            if not sentence.is_heading and s not in repeats[h]:
                values = _of_sentence(question, view, s, known, repeats[h]) | of_passage
                found.append((h, s, [values[name] for name in NAMES]))
    if not question.named:
        return found
    named = {term: weight for term, weight in question.weights.items() if term in question.named}
    about_it = [one for one in found if coverage(named, views[one[0]].around(one[1])) >= _NAMED_SHARE]
    return about_it or found


def _without(view: Passage, hit: Hit, skipped: frozenset[int]) -> Passage:
    """The passage as if some of its sentences were not there."""
    if not skipped:
        return view
    return passage("\n\n".join(one.text for s, one in enumerate(view.sentences) if s not in skipped), hit.heading)


def _of_passage(
    question: Question, view: Passage, known: frozenset[str], matches: Sequence[float], h: int
) -> dict[str, float]:
    there = view.terms | known
    missing = [weight for term, weight in question.weights.items() if term not in there]
    return {
        "cov_passage": coverage(question.weights, there),
        "missing_top": max(missing, default=0.0) / LIMIT,
        "missing_share": len(missing) / max(1, len(question.weights)),
        "missing_names": float(len(question.names - there)),
        "missing_numbers": float(len(question.numbers - view.numbers)),
        "chars_passage": coverage(question.characters, view.terms),
        "opposite": _opposite(question, view),
        "question_terms": min(1.0, len(question.weights) / 12),
        "match": matches[h],
        "match_margin": matches[h] - max((m for i, m in enumerate(matches) if i != h), default=0.0),
    }


def _of_sentence(
    question: Question, view: Passage, s: int, known: frozenset[str], repeats: frozenset[int]
) -> dict[str, float]:
    sentence, header = view.sentences[s], view.header_of(s)
    here = sentence.terms | known | (view.sentences[header].terms if header is not None else frozenset())
    fits = _fits(question, sentence)
    return {
        "cov_sentence": coverage(question.weights, here),
        "cov_window": coverage(question.weights, view.nearby(s, repeats) | here),
        "chars_sentence": coverage(question.characters, sentence.terms),
        "run": _run(question, sentence),
        "type_fits": float(fits is True),
        "type_unknown": float(fits is None),
        "negation": float(question.negated and not sentence.negated),
        "names_sentence": len(question.names & sentence.terms) / max(1, len(question.names)),
    }


def coverage(weights: Mapping[str, float], there: frozenset[str]) -> float:
    """Share of the weight that is there, 0 to 1."""
    whole = sum(weights.values())
    return sum(weight for term, weight in weights.items() if term in there) / whole if whole else 0.0


def _match(weights: Mapping[str, float], view: Passage) -> float:
    """BM25 of the passage as a share of what it could be at most, with weights from language at large."""
    norm = 1.2 * (0.25 + 0.75 * sum(view.counts.values()) / _AVERAGE_LENGTH)
    got = 0.0
    for term, weight in weights.items():
        n = view.counts.get(term, 0) or (term in view.terms)
        got += weight * n / (n + norm)
    whole = sum(weights.values())
    return got / whole if whole else 0.0


def _joined(question: Question, view: Passage) -> frozenset[str]:
    """Terms that question and passage write apart or in one: "back up" and "backup"."""
    if question.chinese:
        return frozenset()
    together = {part for pair in question.pairs if "".join(pair) in view.terms for part in pair}
    apart = {
        term for term in question.weights if len(term) >= 6 and term not in view.terms and term in view.run_together
    }
    return frozenset(together | apart)


def _fits(question: Question, sentence: Sentence) -> bool | None:
    """Whether the sentence holds something of the kind asked for that the question does not hold; None: unknown."""
    if question.kind == "person":
        return None if question.chinese else bool(sentence.names - question.weights.keys())
    if question.kind == "number" and sentence.numbers - question.numbers:
        return True
    return answers(question.kind, sentence.text)


def _run(question: Question, sentence: Sentence) -> float:
    """Chinese: length of the longest stretch of the question in the sentence. English: share of its neighbouring
    words that stand near each other there."""
    if question.chinese:
        asked, longest = fold(question.text), 0
        for start in range(len(asked)):
            while start + longest < len(asked) and asked[start : start + longest + 1] in sentence.folded:
                longest += 1
        return min(1.0, longest / 12)
    at = {term: i for i, term in enumerate(sentence.sequence)}
    near = sum(1 for a, b in question.pairs if a in at and b in at and 0 < at[b] - at[a] <= 3)
    return near / max(1, len(question.pairs))


def _opposite(question: Question, view: Passage) -> float:
    """Whether the question has the opposite of a word of the passage: "largest" where that says "smallest"."""
    asked = question.text if question.chinese else question.weights
    return float(any(a in asked and a not in view.terms and b in view.terms for a, b in OPPOSITES))
