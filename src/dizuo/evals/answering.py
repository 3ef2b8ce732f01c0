"""How well knowledge bases answer without a chat model, and how well they know when they cannot.

    python -m dizuo.evals.answering --data FOLDER          measures
    python -m dizuo.evals.answering --data FOLDER --fit    fits the weights of knowledge/extract.json first
    python -m dizuo.evals.answering --data FOLDER --fit-reader FOLDER FOLDER    fits what is made of a reader's margin

Every passage of a set is a document of one collection. Four kinds of questions are asked of it:

    answerable      a passage of the collection answers
    adversarial     SQuAD 2.0's unanswerable ones: written to look as if their passage answered
    passage gone    answerable ones, with the passage that answers left out of the collection
    article gone    the same, with every passage of its article left out (English)

The sets have one split, so it is made here, by passage: weights and threshold come from one half, the figures from the
other. A reader has learnt from the half for fitting, so its margins there are too good: what is made of them is fitted
with two readers, each of one fold of that half (data/reading.py), on the fold that it has not seen.
"""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dizuo.core.documents import Hit
from dizuo.core.protocols import Embedder, Reader
from dizuo.data.reading import split_passages
from dizuo.evals.fitting import area_under_roc, fit_chance, fit_ranking, wilson
from dizuo.evals.reading import f1, opened
from dizuo.evals.retrieval import fill
from dizuo.evals.sets import Asked, Collection, cmrc, squad
from dizuo.gateway.local_folders import SHIPPED
from dizuo.knowledge import exact, extract
from dizuo.knowledge.features import DENSE_NAMES, NAMES, Question, features, passage
from dizuo.knowledge.retrieve import Retriever
from dizuo.knowledge.store import Store
from dizuo.platform import migrate
from dizuo.platform.blobs import Blobs
from dizuo.platform.database import Database

SEED = 7
KINDS = ("answerable", "adversarial", "passage gone", "article gone")
LEAST_ANSWERED = 0.82  # of the answerable questions of the fitting half, from the right passage
LEAST_RIGHT = 0.75  # of the words that are named on the fitting half: right, by at least half of them
_HALF = 0.5
_NEVER = 1000.0  # a margin that none has
_DEPTH = 60  # hits that are fetched, so that five are left when an article is left out

# What a weight may be: a passage that lacks a word of the question can only count against it.
_SIGNS = dict.fromkeys((*NAMES, *DENSE_NAMES, *extract.CONFIDENCE_NAMES), 1) | {
    "missing_top": -1, "missing_share": -1, "missing_names": -1, "missing_numbers": -1, "negation": -1, "opposite": -1,
    "question_terms": 0,
}  # fmt: skip
# How much each kind counts in fitting the chance. A question about something else altogether is the commonest in use,
# but it is told apart so easily that it needs no more weight.
_IMPORTANCE = {"answerable": 1.0, "adversarial": 1.0, "passage gone": 0.5, "article gone": 0.5}


@dataclass(frozen=True)
class Case:
    """A question as it is asked of a collection: what was found is `hits`."""

    asked: Asked
    kind: str
    hits: Sequence[Hit]


@dataclass(frozen=True)
class Report:
    """The figures of one kind of question in one language."""

    scenario: str
    kind: str
    n: int
    answered: int  # answered at all
    right_passage: int  # answered, and the citation is of the passage that answers
    right_quote: int  # and the quotation holds an answer that the set gives
    named: int  # of these quotations, those with words named that answer
    right_words: int  # and the words named are at least half of an answer that the set gives (F1)
    auroc: float | None  # of the confidence, answerable questions against this kind

    @property
    def good(self) -> int:
        """What should be many: right answers, or refusals."""
        return self.right_passage if self.kind == "answerable" else self.n - self.answered


