"""The traces of an instance: opened by its faces, kept in the table `traces` for a while, looked up again.

What a request costs here is a list entry; rows are written, old ones deleted and spans exported in other threads.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from dizuo.core import traces
from dizuo.core.errors import NotFound, UserError
from dizuo.core.messages import Noun
from dizuo.core.traces import Attribute, Face, Span, Status, Trace
from dizuo.platform import schema, telemetry
from dizuo.platform.batched import Batched
from dizuo.platform.catalogue import _
from dizuo.platform.database import Database
from dizuo.platform.identity import User

PRUNE_EVERY_S = 3600.0
_DELETED_AT_ONCE = 2_000  # rows of one transaction: on SQLite others wait for it
_MOST_ATTRIBUTE = 64_000  # characters; what is longer is cut
_LEAST_PREFIX = 6
_MODEL, _REQUEST_MODEL = "gen_ai.response.model", "gen_ai.request.model"
_INPUT, _OUTPUT = "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"

_table = schema.traces
_INFO = (*(column for column in _table.c if column.name != "spans"), schema.users.c.name.label("user"))


# Names of steps, and of requests that begin in the studio or as jobs, as people read them. English is as it stands.
_SHOWN = frozenset(
    (
        _("ask"), _("search"), _("model trial"), _("train"), _("knowledge.add"), _("model.add"),
        _("chat"), _("completion"), _("embedding"), _("embed"), _("rerank"), _("moderation"), _("image"),
        _("classification"), _("reading"), _("translation"), _("indexing"),
        _("cache"), _("route"), _("attempt"), _("request"),
        _("load"), _("engine"), _("queue"), _("prefill"), _("decode"),
        _("knowledge.search"), _("knowledge.extract"), _("knowledge.read"),
    )
)  # fmt: skip


def step_label(name: str) -> str:
    """The text of the catalogue for the name of a step or a request; "{name}" for those that are said as they are."""
    return name if name in _SHOWN else "{name}"


class SpanInfo(Noun):
    """A piece of the work. `start_s` counts from the beginning of the trace; `parent` is a position among its spans."""

    name: str
    start_s: float
    seconds: float
    parent: int | None
    attributes: Mapping[str, Attribute]
    error: str


class TraceInfo(Noun):
    """What a request was and how it ended."""

    id: str
    at: datetime
    name: str
    face: Face
    user: str | None  # None: nobody in particular, or gone since
    app: str
    model: str
    status: Status
    error: str
    total_s: float
    prompt_tokens: int
    completion_tokens: int


class TraceRecord(TraceInfo):
    """The same with all that happened on the way: the first span holds the others, a parent comes before its own."""

    spans: Sequence[SpanInfo]

    def depth(self, number: int) -> int:
        """How deep the span of that number lies; 0 is the request itself."""
        depth, parent = 0, self.spans[number].parent
        while parent is not None:
            depth, parent = depth + 1, self.spans[parent].parent
        return depth


class Traces:
    """Opens, keeps and finds traces. Thread-safe; what reads is blocking."""

    def __init__(self, database: Database, *, days: int, most: int, texts: bool) -> None:
        """Kept are those of the last `days`, the latest `most` of them; with prompts and answers where `texts`."""
        self._database = database
        self._days = days
        self._most = most
        self._texts = texts
        self._rows: Batched[Trace] = Batched("traces", self._write)
        self._pruned_s: float | None = None
        self._since_pruned = 0

    # --- opening ----------------------------------------------------------------------------------------------

    def traced(self, name: str, face: Face, **of: Any) -> AbstractContextManager[Trace]:
        """Around a request: everything within it belongs to one trace, which is kept when it ends. `of` are other
        fields of `Trace`."""
        return traces.traced(Trace(name, face, texts=self._texts, **of), self.keep)

    def keep(self, trace: Trace) -> None:
        """Puts down a trace that has ended. One of the API that came to no work at all goes to the collector only."""
        if self._days and (trace.face != "api" or trace.status == "failed" or leaves_a_row(trace)):
            self._rows.add(trace)
        telemetry.export(trace)

    def close(self) -> None:
        """Writes what is still to be written."""
        self._rows.close()

    # --- finding ----------------------------------------------------------------------------------------------

    def list(
        self,
        *,
        user_id: int | None = None,
        status: Sequence[Status] = (),
        model: str = "",
        slower_than_s: float = 0,
        before: str | None = None,
        limit: int = 50,
    ) -> Sequence[TraceInfo]:
        """The latest first: of one user or all, ended in one of these ways, of models whose name holds that text, that
        took longer. `before` goes on behind the trace of that id. Raises NotFound where there is none."""
        self._rows.flush()
        wanted = _select(user_id).order_by(_table.c.at.desc(), _table.c.id.desc()).limit(limit)
        if status:
            wanted = wanted.where(_table.c.status.in_(status))
        if model:
            wanted = wanted.where(sa.func.lower(_table.c.model).contains(model.lower(), autoescape=True))
        if slower_than_s:
            wanted = wanted.where(_table.c.total_s > slower_than_s)
        with self._database.read() as connection:
            if before is not None:
                last = connection.execute(_select(user_id).where(_table.c.id == before)).first()
                if last is None:
                    raise _unknown(before)
                earlier = (_table.c.at < last.at) | ((_table.c.at == last.at) & (_table.c.id < last.id))
                wanted = wanted.where(earlier)
            return [TraceInfo(**_fields(row)) for row in connection.execute(wanted)]

    def get(self, id: str, *, user_id: int | None = None) -> TraceRecord:
        """The trace of that id, or the only one whose id begins so (six characters are enough to ask).

        Raises NotFound, also for another user's, and UserError where several begin so.
        """
        self._rows.flush()
        wanted = _select(user_id).add_columns(_table.c.spans)
        if len(id) < _LEAST_PREFIX or not id.isalnum():
            raise _unknown(id)
        with self._database.read() as connection:
            found = connection.execute(wanted.where(_table.c.id.startswith(id, autoescape=True)).limit(2)).all()
        if not found:
            raise _unknown(id)
        if len(found) > 1:
            raise UserError("Several traces have an id that begins with {id!r}. Give more of it.", id=id)
        return TraceRecord(**_fields(found[0]), spans=[_span(values) for values in found[0].spans])

    # --- letting go -------------------------------------------------------------------------------------------

    def prune(self) -> int:
        """Deletes what is older or more than is to be kept; how many."""
        self._pruned_s, self._since_pruned = time.monotonic(), 0
        oldest = (datetime.now(UTC) - timedelta(days=self._days)).isoformat(timespec="microseconds")
        with self._database.read() as connection:
            over = sa.select(_table.c.at).order_by(_table.c.at.desc()).offset(self._most).limit(1)
            last = connection.scalar(over) if self._most else None
        too_old = _table.c.at < oldest
        gone = too_old if last is None else too_old | (_table.c.at <= last)
        some = sa.select(_table.c.id).where(gone).limit(_DELETED_AT_ONCE)
        deleted = 0
        while True:
            with self._database.write() as connection:
                count = connection.execute(_table.delete().where(_table.c.id.in_(some))).rowcount
            deleted += count
            if count < _DELETED_AT_ONCE:
                return deleted

    def _write(self, ended: Sequence[Trace]) -> None:
        rows = [_row(trace) for trace in ended]
        with self._database.write() as connection:
            connection.execute(_table.insert(), rows)
        self._since_pruned += len(rows)
        due = self._pruned_s is None or time.monotonic() - self._pruned_s > PRUNE_EVERY_S
        if due or self._since_pruned > max(1_000, self._most // 10):
            self.prune()


def seen_by(user: User) -> int | None:
    """Whose traces a user sees, as `Traces.list` and `get` take it: his own, the owner everyone's."""
    return None if user.role == "owner" else user.id


