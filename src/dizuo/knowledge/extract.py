"""The sentences of the passages that answer a question, quoted, and how sure that is.

Two small linear models over `features`: one ranks the sentences, one gives the chance that the best of them answers
the question. Their weights and the threshold are in extract.json, fitted and measured by `evals/answering.py`
(docs/adr/0007). No trained reader: what the words of question and passage do not show, this cannot see.
"""

import json
import math
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from dizuo.core.documents import Citation, ExactAnswer, Hit
from dizuo.core.protocols import Embedder
from dizuo.knowledge.analyze import fold, terms
from dizuo.knowledge.clues import is_row
from dizuo.knowledge.features import DENSE_NAMES, NAMES, Passage, Question, Sentence, features, passage, with_characters
from dizuo.knowledge.links import without_images

N_PASSAGES = 5  # passages read; the right one is among the first five for 97 questions in 100
CONFIDENCE_NAMES = ("share", "lead")  # what the second model sees besides the best sentence's features

_N_EMBEDDED = 16  # sentences whose meaning is compared: 16 take about 0.1 s
_KNOWN = 0.5  # coverage below which a question is noise to the embedder
_FAR = 3.0  # a lead above this says no more
_ALIKE = 0.8  # share of all their terms that two passages have in common when they say the same
_LONGEST = 600  # characters of a quotation
_LONGEST_LIST = 1_000  # … of a list or of a table's rows, where the question asks for several

# A sentence that opens with one of these says what it says about the sentence before it.
_LEANS = re.compile(
    r"(?:It|Its|They|Their|Them|He|His|She|Her|This|That|These|Those|Such|Both|However|But|Therefore|Thus|Then|Also)\b"
    r"|[他她它其该此这那]|但|因此|所以|然后|同时|另外|此外"
)
_LEADS_ON = re.compile(r"[:：]\s*$")
_ASKS = re.compile(r"[?？][\"'”’」*_]*\s*$")
_ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)、](?!\d)|[（(]?[一二三四五六七八九十]{1,3}[、）)])\s*")
# Questions that ask for more than one thing: their answer is a whole list.
_SEVERAL = re.compile(
    r"^\s*(?:please\s+)?(?:list|enumerate)\b|\bwhat\s+are\b|\b(?:what|which)\s(?:[\w'’-]+\s+){1,4}are\b"
    r"|\b(?:what|which)\s+(?:[\w'’-]+\s+){0,2}\w+[^\Wsiu]s\s"
    r"(?:were|do|did|have|had|can|could|may|must|should|will|apply|belong|exist|need)\b"
    r"|哪些|哪几|步骤|流程|列出|列举",
    re.IGNORECASE | re.MULTILINE,
)
_JSON = re.compile(r'\s*(?:[{\[]\s*\n|"(?:[^"\\\n]|\\.)*":\s)')
_JSON_LINE = re.compile(r'^([ \t]*)(?:"((?:[^"\\\n]|\\.)*)":[ \t]*(.*)|[{}\[\]].*)$', re.MULTILINE)
_FENCED = re.compile(r"\s*(?:```|~~~)")
_CUTS = re.compile(r"(?<=[,;，；、。.!?！？])\s*|\n+")


@dataclass(frozen=True)
class Quote:
    """A stretch of a passage that answers. `start`, `end`: characters in the document's extracted text."""

    hit: Hit
    start: int
    end: int
    header: str = ""  # of the table whose rows are quoted; the keys above a value of JSON

    @property
    def within(self) -> tuple[int, int]:
        """From and to which character of the passage it goes."""
        return self.start - self.hit.start, self.end - self.hit.start

    @property
    def text(self) -> str:
        return self.hit.text[slice(*self.within)]

    @property
    def shown(self) -> str:
        """The quotation for the answer: word for word, a table's row below its header, pictures left out."""
        return without_images(f"{self.header}\n{self.text}" if self.header else self.text)

    def citation(self, *, supported: bool = True, exact: ExactAnswer | None = None) -> Citation:
        return Citation(
            document=self.hit.document,
            document_id=self.hit.document_id,
            chunk=self.hit.chunk,
            quote=self.text,
            page=self.hit.page,
            start=self.start,
            end=self.end,
            supported=supported,
            exact=exact,
        )


