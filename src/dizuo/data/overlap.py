"""What of the evaluation sets stands in the training text: found, reported, and left out.

As in GPT-3 (Brown et al. 2020, arXiv:2005.14165, appendix C): lower case, no punctuation, runs of 13 words, and at
least 8 where the evaluation text is shorter. Two differences. A Chinese character counts as a word. A document that
holds such a run is left out as a whole, where GPT-3 cuts 200 characters around it: at this size a document is cheap.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dizuo.data.ngrams import ngrams, word_hashes
from dizuo.data.sources import data_sets, find, read

_LONG, _SHORT = 13, 8
# Sets of one split, whose users divide them into training and scores: all of it is looked for.
_SPLIT_BY_USER = ("squad_v2_en", "cmrc2018_zh")


class Overlap:
    """The runs of words of some evaluation texts. Memory: 12 bytes for every word of those texts."""

    def __init__(self, texts: Mapping[str, Iterable[str]]) -> None:
        """`texts`: by the name of the evaluation set. What has under 8 words is too common to look for."""
        self.names = list(texts)
        self.dropped: Counter[str] = Counter()  # documents left out by `without`, by evaluation set
        found: dict[int, list[np.ndarray]] = {}
        owners: dict[int, list[np.ndarray]] = {}
        for owner, name in enumerate(self.names):
            for text in texts[name]:
                hashes = word_hashes(text)
                n = min(_LONG, len(hashes))
                if n >= _SHORT:
                    grams = ngrams(hashes, n)
                    found.setdefault(n, []).append(grams)
                    owners.setdefault(n, []).append(np.full(len(grams), owner, np.int32))
        self._grams: dict[int, np.ndarray] = {}
        self._owners: dict[int, np.ndarray] = {}
        for n in sorted(found):
            grams, first = np.unique(np.concatenate(found[n]), return_index=True)
            self._grams[n], self._owners[n] = grams, np.concatenate(owners[n])[first]

    def hits(self, text: str) -> dict[str, int]:
        """How many runs of words the text shares with each evaluation set that it shares any with."""
        hashes = word_hashes(text)
        counts: Counter[str] = Counter()
        for n, known in self._grams.items():
            grams = ngrams(hashes, n)
            at = np.searchsorted(known, grams)
            at[at == len(known)] = 0
            for owner in self._owners[n][at[known[at] == grams]]:
                counts[self.names[owner]] += 1
        return dict(counts)

    def without(self, documents: Iterable[str]) -> Iterator[str]:
        """The documents that share nothing with the evaluation sets."""
        for text in documents:
            hits = self.hits(text)
            self.dropped.update(hits.keys())
            if not hits:
                yield text

    @property
    def fingerprint(self) -> str:
        """A short name of what is looked for: shards that were cleaned say it."""
        digest = hashlib.sha256()
        for n, grams in self._grams.items():
            digest.update(n.to_bytes(2, "little") + grams.tobytes())
        return digest.hexdigest()[:16]


def evaluation_texts(data: Path | None, names: Sequence[str] | None = None) -> dict[str, Iterator[str]]:
    """The texts of the evaluation sets for `Overlap`: of all that the catalogue keeps for scores, or of those named.

    Of a named set every split counts. Held-out parts of the pretraining text itself are not among them: their set was
    deduplicated, and what they share with the rest are turns of phrase.
    """
    sets = data_sets(data)
    if names is None:
        wanted = {name: [f.split for f in about.files if f.evaluation] for name, about in sets.items()}
        wanted |= {name: sets[name].splits for name in _SPLIT_BY_USER if name in sets}
        wanted = {name: splits for name, splits in wanted.items() if splits and splits != ["val"]}
    else:
        wanted = {name: find(name, data).splits for name in names}
    return {name: _set_texts(name, splits, data) for name, splits in wanted.items()}


def _set_texts(name: str, splits: Sequence[str], data: Path | None) -> Iterator[str]:
    for split in dict.fromkeys(splits):
        for row in read(name, split, data):
            yield from _texts(row)


def _texts(value: Any) -> Iterator[str]:
    """Every string inside a row."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


@dataclass(frozen=True)
class OverlapReport:
    """Of one training set: how many documents share a run of words with each evaluation set."""

    name: str
    documents: int
    overlapping: int  # with any of them
    by_set: dict[str, int]


def report(name: str, documents: Iterable[str], overlap: Overlap) -> OverlapReport:
    """Counts what `without` would leave out."""
    counts: Counter[str] = Counter()
    total = overlapping = 0
    for text in documents:
        hits = overlap.hits(text)
        counts.update(hits.keys())
        total += 1
        overlapping += bool(hits)
    return OverlapReport(name, total, overlapping, dict(counts.most_common()))
