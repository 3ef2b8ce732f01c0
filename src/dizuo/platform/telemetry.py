"""What the system says of itself: log lines, Prometheus metrics, and OpenTelemetry spans where a collector is named.

Metrics are counted in the process; `render_metrics` prints them. Spans cost a comparison while they are off, and
OpenTelemetry is imported when they are turned on.
"""

import atexit
import json
import logging
import platform
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TextIO

from dizuo import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that is being answered, or the job that is being done; on every log line of it."""

# --- log lines --------------------------------------------------------------------------------------------------

# What libraries tell at these levels is of use to those who write them.
_QUIET = {
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
    "opentelemetry.context": logging.CRITICAL,  # a stream that its client leaves ends in another context: no harm done
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


class _Stderr(logging.StreamHandler):  # pyright: ignore[reportMissingTypeArgument]
    """Writes to what stderr is at the time of the line, not at the time of the configuration."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # pyright: ignore[reportIncompatibleVariableOverride]
        return sys.stderr


def _time(record: logging.LogRecord) -> str:
    # UTC with milliseconds, the same in both formats.
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03}Z"


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

_provider: "TracerProvider | None" = None
_EXPORT_TIMEOUT_S = 5  # a collector that is gone must not hold up the end of a process


def configure_tracing(endpoint: str) -> None:
    """Sends spans to an OTLP/HTTP collector ("http://127.0.0.1:4318"); an empty endpoint leaves them off."""
    global _provider
    if not endpoint or _provider is not None:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    address = endpoint.rstrip("/")
    if not address.endswith("/v1/traces"):
        address += "/v1/traces"
    _provider = TracerProvider(
        resource=Resource.create({"service.name": "dizuo", "service.version": __version__}), shutdown_on_exit=False
    )
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=address, timeout=_EXPORT_TIMEOUT_S)))
    atexit.register(stop_tracing)


def stop_tracing() -> None:
    """Sends what is left and turns spans off."""
    global _provider
    if _provider is not None:
        provider, _provider = _provider, None
        atexit.unregister(stop_tracing)
        provider.shutdown()


@contextmanager
def span(name: str, **attributes: str | int | float | bool) -> Iterator[None]:
    """A span around a piece of work. An exception that leaves it is recorded and goes on."""
    if _provider is None:
        yield
        return
    with _provider.get_tracer("dizuo", __version__).start_as_current_span(name) as current:
        if request_id.get():
            current.set_attribute("dizuo.request_id", request_id.get())
        for key, value in attributes.items():
            current.set_attribute(f"dizuo.{key}", value)
        yield
