"""How often the semantic cache hits, and how often it errs; and the fit of its weights.

    python -m dizuo.evals.caching --data FOLDER          measures
    python -m dizuo.evals.caching --data FOLDER --fit    fits gateway/verifier.json first, and writes figures into it

A lookup meets the kept questions of its collection as in use: the nearest are read by the verifier, the surest of those
that pass is the answer. It is wrong where the kept answer does not fit what was asked. The false-hit rate is wrong hits
among all hits; the hit rate, right hits among the questions that some kept answer fits. Intervals are Wilson's,
95 %; the bound that is held to the budget is Clopper and Pearson's, one-sided, 95 %.

The threshold of each language is the lowest at which the upper bound of the false-hit rate of the fitting half, over
all its sets together, stays within half the budget, or within the budget without a wrong hit.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dizuo.core.protocols import Embedder
from dizuo.evals.caching_pairs import AGAIN, BLIND, Collection, Kept, collections, fits
from dizuo.evals.fitting import fit_chance, upper_bound, wilson
from dizuo.gateway import verifier
from dizuo.gateway.agreement import Lexicon
from dizuo.gateway.verifier import NAMES, Verifier, disagree, features, logistic
from dizuo.gateway.writing import normalised
from dizuo.knowledge.analyze import fold, terms
from dizuo.knowledge.rarity import rarity

BUDGET = 0.01  # upper 95 % bound of the false-hit rate
_CANDIDATES = 8
# What a sign may say: what is missing can only count against a pair.
_AGAINST = frozenset({"missing", "added", "extra"})
# How much each set counts in fitting, whatever its size.
_IMPORTANCE = {"banking": 1.0, "mock": 0.5, "tatoeba": 2.0, "reading": 1.0, "frames": 1.0, "blind": 1.0, "again": 1.0}

# Sets whose rules have the names of those of our frames: told by rule, they ship as a whole.
_AS_A_WHOLE = (BLIND, AGAIN)

Rate = tuple[float, float, float]  # a share and its 95 % interval

LEXICON = Lexicon(fold, terms, rarity)


@dataclass(frozen=True)
class Candidate:
    """A kept question that is near to what is asked."""

    kept: Kept
    fits: bool
    cosine: float | None
    values: Mapping[str, float]
    why: str = ""  # what the two disagree on, if they do


@dataclass(frozen=True)
class Lookup:
    """A question with what is near to it. `answerable`: some kept answer fits."""

    set: str
    language: str
    rule: str
    asked: Kept
    answerable: bool
    same_writing: Candidate | None  # found before anything is compared
    candidates: Sequence[Candidate]


@dataclass(frozen=True)
class Figure:
    """How lookups of one kind went in one language."""

    set: str
    language: str
    rule: str
    asked: int
    answerable: int
    hits: int
    wrong: int

    @property
    def hit_rate(self) -> Rate | None:
        """Right hits among the answerable, with its interval."""
        right = self.hits - self.wrong
        return (right / self.answerable, *wilson(right, self.answerable)) if self.answerable else None

    @property
    def false_hit_rate(self) -> Rate:
        """Wrong hits among the hits, with its interval; among all that was asked where no kept answer fits."""
        of = self._hits_or_asked
        return (self.wrong / of if of else 0.0, *wilson(self.wrong, of))

    @property
    def false_hit_bound(self) -> float:
        """The rate's upper 95 % bound, which is what the budget holds down."""
        return upper_bound(self.wrong, self._hits_or_asked)

    @property
    def _hits_or_asked(self) -> int:
        return self.hits if self.answerable else self.asked


