"""Processor time, told by what computes to whoever counts it, past all that stands between them in one thread."""

from collections.abc import Iterator
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
    effort = _current.get()
    if effort is not None:
        effort.cpu_s += cpu_s
