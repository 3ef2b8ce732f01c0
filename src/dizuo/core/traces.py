"""Who sent a request, and what happened to it on its way through the house, in spans.

A face opens a trace around each request (`traced`); whoever works for it adds spans (`span`). Attributes are named as
in OpenTelemetry's conventions for generative AI where these have a name: https://opentelemetry.io/docs/specs/semconv/gen-ai/
"""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

Face = Literal["api", "studio", "cli", "python"]
Attribute = str | int | float | bool


@dataclass(slots=True)
class Span:
    """A piece of the work, in nanoseconds since 1970; `end_ns` 0 while it goes on. A span lies within another where its
    times do."""

    name: str
    start_ns: int
    end_ns: int = 0
    attributes: dict[str, Attribute] = field(default_factory=dict)
    error: str = ""  # the exception that left it


@dataclass(slots=True)
class Trace:
    """One request, from face to model and back."""

    name: str  # what was asked for, such as "chat"
    face: Face = "python"
    user_id: int | None = None
    key_id: int | None = None
    app: str = ""  # the app or knowledge base that the request is for
    cache: Literal["use", "refresh", "off"] = "use"  # refresh: do not look, but keep
    private: bool = False  # neither answers nor texts are kept
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    start_ns: int = field(default_factory=time.time_ns)
    spans: list[Span] = field(default_factory=list)


current: ContextVar[Trace | None] = ContextVar("trace", default=None)
"""The trace of the request that is being worked on here."""


@contextmanager
def span(name: str, **attributes: Attribute) -> Iterator[Span]:
    """A piece of the work, written to the present trace if there is one. An exception that leaves it is noted."""
    made = Span(name, time.time_ns(), attributes=attributes)
    trace = current.get()
    if trace is not None:
        trace.spans.append(made)
    try:
        yield made
    except BaseException as error:
        made.error = type(error).__name__
        raise
    finally:
        made.end_ns = time.time_ns()
