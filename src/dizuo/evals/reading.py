"""Reading: exact match and F1 of quoted answers, and abstaining (Rajpurkar et al. 2016, §6.1; 2018, §5).

    python -m dizuo.evals.reading --data FOLDER --reader FOLDER [--every N] [--keep]

A reader is given a question and the passage that it was written for, and names a span or refuses. Beside it stand what
`dizuo ask` quotes without a reader (a sentence), the words that the reader names in that, and the passage's first
sentence. Figures are of the split `test` of data/reading.py; every threshold comes from `validation`. `--keep` writes
them into the reader's dizuo.json and its card.

Chinese is compared character by character, as CMRC 2018 does (Cui et al. 2019).
"""

import argparse
import json
import re
import string
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dizuo.core.documents import Hit
from dizuo.core.protocols import Embedder, Reader
from dizuo.evals.fitting import area_under_roc, wilson
from dizuo.evals.kept import keep

_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}，。、；：？！“”‘’「」『』《》（）【】…—～·]")
_TOKEN = re.compile(r"[\u3400-\u9fff]|[^\s\u3400-\u9fff]+")


@dataclass(frozen=True)
class Scores:
    """Shares, 0 to 1, of `n` questions, and what they are of `n_answerable` and the others.

    `em` and `f1` count a question without an answer as 1 when it was refused;
    `auroc` is the chance that an answerable
    question has more confidence than one that is not."""

    n: int
    n_answerable: int
    em: float
    f1: float
    answerable_em: float
    answerable_f1: float
    refused: float  # of the questions without an answer
    forced_f1: float  # of the answerable ones, when it must answer
    auroc: float | None


@dataclass(frozen=True)
class Read:
    """What a reader said to a question: the best answer, and how sure it is (any scale)."""

    answer: str
    confidence: float
    answers: tuple[str, ...]  # that the set gives; none: the passage does not answer


def exact_match(said: str, answers: Sequence[str]) -> float:
    """1 where the answer is one of those given, but for case, articles, spaces and punctuation."""
    return float(any(_normal(said) == _normal(answer) for answer in answers))


def f1(said: str, answers: Sequence[str]) -> float:
    """The best overlap of words (Chinese: characters) with an answer given."""
    return max((_overlap(said, answer) for answer in answers), default=0.0)


def score(read: Sequence[Read], threshold: float) -> Scores:
    """The scores when everything below `threshold` is refused."""
    em, overlap, forced = [], [], []
    for one in read:
        said = one.confidence >= threshold
        if one.answers:
            em.append(exact_match(one.answer, one.answers) if said else 0.0)
            overlap.append(f1(one.answer, one.answers) if said else 0.0)
            forced.append(f1(one.answer, one.answers))
        else:
            em.append(float(not said))
            overlap.append(float(not said))
    has = np.array([bool(one.answers) for one in read])
    sure = np.array([one.confidence for one in read])
    both = has.any() and not has.all()
    return Scores(
        n=len(read),
        n_answerable=int(has.sum()),
        em=float(np.mean(em)),
        f1=float(np.mean(overlap)),
        answerable_em=float(np.mean(np.array(em)[has])) if has.any() else 0.0,
        answerable_f1=float(np.mean(np.array(overlap)[has])) if has.any() else 0.0,
        refused=float(np.mean(np.array(em)[~has])) if not has.all() else 0.0,
        forced_f1=float(np.mean(forced)) if forced else 0.0,
        auroc=area_under_roc(sure[has], sure[~has]) if both else None,
    )


def fit_threshold(read: Sequence[Read]) -> float:
    """The threshold with the best F1 on these questions, which must not be those that are reported."""
    by_confidence = sorted(read, key=lambda one: -one.confidence)
    # All are refused at first; lowering the threshold past a question changes only that one.
    best = total = 0.0
    threshold = float("inf")
    for one in by_confidence:
        total += f1(one.answer, one.answers) if one.answers else -1.0
        if total > best:
            best, threshold = total, one.confidence
    return threshold


def _normal(text: str) -> str:
    return " ".join(_tokens(text))


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(_ARTICLE.sub(" ", _PUNCTUATION.sub("", text.lower())))


def _overlap(said: str, answer: str) -> float:
    a, b = _tokens(said), _tokens(answer)
    common = sum((Counter(a) & Counter(b)).values())
    return 2 * common / (len(a) + len(b)) if common else 0.0


# --- what reads -----------------------------------------------------------------------------------------------

Subject = Callable[[Mapping[str, Any]], tuple[str, float]]  # a row to (answer, confidence)