@dataclass(frozen=True)
class Candidate:
    """A sentence with its features and its score among the others."""

    hit: int
    sentence: int
    values: Mapping[str, float]
    score: float


@dataclass(frozen=True)
class Extract:
    """What was found. `confidence` is the calibrated chance that the quotation answers the question."""

    quote: Quote | None  # None: there is nothing to quote
    confidence: float
    found: bool
    exact: ExactAnswer | None = None  # the words of it that answer, where a reader names them


def extract(question: str, hits: Sequence[Hit], embedder: Embedder | None) -> Extract:
    """The best quotation for a question among the passages that were found for it. Blocking."""
    read = _distinct(hits)[:N_PASSAGES]
    asked = Question(question)
    candidates, chosen = ranked(asked, read, embedder)
    if not candidates:
        return Extract(None, 0.0, False)
    chance = confidence(candidates, chosen)
    return Extract(quote(asked, read, candidates), chance, chance >= chosen["threshold"])


def _distinct(hits: Sequence[Hit]) -> list[Hit]:
    """The hits without those that say what a better one says: the same text as PDF and as Word.

    How far the best passage is ahead of the next tells how sure it is, and a copy of it is no rival.
    """
    kept: list[Hit] = []
    for hit in hits:
        held = passage(hit.text, hit.heading).terms
        others = (passage(one.text, one.heading).terms for one in kept)
        if not any(len(held & other) >= _ALIKE * len(held | other) for other in others):
            kept.append(hit)
    return kept


def ranked(
    question: Question, hits: Sequence[Hit], embedder: Embedder | None
) -> tuple[list[Candidate], Mapping[str, Any]]:
    """Every sentence that may answer, best first, and the weights that fit the question's language."""
    language = "zh" if question.chinese else "en"
    by_words = weights()[language]
    candidates = scored([(h, s, dict(zip(NAMES, v, strict=True))) for h, s, v in features(question, hits)], by_words)
    if embedder is None or not candidates or embedder.coverage(question.text) < _KNOWN:
        return candidates, by_words
    by_meaning = weights().get(f"{language} {embedder.name}")
    if by_meaning is None:
        return candidates, by_words
    return scored(with_meaning(question, hits, nearest(candidates), embedder), by_meaning), by_meaning


