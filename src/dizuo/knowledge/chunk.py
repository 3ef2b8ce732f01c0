"""Documents cut into chunks along their structure: what is found, embedded, shown and cited.

`structure` sees blocks (headings, paragraphs, list items, table rows, code); here they are packed. A paragraph stays
whole up to `_LONGEST`, short ones that follow each other under one heading are put together up to `_TARGET`, and a
longer one is cut between sentences. A chunk is always `text[start:end]`, chunks never overlap, and together they hold
everything that is not blank.

The sizes: the default embedder's window is 256 tokens, so that is what paragraphs are packed to; but a passage that
its author wrote as one paragraph is one thing to find (of SQuAD's, one in ten is longer than 256 tokens), so it is cut
only when it is much longer. Chinese is measured by characters, whatever the tokenizer makes of them.
"""

import hashlib
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from dizuo.core.documents import Chunk, ChunkKind
from dizuo.knowledge.sentences import sentences, stripped
from dizuo.knowledge.structure import Block, blocks_of

CountTokens = Callable[[str], int]

_TARGET = 256
_LONGEST = 480
_CJK_TOKEN = 0.45  # of one Chinese character: 1,000 characters say about what 350 English words do
_CJK = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
# Short pieces are estimated: a call of the tokenizer costs twenty microseconds, and tables have a million rows.
_ESTIMATED = 100
_TOKENS_A_CHARACTER = 0.28
_SMALL = 20  # a section this short is put together with the next one
_LONGEST_CHARACTERS = 6000  # of a piece that is given to the tokenizer at once


class _Piece(NamedTuple):  # a tenth of a dataclass's cost to make, and there are millions
    """A block, or a part of one that was too long, with its size in tokens."""

    start: int
    end: int
    kind: ChunkKind
    heading: tuple[str, ...]
    tokens: float
    is_heading: bool = False
    page: int | None = None
    columns: str = ""


def chunk(
    text: str, *, document_id: str, page_starts: Sequence[int], format: str, count_tokens: CountTokens
) -> Sequence[Chunk]:
    """The chunks of a document in the order of its text. Time is linear in its length.

    The same text in the same document has the same id wherever it stands; its second occurrence has another.
    """
    seen: dict[str, int] = {}
    chunks: list[Chunk] = []
    for group in _pack(text, _placed(text, format, page_starts, count_tokens)):
        start, end = group[0].start, group[-1].end
        body = text[start:end]
        occurrence = seen[body] = seen.get(body, 0) + 1
        chunks.append(
            Chunk(
                id=_id(document_id, body, occurrence),
                text=body,
                kind=_kind(group),
                heading=" > ".join([*_common_heading(group), *filter(None, [group[0].columns])]),
                page=group[0].page,
                start=start,
                end=end,
            )
        )
    return chunks


def _placed(text: str, format: str, page_starts: Sequence[int], count_tokens: CountTokens) -> Iterator[_Piece]:
    """The pieces of all blocks, each with its page and columns."""
    for block in blocks_of(text, format):
        for piece in _pieces(text, block, count_tokens):
            page = max(1, bisect_right(page_starts, piece.start)) if page_starts else None
            yield piece._replace(page=page, columns=block.columns) if page or block.columns else piece


def _id(document_id: str, text: str, occurrence: int) -> str:
    key = f"{document_id}\0{occurrence}\0{text}".encode("utf-8", "surrogatepass")
    return "chk_" + hashlib.blake2b(key, digest_size=12).hexdigest()


def _kind(group: Sequence[_Piece]) -> ChunkKind:
    """What most of it is."""
    length: dict[ChunkKind, int] = {}
    for piece in group:
        length[piece.kind] = length.get(piece.kind, 0) + piece.end - piece.start
    return max(length, key=lambda kind: length[kind])


def _common_heading(group: Sequence[_Piece]) -> tuple[str, ...]:
    """The path that everything in the chunk stands under; of headings alone, the last one's."""
    paths = [p.heading for p in group if not p.is_heading] or [group[-1].heading]
    shared = paths[0]
    for path in paths:
        while path[: len(shared)] != shared:
            shared = shared[:-1]
    return shared


# --- packing ----------------------------------------------------------------------------------------------------


def _pack(text: str, pieces: Iterable[_Piece]) -> Iterator[Sequence[_Piece]]:
    """Pieces that become one chunk each time."""
    if len(text) <= _LONGEST_CHARACTERS:
        pieces = list(pieces)
        if _is_one_passage(pieces):
            yield pieces
            return
    group: list[_Piece] = []
    tokens = 0.0
    for piece in pieces:
        if group and _closes(group, tokens, piece):
            stay = _without_last_headings(group, piece)
            yield group[:stay]
            group = group[stay:]
            tokens = sum(p.tokens for p in group)
        group.append(piece)
        tokens += piece.tokens
    if group:
        yield group