def read(rows: Sequence[Mapping[str, Any]], subject: Subject) -> list[Read]:
    """What a subject says to each row."""
    said = [subject(row) for row in rows]
    return [
        Read(answer, confidence, tuple(one["text"] for one in row["answers"]))
        for row, (answer, confidence) in zip(rows, said, strict=True)
    ]


def opened(folder: Path) -> Reader:
    """The reader of a folder anywhere, as it serves."""
    from dizuo.gateway.models import Models

    return Models(folder=folder.parent).reader(f"local/{folder.name}")


def by_reader(reader: Reader) -> Subject:
    """A trained reader: the margin over its null score is its confidence."""

    def subject(row: Mapping[str, Any]) -> tuple[str, float]:
        (answer,) = reader.read(row["question"], [row["passage"]])
        return answer.text, answer.margin

    return subject


def by_extract(embedder: Embedder | None) -> Subject:
    """The sentence that `dizuo ask` quotes, with its calibrated chance."""
    from dizuo.knowledge.extract import extract

    def subject(row: Mapping[str, Any]) -> tuple[str, float]:
        found = extract(row["question"], [_hit(row["passage"])], embedder)
        return (found.quote.text, found.confidence) if found.quote else ("", 0.0)

    return subject


def by_words(reader: Reader, embedder: Embedder | None) -> Subject:
    """The words that a reader names in the sentence that `dizuo ask` quotes, whether it is sure of them or not."""
    from dizuo.knowledge.extract import extract

    def subject(row: Mapping[str, Any]) -> tuple[str, float]:
        found = extract(row["question"], [_hit(row["passage"])], embedder)
        if found.quote is None:
            return "", -np.inf
        (answer,) = reader.read(row["question"], [row["passage"]], within=[found.quote.within])
        return answer.text, answer.margin

    return subject


def _hit(text: str) -> Hit:
    return Hit(document="", document_id="", chunk="", text=text, score=1.0, heading="", page=None, start=0,
               end=len(text), legs={})  # fmt: skip


def by_first_sentence(row: Mapping[str, Any]) -> tuple[str, float]:
    """The beginning of the passage, whatever is asked."""
    return re.split(r"(?<=[.!?。！？])", row["passage"], maxsplit=1)[0], 1.0


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    from dizuo.data.reading import read_reading
    from dizuo.gateway.local import LocalEmbedder

    parser = argparse.ArgumentParser(prog="python -m dizuo.evals.reading", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--set", default="squad_v2_en", help="squad_v2_en or cmrc2018_zh")
    parser.add_argument("--reader", type=Path, action="append", default=[], help="folder of a reader; may come again")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="ask every Nth question only")
    parser.add_argument("--keep", action="store_true", help="also write the figures into the readers' dizuo.json")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    splits = {split: list(read_reading(options.set, split, options.data)) for split in ("validation", "test")}
    splits["test"] = splits["test"][:: options.every]
    embedder = LocalEmbedder()
    subjects: dict[str, Subject] = {"first sentence": by_first_sentence, "extract": by_extract(embedder)}
    readers = {folder.name: opened(folder.resolve()) for folder in options.reader}
    subjects |= {name: by_reader(reader) for name, reader in readers.items()}
    subjects |= {f"extract, {name}": by_words(reader, embedder) for name, reader in readers.items()}
    scores = {}
    for name, subject in subjects.items():
        threshold = fit_threshold(read(splits["validation"], subject))
        scores[name] = score(read(splits["test"], subject), threshold)
    if options.keep:
        figures = {name: {f"reading {options.set}": _known(one)} for name, one in scores.items()}
        for folder in options.reader:
            others = {name: one for name, one in figures.items() if name.startswith(("first", "extract"))}
            keep(folder, {**figures[folder.name], "beside": others})
    print(json.dumps({name: asdict(one) for name, one in scores.items()}, indent=1) if options.json else _table(scores))


def _known(scores: Scores) -> dict[str, float]:
    return {name: value for name, value in asdict(scores).items() if value is not None}


def _table(scores: Mapping[str, Scores]) -> str:
    head = f"{'EM':>7} {'95 %':15}{'F1':>7}{'EM ans.':>9}{'F1 ans.':>9}{'refused':>9}{'F1 forced':>11}{'AUROC':>7}"
    lines = [f"{'':20}{'n':>6}{head}"]
    for name, s in scores.items():
        low, high = wilson(round(s.em * s.n), s.n)
        auroc = "" if s.auroc is None else f"{s.auroc:7.3f}"
        lines.append(
            f"{name:20}{s.n:6}{s.em:7.3f} {f'{low:.3f}–{high:.3f}':15}{s.f1:7.3f}{s.answerable_em:9.3f}"
            f"{s.answerable_f1:9.3f}{s.refused:9.3f}{s.forced_f1:11.3f}{auroc}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
