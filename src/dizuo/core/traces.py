"""Who sent a request, and what happened to it on its way through the house, in spans.

A face opens a trace around each request (`platform.traces.Traces.traced`); whoever works for it adds spans (`span`).
Attributes are named as in OpenTelemetry's conventions for generative AI where these have a name, else `dizuo.…`:
https://github.com/open-telemetry/semantic-conventions-genai
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal, Self

from dizuo.core.errors import DizuoError
from dizuo.core.ids import random_hex

Face = Literal["api", "studio", "cli", "python", "job"]
Status = Literal["ok", "failed", "refused", "cancelled"]
Attribute = str | int | float | bool

MOST_SPANS = 500  # of one trace: a job may go through a hundred thousand documents

# Kinds of calls whose operation the conventions name otherwise.
_OPERATIONS = {"completion": "text_completion", "embedding": "embeddings", "embed": "embeddings"}
_PROVIDERS = {"gemini": "gcp.gemini", "mistral": "mistral_ai", "xai": "x_ai", "moonshot": "moonshot_ai"}


class Span:
    """A piece of the work, in nanoseconds since 1970; `end_ns` 0 while it goes on. Within it (`with`) it is the parent
    of every span that is opened, in tasks and threads that are begun there as well.

    No generator behind the `with` and no dataclass: five of them belong to every request.
    """

    __slots__ = ("attributes", "end_ns", "error", "name", "parent", "start_ns")

    def __init__(self, name: str, start_ns: int, parent: "Span | None", attributes: dict[str, Attribute]) -> None:
        self.name = name
        self.start_ns = start_ns
        self.end_ns = 0
        self.parent = parent
        self.attributes = attributes
        self.error = ""  # why it did not end well, in a word

    def __enter__(self) -> Self:
        _here.set(self)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        self.end_ns = time.time_ns()
        if error is not None and not self.error:
            self.error = reason(error)
        # A generator may end in another context than it began in, where others are at work: those stay.
        if _here.get() is self:
            _here.set(self.parent)


@dataclass(slots=True)
class Trace:
    """One request, from face to model and back. The first of its spans holds all others."""

    name: str  # what was asked for, such as "POST /v1/chat/completions"
    face: Face = "python"
    user_id: int | None = None
    key_id: int | None = None
    app: str = ""  # the app or knowledge base that the request is for
    models: tuple[str, ...] | None = None  # patterns of the models that its key may ask; None: all
    memories: bool = True  # whether its key may reach what is remembered of the user
    headers: dict[str, str] = field(default_factory=dict)  # what the answer says of limits
    cache: Literal["use", "refresh", "off"] = "use"  # refresh: do not look, but keep
    private: bool = False  # neither answers nor texts are kept
    whole: bool = False  # whoever asks takes no part of an answer before the end
    texts: bool = False  # whether prompts and answers may be kept with it
    parent: tuple[str, str] | None = None  # trace and span of the caller's own, in hex
    id: str = field(default_factory=lambda: random_hex(16))
    start_ns: int = field(default_factory=time.time_ns)
    end_ns: int = 0
    spans: list[Span] = field(default_factory=list)
    dropped: int = 0  # spans beyond MOST_SPANS
    status: Status | None = None  # how it ended; a face that knows says so
    error: str = ""

    def first_error(self) -> str:
        """What went wrong first, of all that did."""
        return next((one.error for one in self.spans if one.error), "")

    def nested(self) -> Iterator[tuple[Span, Span | None]]:
        """Every span with the one that it lies within, which comes before it; the first has none.

        A generator that waits for its reader leaves its span as the parent of what the reader opens. Such a one ends
        later than that, and goes to the nearest around both.
        """
        known = {id(one) for one in self.spans}
        for number, one in enumerate(self.spans):
            if not number:
                yield one, None
                continue
            parent, end_ns = one.parent, one.end_ns or self.end_ns
            while parent is not None and (id(parent) not in known or (parent.end_ns and parent.end_ns < end_ns)):
                parent = parent.parent
            yield one, parent or self.spans[0]


current: ContextVar[Trace | None] = ContextVar("trace", default=None)
"""The trace of the request that is being worked on here."""

_here: ContextVar[Span | None] = ContextVar("span", default=None)


def span(name: str, **attributes: Attribute) -> Span:
    """A piece of the work, to be opened with `with`; written to the present trace if there is one.

    An exception that leaves it is noted, and goes on.
    """
    trace = current.get()
    if trace is None:
        return Span(name, time.time_ns(), None, attributes)
    parent = _here.get()
    while parent is not None and parent.end_ns:  # left by a generator that nobody has closed
        parent = parent.parent
    made = Span(name, time.time_ns(), parent, attributes)
    if len(trace.spans) < MOST_SPANS:
        trace.spans.append(made)
    else:
        trace.dropped += 1
    return made


def model_span(kind: str, model: str) -> Span:
    """The span around a call of a model of that name (`provider/name`)."""
    return span(
        kind,
        **{
            "gen_ai.operation.name": _OPERATIONS.get(kind, kind),
            "gen_ai.provider.name": provider_of(model),
            "gen_ai.request.model": model,
        },
    )


def provider_of(model: str) -> str:
    """The provider in a model's name, as the conventions call it; "dizuo" for a name of one's own."""
    provider, slash, _name = model.partition("/")
    return _PROVIDERS.get(provider, provider) if slash else "dizuo"


def past(parent: Span, name: str, start_ns: int, end_ns: int) -> None:
    """Adds a span for what is over already."""
    made = span(name)
    made.parent, made.start_ns, made.end_ns = parent, start_ns, end_ns


@contextmanager
def traced(trace: Trace, keep: Callable[[Trace], None]) -> Iterator[Trace]:
    """Makes it the present trace for the time of the `with`; hands it to `keep`, finished, however that ends."""
    root = Span(trace.name, trace.start_ns, None, {})
    trace.spans.append(root)
    before, outer = current.get(), _here.get()
    current.set(trace)
    _here.set(root)
    try:
        yield trace
    except BaseException as error:
        if not trace.status:
            trace.status, trace.error = _status(error), reason(error)
        raise
    finally:
        current.set(before)
        _here.set(outer)
        _finish(trace, root)
        keep(trace)


def _finish(trace: Trace, root: Span) -> None:
    root.name = trace.name
    trace.end_ns = root.end_ns = time.time_ns()
    if trace.status is None:
        trace.status = "ok"
        for one in trace.spans:
            if one.error and one.parent is root:  # deeper ones were dealt with: another attempt went well
                trace.status = "cancelled" if one.error == CANCELLED else "failed"
                trace.error = one.error
    root.error = "" if trace.status == "ok" else trace.error or trace.status


CANCELLED = "cancelled"


def reason(error: BaseException) -> str:
    """An exception in a word: the code of ours, the type of another, CANCELLED where somebody has left."""
    if isinstance(error, DizuoError):
        return error.code
    return type(error).__name__ if isinstance(error, Exception) else CANCELLED


def _status(error: BaseException) -> Status:
    if isinstance(error, DizuoError):
        return "failed" if error.status >= 500 else "refused"
    return "failed" if isinstance(error, Exception) else "cancelled"


def belongs_to(app: str) -> None:
    """The present request is one for that app or knowledge base, where it is for none yet: its limits hold from here
    on."""
    trace = current.get()
    if trace is not None and not trace.app:
        trace.app = app


def wants_texts() -> bool:
    """Whether prompts and answers of the present request are to be kept."""
    trace = current.get()
    return trace is not None and trace.texts and not trace.private


def want_whole() -> None:
    """Says that whoever asks takes no part of an answer before its end."""
    trace = current.get()
    if trace is not None:
        trace.whole = True


def wants_whole() -> bool:
    """Whether whoever asks takes no part of an answer before its end."""
    trace = current.get()
    return trace is not None and trace.whole
