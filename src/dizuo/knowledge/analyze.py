"""Text to keyword terms, the same for both databases (docs/adr/0002).

A term holds letters and digits only, so that no database's own tokenizer cuts it again. What is written in
different ways becomes the same term: width (Ａ１ = A1), case, accents, traditional and simplified Chinese,
English endings, `maxFileMb` = `max_file_mb`, "e-mail" = "email", "12,000" = "12000".
"""

import json
import re
import threading
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

# Scripts written without spaces between words (Han, kana, and hangul with them, as in Lucene): cut into pairs.
_CJK = (
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f"
)
# Vowel signs and the like, which Python's \w leaves out of words: Hebrew, Arabic, the scripts of India, Thai, Lao.
_MARKS = (
    "\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u0900-\u0963\u0966-\u0dff"
    "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ecd"
)
_WORD = rf"(?:(?![{_CJK}])[^\W_]|[{_MARKS}])"
# A run of those scripts; or words with the signs that join them to one name, number, address or version.
_TOKEN = re.compile(rf"[{_CJK}]+|{_WORD}+(?:(?:_+|[.\-'’@,]){_WORD}+)*")
_PART = re.compile(rf"{_WORD}+(?:['’]{_WORD}+)*")
# maxFileMb, HTTPServer, iPhone15: where a name changes case, or from letters to digits.
_SEAM = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")
_IS_CJK = re.compile(f"[{_CJK}]")
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)*")
_ACCENT = re.compile("[\u0300-\u036f]")
_DOT = "ˑ"  # stands for the dots in 3.11.2, and is a letter to every tokenizer
_LONGEST = 64  # characters of a term; a longer "word" is a hash or base64 and is cut

# English words that say how a question is put and not what it is about. Dropped from a query that has others:
# in a collection that is mostly Chinese they are rare, and BM25 would take them for what the question is about.
STOPWORDS = frozenset(
    """
    a about also an and any are as at be been being but by can could did do does doing for from had has have he
    her hers him his how i if in into is it its me my of on or our ours shall she should so such than that the
    their them then there these they this those to too us was we were what when where which who whom whose why
    will with would you your yours
    """.split()  # noqa: SIM905  # a list of this many strings is a page
)
_PARTICLES = frozenset("的了是在吗呢吧啊么什谁哪怎为何几多少和与及或也都就还很不没有这那个之其以于对从到被把给让请问")


def terms(text: str) -> list[str]:
    """Every term of a text in its order, for the index."""
    found: list[str] = []
    for token in _tokens(text):
        if _IS_CJK.match(token):
            found += [token[i : i + 2] for i in range(len(token) - 1)]
            found.append(token[-1])  # so that a prefix search for any single character finds something
        else:
            found += _word_terms(token)
    return found


def query_terms(text: str) -> tuple[list[str], list[str]]:
    """The terms to look for, each once, and the prefixes to look for: single Chinese characters.

    Stopwords are left out where anything else is left.
    """
    telling: dict[str, None] = {}
    stopped: dict[str, None] = {}
    prefixes: dict[str, None] = {}
    for token in _tokens(text):
        if not _IS_CJK.match(token):
            plain = token.lower().replace("’", "'").removesuffix("'s")
            (stopped if plain in STOPWORDS else telling).update(dict.fromkeys(_word_terms(token)))
        elif len(token) == 1:
            prefixes[token] = None
        else:
            telling.update(dict.fromkeys(token[i : i + 2] for i in range(len(token) - 1)))
    return list(telling if telling or prefixes else stopped), list(prefixes)


def single_characters(text: str) -> list[str]:
    """The Chinese characters of a query, each once, as prefixes to look for when its pairs find nothing: 梨的颜色 for
    a text that says 梨是黄色的. Without those that only join or ask."""
    found = (c for token in _tokens(text) if _IS_CJK.match(token) for c in token if c not in _PARTICLES)
    return list(dict.fromkeys(found))


def fold(text: str) -> str:
    """Width, accents and traditional Chinese folded; case kept, because names are cut by it."""
    if text.isascii():
        return text
    decomposed = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFC", _ACCENT.sub("", decomposed)).translate(_simplified())


def _tokens(text: str) -> Iterator[str]:
    for match in _TOKEN.finditer(fold(text)):
        yield match.group()


@lru_cache(20_000)
def _word_terms(token: str) -> tuple[str, ...]:
    """The parts of a word or name, and the whole of it when it has several."""
    parts = _PART.findall(token)
    pieces = [piece for part in parts for piece in _SEAM.split(part)]
    if len(pieces) == 1:
        found = _stems(pieces)
    elif _NUMBER.fullmatch(token):
        found = [*pieces, token.replace(",", "").replace(".", _DOT)]
    else:  # the whole as it would be written in one word, so that iPhones and "iphones" are the same
        found = _stems([*pieces, "".join(parts)])
    return tuple(term for term in found if term)


def _stems(words: Sequence[str]) -> list[str]:
    stemmer = _stemmer()
    folded = [word.casefold().replace("’", "'")[:_LONGEST] for word in words]
    return [stem.replace("'", "") for stem in stemmer.stemWords(folded)]


_local = threading.local()


def _stemmer() -> Any:
    """English (Porter 2). One for each thread: a stemmer must not be used by two at once."""
    if not hasattr(_local, "stemmer"):
        import Stemmer

        _local.stemmer = Stemmer.Stemmer("english")
    return _local.stemmer


@cache
def _simplified() -> Mapping[int, str]:
    """Traditional to simplified, character by character.

    By whole words, as zhconv converts for reading, 乾 would differ in 乾淨 and 乾坤 and depend on where a run is cut.
    For finding, it only matters that both sides are folded alike.
    """
    # The file alone: the package's own function leaves it open, and makes a set of every prefix of every word.
    words = json.loads(files("zhconv").joinpath("zhcdict.json").read_bytes())["zh2Hans"]
    table = {ord(old): new for old, new in words.items() if len(old) == len(new) == 1}
    return table | {ord("著"): "着", ord("妳"): "你", ord("祂"): "他", ord("牠"): "它"}