def lookups(some: Iterable[Collection], embedder: Embedder, judge: Verifier) -> Iterator[Lookup]:
    """Every asked question with its candidates, as `Cache` finds them."""
    for one in some:
        views = [judge.view(kept.text) for kept in one.kept]
        dense = one.language == "en"
        near: Any
        near = np.empty((0, 0))
        if dense:
            matrix = embedder.embed([kept.text for kept in one.kept])
            near = embedder.embed([asked.text for asked in one.asked]) @ matrix.T
        written = {normalised(kept.text, fold): kept for kept in one.kept}
        groups = {kept.group for kept in one.kept}
        for n, asked in enumerate(one.asked):
            view = judge.view(asked.text)
            likeness = near[n] if dense else np.array([judge.likeness(view, other) for other in views])
            found = []
            for position in np.argsort(-likeness)[:_CANDIDATES]:
                kept, other = one.kept[position], views[position]
                if likeness[position] < (0.5 if dense else judge.LEAST_LIKENESS):
                    break
                if not (view.comparable and other.comparable):
                    continue
                cosine = float(likeness[position]) if dense else None
                values = features(view, other, cosine)
                found.append(Candidate(kept, fits(asked, kept), cosine, values, disagree(view, other)))
            same = written.get(normalised(asked.text, fold))
            yield Lookup(
                one.name,
                one.language,
                one.rule,
                asked,
                asked.group in groups or any(candidate.fits for candidate in found),
                Candidate(same, fits(asked, same), 1.0, {}) if same else None,
                found,
            )


def hit(lookup: Lookup, weights: Mapping[str, Any]) -> Candidate | None:
    """What the cache answers with."""
    if lookup.same_writing is not None:
        return lookup.same_writing
    best = surest(lookup, weights)
    return best[1] if best is not None and best[0] >= weights["threshold"] else None


def surest(lookup: Lookup, weights: Mapping[str, Any]) -> tuple[float, Candidate] | None:
    """The candidate that is likeliest the same, with its chance."""
    judged = [(logistic(one.values, weights), one) for one in lookup.candidates if not one.why]
    return max(judged, key=lambda pair: pair[0], default=None)


def measure(found: Sequence[Lookup], weights: Mapping[str, Mapping[str, Any]]) -> Sequence[Figure]:
    """The figures by set and rule, over all pairs of authors who had not seen the cache, and over all of a language."""
    counted: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for lookup in found:
        got = hit(lookup, weights[lookup.language])
        keys = {(lookup.set, lookup.language, lookup.rule), ("all", lookup.language, "")}
        if lookup.set in _AS_A_WHOLE:
            keys.add((lookup.set, lookup.language, ""))
        for key in keys:
            for n, counts in enumerate((True, lookup.answerable, got is not None, got is not None and not got.fits)):
                counted[key][n] += counts
    ordered = sorted(counted.items(), key=lambda one: (one[0][1], one[0][0] != "all", one[0]))
    return [Figure(*key, *counts) for key, counts in ordered]


# --- fitting --------------------------------------------------------------------------------------------------


def fit(found: Sequence[Lookup], budget: float = BUDGET) -> Mapping[str, Mapping[str, Any]]:
    """Weights and threshold by language."""
    return {
        language: _fit([lookup for lookup in found if lookup.language == language], names, budget)
        for language, names in NAMES.items()
    }


def _fit(found: Sequence[Lookup], names: Sequence[str], budget: float) -> Mapping[str, Any]:
    every = [(lookup, one) for lookup in found for one in lookup.candidates]
    pairs = [(lookup, one) for lookup, one in every if not one.why]
    if all(one.fits for _lookup, one in pairs):
        pairs = every  # the rules leave nothing wrong to learn from: what they refuse tells what is unlike
    rows = np.array([[one.values[name] for name in names] for _lookup, one in pairs])
    # By all that is near, not by what is left of it: where the rules leave one pair, it is not worth a whole set.
    size: dict[str, int] = defaultdict(int)
    for lookup in found:
        size[lookup.set] += len(lookup.candidates)
    importance = [_IMPORTANCE[lookup.set] / size[lookup.set] for lookup, _one in pairs]
    signs = [-1 if name in _AGAINST else 1 for name in names]
    found_weights, bias = fit_chance(rows, [one.fits for _lookup, one in pairs], importance, signs)
    weights: dict[str, Any] = {
        "weights": {name: round(float(w), 4) for name, w in zip(names, found_weights, strict=True) if abs(w) > 1e-4},
        "bias": round(bias, 4),
    }
    return weights | {"threshold": _threshold(found, weights, budget)}


