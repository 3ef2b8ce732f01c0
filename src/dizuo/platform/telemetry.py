"""What the system says of itself: log lines, Prometheus metrics, and its traces where a collector is named.

Metrics are counted in the process; `render_metrics` prints them. Spans are those of `core/traces.py`; OpenTelemetry is
imported when a collector is named, and sees them when their trace has ended.
"""

import atexit
import json
import logging
import platform
import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, TextIO

from dizuo import __version__
from dizuo.core.traces import CANCELLED, Span, Trace
from dizuo.platform.batched import Batched

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that is being answered, or the job that is being done; on every log line of it."""

# --- log lines --------------------------------------------------------------------------------------------------

# What libraries tell at these levels is of use to those who write them.
_QUIET = {
    "a2a": logging.CRITICAL,  # every wrong request of others, with a stack
    "alembic": logging.WARNING,
    "asyncio": logging.WARNING,
    "dbos": logging.WARNING,
    "faiss": logging.WARNING,
    "httpcore": logging.WARNING,
    "httpx": logging.WARNING,
    "markdown_it": logging.WARNING,
    "multipart": logging.WARNING,
    "nicegui": logging.WARNING,
    "opentelemetry": logging.WARNING,
    "pdfminer": logging.ERROR,
    "pypdf": logging.ERROR,
    "python_multipart": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "torch": logging.WARNING,
    "urllib3": logging.WARNING,
    "uvicorn": logging.WARNING,
    "watchfiles": logging.WARNING,
}
# A name that a client sent must neither begin a line of its own nor command the terminal that shows it.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure_logging(level: str, format: str) -> None:
    """Log lines to stderr from `level` up, as "text" or one JSON object each. May be called again."""
    handler = _Stderr()
    handler.setFormatter(_JsonLines() if format == "json" else _TextLines())
    handler.set_name("dizuo")
    root = logging.getLogger()
    for old in [h for h in root.handlers if h.get_name() == "dizuo"]:
        root.removeHandler(old)
    root.addHandler(handler)
    wanted = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(wanted)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(wanted, least))
    logging.captureWarnings(True)
    # No line says where in the code it was logged; to find that out costs as much as to write it (logging HOWTO,
    # "Optimization").
    logging._srcfile = None  # type: ignore[assignment]
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


class _Stderr(logging.StreamHandler):  # pyright: ignore[reportMissingTypeArgument]
    """Writes to what stderr is at the time of the line, not at the time of the configuration."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # pyright: ignore[reportIncompatibleVariableOverride]
        return sys.stderr


def _time(record: logging.LogRecord) -> str:
    # UTC with milliseconds, the same in both formats.
    return f"{_second(int(record.created))}.{int(record.msecs):03}Z"


@lru_cache(maxsize=1)  # lines come many to the second
def _second(since_1970: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since_1970))


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {k: v for k, v in vars(record).items() if k not in _STANDARD and not k.startswith("_")}


class _TextLines(logging.Formatter):
    """`2026-01-31T12:00:00.000Z INFO dizuo.http [3f2a…] GET /api/jobs 200 1.2 ms`."""

    def format(self, record: logging.LogRecord) -> str:
        message = _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), record.getMessage())
        of = f" [{request_id.get()}]" if request_id.get() else ""
        extras = "".join(f" {k}={v!r}" for k, v in _extras(record).items())
        line = f"{_time(record)} {record.levelname} {record.name}{of} {message}{extras}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class _JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, request_id, exception, and what the caller added."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id.get():
            line["request_id"] = request_id.get()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(_extras(record) | line, ensure_ascii=False, default=str)


# --- metrics ----------------------------------------------------------------------------------------------------

_FAST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ANSWER_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_JOB_S = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400)


class _Metrics:
    """The meters. A registry of our own: the library's global one belongs to whoever imports us."""

    def __init__(self) -> None:
        # Here, because it brings an HTTP server along and a command that only lists something counts nothing.
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
        from prometheus_client.gc_collector import GCCollector
        from prometheus_client.process_collector import ProcessCollector

        self.registry = to = CollectorRegistry()
        ProcessCollector(registry=to)  # memory, processor time, open files
        GCCollector(registry=to)
        Info("dizuo_build", "The version that runs", registry=to).info(
            {"version": __version__, "python": platform.python_version()}
        )
        of_request = ("method", "route", "status")
        self.requests = Counter("dizuo_http_requests", "HTTP requests answered", of_request, registry=to)
        self.request_seconds = Histogram(
            "dizuo_http_request_seconds", "Request to end of answer", of_request[:2], buckets=_FAST_S, registry=to
        )
        self.jobs = Counter("dizuo_jobs", "Durable jobs that ended here", ("kind", "status"), registry=to)
        self.jobs_running = Gauge("dizuo_jobs_running", "Durable jobs that are worked on here", registry=to)
        self.job_seconds = Histogram(
            "dizuo_job_seconds", "Time worked on a job here", ("kind",), buckets=_JOB_S, registry=to
        )
        self.items = Counter("dizuo_job_items", "Items of jobs that ended here", ("kind", "status"), registry=to)
        self.search_seconds = Histogram("dizuo_search_seconds", "Time of a search", buckets=_FAST_S, registry=to)
        self.answer_seconds = Histogram(
            "dizuo_answer_seconds", "Question to end of its answer", ("found",), buckets=_ANSWER_S, registry=to
        )


_metrics_made: _Metrics | None = None
_making = threading.Lock()


