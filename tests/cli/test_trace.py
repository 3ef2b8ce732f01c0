"""`dizuo trace`: what a command left behind, as a list and as bars on a line of time."""

from collections.abc import Callable

from tests.cli.conftest import Ran


def test_a_question_leaves_a_trace_that_is_listed_and_shown(reader: Callable[..., Ran]) -> None:
    assert reader("ask", "How many days of leave are there?", "-k", "handbook").status == 0
    latest = reader("trace", "list", "--json").json["traces"][0]
    assert (latest["name"], latest["face"], latest["status"]) == ("dizuo ask", "cli", "ok")
    assert latest["id"][:12] in reader("trace", "list").out
    shown = reader("trace", "show", latest["id"][:12]).out
    assert "knowledge.search" in shown
    assert "█" in shown or "▌" in shown
    assert "检索知识库" in reader("trace", "show", latest["id"], "--language", "zh").out
    spans = reader("trace", "show", latest["id"], "--json").json["spans"]
    assert spans[0]["parent"] is None
    assert "[" not in reader("trace", "list", "--slow", "3600").out


def test_failures_are_looked_for_and_said_in_chinese(reader: Callable[..., Ran]) -> None:
    assert reader("ask", " ", "-k", "handbook").status == 1
    failed = reader("trace", "list", "--failed", "--language", "zh").out
    assert "被拒绝 (invalid_request)" in failed
    unknown = reader("trace", "show", "00000000")
    assert unknown.status == 1
    assert "dizuo trace list" in unknown.err
