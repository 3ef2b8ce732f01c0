"""Passages with questions and answers quoted from them, made of encyclopedia paragraphs.

    recurring   a span that comes twice is masked in one sentence, which is then the question to the rest of the
                paragraph (Ram et al. 2021, "Few-shot question answering by pretraining span selection", §3)
    rules       a question made of one of the sentences (questions.py)
    silent      the same question after its sentence was taken out, asked of another paragraph of the article, or
                with a name or a year of it changed: the passage no longer answers

The text is Wikipedia's (CC BY-SA); a row keeps the id of its article.
"""

import random
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dizuo.data.programs.questions import Made, chinese, english, sentences

MASK = "[MASK]"
_LEAST = {"en": 260, "zh": 90}  # characters of a passage
LONGEST = {"en": 900, "zh": 380}
_WORD = re.compile(r"[A-Za-z][\w’'-]*|\d[\d,.]*\d|\d")
_STOP = frozenset(
    """
    a an the of in on at by to for from with and or but as is are was were be been has have had he she it they
    his her its their this that these those which who whom when where while after before also not no than then
    there such into over under between during about more most other some any all one two first can may will
    would could him them i we you
    """.split()  # noqa: SIM905
)
_ZH_SPAN = re.compile(r"[\u4e00-\u9fff]{2,10}")
_YEAR = re.compile(r"\b(1[1-9]\d\d|20[0-2]\d)\b|(?<!\d)(1[1-9]\d\d|20[0-2]\d)(?=年)")
_NAME = re.compile(r"\b[A-Z][\w’'-]+(?: [A-Z][\w’'-]+){0,3}")


@dataclass(frozen=True)
class Paragraph:
    """A stretch of an article: `article` names where it is from, `topic` what the article is about."""

    article: str
    topic: str
    text: str


def paragraphs(
    documents: Iterable[Mapping[str, Any]], language: str, longest: int | None = None
) -> Iterator[list[Paragraph]]:
    """The passages of each article, short paragraphs joined, headings left out; cut at `longest` characters."""
    most = longest or LONGEST[language]
    for document in documents:
        title, *parts = str(document["text"]).split("\n\n")
        topic = re.sub(r"\s*[(（].*?[)）]\s*$", "", title.strip())
        found: list[Paragraph] = []
        held = ""
        for part in parts:
            if part.startswith("#"):
                held = ""
                continue
            held = f"{held} {part}".strip() if language == "en" else held + part
            if len(held) >= _LEAST[language]:
                held = _cut(held, most)
                found.append(Paragraph(str(document["id"]), topic, held))
                held = ""
        if found:
            yield found


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    ends = [end for _start, end in sentences(text) if end <= most]
    return text[: ends[-1]] if ends else text[:most]


def rows(
    articles: Iterable[list[Paragraph]], language: str, seed: int, *, natural: bool, per_passage: int, silent: float
) -> Iterator[dict[str, Any]]:
    """Reading rows (the fields of SQuAD 2.0), at most `per_passage` of each passage; `silent` is the share that the
    passage does not answer. `natural` leaves out masks and questions that nobody would ask so."""
    for article in articles:
        chance = random.Random(f"{seed}:{article[0].article}")  # noqa: S311  # no secret
        for n, passage in enumerate(article):
            made = list(_rule_rows(passage, language, chance, natural))
            if not natural:
                made += _recurring_rows(passage, language, chance)
            chance.shuffle(made)
            others = [one for m, one in enumerate(article) if m != n]
            for m, (made_row, sentence) in enumerate(made[:per_passage]):
                row = made_row
                if chance.random() < silent:
                    row = _silenced(row, sentence, others, language, chance)
                if row is not None:
                    yield {"id": f"{passage.article}:{n}:{m}", "lang": language, "title": passage.topic, **row}


def _row(passage: str, question: str, start: int, end: int) -> dict[str, Any]:
    return {
        "passage": passage,
        "question": question,
        "answers": [{"text": passage[start:end], "answer_start": start}],
        "is_impossible": False,
    }


_Row = tuple[dict[str, Any], tuple[int, int]]  # with where the sentence stands that it was made of


def _rule_rows(passage: Paragraph, language: str, chance: random.Random, natural: bool) -> Iterator[_Row]:
    for start, end in sentences(passage.text):
        sentence = passage.text[start:end]
        if language == "zh":
            found: list[Made] = list(chinese(sentence, passage.topic, chance))
        else:
            found = list(english(sentence, passage.topic, chance, natural=natural))
        for one in chance.sample(found, min(2, len(found))):
            yield _row(passage.text, one.question, start + one.start, start + one.end), (start, end)