def leaves_a_row(trace: Trace) -> bool:
    """Whether something was done for the request that is worth to be looked at: more than taking it in."""
    return len(trace.spans) > 1


def adopted(traceparent: str) -> tuple[str, str] | None:
    """Trace and span of a caller that traces too, out of a W3C `traceparent` header; None where it is none.

    https://www.w3.org/TR/trace-context/#traceparent-header
    """
    version, _dash, rest = traceparent.strip().partition("-")
    parts = rest.split("-")
    if len(version) != 2 or version == "ff" or len(parts) < 3 or (version == "00" and len(parts) != 3):
        return None
    trace, span, flags = parts[:3]
    for part, digits in ((version, 2), (trace, 32), (span, 16), (flags, 2)):
        if len(part) != digits or not set(part) <= set("0123456789abcdef"):
            return None
    return (trace, span) if trace.strip("0") and span.strip("0") else None


# --- rows -----------------------------------------------------------------------------------------------------


def _row(trace: Trace) -> dict[str, Any]:
    model, aside, read, written = "", "", 0, 0
    for one in trace.spans:
        said = one.attributes
        if _REQUEST_MODEL in said and not _within_a_call(one):
            name = str(said.get(_MODEL) or said[_REQUEST_MODEL])
            if said.get("gen_ai.operation.name") == "embeddings":  # what finds the passages is not who answers
                aside = aside or name
            else:
                model = model or name
            read += int(said.get(_INPUT, 0))
            written += int(said.get(_OUTPUT, 0))
    return {
        "id": trace.id,
        "at": datetime.fromtimestamp(trace.start_ns / 1e9, UTC).isoformat(timespec="microseconds"),
        "name": schema.storable(trace.name)[:64],
        "face": trace.face,
        "user_id": trace.user_id,
        "key_id": trace.key_id,
        "app": schema.storable(trace.app)[:128],
        "model": schema.storable(model or aside)[:128],
        "status": trace.status or "ok",
        "error": trace.error[:64],
        "total_s": (trace.end_ns - trace.start_ns) / 1e9,
        "prompt_tokens": min(read, schema.LARGEST),
        "completion_tokens": min(written, schema.LARGEST),
        "spans": list(_span_rows(trace)),
    }


