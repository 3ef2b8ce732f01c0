"""What a model writes, piece by piece, turned into text and checked citations.

Text goes out as soon as it is sure what it is: the end of what has come is held back while it may still become a
mark, a link or a picture. A mark [n] means passage n; it goes out renumbered in the order of citing, after the check of
what it is cited for. A clause too short to be judged waits for the end of its sentence.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from dizuo.core.documents import Citation, Hit
from dizuo.core.events import CitationFound, Event, TextDelta
from dizuo.knowledge.extract import Quote
from dizuo.knowledge.links import addresses, only_known
from dizuo.knowledge.sentences import sentences
from dizuo.knowledge.support import LEAST, Support, check, says_enough

# One or several marks in a row: [1], [1][2], [1, 2], 【1】, [^1]; models write all of these.
_ONE = r"[\[【]\^?\d{1,3}(?:\s*[,，、]\s*\d{1,3})*(?:†[^\]】\n]{0,40})?[\]】]"
_MARKS = re.compile(rf"{_ONE}(?:[ ]?{_ONE})*")
_NUMBER = re.compile(r"(?<![†\w])\d{1,3}")
# The end of a piece that may go on to be a mark, a link, a picture, a tag or an address.
_OPEN = re.compile(
    r"(?:!?\[[^\]\n]*(?:\](?:\([^)\n]*)?)?|【[^】\n]*】?|<[^>\n]*|!|[A-Za-z0-9+.:/_~%?#=&@-]+|[\]】] ?)\Z"
)
_LONGEST_SENTENCE = 4_000  # characters; a model that never ends one must not cost ever more
_MOST_HELD = 600  # characters; what is longer is none of these, or an attack


@dataclass
class _Group:
    """Marks in a row: what they are cited for, which passages, and as which citations they went out."""

    claim: str
    hits: list[Hit]
    indices: list[int] = field(default_factory=list)


class Scribe:
    """Takes a model's text and gives events. One for each answer."""

    def __init__(self, hits: Sequence[Hit]) -> None:
        self._hits = hits
        self._known = addresses(hit.text for hit in hits)
        self._held = ""
        self._sentence = ""  # as far as it has gone out, without its marks
        self._before = ""  # the sentence before it
        self._clause = 0  # where in the sentence the last mark stands
        self._groups: list[_Group] = []  # of the sentence
        self.text = ""
        self.citations: list[Citation] = []

    def take(self, piece: str) -> Iterator[Event]:
        """The events of a piece of text."""
        self._held += piece
        still_open = _OPEN.search(self._held, max(0, len(self._held) - 2 * _MOST_HELD))
        keep = len(self._held) - still_open.start() if still_open else 0
        ready = self._held if keep > _MOST_HELD else self._held[: len(self._held) - keep]
        self._held = self._held[len(ready) :]
        # What was held too long goes out in parts; as a link it must not come together again.
        yield from self._write(ready.replace("](", "] (") if keep > _MOST_HELD else ready)

    def finish(self) -> Iterator[Event]:
        """The events of what is left, and of the checks that waited for the end of a sentence."""
        ready, self._held = self._held, ""
        yield from self._write(ready)
        yield from self._end_sentence(self._sentence, self._sentence[self._clause :])
        if not self.citations:
            yield from self._cite_unasked()

    @property
    def supported(self) -> bool:
        """Whether anything that was said is borne out."""
        return any(citation.supported for citation in self.citations)

    def _write(self, ready: str) -> Iterator[Event]:
        at = 0
        for marks in _MARKS.finditer(ready):
            if (self.text.count("`") + ready.count("`", at, marks.start())) % 2:
                continue  # within code: `items[0]`
            numbers = [int(number) for number in _NUMBER.findall(marks[0])]
            hits = [self._hits[n - 1] for n in dict.fromkeys(numbers) if 1 <= n <= len(self._hits)]
            before = ready[at : marks.start()]
            yield from self._say(before if hits else before.rstrip(" "))  # a mark of no passage goes with its space
            if hits:
                yield from self._cite(hits)
            at = marks.end()
        yield from self._say(ready[at:])

    def _say(self, text: str) -> Iterator[Event]:
        clean = only_known(text, self._known)
        if not clean:
            return
        self.text += clean
        yield TextDelta(text=clean)
        self._sentence += clean
        spans = sentences(self._sentence)
        # The last one may go on, unless an empty line says that it does not.
        ended = self._sentence.endswith("\n\n") or len(self._sentence) > _LONGEST_SENTENCE
        over = spans if ended else spans[:-1]
        for start, end in over:
            yield from self._end_sentence(self._sentence[start:end], self._sentence[self._clause : end])
        if over:
            self._sentence = self._sentence[over[-1][1] :]
            self._clause = 0

    # --- citing -----------------------------------------------------------------------------------------------

    def _cite(self, hits: list[Hit]) -> Iterator[Event]:
        """The marks of one place."""
        clause = self._sentence[self._clause :]
        if not self._sentence.strip():
            clause = self._before  # "…is so. [1]": the mark comes after the full stop
        elif not says_enough(clause) and self._groups:
            clause = self._sentence
        group = _Group(clause, hits)
        for hit in hits:
            index = self._index_of(hit, clause, hits)
            if index not in group.indices:
                group.indices.append(index)
                yield CitationFound(index=index, citation=self.citations[index - 1])
        if self._sentence.strip():
            self._groups.append(group)
            self._clause = len(self._sentence)
        marks = "".join(f"[{index}]" for index in group.indices)
        self.text += marks
        yield TextDelta(text=marks)

    def _index_of(self, hit: Hit, claim: str, beside: Sequence[Hit]) -> int:
        """The number of the citation of a passage for a claim; the same stretch, borne out, is cited once."""
        found = _support(claim, hit, beside)
        quote = Quote(hit, hit.start + found.start, hit.start + found.end)
        citation = quote.citation(supported=found.supported)
        if citation.supported and citation in self.citations:
            return self.citations.index(citation) + 1
        self.citations.append(citation)
        return len(self.citations)

    def _end_sentence(self, sentence: str, tail: str) -> Iterator[Event]:
        """Judges again the marks of a sentence that were set before it had said what they are for.

        `tail` is what came after the last of them.
        """
        groups, self._groups = self._groups, []
        for group in groups:
            if not says_enough(group.claim):
                yield from self._judge_again(group, sentence)
            elif group is groups[-1] and says_enough(tail):
                yield from self._judge_again(group, f"{group.claim} {tail}")
        self._before = sentence

    def _judge_again(self, group: _Group, claim: str) -> Iterator[Event]:
        for index in group.indices:
            before = self.citations[index - 1]
            hit = next(hit for hit in group.hits if hit.chunk == before.chunk)
            found = _support(claim, hit, group.hits)
            quote = Quote(hit, hit.start + found.start, hit.start + found.end)
            after = quote.citation(supported=found.supported)
            if after.supported != before.supported:
                self.citations[index - 1] = after
                yield CitationFound(index=index, citation=after)

    def _cite_unasked(self) -> Iterator[Event]:
        """A model that cites nothing: the answer is checked against every passage, and the one that bears it out
        is cited for it."""
        said = self.text.strip()
        best: tuple[float, Hit, Support] | None = None
        for hit in self._hits if says_enough(said) else ():
            found = check(said, hit.text, hit.heading)
            if found.supported and (best is None or found.share > best[0]):
                best = (found.share, hit, found)
        if best is not None:
            _share, hit, found = best
            self.citations.append(Quote(hit, hit.start + found.start, hit.start + found.end).citation())
            yield CitationFound(index=1, citation=self.citations[0])
            self.text += " [1]"
            yield TextDelta(text=" [1]")


def _support(claim: str, hit: Hit, beside: Sequence[Hit]) -> Support:
    """Whether a passage bears a claim out, by itself or together with those that are cited beside it."""
    alone = check(claim, hit.text, hit.heading)
    if alone.supported or len(beside) == 1 or alone.share < LEAST / 2:
        return alone
    together = "\n\n".join(one.text[s.start : s.end] for one in beside for s in [check(claim, one.text, one.heading)])
    return replace(alone, supported=check(claim, together).supported)