def _recurring_rows(passage: Paragraph, language: str, chance: random.Random) -> list[_Row]:
    """The sentence with the span masked is the question; the passage is the rest, in which the span stands."""
    text = passage.text
    found: list[_Row] = []
    spans = recurring_spans(text, language)
    for span in chance.sample(spans, min(2, len(spans))):
        at = [match.start() for match in re.finditer(re.escape(span), text)]
        for start, end in sentences(text):
            inside = [one for one in at if start <= one and one + len(span) <= end]
            if len(inside) != 1 or len(inside) == len(at) or end - start > 320:
                continue
            sentence = text[start:end]
            masked = sentence.replace(span, MASK)
            rest = (text[:start] + text[end:].lstrip()).strip()
            where = rest.find(span)
            if where < 0 or len(rest) < 80:
                continue
            row = _row(rest, masked, where, where + len(span))
            row["answers"] = [{"text": span, "answer_start": one.start()} for one in re.finditer(re.escape(span), rest)]
            found.append((row, (0, 0)))
            break
    return found


def recurring_spans(text: str, language: str) -> list[str]:
    """Spans of up to ten words that come more than once, none inside a longer one that comes as often
    (Ram et al. 2021, §3.1): maximal, and not of stopwords alone."""
    if language == "zh":
        pieces = [match[0] for match in _ZH_SPAN.finditer(text)]
        counts: dict[str, int] = {}
        for piece in pieces:
            for length in range(2, 9):
                for at in range(len(piece) - length + 1):
                    counts[piece[at : at + length]] = 0
        return _maximal({span: text.count(span) for span in counts})
    words = list(_WORD.finditer(text))
    counts = {}
    for at, first in enumerate(words):
        if first[0].lower() in _STOP:
            continue
        for to in range(at, min(at + 10, len(words))):
            if words[to][0].lower() in _STOP:
                continue
            span = text[first.start() : words[to].end()]
            if re.search(r"[.;:!?(),]", span):
                break
            counts[span] = counts.get(span, 0) + 1
    return _maximal({span: n for span, n in counts.items() if len(span) > 2 and text.count(span) == n})


def _maximal(counts: Mapping[str, int]) -> list[str]:
    often = {span: n for span, n in counts.items() if n > 1}
    return [s for s, n in often.items() if not any(s != o and s in o and often[o] == n for o in often)]


def _silenced(
    row: dict[str, Any], sentence: tuple[int, int], others: list[Paragraph], language: str, chance: random.Random
) -> dict[str, Any] | None:
    """The row asked of a passage that does not answer; None where no such passage can be made."""
    answers = [answer["text"] for answer in row["answers"]]
    kinds = ["gone"] * (sentence != (0, 0)) + ["other"] * bool(others) + ["changed"] * (sentence != (0, 0))
    chance.shuffle(kinds)
    for kind in kinds:
        passage, question = row["passage"], row["question"]
        if kind == "gone":
            start, end = sentence
            passage = (passage[:start] + passage[end:].lstrip()).strip()
        elif kind == "other":
            passage = chance.choice(others).text
        else:
            question = _changed(question, passage, language, chance)
        gone = kind == "changed" or not any(answer.lower() in passage.lower() for answer in answers)
        if gone and question and len(passage) > 60:
            return {"passage": passage, "question": question, "answers": [], "is_impossible": True}
    return None


def _changed(question: str, passage: str, language: str, chance: random.Random) -> str:
    """The question with a year moved to one that the passage lacks, or a name changed to another of the passage."""
    years = [match for match in _YEAR.finditer(question) if match[0]]
    if years:
        year = chance.choice(years)
        moved = str(int(year[0]) + chance.choice((-30, -11, -4, 3, 7, 20)))
        return question[: year.start()] + moved + question[year.end() :] if moved not in passage else ""
    if language == "zh":
        return ""
    names = [match for match in _NAME.finditer(question) if match.start() > 0]
    rivals = [name for name in _NAME.findall(passage) if name not in question]
    if not names or not rivals:
        return ""
    name = chance.choice(names)
    return question[: name.start()] + chance.choice(rivals) + question[name.end() :]