def _is_one_passage(pieces: Sequence[_Piece]) -> bool:
    """A short text of one or more paragraphs under one heading, on one page: its author's own unit."""
    places = {(p.heading, p.page) for p in pieces if not p.is_heading}
    return bool(pieces) and len(places) <= 1 and sum(p.tokens for p in pieces) <= _LONGEST


def _without_last_headings(group: Sequence[_Piece], following: _Piece) -> int:
    """How many pieces the chunk keeps: headings at its end go with what stands under them."""
    stay = len(group)
    while stay > 0 and group[stay - 1].is_heading and group[stay - 1].page == following.page:
        stay -= 1
    return stay or len(group)


def _closes(group: Sequence[_Piece], tokens: float, piece: _Piece) -> bool:
    """Whether the chunk ends before this piece."""
    last = group[-1]
    if piece.page != group[0].page:
        return True  # so that a citation names the right page
    if last.is_heading:
        # Headings alone are no chunk, unless they go on and on.
        return tokens + piece.tokens > (_TARGET if len(group) > 1 and not group[0].is_heading else _LONGEST + _TARGET)
    if piece.is_heading:
        return tokens >= _SMALL or piece.heading[:1] != last.heading[:1]
    return tokens + piece.tokens > _TARGET


# --- pieces -----------------------------------------------------------------------------------------------------

_LINE = re.compile(r"\n+")
# Where a sentence that is too long may be cut, the best first.
_CUTS = (_LINE, re.compile(r"[；;]\s*"), re.compile(r"[，、：]\s*|[,:]\s+"), re.compile(r"\s+"))


def _pieces(text: str, block: Block, count_tokens: CountTokens) -> Iterator[_Piece]:
    """The block as it is when it is short enough, else in parts of about even size."""
    length = block.end - block.start
    if length <= _LONGEST_CHARACTERS:
        tokens = _tokens(text[block.start : block.end], count_tokens)
        if tokens <= _LONGEST or length < 2:
            yield _Piece(block.start, block.end, block.kind, block.heading, tokens, block.is_heading)
            return
    if block.kind == "text":
        body = text[block.start : block.end]
        spans = ((block.start + start, block.start + end) for start, end in sentences(body))
    else:
        spans = _lines(text, block.start, block.end)
    units = [unit for span in spans for unit in _short_enough(text, *span, count_tokens)]
    whole = sum(tokens for _start, _end, tokens in units)
    goal = whole / -(-whole // _TARGET)
    start, end, before, passed = -1, -1, 0.0, 0.0
    for unit_start, unit_end, tokens in units:
        # Measured from the beginning, so that what is too much in one part does not leave a stub at the end.
        if start >= 0 and passed + tokens / 2 > before + goal:
            yield _Piece(start, end, block.kind, block.heading, _TARGET)
            before = round(passed / goal) * goal
            start = -1
        start = unit_start if start < 0 else start
        end, passed = unit_end, passed + tokens
    if start >= 0:
        yield _Piece(start, end, block.kind, block.heading, max(1.0, passed - before))


def _lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Spans of lines, without the white space around them."""
    at = start
    for match in _LINE.finditer(text, start, end):
        yield from _trimmed(text, at, match.end())
        at = match.end()
    yield from _trimmed(text, at, end)


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    start, end = stripped(text, start, end)
    if start < end:
        yield start, end


def _short_enough(text: str, start: int, end: int, count_tokens: CountTokens) -> Iterator[tuple[int, int, float]]:
    """A sentence or line with its size; one without an end in sight is cut at a line end, comma, space or anywhere."""
    if end - start <= _LONGEST_CHARACTERS:
        tokens = _tokens(text[start:end], count_tokens)
        if tokens <= _TARGET or end - start < 2:
            yield start, end, tokens
            return
        limit = max(1, int((end - start) * _TARGET / tokens))
    else:
        limit = 600
    at = start
    while at < end:
        stop = min(at + limit, end)
        for cut in _CUTS if stop < end else ():
            if places := [match.end() for match in cut.finditer(text, at + limit // 2, stop)]:
                stop = places[-1]
                break
        for inner_start, inner_end in _trimmed(text, at, stop):
            yield inner_start, inner_end, _tokens(text[inner_start:inner_end], count_tokens)
        at = stop


def _tokens(text: str, count_tokens: CountTokens) -> float:
    """The size of a piece, never less than a tenth of its characters: tokenizers give up on very long words."""
    latin, cjk = _CJK.subn(" ", text)
    length = len(text) - cjk
    counted = length * _TOKENS_A_CHARACTER if length <= _ESTIMATED else max(count_tokens(latin), length / 10)
    return max(1.0, cjk * _CJK_TOKEN + counted)
