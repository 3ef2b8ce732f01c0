"""What the system says of itself: lines, metrics, and spans that a real OTLP/HTTP receiver gets."""

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from dizuo.core.errors import UserError
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


def test_spans_reach_a_collector_nested_and_with_what_was_said_of_them(collector: Collector) -> None:
    telemetry.configure_tracing(collector.address)
    token = telemetry.request_id.set("r-2")
    with telemetry.span("knowledge.answer", knowledge="手册"), telemetry.span("knowledge.search", limit=10):
        pass
    telemetry.request_id.reset(token)
    telemetry.stop_tracing()
    inner, outer = collector.spans
    assert (inner.name, outer.name) == ("knowledge.search", "knowledge.answer")
    assert inner.parent_span_id == outer.span_id
    assert attributes(outer) == {"dizuo.knowledge": "手册", "dizuo.request_id": "r-2"}
    assert attributes(inner)["dizuo.limit"] == "10"
    assert collector.resources[0]["service.name"] == "dizuo"


def test_an_error_goes_through_a_span_and_is_recorded(collector: Collector) -> None:
    telemetry.configure_tracing(collector.address + "/v1/traces")
    with pytest.raises(UserError), telemetry.span("job"):
        raise UserError("No.")
    telemetry.stop_tracing()
    [span] = collector.spans
    assert span.status.code == 2
    assert span.events[0].name == "exception"


def test_spans_of_a_process_that_ends_are_sent_before_it_ends(collector: Collector) -> None:
    code = (
        f"from dizuo.platform import telemetry as t; t.configure_tracing({collector.address!r})\nwith t.span('last'): 1"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
    assert [span.name for span in collector.spans] == ["last"]


def test_a_collector_that_is_gone_holds_up_the_end_for_seconds_only() -> None:
    code = (
        "from dizuo.platform import telemetry as t; t.configure_tracing('http://127.0.0.1:9')\nwith t.span('lost'): 1"
    )
    started_s = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)
    assert time.monotonic() - started_s < 15


def test_spans_are_off_by_default_and_then_load_nothing() -> None:
    code = (
        "import sys; from dizuo.platform import telemetry as t; t.configure_tracing('')\n"
        "with t.span('x', a=1): assert not {'opentelemetry', 'prometheus_client'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