class Remembering:
    """An embedder that keeps the vectors it made: here the same sentences come again and again."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._kept: dict[str, Any] = {}

    @property
    def name(self) -> str:
        return self._embedder.name

    @property
    def dimension(self) -> int:
        return self._embedder.dimension

    def embed(self, texts: Sequence[str]) -> Any:
        new = list(dict.fromkeys(text for text in texts if text not in self._kept))
        if new:
            self._kept.update(zip(new, self._embedder.embed(new), strict=True))
        return np.stack([self._kept[text] for text in texts])

    def coverage(self, text: str) -> float:
        return self._embedder.coverage(text)

    def count_tokens(self, text: str) -> int:
        return self._embedder.count_tokens(text)


def halves(collection: Collection, seed: int = SEED) -> tuple[frozenset[str], frozenset[str]]:
    """The passages for fitting and those for measuring."""
    ids = sorted(collection.passages)
    random.Random(seed).shuffle(ids)  # noqa: S311  # a split, no secret
    return frozenset(ids[: len(ids) // 2]), frozenset(ids[len(ids) // 2 :])


def cases(collection: Collection, retriever: Retriever, passages: frozenset[str], *, every: int = 1) -> Iterator[Case]:
    """The questions about some of the passages, of every kind, asked of the whole collection."""
    for asked in [one for one in collection.questions if one.passage in passages][::every]:
        hits = retriever.search(collection.name, asked.text, _DEPTH).hits

        def without(gone: frozenset[str], hits: Sequence[Hit] = hits) -> Sequence[Hit]:
            return [hit for hit in hits if hit.document not in gone][: extract.N_PASSAGES]

        yield Case(asked, "answerable" if asked.answers else "adversarial", without(frozenset()))
        if asked.answers:
            yield Case(asked, "passage gone", without(frozenset({asked.passage})))
            if collection.has_articles:
                yield Case(asked, "article gone", without(collection.article_of(asked.passage)))


Answers = Sequence[tuple[Case, extract.Extract]]


def answers(asked: Sequence[Case], embedder: Embedder | None) -> Answers:
    """What is quoted to each question, before a reader has seen it."""
    return [(case, extract.extract(case.asked.text, case.hits, embedder)) for case in asked]


def with_reader(found: Answers, reader: Reader) -> Answers:
    """The same as the reader leaves it."""
    return [(case, exact.read(case.asked.text, extracted, reader)) for case, extracted in found]


def measure(scenario: str, given: Answers) -> Sequence[Report]:
    """The figures of each kind of question."""
    found: dict[str, list[tuple[Case, extract.Extract]]] = {}
    for case, extracted in given:
        found.setdefault(case.kind, []).append((case, extracted))
    sure = np.array([one.confidence for _case, one in found.get("answerable", [])])
    reports: list[Report] = []
    for kind in (kind for kind in KINDS if kind in found):
        answered = [(case, one.quote) for case, one in found[kind] if one.found and one.quote]
        right = [(case, quote) for case, quote in answered if quote.hit.document == case.asked.passage]
        holds = [case for case, quote in right if any(answer in quote.text for answer in case.asked.answers)]
        words = [f1(one.exact.text, case.asked.answers) for case, one in found[kind] if one.exact and case in holds]
        unsure = np.array([one.confidence for _case, one in found[kind]])
        reports.append(
            Report(
                scenario=scenario,
                kind=kind,
                n=len(found[kind]),
                answered=len(answered),
                right_passage=len(right) if kind == "answerable" else 0,
                right_quote=len(holds) if kind == "answerable" else 0,
                named=len(words) if kind == "answerable" else 0,
                right_words=sum(one >= _HALF for one in words) if kind == "answerable" else 0,
                auroc=None if kind == "answerable" else area_under_roc(sure, unsure),
            )
        )
    return reports


# --- fitting --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Judged:
    """The candidates of a case, and which of them are right."""

    case: Case
    found: Sequence[tuple[int, int, Mapping[str, float]]]

    def is_right(self, hit: int) -> bool:
        return self.case.kind == "answerable" and self.case.hits[hit].document == self.case.asked.passage

    def holds(self, hit: int, sentence: int) -> bool:
        """Whether this sentence holds the answer."""
        one = self.case.hits[hit]
        text = passage(one.text, one.heading).sentences[sentence].text
        return self.is_right(hit) and any(answer in text for answer in self.case.asked.answers)


def fit(asked: Sequence[Case], embedder: Embedder | None) -> Mapping[str, Mapping[str, Any]]:
    """Weights by reader: by words alone and, with an embedder that knows the language, by meaning too."""
    by_words = [
        _Judged(
            case,
            [(h, s, dict(zip(NAMES, v, strict=True))) for h, s, v in features(Question(case.asked.text), case.hits)],
        )
        for case in asked
    ]
    language = "zh" if Question(asked[0].asked.text).chinese else "en"
    weights = {language: _fit(by_words, NAMES)}
    if embedder is not None and embedder.coverage(asked[0].asked.text) > 0.5:
        by_meaning = []
        for one in by_words:
            first = extract.nearest(extract.scored(one.found, weights[language]))
            meant = extract.with_meaning(Question(one.case.asked.text), one.case.hits, first, embedder) if first else []
            by_meaning.append(_Judged(one.case, meant))
        weights[f"{language} {embedder.name}"] = _fit(by_meaning, (*NAMES, *DENSE_NAMES))
    return weights


def _fit(judged: Sequence[_Judged], names: Sequence[str]) -> Mapping[str, Any]:
    with_answer = [one for one in judged if any(one.holds(h, s) for h, s, _v in one.found)]
    rows = np.array([[v[name] for name in names] for one in with_answer for _h, _s, v in one.found])
    groups = [i for i, one in enumerate(with_answer) for _ in one.found]
    right = [one.holds(h, s) for one in with_answer for h, s, _v in one.found]
    # A name in the sentence is no sign either way: the answer often stands in the next one, which says "he".
    rank = fit_ranking(rows, groups, right, [0 if name == "names_sentence" else _SIGNS[name] for name in names])
    weights: dict[str, Any] = {"rank": _rounded(names, rank)}

    ranked = [(one, extract.scored(one.found, weights)) for one in judged if one.found]
    all_names = (*names, *extract.CONFIDENCE_NAMES)
    values = np.array([[extract.confidence_values(c)[name] for name in all_names] for _one, c in ranked])
    answered = [one.is_right(c[0].hit) for one, c in ranked]
    importance = [_IMPORTANCE[one.case.kind] for one, _c in ranked]
    chance, bias = fit_chance(values, answered, importance, [_SIGNS[name] for name in all_names])
    weights |= {"confidence": _rounded(all_names, chance), "bias": round(bias, 4)}
    sure = np.array([extract.confidence(c, weights) for _one, c in ranked])
    kinds = np.array([one.case.kind for one, _c in ranked])
    return weights | {"threshold": _threshold(sure, kinds, np.array(answered))}


def fit_reader(
    asked: Sequence[Case], embedder: Embedder | None, readers: Sequence[Reader], folds: Sequence[frozenset[str]]
) -> Mapping[str, float]:
    """What is made of a reader's margin (`exact.read`). `readers[n]` has learnt from the passages `folds[n]`, and is
    asked about those of the other fold."""
    seen = []
    for case, extracted in answers(asked, embedder):
        quote = extracted.quote
        if quote is None:
            continue
        reader = readers[1] if case.asked.passage in folds[0] else readers[0]
        (span,) = reader.read(case.asked.text, [quote.hit.text], within=[quote.within])
        right = case.kind == "answerable" and quote.hit.document == case.asked.passage
        seen.append((case, extracted.confidence, span, right))
    rows = np.array([exact.values(chance, span.margin) for _case, chance, span, _right in seen])
    right = [one[3] for one in seen]
    importance = [_IMPORTANCE[one[0].kind] for one in seen]
    weights, bias = fit_chance(rows, right, importance, [1, 1])
    fitted = {"chance": float(weights[0]), "margin": float(weights[1]), "bias": bias}
    sure = np.array([exact.confidence(chance, span.margin, fitted) for _case, chance, span, _right in seen])
    fitted["threshold"] = _threshold(sure, np.array([one[0].kind for one in seen]), np.array(right))
    said = sure >= fitted["threshold"]
    named = [(one[2].margin, f1(one[2].text, one[0].asked.answers)) for one, use in zip(seen, said, strict=True)
             if use and one[3]]  # fmt: skip
    fitted["sure"] = _surest([margin for margin, _f1 in named], [f >= _HALF for _margin, f in named])
    return {name: round(value, 4) for name, value in fitted.items()}


def _surest(margins: Sequence[float], right: Sequence[bool]) -> float:
    """The lowest margin from which enough of the words named are right."""
    best, hits = _NEVER, 0
    for n, (margin, is_right) in enumerate(sorted(zip(margins, right, strict=True), reverse=True), start=1):
        hits += is_right
        if hits >= LEAST_RIGHT * n:
            best = margin
    return best


def _threshold(sure: Any, kinds: Any, right: Any) -> float:
    """The threshold with the best mean of right answers and refusals among those that answer enough."""
    answerable = kinds == "answerable"
    best = (-1.0, 0.0)
    for threshold in np.arange(0.05, 0.95, 0.01):
        said = sure >= threshold
        answered = float((said & right)[answerable].mean())
        refused = float(np.mean([1 - said[kinds == kind].mean() for kind in KINDS[1:] if (kinds == kind).any()]))
        if answered >= LEAST_ANSWERED or best[0] < 0:
            best = max(best, ((answered + refused) / 2, float(threshold)))
    return round(best[1], 2)


def _rounded(names: Sequence[str], weights: Any) -> Mapping[str, float]:
    return {name: round(float(weight), 4) for name, weight in zip(names, weights, strict=True) if abs(weight) > 1e-4}


# --- the command ----------------------------------------------------------------------------------------------


def run(
    collections: Sequence[Collection],
    embedder: Embedder | None,
    home: Path,
    work: Callable[[Collection, Retriever], Any],
) -> list[Any]:
    """Makes a knowledge base of each collection in `home` and calls `work` with it."""
    database = Database(f"sqlite:///{home / 'dizuo.db'}")
    blobs = Blobs(home / "blobs")
    migrate.upgrade(database, blobs, home)
    store, retriever = Store(database, blobs), Retriever(database, embedder)
    try:
        results = []
        for collection in collections:
            fill(store, embedder, collection.name, collection.passages)
            results.append(work(collection, retriever))
        return results
    finally:
        database.close()


def _table(reports: Sequence[Report]) -> str:
    head = f"{'good':>7} {'95 %':15}{'in quote':>9}{'named':>7}{'right':>7}{'answered':>10}{'AUROC':>8}"
    lines = [f"{'questions':10}{'kind':15}{'n':>6}  {head}"]
    for r in reports:
        low, high = wilson(r.good, r.n)
        quoted = " " * 23
        if r.kind == "answerable":
            words = f"{r.named / r.right_quote:7.3f}{r.right_words / r.named:7.3f}" if r.named else " " * 14
            quoted = f"{r.right_quote / r.n:9.3f}{words}"
        lines.append(
            f"{r.scenario:10}{r.kind:15}{r.n:6}  {r.good / r.n:7.3f} {f'{low:.3f}–{high:.3f}':15}{quoted}"
            f"{r.answered / r.n:10.3f}{'' if r.auroc is None else f'{r.auroc:8.3f}'}"
        )
    lines.append(
        "good: answered from the right passage; for the other kinds: refused. named: of the quotations that hold"
    )
    lines.append("the answer, those with words named in them; right: of these, at least half of the answer (F1).")
    lines.append("unread: without the reader; words: without the embedder, too.")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m dizuo.evals.answering", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets (squad_v2_en, cmrc2018_zh)")
    parser.add_argument("--fit", action="store_true", help="fit the weights first and write knowledge/extract.json")
    parser.add_argument("--fit-reader", type=Path, nargs=2, metavar="FOLDER", help="readers of fold-0 and of fold-1")
    parser.add_argument("--reader", type=Path, default=SHIPPED / "reader", help="the reader that is measured")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="ask every Nth question only")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    from dizuo.gateway.local import LocalEmbedder

    embedder = Remembering(LocalEmbedder())
    reader = opened(options.reader.resolve())
    of_folds = [opened(folder.resolve()) for folder in options.fit_reader or ()]
    weights: dict[str, Any] = {}

    def work(collection: Collection, retriever: Retriever) -> Sequence[Report]:
        for_fitting, for_measuring = halves(collection)
        if options.fit:
            weights.update(fit(list(cases(collection, retriever, for_fitting, every=options.every)), embedder))
            _write(weights)
        if of_folds:
            splits = split_passages(list(collection.passages))
            asked = list(cases(collection, retriever, for_fitting, every=options.every))
            folds = [splits["fold-0"], splits["fold-1"]]
            _write(readers={collection.name: fit_reader(asked, embedder, of_folds, folds)})
        asked = list(cases(collection, retriever, for_measuring, every=options.every))
        found = answers(asked, embedder)
        reports = [*measure(collection.name, with_reader(found, reader)), *measure(f"{collection.name} unread", found)]
        if f"{collection.name} {embedder.name}" in extract.weights():
            reports += measure(f"{collection.name} words", answers(asked, None))
        return reports

    with tempfile.TemporaryDirectory() as home:
        reports = [
            r for part in run([squad(options.data), cmrc(options.data)], embedder, Path(home), work) for r in part
        ]
    print(json.dumps([asdict(r) for r in reports], indent=1) if options.json else _table(reports))


def _write(weights: Mapping[str, Any] | None = None, readers: Mapping[str, Any] | None = None) -> None:
    about = {
        "made_by": "python -m dizuo.evals.answering --fit; readers: --fit-reader",
        "data": "squad_v2_en (chrischute/squad@85623adeb9e6), cmrc2018_zh (ymcui/cmrc2018@c0eb1b6ba219), CC BY-SA 4.0",
        "split": f"half of the passages, seed {SEED}",
        "least_answered": LEAST_ANSWERED,
    }
    known = extract.fitted()
    whole = {
        "about": about,
        "weights": {**known["weights"], **(weights or {})},
        "readers": {**known["readers"], **(readers or {})},
    }
    text = json.dumps(whole, indent=1, ensure_ascii=False)
    Path(extract.__file__).with_name("extract.json").write_text(text + "\n", "utf-8")
    extract.fitted.cache_clear()


if __name__ == "__main__":
    main(sys.argv[1:])