def _threshold(found: Sequence[Lookup], weights: Mapping[str, Any], budget: float) -> float:
    """The lowest chance above which the upper bound of the false-hit rate is within half the budget, or no hit is wrong
    and it is within the budget.

    Half, because what just keeps to a bound on one half breaks it on another about every second time. Hits of the
    earlier stages count: they are the cache's as well.
    """
    said = []
    for lookup in found:
        if lookup.same_writing is not None:
            said.append((1.0, lookup.same_writing.fits))
        elif (best := surest(lookup, weights)) is not None:
            said.append((best[0], best[1].fits))
    said.sort(key=lambda pair: -pair[0])
    lowest, wrong = 1.1, 0
    least = int(2.9 / budget)  # fewer cannot show it
    for n, (chance, right) in enumerate(said, 1):
        wrong += not right
        allowed = budget / 2 if wrong else budget
        if n >= least and wrong <= allowed * n and upper_bound(wrong, n) <= allowed:
            lowest = chance
    return float(np.floor(lowest * 1e4) / 1e4)


# --- the command ----------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m dizuo.evals.caching", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--fit", action="store_true", help="fit the weights and write them, with the figures")
    parser.add_argument("--budget", type=float, default=BUDGET, help="upper bound of the false-hit rate")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print so many wrong hits of each set")
    options = parser.parse_args(arguments)
    embedder = _embedder()
    judge = Verifier(LEXICON, {})
    if options.fit:
        weights = fit(list(lookups(collections(options.data, "fit"), embedder, judge)), options.budget)
    else:
        weights = verifier.shipped()["weights"]
    found = list(lookups(collections(options.data, "test"), embedder, judge))
    figures = measure(found, weights)
    show(figures)
    for lookup in _wrong(found, weights, options.show):
        print(lookup)
    if options.fit:
        _write(weights, figures, options.budget)


def _embedder() -> Embedder:
    from dizuo.evals.answering import Remembering
    from dizuo.gateway.models import LOCAL_EMBEDDER, Models

    return Remembering(Models().embedder(LOCAL_EMBEDDER))


def show(figures: Sequence[Figure]) -> None:
    """Prints the table."""
    counts = f"{'asked':>7}{'fit':>6}{'hits':>6}{'wrong':>6}"
    print(f"{'set':9}{'':4}{'rule':11}{counts}  {'hit rate':22}{'false-hit rate':22}  bound")
    for one in figures:
        rates = ["{:6.1%} [{:5.1%}, {:5.1%}]".format(*rate) if rate else " " * 22 for rate in _rates(one)]
        counts = f"{one.asked:7}{one.answerable:6}{one.hits:6}{one.wrong:6}"
        print(f"{one.set:9}{one.language:4}{one.rule:11}{counts}  {rates[0]}  {rates[1]}  {one.false_hit_bound:6.2%}")


def _rates(one: Figure) -> tuple[Rate | None, Rate]:
    return one.hit_rate, one.false_hit_rate


def _wrong(found: Sequence[Lookup], weights: Mapping[str, Mapping[str, Any]], most: int) -> Iterator[str]:
    shown: dict[tuple[str, str], int] = defaultdict(int)
    for lookup in found:
        got = hit(lookup, weights[lookup.language])
        if got is not None and not got.fits and shown[lookup.set, lookup.language] < most:
            shown[lookup.set, lookup.language] += 1
            yield f"{lookup.set} {lookup.language}: {lookup.asked.text!r} was given the answer to {got.kept.text!r}"


def _told(one: Figure) -> Mapping[str, Any]:
    hit, wrong = _rates(one)
    return {
        "language": one.language,
        "kind": one.rule or one.set,
        "asked": one.asked,
        "answerable": one.answerable,
        "hits": one.hits,
        "wrong": one.wrong,
        "hit_rate": [round(share, 4) for share in hit] if hit else None,
        "false_hit_rate": [round(share, 4) for share in wrong],
        "false_hit_bound": round(one.false_hit_bound, 4),
    }


def _write(weights: Mapping[str, Any], figures: Sequence[Figure], budget: float) -> None:
    about = {
        "made_by": "python -m dizuo.evals.caching --fit",
        "data": "Banking77 (CC BY 4.0), GPTCache's mock pairs (MIT), Tatoeba (CC BY 2.0 FR), SQuAD 2.0 and CMRC 2018 "
        "(CC BY-SA 4.0), caching_frames.json, caching_blind.json and caching_again.json; cut by intent, sentence, "
        "group, passage, frame and author",
        "budget": budget,
    }
    told = [_told(one) for one in figures if one.set not in _AS_A_WHOLE or not one.rule]
    content = {"about": about, "weights": weights, "figures": told}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    Path(verifier.__file__).with_name("verifier.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
