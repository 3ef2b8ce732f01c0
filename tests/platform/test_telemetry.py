"""What the system says of itself: lines, metrics, and spans that a real OTLP/HTTP receiver gets."""

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from dizuo.core.errors import UserError
from dizuo.core.traces import Trace, model_span, span, traced
from dizuo.platform import telemetry

logger = logging.getLogger("dizuo.test")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_text_line_has_time_level_logger_and_request_id(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure_logging("info", "text")
    token = telemetry.request_id.set("r-1")
    logger.info("read %s", "a.pdf", extra={"pages": 3})
    telemetry.request_id.reset(token)
    [line] = lines(capsys)
    assert line.endswith("Z INFO dizuo.test [r-1] read a.pdf pages=3")


def test_a_name_from_outside_cannot_begin_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure_logging("info", "text")
    logger.info("read %s", "a.pdf\n2026-01-01 ERROR forged\r\x1b[2J")
    [line] = lines(capsys)
    assert "\x1b" not in line


def test_a_json_line_is_one_object_with_what_the_caller_added(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure_logging("debug", "json")
    try:
        raise ZeroDivisionError("二")
    except ZeroDivisionError:
        logger.exception("failed\nhere", extra={"document": "报告", "level": "forged"})
    [line] = lines(capsys)
    told = json.loads(line)
    assert (told["message"], told["level"], told["document"]) == ("failed\nhere", "error", "报告")
    assert "ZeroDivisionError: 二" in told["exception"]


def test_logging_may_be_configured_again_without_doubled_lines(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure_logging("debug", "json")
    telemetry.configure_logging("warning", "text")
    logger.info("not told")
    logger.warning("told")
    assert len(lines(capsys)) == 1


def test_other_people_s_libraries_are_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure_logging("info", "text")
    for name in ("httpx", "sqlalchemy.engine", "uvicorn.access", "pypdf._reader"):
        logging.getLogger(name).info("chatter")
    logging.getLogger("uvicorn.error").error("told")
    assert [line.rsplit(" ", 1)[-1] for line in lines(capsys)] == ["told"]


def metrics() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(telemetry.render_metrics().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def test_what_is_observed_is_counted() -> None:
    before = metrics()
    telemetry.observe_request("GET", "/api/jobs/{job_id}", 200, 0.02)
    telemetry.observe_search(0.004)
    telemetry.observe_answer(0.5, True)
    telemetry.observe_item("work", "failed")
    with telemetry.observed_job("work"):
        assert metrics()["dizuo_jobs_running", ()] == before["dizuo_jobs_running", ()] + 1
    telemetry.observe_job_end("work", "done")
    after = metrics()
    for name, labels in [
        ("dizuo_http_requests_total", (("method", "GET"), ("route", "/api/jobs/{job_id}"), ("status", "200"))),
        ("dizuo_http_request_seconds_count", (("method", "GET"), ("route", "/api/jobs/{job_id}"))),
        ("dizuo_search_seconds_count", ()),
        ("dizuo_answer_seconds_count", (("found", "true"),)),
        ("dizuo_job_items_total", (("kind", "work"), ("status", "failed"))),
        ("dizuo_job_seconds_count", (("kind", "work"),)),
        ("dizuo_jobs_total", (("kind", "work"), ("status", "done"))),
    ]:
        assert after[name, labels] == before.get((name, labels), 0) + 1, name
    assert after["process_resident_memory_bytes", ()] > 1 << 20
    assert any(name == "dizuo_build_info" for name, _labels in after)


# --- spans ----------------------------------------------------------------------------------------------------


class Collector:
    """An OTLP/HTTP receiver on loopback."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    import gzip

                    body = gzip.decompress(body)
                collector.take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def take(self, path: str, body: bytes) -> None:
        assert path == "/v1/traces"
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(attributes(of_resource.resource))
            self.spans += [span for scope in of_resource.scope_spans for span in scope.spans]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def attributes(of: Any) -> dict[str, str]:
    return {a.key: a.value.string_value or str(a.value.int_value) for a in of.attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    opened = Collector()
    yield opened
    telemetry.stop_tracing()
    opened.close()


def finished(trace: Trace) -> AbstractContextManager[Trace]:
    """A trace that goes to the collector when it ends, and nowhere else."""
    return traced(trace, telemetry.export)


def test_a_trace_reaches_a_collector_with_its_ids_and_what_was_said_of_it(collector: Collector) -> None:
    telemetry.configure_tracing(collector.address)
    trace = Trace("POST /v1/chat/completions", "api", user_id=7)
    with finished(trace), model_span("chat", "deepseek/chat") as chat:
        chat.attributes |= {"gen_ai.usage.input_tokens": 12, "gen_ai.response.finish_reasons": "stop"}
        with span("attempt", **{"server.address": "api.deepseek.com"}):
            pass
    telemetry.stop_tracing()
    root, call, attempt = sorted(collector.spans, key=lambda one: one.start_time_unix_nano)
    assert [one.name for one in (root, call, attempt)] == [trace.name, "chat deepseek/chat", "attempt"]
    assert {one.trace_id.hex() for one in collector.spans} == {trace.id}
    assert (root.parent_span_id, call.parent_span_id, attempt.parent_span_id) == (b"", root.span_id, call.span_id)
    assert (root.kind, call.kind, attempt.kind) == (2, 1, 3), "server, internal, client"
    assert root.start_time_unix_nano == trace.start_ns
    assert root.end_time_unix_nano == trace.end_ns
    told = attributes(call)
    assert told["gen_ai.operation.name"] == "chat"
    assert (told["gen_ai.provider.name"], told["gen_ai.request.model"]) == ("deepseek", "deepseek/chat")
    assert told["gen_ai.usage.input_tokens"] == "12"
    assert [one.string_value for a in call.attributes if "reasons" in a.key for one in a.value.array_value.values] == [
        "stop"
    ]
    assert attributes(root)["dizuo.user_id"] == "7"
    assert collector.resources[0]["service.name"] == "dizuo"


def test_a_caller_that_traces_too_becomes_the_parent(collector: Collector) -> None:
    telemetry.configure_tracing(collector.address)
    with finished(Trace("ask", "api", parent=("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"))) as trace:
        pass
    telemetry.stop_tracing()
    [root] = collector.spans
    assert root.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert root.parent_span_id.hex() == "b7ad6b7169203331"
    assert attributes(root)["dizuo.trace_id"] == trace.id


def test_an_error_goes_through_a_span_and_is_told(collector: Collector) -> None:
    telemetry.configure_tracing(collector.address + "/v1/traces")
    with pytest.raises(UserError), finished(Trace("job", "job")), span("chat"):
        raise UserError("No.")
    telemetry.stop_tracing()
    assert {one.status.code for one in collector.spans} == {2}
    assert {attributes(one)["error.type"] for one in collector.spans} == {"invalid_request"}


_LAST = (
    "from dizuo.core.traces import Trace, traced; from dizuo.platform import telemetry as t\n"
    "t.configure_tracing({address!r})\nwith traced(Trace('last'), t.export): 1"
)


def test_traces_of_a_process_that_ends_are_sent_before_it_ends(collector: Collector) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", _LAST.format(address=collector.address)], check=True)
    assert [one.name for one in collector.spans] == ["last"]


def test_a_collector_that_is_gone_holds_up_the_end_for_seconds_only() -> None:
    code = _LAST.format(address="http://127.0.0.1:9")
    started_s = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)
    assert time.monotonic() - started_s < 15


def test_the_export_is_off_by_default_and_then_loads_nothing() -> None:
    code = (
        _LAST.format(address="") + "\nimport sys; assert not {'opentelemetry', 'prometheus_client'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