def _within_a_call(span: Span) -> bool:
    """Whether a call of a model is around it: an attempt is counted with the call that it is made for."""
    parent = span.parent
    while parent is not None:
        if _REQUEST_MODEL in parent.attributes:
            return True
        parent = parent.parent
    return False


def _span_rows(trace: Trace) -> Iterator[list[Any]]:
    numbers = {id(one): number for number, one in enumerate(trace.spans)}
    for one, parent in trace.nested():
        attributes = {name: _told(value) for name, value in dict(one.attributes).items()}
        if not parent and trace.dropped:
            attributes["dizuo.spans_dropped"] = trace.dropped
        end_ns = one.end_ns or trace.end_ns
        yield [
            schema.storable(one.name)[:64],
            one.start_ns - trace.start_ns,
            max(0, end_ns - one.start_ns),
            None if parent is None else numbers[id(parent)],
            attributes,
            one.error[:64],
        ]


def _told(value: Attribute) -> Attribute:
    return schema.storable(value)[:_MOST_ATTRIBUTE] if isinstance(value, str) else value


def _select(user_id: int | None) -> sa.Select[Any]:
    known = _table.outerjoin(schema.users, schema.users.c.id == _table.c.user_id)
    chosen = sa.select(*_INFO).select_from(known)
    return chosen if user_id is None else chosen.where(_table.c.user_id == user_id)


def _fields(row: sa.Row[Any]) -> dict[str, Any]:
    return {field: getattr(row, field) for field in TraceInfo.model_fields}


def _span(values: Sequence[Any]) -> SpanInfo:
    name, start_ns, duration_ns, parent, attributes, error = values
    return SpanInfo(
        name=name, start_s=start_ns / 1e9, seconds=duration_ns / 1e9, parent=parent, attributes=attributes, error=error
    )


def _unknown(id: str) -> NotFound:
    return NotFound(
        "No trace has the id {id!r}; they are kept for a time only. List them: dizuo trace list", id=id[:80]
    )