def _metrics() -> _Metrics:
    global _metrics_made
    if _metrics_made is None:
        with _making:
            _metrics_made = _metrics_made or _Metrics()
    return _metrics_made


def observe_request(method: str, route: str, status: int, seconds: float) -> None:
    """Counts an answered request. `route` is the pattern ("/api/jobs/{job_id}"), so that labels stay few."""
    _metrics().requests.labels(method, route, str(status)).inc()
    _metrics().request_seconds.labels(method, route).observe(seconds)


def observe_search(seconds: float) -> None:
    """Counts a search of a knowledge base."""
    _metrics().search_seconds.observe(seconds)


def observe_answer(seconds: float, found: bool) -> None:
    """Counts an answered question. `found`: the documents held the answer."""
    _metrics().answer_seconds.labels(str(found).lower()).observe(seconds)


def observe_item(kind: str, status: str) -> None:
    """Counts an item of a job that ended."""
    _metrics().items.labels(kind, status).inc()


@contextmanager
def observed_job(kind: str) -> Iterator[None]:
    """Around the time that this process works on a job."""
    started_s = time.perf_counter()
    with _metrics().jobs_running.track_inprogress():
        try:
            yield
        finally:
            _metrics().job_seconds.labels(kind).observe(time.perf_counter() - started_s)


def observe_job_end(kind: str, status: str) -> None:
    """Counts a job that ended for good."""
    _metrics().jobs.labels(kind, status).inc()


def render_metrics() -> bytes:
    """All metrics in the Prometheus text format 0.0.4."""
    from prometheus_client import generate_latest

    return generate_latest(_metrics().registry)


# --- spans ------------------------------------------------------------------------------------------------------

_exporter: "_Exporter | None" = None
_EXPORT_TIMEOUT_S = 5  # a collector that is gone must not hold up the end of a process


def configure_tracing(endpoint: str) -> bool:
    """Sends traces to an OTLP/HTTP collector ("http://127.0.0.1:4318"); an empty endpoint leaves that off.

    Whether that began now: whoever began it ends it (`stop_tracing`).
    """
    global _exporter
    if not endpoint or _exporter is not None:
        return False
    address = endpoint.rstrip("/")
    if not address.endswith("/v1/traces"):
        address += "/v1/traces"
    _exporter = _Exporter(address)
    atexit.register(stop_tracing)
    return True


def export(trace: Trace) -> None:
    """Sends a trace that has ended, soon, where a collector is named."""
    if _exporter is not None:
        _exporter.add(trace)


def stop_tracing() -> None:
    """Sends what is left and turns the export off."""
    global _exporter
    if _exporter is not None:
        exporter, _exporter = _exporter, None
        atexit.unregister(stop_tracing)
        exporter.close()


class _Exporter:
    """Traces as OpenTelemetry knows them. Ids are made as spans go out; a trace keeps its own, or its caller's."""

    def __init__(self, address: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

        class Ids(RandomIdGenerator):
            trace_id = 0

            def generate_trace_id(self) -> int:
                return self.trace_id

        self._ids = Ids()
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "dizuo", "service.version": __version__}),
            shutdown_on_exit=False,
            id_generator=self._ids,
        )
        exporter = OTLPSpanExporter(endpoint=address, timeout=_EXPORT_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("dizuo", __version__)
        # Every span is built anew here: not on the path of the request.
        self._traces: Batched[Trace] = Batched("spans", self._send)
        self.add = self._traces.add

    def close(self) -> None:
        self._traces.close()
        self._provider.shutdown()

    def _send(self, ended: Sequence[Trace]) -> None:
        from opentelemetry import trace as otel

        for trace in ended:
            self._ids.trace_id = int(trace.id, 16)
            made: dict[int, Any] = {}
            for one, parent in trace.nested():
                around = otel.INVALID_SPAN if parent is None else made[id(parent)]
                if parent is None and trace.parent is not None:
                    trace_id, span_id = (int(part, 16) for part in trace.parent)
                    flags = otel.TraceFlags(otel.TraceFlags.SAMPLED)
                    context = otel.SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags)
                    around = otel.NonRecordingSpan(context)
                made[id(one)] = self._sent(trace, one, otel.set_span_in_context(around), parent is None)

    def _sent(self, trace: Trace, one: Span, around: Any, is_root: bool) -> Any:
        from opentelemetry.trace import SpanKind, StatusCode

        attributes: dict[str, Any] = dict(one.attributes)
        if is_root:
            of_all = {"trace_id": trace.id, "face": trace.face, "user_id": trace.user_id, "key_id": trace.key_id}
            attributes |= {f"dizuo.{name}": value for name, value in of_all.items() if value is not None}
        if "gen_ai.response.finish_reasons" in attributes:  # a list to the conventions, of one here
            attributes["gen_ai.response.finish_reasons"] = [attributes["gen_ai.response.finish_reasons"]]
        if one.error:
            attributes["error.type"] = one.error
        operation, model = attributes.get("gen_ai.operation.name"), attributes.get("gen_ai.request.model")
        kind = SpanKind.SERVER if is_root and trace.face == "api" else SpanKind.INTERNAL
        if "server.address" in attributes:
            kind = SpanKind.CLIENT
        span = self._tracer.start_span(
            f"{operation} {model}" if operation and model else one.name,
            context=around,
            kind=kind,
            attributes=attributes,
            start_time=one.start_ns,
        )
        if one.error and one.error != CANCELLED:
            span.set_status(StatusCode.ERROR, one.error)
        span.end(one.end_ns or trace.end_ns)
        return span
