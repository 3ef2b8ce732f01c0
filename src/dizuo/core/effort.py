"""Processor time, told by what computes to whoever counts it, past all that stands between them in one thread."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Effort:
    """What the work took so far."""

    cpu_s: float = 0.0


_current: ContextVar[Effort | None] = ContextVar("effort", default=None)


@contextmanager
def counted() -> Iterator[Effort]:
    """Around some work: what it took, as far as those who compute tell it."""
    effort, before = Effort(), _current.get()
    _current.set(effort)
    try:
        yield effort
    finally:
        _current.set(before)  # no `reset`: a generator may end in another context than it began in


def took(cpu_s: float) -> None:
    """Tells whoever counts, where somebody does."""
    teller()(cpu_s)


def teller() -> Callable[[float], None]:
    """What tells whoever counts here and now, also when it is called elsewhere and later."""
    effort = _current.get()

    def tell(cpu_s: float) -> None:
        if effort is not None:
            effort.cpu_s += cpu_s

    return tell
