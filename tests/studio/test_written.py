"""Answers that a model writes: as they come, with what is not borne out marked, stopped midway, failed."""

import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.studio.conftest import Studio, Visit, ask, serving

pytestmark = pytest.mark.browser

WARRANTY = "How long does the warranty of the Falcon X200 last?"


class Writer(ThreadingHTTPServer):
    """An OpenAI-compatible endpoint that says what the test wants, and waits where it says None."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.says: Sequence[str | None] = ()
        self.go_on = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Answering(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Writer)
        self.rfile.read(int(self.headers["Content-Length"]))
        if not self.server.says:
            self.send_error(400, "out of ink")
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            for part in self.server.says:
                if part is None:
                    self.server.go_on.wait(20)
                else:
                    self._event({"delta": {"content": part}, "finish_reason": None})
            self._event({"delta": {}, "finish_reason": "stop"})
            self.wfile.write(b"data: [DONE]\n\n")
        except ConnectionError:
            pass  # the reader has stopped the answer

    def _event(self, choice: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps({"choices": [{"index": 0, **choice}]}).encode() + b"\n\n")
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def writer() -> Iterator[Writer]:
    with Writer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.go_on.set()
        server.shutdown()


@pytest.fixture(scope="module")
def written_at(studio: Studio, writer: Writer) -> Iterator[str]:
    """A second server of the same home, whose answers a model writes."""
    home = studio.house.settings.home
    with serving(home, DIZUO_MODEL="test/writer", DIZUO_MODEL_BASE_URL=writer.address) as address:
        yield address


@pytest.fixture
def page(written_at: str, chromium: Any, studio: Studio, owner_session: str) -> Iterator[Any]:
    visit = Visit(chromium, Studio(written_at, studio.house, studio.hub), owner_session)
    yield visit.page("/?knowledge=handbook")
    visit.close()
    assert visit.wrong == []


def test_a_claim_that_its_source_does_not_bear_out_is_marked(page: Any, writer: Writer) -> None:
    writer.says = ["The warranty of the Falcon X200 lasts 24 months", " [1]. ", "It was built by pirates in 1802 [1]."]
    turn = ask(page, WARRANTY)
    assert "pirates" in turn.locator(".prose").inner_text()
    chips = turn.locator(".prose .chip")
    assert [("unsupported" in chip) for chip in chips.evaluate_all("all => all.map(e => e.className)")] == [False, True]
    assert turn.locator(".source .badge.warn").inner_text() == "not borne out by its source"


def test_markdown_and_html_of_a_model_are_no_markup(page: Any, writer: Writer) -> None:
    link = "<img src=x onerror=\"document.title='owned'\"> ![x](https://evil.example/p.png) **24 months** [1]."
    writer.says = ["The warranty lasts 24 months [1]. ", link]
    turn = ask(page, WARRANTY)
    assert turn.locator(".prose img, .prose a").count() == 0
    assert turn.locator(".prose strong").inner_text() == "24 months"
    assert "owned" not in page.title()


def test_an_answer_shows_while_it_is_written_and_stops_when_told(page: Any, writer: Writer) -> None:
    writer.go_on.clear()
    writer.says = [
        "The warranty of the Falcon X200 lasts 24 months [1].\n\n",
        "Clean the lens with a dry cloth [1]. ",
        None,
    ]
    page.fill("#question", WARRANTY)
    page.press("#question", "Enter")
    page.locator(".prose", has_text="24 months").wait_for()
    assert page.locator(".answer[aria-busy=true]").count() == 1
    page.click(".send.stop")
    page.locator(".answer.stopped .answer-actions").wait_for()
    page.reload()
    page.locator(".answer.stopped", has_text="24 months").wait_for()
    writer.go_on.set()

    writer.says = ["The warranty lasts 24 months [1]."]
    page.locator(".answer-actions button", has_text="Answer again").click()
    page.locator(".answer.done").wait_for()
    assert page.locator(".turn").count() == 1


def test_a_model_that_fails_is_told_and_can_be_tried_again(page: Any, writer: Writer) -> None:
    writer.says = ()
    turn = ask(page, WARRANTY)
    assert "out of ink" in turn.locator("[role=alert]").inner_text()
    writer.says = ["The warranty lasts 24 months [1]."]
    turn.locator("button", has_text="Try again").click()
    turn.locator(".answer.done").wait_for()
    assert "24 months" in turn.locator(".prose").inner_text()
