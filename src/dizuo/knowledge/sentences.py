"""Where sentences begin and end, in English and Chinese prose and in the lines of lists, tables and code.

Rules, not a model: they must be fast, keep exact places and never lose a character that is not white space.
"""

import re
from collections.abc import Iterator

# A line that stands alone: heading, list item, table row, quotation, rule. Its text is not joined to its neighbours'.
_ITEM = re.compile(
    r"[ \t]*(?:#{1,6}[ \t]|[-*+•·◦▪–][ \t]|(?:\d{1,3}|[a-zA-Z])[.)][ \t]|[（(]?[一二三四五六七八九十]{1,3}[、）)]|>)"
)
_ALONE = re.compile(r"[ \t]*(?:#{1,6}[ \t]|\||[-*_=]{3,}[ \t]*$)|[^\t\n]*\t[^\t\n]*\t")
_INLINE_CODE = re.compile(r"`[^`\n]+`")
_FENCE = re.compile(r"[ \t]*(```|~~~)")

# What ends a sentence, with the quotes and brackets that close after it.
_END = re.compile(r"(?:[。！？｡]|…{1,2}|[.!?．]+)[\"'”’」』）)\]】》*_]*")
_FULL_END = frozenset("。！？｡")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uac00-\ud7af\U00020000-\U0003ffff“‘「『《（【]")
_OPENS = re.compile(r"\s+[\"'“‘(\[*_«]*[^\s\"'“‘(\[*_«]")

# After these a full stop does not end a sentence, whatever follows …
_TITLES = frozenset({
    "mr", "mrs", "ms", "dr", "prof", "rev", "hon", "gen", "col", "sgt", "capt", "lt", "st", "sr", "jr", "messrs",
    "fig", "figs", "eq", "eqs", "no", "nos", "vol", "vols", "pp", "ch", "sec", "sect", "art", "vs", "cf", "ca",
    "approx", "e.g", "i.e", "viz", "dept", "est", "op", "ed", "eds",
})  # fmt: skip
# … and after these it does not when a number follows.
_MAYBE = frozenset({
    "etc", "inc", "ltd", "co", "corp", "bros", "al", "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept",
    "oct", "nov", "dec", "rd", "mt", "a.d", "b.c", "c.e",
})  # fmt: skip
# "the U.S. Army", but "in the U.S. The army": after initials only a word that often opens a sentence ends one.
_INITIALS = re.compile(r"[a-z](?:\.[a-z])+")
_STARTERS = frozenset({
    "the", "a", "an", "it", "he", "she", "they", "we", "you", "i", "this", "these", "that", "those", "its", "his",
    "her", "their", "in", "on", "at", "by", "for", "from", "with", "as", "after", "before", "when", "while", "although",
    "but", "and", "however", "there", "if", "since", "during", "some", "many", "most", "all", "both", "yes", "no",
})  # fmt: skip
_WORD = re.compile(r"\w+")
_LAST_WORD = re.compile(r"[\w.]*\Z")
_WORD_WINDOW = 24  # characters looked back for an abbreviation: keeps the work linear


def sentences(text: str) -> list[tuple[int, int]]:
    """(start, end) of each sentence, in order, without the white space around it.

    A heading, a list item, a table row and a fenced block of code each stand for themselves; other lines are joined
    until an empty line. Every character that is not white space lies in exactly one span.
    """
    return [span for start, end in _blocks(text) for span in _within(text, start, end)]


def stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without white space at its edges."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Stretches of text that no sentence crosses. A fenced block is marked by being yielded whole."""
    start: int | None = None  # of the paragraph that is open
    fence: tuple[int, str] | None = None
    at = 0
    for line in text.splitlines(keepends=True):
        begin, at = at, at + len(line)
        mark = _FENCE.match(line)
        if fence is not None:
            if mark and mark[1] == fence[1]:
                yield fence[0], at
                fence = None
            continue
        if mark or not line.strip() or _ITEM.match(line) or _ALONE.match(line):
            if start is not None:
                yield start, begin
            start = None
            if mark:
                fence = begin, mark[1]
                continue
            if not line.strip():
                continue
            if _ALONE.match(line):
                yield begin, at
                continue
        if start is None:
            start = begin
    if fence is not None:
        yield fence[0], len(text)  # a fence that nobody closed
    elif start is not None:
        yield start, len(text)


def _within(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The sentences of one block."""
    start, end = stripped(text, start, end)
    if start == end:
        return
    if _FENCE.match(text, start, end):
        yield start, end
        return
    item = _ITEM.match(text, start, end)
    begin = start
    code = _INLINE_CODE.finditer(text, start, end)
    span = next(code, None)
    for mark in _END.finditer(text, item.end() if item else start, end):
        while span is not None and span.end() <= mark.start():
            span = next(code, None)
        if span is not None and span.start() < mark.start():
            continue  # a question mark within `code`
        if mark.end() < end and _ends(text, mark, begin, end):
            if (found := stripped(text, begin, mark.end()))[0] < found[1]:
                yield found
            begin = mark.end()
    if (found := stripped(text, begin, end))[0] < found[1]:
        yield found


def _ends(text: str, mark: re.Match[str], begin: int, end: int) -> bool:
    """Whether a mark of punctuation within a block ends a sentence."""
    if mark[0][0] in _FULL_END:
        return True
    after = text[mark.end()]
    if _CJK.match(after):
        # "v1.版本": a full stop after a Latin letter or digit is no end; "!" and "?" typed in half width are.
        return mark[0][0] in "!?…．" or _CJK.match(text[max(begin, mark.start() - 1)]) is not None
    follows = _OPENS.match(text, mark.end(), end)
    if follows is None:
        return False
    first = follows[0][-1]
    if mark[0][0] != ".":
        return not first.islower()
    if first.islower():
        return False
    word = _LAST_WORD.search(text[max(begin, mark.start() - _WORD_WINDOW) : mark.start()])
    last = word[0].lower() if word else ""
    if last in _TITLES or (len(last) == 1 and last.isalpha() and word is not None and word[0].isupper()):
        return False
    if _INITIALS.fullmatch(last) and not first.isdigit():
        opening = _WORD.match(text, follows.end() - 1)
        return opening is not None and opening[0].lower() in _STARTERS
    return not (last in _MAYBE and first.isdigit())
