"""Whether two questions that share their words put them in an order that turns the meaning round.

"Can my employer read my emails?" and "Can I read my employer's emails?" differ in hardly anything else. An order is let
through where grammar explains it: a phrase with its preposition moved to the other end, a compound for a noun with
"of"; in Chinese what is spoken of moved to the front, as long as there is only one clause.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

# Words that lead a phrase or a clause wherever it stands.
_LEADS = frozenset(
    """in on at for from with without if when while after before during because since by using via under within until
    unless although through between among about per than to into of""".split()  # noqa: SIM905
)
_OF = frozenset("of on for in".split())  # noqa: SIM905
_LINKS = frozenset("is are was were be been being".split())  # noqa: SIM905
_PAIRS = frozenset({"and", "or"})
_BESIDE = frozenset("the a an my your our its this that any some still".split())  # noqa: SIM905
# They stand at either end of a sentence, and in the middle.
_ADVERBS = frozenset("yesterday today tomorrow tonight now sometimes often usually".split())  # noqa: SIM905
# In Chinese, what moves about and says nothing of who does what.
_LOOSE_ZH = frozenset("怎何为能要数")
_RELATIONS_ZH = "[的在有是比给到从离对像属]|[位处大小多少早晚高低强弱]于|来自|通[向往]|等于|合"
_CLAUSES_ZH = re.compile(
    r"[，。；,;](?=.*\w)|让|使|令|导致|因为|所以|如果|要是|只要|一旦|之后|以后|之前|以前|就会|才会|为什么|为何|为啥"
)
_LONGEST = 4  # words of a phrase that changes its place with what stands beside it, at most
_LONGEST_LED = 2  # of the one that "of" leads


@dataclass(frozen=True)
class Word:
    """A word that says what a question is about. `before`: the light words between it and the one before."""

    term: str
    before: tuple[str, ...] = ()


def turned(a: Sequence[Word], b: Sequence[Word]) -> bool:
    """Whether the words that both say stand in another order, and nothing explains it."""
    first, second = _shared(a, b), _shared(b, a)
    return _terms(first) != _terms(second) and not _moved(first, second) and not _explained(first, second)


def turned_zh(a: Sequence[Word], b: Sequence[Word], texts: Sequence[str]) -> bool:
    """The same for Chinese, where what is spoken of may go before its verb: in one clause, not across 的, 在, 有."""
    first, second = ([term for term in _terms(one) if term not in _LOOSE_ZH] for one in (_shared(a, b), _shared(b, a)))
    if first == second:
        return False
    blocks = _exchanged(first, second)
    if blocks is None or any(_CLAUSES_ZH.search(text) for text in texts):
        return True
    left, right = blocks
    return _related(left, right, texts) and _related(right, left, texts)


def _exchanged(a: Sequence[str], b: Sequence[str]) -> tuple[str, str] | None:
    """The two neighbouring stretches that change places, where nothing else differs."""
    start = next(n for n, (x, y) in enumerate(zip(a, b, strict=True)) if x != y)
    end = len(a) - next(n for n, (x, y) in enumerate(zip(reversed(a), reversed(b), strict=True)) if x != y)
    within, other = a[start:end], b[start:end]
    n = _rotated(within, other)
    return ("".join(within[:n]), "".join(within[n:])) if n else None


def _related(left: str, right: str, texts: Sequence[str]) -> bool:
    """Whether in one of the texts the first stands to the second in a relation that goes one way."""
    between = re.compile(f"{re.escape(left[-1])}[》”’]?(?:{_RELATIONS_ZH}).{{0,3}}?{re.escape(right[0])}")
    return any(between.search(text) for text in texts)


def _shared(a: Sequence[Word], b: Sequence[Word]) -> list[Word]:
    """The words of `a` that `b` has too, each once; the light words of what is left out go to the next."""
    there = {word.term for word in b}
    found: list[Word] = []
    before: tuple[str, ...] = ()
    seen: set[str] = set()
    for word in a:
        before += word.before
        if word.term in there and word.term not in seen and word.term not in _ADVERBS:
            seen.add(word.term)
            found.append(Word(word.term, before))
            before = ()
    return found


def _terms(words: Sequence[Word]) -> list[str]:
    return [word.term for word in words]


def _rotated(a: Sequence[str], b: Sequence[str]) -> int:
    """How many words went from the front to the end; 0 for none, or another order."""
    return next((n for n in range(1, len(a)) if [*a[n:], *a[:n]] == list(b)), 0)


def _moved(a: Sequence[Word], b: Sequence[Word]) -> bool:
    """Whether one phrase, and the word that leads it, went to the other end."""
    n = _rotated(_terms(a), _terms(b))
    if not n:
        return False
    pairs = ((a[0], b[len(a) - n]), (a[n], b[0]))
    return any(_lead(x) and _lead(x) == _lead(y) for x, y in pairs)


def _lead(word: Word) -> str:
    return next((light for light in reversed(word.before) if light in _LEADS), "")


def _explained(a: Sequence[Word], b: Sequence[Word]) -> bool:
    """Whether neighbours changed places, and each time grammar says that it is the same."""
    a, b = list(a), list(b)
    while a:
        if a[0].term == b[0].term:
            a, b = a[1:], b[1:]
            continue
        sizes = ((x, y) for x in range(1, _LONGEST + 1) for y in range(1, _LONGEST + 1) if x + y <= len(a))
        for left, right in sizes:
            if _terms(a[left : left + right] + a[:left]) == _terms(b[: left + right]):
                if not (_same_exchanged(a, left, b, right) or _same_exchanged(b, right, a, left)):
                    return False
                a, b = a[left + right :], b[left + right :]
                break
        else:
            return False
    return True


def _same_exchanged(a: Sequence[Word], left: int, b: Sequence[Word], right: int) -> bool:
    """`a` has `left` words first and then `right` words, which come first in `b`."""
    apart, together = set(a[left].before), set(b[right].before)
    if apart & _PAIRS and together & _PAIRS:  # Visa or Mastercard
        return apart | together <= _PAIRS | _BESIDE
    if together - {"s"}:
        return False
    if apart & _OF and apart <= _OF | _BESIDE and right <= _LONGEST_LED:  # details of my account, account details
        return True
    return bool(apart & _LINKS) and apart <= _LINKS | _BESIDE and left == right == 1  # the payment is pending
