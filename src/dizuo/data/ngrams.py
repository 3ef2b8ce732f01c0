"""Texts as hashed n-grams of words, a Chinese character counting as a word."""

import re
import unicodedata
import zlib

import numpy as np

_WORDS = re.compile(r"[㐀-䶿一-鿿豈-﫿𠀀-𱍊]|[^\W_㐀-䶿一-鿿豈-﫿𠀀-𱍊]+")
_MIX = np.uint64(0x9E3779B97F4A7C15)


def words(text: str) -> list[str]:
    """What is compared: case, width, marks and spaces do not count."""
    return _WORDS.findall(unicodedata.normalize("NFKC", text).casefold())


def word_hashes(text: str) -> np.ndarray:
    """(n,) uint64, a well-mixed number a word; the same in every process, as Python's own hash is not."""
    crc = np.fromiter((zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in words(text)), np.uint64)
    return _mixed(crc + np.uint64(1))


def ngrams(hashes: np.ndarray, n: int) -> np.ndarray:
    """(len - n + 1,) uint64: the hash of every run of n words; empty for a shorter text."""
    count = len(hashes) - n + 1
    if count <= 0:
        return np.empty(0, np.uint64)
    total = np.zeros(count, np.uint64)
    for i in range(n):  # a polynomial over 2^64: order counts
        total = total * _MIX + hashes[i : i + count]
    return _mixed(total)


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele et al. 2014), a bijection."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
