"""Duplicates among documents: the same text, and nearly the same text."""

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Literal

import numpy as np

from dizuo.data.ngrams import ngrams, word_hashes

# 16 bands of 8 rows: two documents of Jaccard similarity s meet in a band with probability 1 - (1 - s^8)^16, which is
# 0.95 at 0.8 and 0.06 at 0.5 (Leskovec et al., Mining of Massive Datasets, section 3.4).
_BANDS, _ROWS = 16, 8
_GRAM = 5
_SIMILAR = 0.8


class Duplicates:
    """Remembers the documents it was shown. MinHash (Broder 1997) over runs of five words or Chinese characters.

    Two documents are near duplicates when their estimated Jaccard similarity is 0.8 or more (of 128 hashes: standard
    error 0.035). Memory: about 6 KB for every document kept, whatever its length (measured: 643 MB with the 104,500 of
    the pretraining text). Forty lines of numpy in place of datasketch, which brings scipy.
    """

    def __init__(self) -> None:
        random = np.random.default_rng(20_261_124)
        # Multiply-shift (Dietzfelbinger et al. 1997): the upper half of odd·x + b is a universal hash of x.
        self._factors = random.integers(0, 1 << 63, _BANDS * _ROWS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        self._terms = random.integers(0, 1 << 63, _BANDS * _ROWS, dtype=np.uint64)
        self._exact: set[bytes] = set()
        self._bands: list[dict[bytes, list[int]]] = [{} for _ in range(_BANDS)]
        self._signatures: list[np.ndarray] = []
        self.exact = self.near = 0  # how many were found

    def add(self, text: str) -> Literal["exact", "near"] | None:
        """What the text duplicates among those kept before; None when it is new, and kept from now on."""
        hashes = word_hashes(text)
        digest = blake2b(hashes.tobytes() or text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if digest in self._exact:
            self.exact += 1
            return "exact"
        grams = ngrams(hashes, _GRAM)
        if len(grams):
            signature = self._signature(np.unique(grams))
            bands = [signature[i : i + _ROWS].tobytes() for i in range(0, len(signature), _ROWS)]
            met = {kept for table, band in zip(self._bands, bands, strict=True) for kept in table.get(band, ())}
            if any(np.mean(self._signatures[kept] == signature) >= _SIMILAR for kept in met):
                self.near += 1
                return "near"
            for table, band in zip(self._bands, bands, strict=True):
                table.setdefault(band, []).append(len(self._signatures))
            self._signatures.append(signature)
        self._exact.add(digest)
        return None

    def without(self, documents: Iterable[str]) -> Iterator[str]:
        """The documents in their order, each only where it is new."""
        return (text for text in documents if self.add(text) is None)

    def _signature(self, grams: np.ndarray) -> np.ndarray:
        """(128,) uint32: the least value of each hash over the grams, in blocks that stay in the cache."""
        least = np.full(len(self._factors), np.iinfo(np.uint64).max, np.uint64)
        for start in range(0, len(grams), 512):
            block = grams[start : start + 512, None] * self._factors
            block += self._terms
            np.minimum(least, block.min(axis=0), out=least)
        return (least >> np.uint64(32)).astype(np.uint32)