def nearest(candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """Those whose meaning is compared: embedding a sentence costs milliseconds, reading its words microseconds."""
    return candidates[:_N_EMBEDDED]


def scored(found: Sequence[tuple[int, int, Mapping[str, float]]], chosen: Mapping[str, Any]) -> list[Candidate]:
    """Candidates, best first."""
    rank = chosen["rank"]
    made = [Candidate(h, s, v, sum(w * v[name] for name, w in rank.items())) for h, s, v in found]
    return sorted(made, key=lambda one: -one.score)


def with_meaning(
    question: Question, hits: Sequence[Hit], candidates: Sequence[Candidate], embedder: Embedder
) -> list[tuple[int, int, Mapping[str, float]]]:
    """The candidates with the features of DENSE_NAMES: how near question and sentence are in meaning."""
    views = [passage(hit.text, hit.heading) for hit in hits]
    texts = [_in_context(hits[c.hit], views[c.hit].sentences[c.sentence].text) for c in candidates]
    vectors = embedder.embed([question.text, *texts])
    near = [float(score) for score in vectors[1:] @ vectors[0]]
    best: dict[int, float] = {}
    for candidate, score in zip(candidates, near, strict=True):
        best[candidate.hit] = max(score, best.get(candidate.hit, -1.0))
    of_hit = [hit.legs["dense"].score if "dense" in hit.legs else best.get(h, 0.0) for h, hit in enumerate(hits)]
    found: list[tuple[int, int, Mapping[str, float]]] = []
    for candidate, score in zip(candidates, near, strict=True):
        h = candidate.hit
        others = max((value for i, value in enumerate(of_hit) if i != h), default=0.0)
        meaning = dict(zip(DENSE_NAMES, (of_hit[h], of_hit[h] - others, score, best[h]), strict=True))
        found.append((h, candidate.sentence, {**candidate.values, **meaning}))
    return found


def _in_context(hit: Hit, sentence: str) -> str:
    """The sentence below its heading, which often says what it is about."""
    heading = hit.heading.rpartition(" > ")[2]
    return f"{heading}: {sentence}" if heading else sentence


def confidence(candidates: Sequence[Candidate], chosen: Mapping[str, Any]) -> float:
    """The chance, 0 to 1, that the first candidate answers the question."""
    values = confidence_values(candidates)
    logit = chosen["bias"] + sum(weight * values[name] for name, weight in chosen["confidence"].items())
    return 1.0 / (1.0 + math.exp(-logit))


def confidence_values(candidates: Sequence[Candidate]) -> dict[str, float]:
    """The best candidate's features, its share of all scores, and its lead over the best of another passage."""
    best = candidates[0]
    share = 1.0 / sum(math.exp(one.score - best.score) for one in candidates)
    rival = next((one.score for one in candidates if one.hit != best.hit), best.score - _FAR)
    return {**best.values, "share": share, "lead": min(_FAR, best.score - rival)}


# --- quoting --------------------------------------------------------------------------------------------------


def quote(question: Question, hits: Sequence[Hit], candidates: Sequence[Candidate]) -> Quote:
    """The first candidate as a quotation that can be read by itself: one to three sentences, or the list or the rows
    that it belongs to where the question asks for several."""
    best = candidates[0]
    hit = hits[best.hit]
    view = passage(hit.text, hit.heading)
    first = last = best.sentence
    sentence = view.sentences[best.sentence]
    several = _SEVERAL.search(question.text) is not None
    if is_row(sentence.text):
        if several:
            first, last = _rows(question, view, best.sentence)
        start, end = view.sentences[first].start, view.sentences[last].end
        return Quote(hit, hit.start + start, hit.start + end, _table_header(view, best.sentence))
    if value := _json_value(question, sentence):
        keys, start, end = value
        return Quote(hit, hit.start + start, hit.start + end, keys)
    if several and (items := _items(view, hit.text, best.sentence)):
        first, last = items
        return Quote(hit, hit.start + view.sentences[first].start, hit.start + view.sentences[last].end)
    if _ASKS.search(sentence.text) and best.sentence + 1 < len(view.sentences):
        last += 1  # a list of questions and answers
    elif _LEADS_ON.search(sentence.text):
        last = _end_of_list(view, best.sentence)
    else:
        if first > 0 and _LEANS.match(sentence.text) and _is_prose(view, first - 1):
            first -= 1
        if len(candidates) > 1:
            second = candidates[1]
            if second.hit == best.hit and best.score - second.score < _CLOSE and _is_prose(view, second.sentence):
                if second.sentence == last + 1:
                    last += 1
                elif second.sentence == first - 1:
                    first -= 1
    start, end = view.sentences[first].start, view.sentences[last].end
    if end - start > _LONGEST:
        start, end = _tightened(hit.text, sentence.start, sentence.end)
    return Quote(hit, hit.start + start, hit.start + end)


_CLOSE = 0.6  # a neighbour whose score is this near belongs to the answer


def _is_prose(view: Passage, sentence: int) -> bool:
    one = view.sentences[sentence]
    return not one.is_heading and not is_row(one.text) and not _FENCED.match(one.text)


def _end_of_list(view: Passage, sentence: int) -> int:
    """The last of the list items, or the block of code, that a sentence ending in a colon introduces."""
    start, last = view.sentences[sentence].start, sentence
    for following in range(sentence + 1, len(view.sentences)):
        one = view.sentences[following]
        fenced = _FENCED.match(one.text) is not None
        if not (fenced or _ITEM.match(one.text)) or one.end - start > _LONGEST:
            break
        last = following
        if fenced:
            break
    return last


def _rows(question: Question, view: Passage, sentence: int) -> tuple[int, int]:
    """The first and the last row of a table that hold the same words of the question as this one."""
    rows = [one.text for one in view.sentences]
    first = last = sentence
    while first > 0 and is_row(rows[first - 1]) and not view.sentences[first - 1].is_heading:
        first -= 1
    while last + 1 < len(rows) and is_row(rows[last + 1]) and not view.sentences[last + 1].is_heading:
        last += 1
    header = view.header_of(sentence)
    about_all = view.heading if header is None else view.heading | view.sentences[header].terms
    told = (question.weights.keys() & view.sentences[sentence].terms) - about_all
    fit = [row for row in range(first, last + 1) if told <= view.sentences[row].terms]
    return _within_limit(view, fit[0], fit[-1], sentence, range(first, last + 1))


def _items(view: Passage, text: str, sentence: int) -> tuple[int, int] | None:
    """The first and the last sentence of the list that a sentence belongs to or introduces, with what introduces it."""
    starts: set[int] = set()
    items: set[int] = set()  # with the further sentences of each
    for n, one in enumerate(view.sentences):
        before = view.sentences[n - 1].end if n else 0
        if not _is_prose(view, n):
            continue
        if _ITEM.match(one.text) and not text[text.rfind("\n", 0, one.start) + 1 : one.start].strip():
            starts.add(n)
            items.add(n)
        elif n - 1 in items and text.count("\n", before, one.start) < 2:
            items.add(n)
    first = sentence if sentence in items else sentence + 1
    if first not in items or not _is_prose(view, sentence):
        return None
    last = first
    while first - 1 in items:
        first -= 1
    while last + 1 in items:
        last += 1
    above = first - 1
    if above >= 0 and _is_prose(view, above) and (above == sentence or _LEADS_ON.search(view.sentences[above].text)):
        first -= 1
    return _within_limit(view, first, last, sentence, starts)


def _within_limit(view: Passage, first: int, last: int, sentence: int, starts: Container[int]) -> tuple[int, int]:
    """The stretch of a list around a sentence that is not too long; it begins and ends with a whole item."""
    end = last + 1

    def too_long() -> bool:
        return view.sentences[last].end - view.sentences[first].start > _LONGEST_LIST

    while last > sentence and (too_long() or (last + 1 < end and last + 1 not in starts)):
        last -= 1
    while first < sentence and too_long():
        first += 1
        while first < sentence and first not in starts:
            first += 1
    return first, last


def _json_value(question: Question, sentence: Sentence) -> tuple[str, int, int] | None:
    """The value in laid out JSON whose keys say what is asked: the keys above it, its start and its end.

    None where no single value has all the words of the question that the JSON has, or only as a value: of
    `"name": "Bob"` the rest of the record is asked for.
    """
    text = sentence.text
    told = question.weights.keys() & sentence.terms
    if not told or not _JSON.match(text):
        return None
    lines = list(_JSON_LINE.finditer(text))
    above: list[re.Match[str]] = []
    found: list[tuple[int, int, str]] = []
    for n, line in enumerate(lines):
        while above and len(above[-1][1]) >= len(line[1]):
            above.pop()
        if line[2] is None:
            continue
        opens = line[3].endswith(("{", "["))
        closing = next((one for one in lines[n + 1 :] if not opens or len(one[1]) <= len(line[1])), None)
        end = len(text) if closing is None else closing.end() if opens else closing.start()
        value = text[line.start(2) - 1 : end].rstrip().rstrip(",")
        keys = " ".join(one[2] for one in (*above, line))
        if told & _terms(keys) and told <= _terms(f"{keys} {value}"):
            start = sentence.start + line.start(2) - 1
            found.append((start, start + len(value), "\n".join(one[0].strip() for one in above)))
        if opens:
            above.append(line)
    if not found:
        return None
    start, end, header = min(found, key=lambda one: one[1] - one[0])
    return (header, start, end) if end - start <= _LONGEST else None


def _terms(text: str) -> frozenset[str]:
    return with_characters(terms(text), fold(text))


def _table_header(view: Passage, sentence: int) -> str:
    """The first row of the table that a row belongs to, and the rule below it."""
    first = view.header_of(sentence)
    return "" if first is None else "\n".join(one.text for one in view.sentences[first : first + 2])


def _tightened(text: str, start: int, end: int) -> tuple[int, int]:
    """The beginning of a sentence that is too long to quote, cut at a line, a clause or a word."""
    if end - start <= _LONGEST:
        return start, end
    cuts = [match.start() for match in _CUTS.finditer(text, start + 1, start + _LONGEST) if match.start() > start + 80]
    return start, cuts[-1] if cuts else start + _LONGEST


def weights() -> Mapping[str, Mapping[str, Any]]:
    """By language, and by language and embedder where meaning is compared too."""
    return fitted()["weights"]


@cache
def fitted() -> Mapping[str, Mapping[str, Any]]:
    """All that was fitted: `weights`, and by language what is made of a reader's margin (exact.py), `readers`."""
    return json.loads(files("dizuo.knowledge").joinpath("extract.json").read_text("utf-8"))
